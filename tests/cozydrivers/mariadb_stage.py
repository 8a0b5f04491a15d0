"""What the tests of the MariaDB driver share: a cluster with mariadb-operator, its Jobs, a bucket, and the manager."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
import yaml
from tests.cozydrivers.stage import FIXTURES, TENANT, Stage

from cozydrivers import KubeClient, Manager
from cozydrivers.api import apps, mariadb, strategy
from cozydrivers.api.backups import Backup, BackupClass, BackupJob
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Namespace, Secret
from cozydrivers.api.events import Event
from cozydrivers.drivers.mariadb import MariaDBDriver
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.buckets import ACCESS_KEY, SECRET_KEY, FakeBucket
from cozydrivers.testing.dumps import MariaDBPods
from cozydrivers.testing.jobs import JobRunner
from cozydrivers.testing.mariadb import MariaDBOperator, Version, admission
from cozydrivers.testing.operators import collect_garbage

APP = "shop"
SERVER = f"mariadb-{APP}"
CLASS = "mariadb-data-backup"
STRATEGY = "mariadb-data-strategy"
BUCKET = "db-backups"
ENDPOINT = "seaweedfs-s3.tenant-root.svc:8333"
CREDENTIALS, CA = f"{APP}-mariadb-backup-creds", f"{APP}-mariadb-backup-ca"
ROOT = "root"
_COLLECTING = 5
"""Seconds between two rounds of the garbage collector, which reads everything."""


class MariaDBStage(Stage):
    """A cluster with one MariaDB application of two rows, and the seed's strategy and BackupClass."""

    def __init__(self, version: Version = "25.10.2") -> None:
        self.cluster = FakeCluster([FIXTURES / "crds", FIXTURES / "crds" / "mariadb-operator" / version])
        self.cluster.webhooks.append(admission)
        self.kube: KubeClient = self.cluster.kube()
        self.bucket = FakeBucket(BUCKET, endpoint=ENDPOINT)
        self.pods = MariaDBPods(self.cluster, self.bucket)
        self.server = self.pods.database(TENANT, SERVER)
        self.server.add("shop", "orders", (1, "a"), (2, "b"))
        self.operator = MariaDBOperator(self.cluster.kube(), version=version, now=self.cluster.now)
        self.runner = JobRunner(self.cluster, self.pods.play)
        self.collects = True
        self.seed = list(yaml.safe_load_all((FIXTURES / "seed/mariadb.yaml").read_text()))

    async def set_up(self) -> None:
        """Deploy it all."""
        await self.kube.create(Namespace, {"metadata": {"name": TENANT}})
        await self.secret(ROOT, password="secret")
        await self.secret(CREDENTIALS, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
        await self.secret(CA, **{"ca.crt": "PEM"})
        await self.deploy(APP)
        given, backup_class = self.seed
        await self.kube.create(strategy.MariaDB, given)
        await self.kube.create(BackupClass, backup_class)

    async def secret(self, name: str, **data: str) -> None:
        """Create a Secret."""
        await self.kube.create(Secret, {"metadata": {"name": name}, "stringData": data}, TENANT)

    async def deploy(self, name: str) -> None:
        """An application and its server, which is ready at once."""
        root = {"rootPasswordSecretKeyRef": {"name": ROOT, "key": "password"}}
        server = {"metadata": {"name": f"mariadb-{name}"}, "spec": {"storage": {"size": "1Gi"}, **root}}
        await self.kube.create(apps.MariaDB, {"metadata": {"name": name}, "spec": {}}, TENANT)
        await self.kube.create(mariadb.MariaDB, server, TENANT)
        await self.operator.play_ready(TENANT, f"mariadb-{name}")
        await self.operator.step()

    async def template(self, **template: Any) -> None:
        """Change the strategy's template; None takes a field away."""
        await self.kube.merge_patch(strategy.MariaDB, STRATEGY, {"spec": {"template": template}})

    async def parameters(self, **parameters: str) -> None:
        """Have the BackupClass say so."""
        binding = {**self.seed[1]["spec"]["strategies"][0], "parameters": parameters}
        await self.kube.merge_patch(BackupClass, CLASS, {"spec": {"strategies": [binding]}})

    def driver(self) -> MariaDBDriver:  # type: ignore[override]
        """A driver that finds the bucket."""
        return MariaDBDriver(objects=self.bucket.open)

    def manager(self) -> Manager:
        """A controller of its own, as a process would have it."""
        return Manager(self.kube, drivers=[self.driver()], now=self.now)

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None, None]:
        """A controller, and all that works beside it, as long as the block."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._world)
            tasks.start_soon(self.manager().run)
            yield
            tasks.cancel_scope.cancel()

    async def _world(self) -> None:
        for second in count():
            await self.operator.step()
            self.runner.step()
            if self.collects and not second % _COLLECTING:
                collect_garbage(self.cluster)
            await anyio.sleep(1)

    async def backup(self, name: str, **spec: Any) -> BackupJob:
        """Create a BackupJob."""
        reference = {"apiGroup": "apps.cozystack.io", "kind": "MariaDB", "name": APP}
        body = {"metadata": {"name": name}, "spec": {"applicationRef": reference, "backupClassName": CLASS, **spec}}
        return await self.kube.create(BackupJob, body, TENANT)

    async def backed_up(self, name: str = "nightly") -> Backup:
        """A Backup, made while the stage is at work."""
        job = await self.end_of(await self.backup(name))
        assert job.status.phase == "Succeeded", job.status.message
        return await self.made_by(job)

    async def operators(self, kind: type[mariadb.Backup] | type[mariadb.Restore] = mariadb.Backup) -> list[str]:
        """The names of the operator's objects that are there."""
        return [each.metadata.name for each in (await self.kube.list(kind, TENANT)).items]

    async def jobs(self) -> list[Job]:
        """The Jobs that are there."""
        return (await self.kube.list(Job, TENANT)).items

    async def at_work(self, job: BackupJob) -> Job:
        """Wait until the Job of a BackupJob's dump has a Pod; it is the only one."""
        with anyio.fail_after(60):
            while True:
                found = [each for each in await self.jobs() if each.status.start_time is not None]
                if found:
                    return found[0]
                await anyio.sleep(0.5)

    async def uploaded(self) -> None:
        """Wait until there is a dump in the bucket."""
        with anyio.fail_after(60):
            while True:
                if self.bucket.keys:
                    return
                await anyio.sleep(0.2)

    async def events(self, reason: str) -> list[str]:
        """What events of that reason say."""
        found = (await self.kube.list(Event, TENANT)).items
        return [each.note for each in found if each.reason == reason]

    def touched(self) -> list[str]:
        """What was created of the operator's, but for servers."""
        return [
            path
            for method, path in self.cluster.requests
            if method == "POST" and "/k8s.mariadb.com/" in path and not path.endswith("/mariadbs")
        ]

    @property
    def dumped(self) -> int:
        """How many dumps were made, or begun and failed."""
        return sum(done.what == "dumped" for done in self.pods.done)


async def staged(version: Version = "25.10.2") -> MariaDBStage:
    """A stage, deployed."""
    stage = MariaDBStage(version)
    await stage.set_up()
    return stage


def metadata_of(backup: Backup) -> Mapping[str, str]:
    """The record without its prefix."""
    return {key.removeprefix("k8s.mariadb.com/"): value for key, value in backup.spec.driver_metadata.items()}
