"""A tenant's application on real servers, and the controller as a process of its own."""

import contextlib
import itertools
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests.e2e import kube, objects
from tests.e2e.objects import Manifest
from tests.e2e.shard import Shard
from tests.real import RealClickHouse, RealCluster, RealS3, RealSidecar
from tests.real.processes import Server, wait_until
from tests.real.sidecar import Binary

_PATHS = itertools.count(1)
_ENDED = ("Succeeded", "Failed")


class Controller(Server):
    """`cozydrivers run` for one namespace, as a process of its own."""

    name = "cozydrivers"

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        super().__init__()
        self.kubeconfig = kubeconfig
        self._namespace = namespace

    def command(self) -> Sequence[str]:
        """Run the package that the tests have."""
        options = [
            f"--kubeconfig={self.kubeconfig}",
            f"--namespace={self._namespace}",
            "--metrics-address=127.0.0.1:0",
        ]
        return [sys.executable, "-m", "cozydrivers", "run", *options]

    def environment(self) -> Mapping[str, str]:
        """Return where the tests have the package from, when that is not where it is installed."""
        path = os.environ.get("PYTHONPATH")
        return {"PYTHONPATH": path} if path else {}

    async def is_ready(self) -> bool:
        """It serves nothing that a test would wait for; what it does shows on the objects."""
        return True

    def said(self, words: str) -> int:
        """How often its log has these words, over all of its starts."""
        return self.log.read_text().count(words)


@dataclass(frozen=True)
class Tenant:
    """A namespace, and the controller that works on it; `client` is the tenant's, who may do anything."""

    cluster: RealCluster
    namespace: str
    controller: Controller
    client: httpx.AsyncClient

    async def submit(self, job: Manifest) -> None:
        """Create a job as the tenant does."""
        await kube.apply(self.client, job, self.namespace)

    async def ended(self, kind: str, name: str, timeout: float = 120) -> Manifest:
        """Wait until a job has ended and was let go of, and return it; TimeoutError tells its status."""
        job: Manifest = {}

        async def has_ended() -> bool:
            nonlocal job
            assert self.controller.running, f"the controller has died\n{self._last_words()}"
            job = await kube.get(self.client, kind, self.namespace, name)
            return job.get("status", {}).get("phase") in _ENDED and not job["metadata"].get("finalizers")

        try:
            await wait_until(has_ended, timeout=timeout, what=f"end of {kind} {name}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its status: {job.get('status')}\n{self._last_words()}") from None
        return job

    async def says(self, kind: str, name: str, words: str, timeout: float = 60) -> None:
        """Wait until a job's conditions have these words; TimeoutError tells its status."""
        status: Manifest = {}

        async def said() -> bool:
            nonlocal status
            status = (await kube.get(self.client, kind, self.namespace, name)).get("status", {})
            return words in str(status)

        try:
            await wait_until(said, timeout=timeout, what=f"{words!r} in {kind} {name}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its status: {status}\n{self._last_words()}") from None

    def _last_words(self) -> str:
        return self.controller.log.read_text()[-3000:]

    async def backup_of(self, job: str) -> Manifest:
        """Wait until a BackupJob has succeeded, and return the Backup that it names."""
        ended = await self.ended("BackupJob", job)
        assert ended["status"]["phase"] == "Succeeded", ended["status"]
        return await kube.get(self.client, "Backup", self.namespace, ended["status"]["backupRef"]["name"])


@dataclass(frozen=True)
class Scene(Tenant):
    """A tenant with an application, whose sidecars share one path in the object store.

    `shards` has each replica of each shard.
    """

    s3: RealS3
    path: str
    shards: Sequence[Shard]
    password: str

    async def set_up(self) -> None:
        """Make what is there before any job: credentials, application, and a ready Pod of each replica."""
        shards = len({each.clickhouse.shard for each in self.shards})
        for manifest in (self._secret(), objects.application(shards, len(self.shards) // shards)):
            await kube.apply(self.client, manifest, self.namespace)
        for shard in self.shards:
            await kube.apply(self.client, _pod(shard), self.namespace)
            await self.move(shard, shard.sidecar.address)

    def _secret(self) -> Manifest:
        return objects.secret(self.shards[0].sidecar.username, self.password)

    async def move(self, shard: Shard, address: str) -> None:
        """Give a shard's Pod an address."""
        await kube.set_status(self.client, _pod(shard), self.namespace, objects.running_at(address))

    async def back_up(self, job: str, **options: str) -> Manifest:
        """Create a BackupJob and return the Backup that it makes."""
        await self.submit(objects.backup_job(job, **options))
        return await self.backup_of(job)

    async def rows(self) -> list[str]:
        """Rows and hashes of every table, by shard and replica."""
        return [await shard.rows() for shard in self.shards]

    async def drop(self) -> None:
        """Drop every table on every shard."""
        for shard in self.shards:
            await shard.drop()

    async def stored(self) -> dict[str, str]:
        """Every archive in the object store, with what is wrong with it: nothing, when all of its objects are there.

        A list can't show a missing part; the sizes of the objects do.
        """
        listed = {each["name"]: each for each in await self.shards[0].archives("remote")}
        objects_by_key = await self.s3.objects(f"{self.path}/")
        found = {key.removeprefix(f"{self.path}/").split("/")[0] for key in objects_by_key}
        return {name: await self._wrong(name, listed.get(name)) for name in sorted(found | set(listed))}

    async def _wrong(self, name: str, listed: Mapping[str, object] | None) -> str:
        if listed is None:
            return "not listed"
        description = str(listed["desc"])
        if not description.endswith("regular"):
            return description
        shadow = await self.s3.size(f"{self.path}/{name}/shadow/")
        metadata = await self.s3.size(f"{self.path}/{name}/metadata/")
        sizes, expected = (shadow, metadata), (listed.get("compressed_size", 0), listed["metadata_size"])
        return "" if sizes == expected else f"objects of {sizes} bytes for {expected}"

    async def local_copies(self) -> list[str]:
        """The names of all local archives, of all shards and replicas."""
        return [each["name"] for shard in self.shards for each in await shard.archives("local")]


async def leases_of(client: httpx.AsyncClient, controller: Controller) -> set[str]:
    """The names of the Leases that a process holds, in whatever namespace."""
    holder = f"_{controller.pid}_"
    found = await kube.listed(client, "Lease")
    return {each["metadata"]["name"] for each in found if holder in each["spec"].get("holderIdentity", "")}


@contextlib.asynccontextmanager
async def opened(
    binary: Binary,
    cluster: RealCluster,
    store: RealS3,
    servers: Sequence[RealClickHouse],
    namespace: str,
    controller: Controller,
) -> AsyncIterator[Scene]:
    """Empty servers with new sidecars on a path of their own; the controller is not started."""
    password, path = secrets.token_hex(12), f"e2e/{next(_PATHS)}"
    async with contextlib.AsyncExitStack() as stack:
        shards = []
        for clickhouse in servers:
            sidecar = RealSidecar(binary, clickhouse, store, path=path, password=password, env={"LOG_LEVEL": "debug"})
            shards.append(Shard(clickhouse, sidecar))
            await shards[-1].empty()
            await stack.enter_async_context(sidecar)
        client = await stack.enter_async_context(cluster.client())
        scene = Scene(cluster, namespace, controller, client, store, path, shards, password)
        await scene.set_up()
        yield scene


def _pod(shard: Shard) -> Manifest:
    environment = shard.sidecar.environment()
    storage = {name: value for name, value in environment.items() if name.startswith(("S3_", "REMOTE_"))}
    return objects.pod(shard.clickhouse.shard, shard.clickhouse.replica, storage)
