"""What tests of mariadb-operator's simulator share: a cluster with the operator, its Jobs, a bucket and a server."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import anyio
from tests.cozydrivers.stage import FIXTURES

from cozydrivers.api.base import KubeObject
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Namespace, Secret
from cozydrivers.api.mariadb import Backup, MariaDB, Restore
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.buckets import ACCESS_KEY, SECRET_KEY, FakeBucket
from cozydrivers.testing.dumps import MariaDBPods
from cozydrivers.testing.jobs import JobRunner
from cozydrivers.testing.mariadb import MariaDBOperator, Version
from cozydrivers.testing.operators import collect_garbage

SPACE = "t1"
S3: dict[str, Any] = {
    "bucket": "bk",
    "endpoint": "minio:9000",
    "prefix": "t1/mdb",
    "region": "us-east-1",
    "accessKeyIdSecretKeyRef": {"name": "s3creds", "key": "access-key-id"},
    "secretAccessKeySecretKeyRef": {"name": "s3creds", "key": "secret-access-key"},
}
Kind = TypeVar("Kind", bound=KubeObject)


class Scene:
    """A MariaDB `mdb` that is ready, with two rows in `shop.orders`."""

    def __init__(self, version: Version = "25.10.2") -> None:
        self.cluster = FakeCluster([FIXTURES / "crds" / "mariadb-operator" / version])
        self.kube = self.cluster.kube()
        self.bucket = FakeBucket("bk", endpoint="minio:9000")
        self.pods = MariaDBPods(self.cluster, self.bucket)
        self.pods.dump_seconds = self.pods.push_seconds = self.pods.pull_seconds = 1.0
        self.pods.load_seconds = 2.0
        self.server = self.pods.database(SPACE, "mdb")
        self.server.add("shop", "orders", (1, "a"), (2, "it's b"))
        self.operator = MariaDBOperator(self.kube, version=version, now=self.cluster.now)
        self.runner = JobRunner(self.cluster, self.pods.play)

    async def set_up(self) -> None:
        await self.kube.create(Namespace, {"metadata": {"name": SPACE}})
        await self.secret("root", {"password": "secret"})
        await self.secret("s3creds", {"access-key-id": ACCESS_KEY, "secret-access-key": SECRET_KEY})
        await self.mariadb("mdb")
        await self.operator.play_ready(SPACE, "mdb")

    async def secret(self, name: str, data: Mapping[str, str]) -> None:
        await self.kube.create(Secret, {"metadata": {"name": name}, "stringData": dict(data)}, SPACE)

    async def mariadb(self, name: str, **spec: Any) -> MariaDB:
        root = {"rootPasswordSecretKeyRef": {"name": "root", "key": "password"}}
        body = {"metadata": {"name": name}, "spec": {"storage": {"size": "1Gi"}, **root, **spec}}
        return await self.kube.create(MariaDB, body, SPACE)

    async def backup(self, name: str = "b1", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Backup:
        common = {"mariaDbRef": {"name": "mdb"}, "storage": {"s3": S3}, "compression": "gzip"}
        body = {"metadata": {"name": name, **(metadata or {})}, "spec": {**common, **spec}}
        return await self.kube.create(Backup, body, SPACE)

    async def restore(self, name: str = "r1", **spec: Any) -> Restore:
        source: Mapping[str, Any] = {} if {"s3", "volume", "backupRef"} & set(spec) else {"backupRef": {"name": "b1"}}
        body = {"metadata": {"name": name}, "spec": {"mariaDbRef": {"name": "mdb"}, **source, **spec}}
        return await self.kube.create(Restore, body, SPACE)

    async def run(self, seconds: float = 9.0) -> None:
        """Let operator, Jobs and garbage collector take a step each second."""
        for _ in range(int(seconds)):
            await self.operator.step()
            self.runner.step()
            collect_garbage(self.cluster)
            await anyio.sleep(1)

    async def until(self, done: Callable[[], bool], *, within: float = 600.0) -> None:
        with anyio.fail_after(within):
            while not done():
                await self.run(1)

    async def get(self, kind: type[Kind], name: str) -> Kind:
        return await self.kube.get(kind, name, SPACE)

    async def spec(self, kind: type[KubeObject], name: str) -> dict[str, Any]:
        spec: dict[str, Any] = (await self.get(kind, name)).raw["spec"]
        return spec

    async def told(self, kind: type[KubeObject], name: str) -> tuple[str, str, str]:
        """Status, reason and message of its condition Complete; empty without."""
        found = ((await self.get(kind, name)).raw.get("status") or {}).get("conditions", ())
        return next(
            ((item["status"], item["reason"], item["message"]) for item in found if item["type"] == "Complete"),
            ("", "", ""),
        )

    async def delete(self, kind: type[KubeObject], name: str) -> None:
        found = await self.get(kind, name)
        await self.kube.delete(kind, name, SPACE, uid=found.metadata.uid)

    async def job(self, name: str) -> Job:
        return await self.get(Job, name)


RUNNING = ("False", "JobRunning", "Running")
SUCCEEDED = ("True", "JobComplete", "Success")
FAILED = ("True", "JobFailed", "Failed")
