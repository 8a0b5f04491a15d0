"""A tenant's MariaDB application on a real server, with mariadb-operator or its simulator, and a controller."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.e2e.scene import Controller
from tests.real import RealCluster, RealMariaDB, RealS3
from tests.real.mariadb_operator import Operator, Working
from tests.real.mariadb_pods import MariaDBPods
from tests.real.processes import wait_until

from cozydrivers.api import apps, mariadb, strategy
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.core import Secret
from cozydrivers.kube import KubeClient

CLASS = "mariadb"
_REFERENCE = {"apiGroup": "apps.cozystack.io", "kind": "MariaDB"}
_KEYS = {
    "accessKeyIdSecretKeyRef": {"name": "s3", "key": "id"},
    "secretAccessKeySecretKeyRef": {"name": "s3", "key": "key"},
}
_SERVER = {
    "rootPasswordSecretKeyRef": {"name": "root", "key": "password"},
    "storage": {"size": "1Gi"},
    "tls": {"enabled": False},
}
J = TypeVar("J", BackupJob, RestoreJob)


@dataclass(frozen=True)
class MariaDBScene:
    """A tenant with the application `shop`, whose server has the table shop.orders."""

    kube: KubeClient
    namespace: str
    s3: RealS3
    server: RealMariaDB
    pods: MariaDBPods
    controller: Controller

    async def submit(self, name: str) -> BackupJob:
        """Create a BackupJob and wait for its end."""
        spec = {"applicationRef": {**_REFERENCE, "name": "shop"}, "backupClassName": CLASS}
        return await self._ended(BackupJob, name, spec)

    async def back_up(self, name: str) -> Backup:
        """Create a BackupJob and return the Backup that it makes."""
        job = await self.submit(name)
        assert job.status.backup_ref is not None, job.status
        return await self.kube.get(Backup, job.status.backup_ref.name, self.namespace)

    async def restore(self, name: str, backup: str, **options: Any) -> RestoreJob:
        """Create a RestoreJob in place and wait for its end."""
        return await self._ended(RestoreJob, name, {"backupRef": {"name": backup}, "options": options})

    async def _ended(self, kind: type[J], name: str, spec: Mapping[str, Any]) -> J:
        """Create a job and wait until it has ended and was let go of; TimeoutError tells its status."""
        job = await self.kube.create(kind, {"metadata": {"name": name}, "spec": spec}, self.namespace)

        async def has_ended() -> bool:
            nonlocal job
            assert self.controller.running, self._last_words()
            job = await self.kube.get(kind, name, self.namespace)
            return job.status.phase in ("Succeeded", "Failed") and not job.metadata.finalizers

        try:
            await wait_until(has_ended, timeout=120, what=f"end of {name}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its status: {job.status}\n{self._last_words()}") from None
        return job

    def _last_words(self) -> str:
        return self.controller.log.read_text()[-3000:]

    async def orders(self) -> str:
        """The rows of the table."""
        return await self.server.query("SELECT * FROM shop.orders ORDER BY id")

    async def operators(self) -> list[str]:
        """The operator's objects that are left."""
        found = [
            each
            for kind in (mariadb.Backup, mariadb.Restore)
            for each in (await self.kube.list(kind, self.namespace)).items
        ]
        return [each.metadata.name for each in found]


@asynccontextmanager
async def mariadb_scene(
    cluster: RealCluster, s3: RealS3, server: RealMariaDB, operator: Operator | None, working: Working
) -> AsyncGenerator[MariaDBScene, None]:
    """Deploy it all in a new namespace; an operator is at work."""
    namespace = await cluster.namespace("tenant")
    await server.query(
        "DROP DATABASE IF EXISTS shop; CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, what TEXT);"
        "INSERT INTO shop.orders VALUES (1, 'a'), (2, 'b')"
    )
    controller = Controller(cluster.kubeconfig(), namespace)
    async with KubeClient.connect(kubeconfig=str(cluster.kubeconfig())) as kube:
        await _deploy(kube, namespace, s3, server)
        await working.play_ready(namespace, "mariadb-shop")
        pods = MariaDBPods(kube, namespace, {(namespace, "mariadb-shop"): server}, operator=operator)
        async with pods.running(), controller:
            yield MariaDBScene(kube, namespace, s3, server, pods, controller)
            await controller.terminate()


async def _deploy(kube: KubeClient, namespace: str, s3: RealS3, server: RealMariaDB) -> None:
    secrets = {"root": {"password": server.password}, "s3": {"id": "any", "key": "any"}}
    for name, data in secrets.items():
        await kube.create(Secret, {"metadata": {"name": name}, "stringData": data}, namespace)
    await kube.create(apps.MariaDB, {"metadata": {"name": "shop"}, "spec": {}}, namespace)
    await kube.create(mariadb.MariaDB, {"metadata": {"name": "mariadb-shop"}, "spec": _SERVER}, namespace)
    store = {"bucket": s3.bucket, "endpoint": s3.url.removeprefix("http://"), "region": "us-east-1", **_KEYS}
    store["prefix"] = f"{namespace}/{{{{ .Application.metadata.name }}}}/"
    template = {"storage": {"s3": store}, "databases": ["shop"], "compression": "gzip"}
    await kube.apply(strategy.MariaDB, namespace, {"spec": {"template": template}}, field_manager="tests")
    reference = {"apiGroup": "strategy.backups.cozystack.io", "kind": "MariaDB", "name": namespace}
    binding = {"application": _REFERENCE, "strategyRef": reference}
    body = {"spec": {"strategies": [binding]}}
    await kube.apply(BackupClass, CLASS, body, field_manager="tests", force=True)
