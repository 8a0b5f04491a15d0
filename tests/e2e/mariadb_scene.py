"""A tenant's MariaDB on real servers: the controller is a process of its own, and the operator's Jobs really run."""

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

import anyio
from tests.e2e import kube
from tests.e2e import mariadb_objects as objects
from tests.e2e.mariadb_operators import Playing
from tests.e2e.objects import Manifest
from tests.e2e.rights import kubeconfig_of_the_deployment
from tests.e2e.scene import Controller, Tenant
from tests.real import RealCluster, RealMariaDB, RealS3
from tests.real.mariadb_operator import Operator
from tests.real.mariadb_pods import MariaDBPods
from tests.real.processes import DIE_WITH_PARENT, http, wait_until

from cozydrivers.kube import KubeClient

DATABASE = "shop"
BACKUPS, RESTORES = "Backup.k8s.mariadb.com", "Restore"
_SERVERS = "MariaDB.k8s.mariadb.com"
_OF_A_TEST = ("BackupJob", "RestoreJob", "Backup", BACKUPS, RESTORES)
_COUNT = itertools.count(1)


@dataclass(frozen=True)
class MariaDBScene(Tenant):
    """A tenant with the application `shop`, and a second one, `copy`, with a server of its own.

    Each test has a strategy and a class of its own, both called `name`, which keep its dumps under a path of its own.
    """

    s3: RealS3
    server: RealMariaDB
    copy: RealMariaDB
    pods: MariaDBPods
    name: str = ""

    # Databases

    async def fill(self, **tables: int) -> None:
        """Add rows to tables by name, which are made where absent."""
        columns = "id BIGINT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(99) NOT NULL"
        for table, rows in tables.items():
            await self.sql(
                f"SET NAMES utf8mb4; CREATE TABLE IF NOT EXISTS {table} ({columns}) DEFAULT CHARSET utf8mb4; "
                f"INSERT INTO {table} (s) SELECT CONCAT('Zoë 🚲 ', seq, RAND()) FROM seq_1_to_{rows}"
            )

    async def rows(self, server: RealMariaDB | None = None) -> Mapping[str, str]:
        """Number of rows and their checksum, of each table."""
        at = server or self.server
        found = await at.query(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema='{DATABASE}' "
            "AND table_type='BASE TABLE' ORDER BY table_name"
        )
        asked = (f"SELECT '{each}', COUNT(*) FROM {each}; CHECKSUM TABLE {each}" for each in found.split())
        lines = (await at.query("; ".join(asked), DATABASE)).splitlines() if found else []
        counts, sums = lines[::2], lines[1::2]
        return {
            count.split("\t")[0]: f"{count.split()[1]} {each.split()[1]}"
            for count, each in zip(counts, sums, strict=True)
        }

    async def sql(self, statements: str) -> None:
        """Run statements in the database."""
        await self.server.query(statements, DATABASE)

    @contextlib.asynccontextmanager
    async def locked(self, table: str, how: str = "WRITE") -> AsyncGenerator[None, None]:
        """Hold a table's lock as long as the block: a dump that comes to it waits, and so does a restore."""
        command = [*DIE_WITH_PARENT, *self.server.client("mariadb"), "--unbuffered", f"--database={DATABASE}"]
        client = await anyio.open_process(command, stdin=subprocess.PIPE, env=dict(self.server.variables()))
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            await client.stdin.send(f"LOCK TABLES {table} {how}; SELECT 'held';\n".encode())
            await client.stdout.receive()
            yield
        finally:
            client.kill()
            with anyio.CancelScope(shield=True):
                await client.aclose()

    async def waits(self, what: str) -> None:
        """Wait until a client of the server waits for a lock with a statement like this."""

        async def waiting() -> bool:
            where = f"state LIKE 'Waiting for table%' AND info LIKE '{what}%'"
            return await self.server.query(f"SELECT COUNT(*) FROM information_schema.processlist WHERE {where}") != "0"

        await wait_until(waiting, timeout=60, what=f"{what} waits for a lock")

    # Strategy and jobs

    async def strategy(
        self, *, s3: Manifest | None = None, parameters: Mapping[str, str] = {}, **template: Any
    ) -> None:
        """Make the strategy and the class of the test, or change them; `databases` is the test's alone unless told."""
        here = {"bucket": self.s3.bucket, "endpoint": self.endpoint, "tls": None, "prefix": self.prefix_template}
        template = {"databases": [DATABASE], **template}
        for manifest in objects.seeded(self.name, {**here, **(s3 or {})}, template, dict(parameters)):
            await kube.apply(self.client, manifest)

    @property
    def endpoint(self) -> str:
        """The store, as strategies name it."""
        return f"127.0.0.1:{self.s3.port}"

    @property
    def prefix_template(self) -> str:
        """The prefix as the strategy has it."""
        return f"{self.name}/{{{{ .Application.metadata.name }}}}/"

    @property
    def prefix(self) -> str:
        """Where the application's dumps are."""
        return f"{self.name}/{objects.APPLICATION}/"

    async def begin(self, job: str) -> None:
        """Submit a BackupJob."""
        await self.submit(objects.backup_job(job, self.name))

    async def back_up(self, job: str) -> Manifest:
        """Create a BackupJob and return the Backup that it makes."""
        await self.begin(job)
        return await self.backup_of(job)

    async def restore(self, job: str, backup: Manifest, target: str = "", **options: Any) -> Manifest:
        """Create a RestoreJob and return it at its end."""
        await self.submit(objects.restore_job(job, backup["metadata"]["name"], target, **options))
        return await self.ended("RestoreJob", job)

    async def restored(self, job: str, backup: Manifest, target: str = "", **options: Any) -> Manifest:
        """Create a RestoreJob and return it when it has succeeded."""
        done = await self.restore(job, backup, target, **options)
        assert done["status"]["phase"] == "Succeeded", done["status"]
        return done

    # The operator's, and the store

    async def by_hand(self, kind: str, name: str, **spec: Any) -> None:
        """Make an object of the operator's, as somebody might."""
        await self.submit(objects.operators(kind, name, **spec))

    def storage(self, prefix: str) -> Manifest:
        """The store, as the operator's objects name it."""
        here = {"bucket": self.s3.bucket, "endpoint": self.endpoint, "prefix": prefix}
        return objects.s3(here)

    async def forget(self, kind: str, name: str) -> None:
        """Delete what somebody has made by hand; its Job goes with it."""
        await kube.delete(self.client, kind, self.namespace, name)

    async def operators(self) -> set[str]:
        """The operator's objects in the namespace, finished or not, and their Jobs."""
        found = [await kube.names(self.client, kind, self.namespace) for kind in (BACKUPS, RESTORES, "Job")]
        return set().union(*found)

    async def job_of(self, purpose: str) -> Manifest:
        """Wait until a run's object of a purpose has a Job, and return that."""
        found: list[Manifest] = []

        async def there() -> bool:
            jobs = await kube.listed(self.client, "Job", self.namespace)
            found[:] = [each for each in jobs if each["metadata"]["name"].endswith(f"-{purpose}")]
            return bool(found)

        await wait_until(there, timeout=60, what=f"the Job of a {purpose}")
        return found[0]

    def ran(self, purpose: str) -> list[tuple[str, int]]:
        """The containers of a purpose that have ended in this test, with their exit codes."""
        return [(each.container, each.code) for each in self.pods.ran if each.job.endswith(f"-{purpose}")]

    async def stored(self, under: str = "") -> dict[str, int]:
        """The objects of the test in the store, with their sizes."""
        return await self.s3.objects(under or f"{self.name}/")

    async def read(self, key: str) -> bytes:
        """The content of an object."""
        async with http(self.s3.url, auth=("any", "any")) as client:
            return (await client.get(f"/{self.s3.bucket}/{quote(key)}")).raise_for_status().content

    async def gone(self, kind: str, name: str, timeout: float = 60) -> None:
        """Wait until an object is gone."""

        async def is_gone() -> bool:
            return name not in await kube.names(self.client, kind, self.namespace)

        await wait_until(is_gone, timeout=timeout, what=f"{kind} {name} is gone")

    async def typed(self, *arguments: str) -> tuple[int, Any]:
        """Run a command on the namespace, as its admin; answers its exit code and what it printed as JSON."""
        where = ["-n", self.namespace, f"--kubeconfig={self.cluster.kubeconfig()}", "-o", "json"]
        command = [sys.executable, "-m", "cozydrivers", *arguments, *where]
        done = await anyio.run_process(command, check=False)
        assert done.stdout, done.stderr.decode()
        return done.returncode, json.loads(done.stdout)


@contextlib.asynccontextmanager
async def tenancy(
    cluster: RealCluster,
    store: RealS3,
    servers: tuple[RealMariaDB, RealMariaDB],
    playing: Playing,
    binary: Operator | None,
) -> AsyncIterator[MariaDBScene]:
    """A tenant in a new namespace, with its applications, and a controller with the rights of the deployment."""
    namespace = await cluster.namespace("tenant")
    names = [objects.server_of(name) for name in (objects.APPLICATION, objects.COPY)]
    played = dict(zip([(namespace, name) for name in names], servers, strict=True))
    controller = Controller(await kubeconfig_of_the_deployment(cluster), namespace)
    async with cluster.client() as client, KubeClient.connect(kubeconfig=str(cluster.kubeconfig())) as admin:
        pods = MariaDBPods(admin, namespace, played, operator=binary, version="25.10.2")
        scene = MariaDBScene(cluster, namespace, controller, client, store, *servers, pods)
        await _set_up(scene, playing, names)
        async with pods.running(), controller:
            yield scene
            await controller.terminate()
            said = controller.log.read_text()
            assert not [word for word in ("Traceback", "forbidden", servers[0].password) if word in said], said
        await _forget(scene)


async def _set_up(scene: MariaDBScene, playing: Playing, names: list[str]) -> None:
    root = objects.secret(objects.ROOT, password=scene.server.password)
    await kube.apply(scene.client, root, scene.namespace)
    for name in (objects.APPLICATION, objects.COPY):
        for manifest in (objects.credentials(name), objects.application(name), objects.server(name)):
            await kube.apply(scene.client, manifest, scene.namespace)
    for name in names:
        await playing.play_ready(scene.namespace, name)


async def _forget(scene: MariaDBScene) -> None:
    """Leave nothing that the next operator on this cluster goes on with."""
    for kind in (BACKUPS, RESTORES, _SERVERS):
        for name in await kube.names(scene.client, kind, scene.namespace):
            await kube.patch(scene.client, kind, scene.namespace, name, {"metadata": {"finalizers": []}})
        await kube.clear(scene.client, kind, scene.namespace)


async def begun(tenant: MariaDBScene) -> MariaDBScene:
    """The scene of a test: both databases are empty, and a strategy and class are there."""
    scene = replace(tenant, name=f"e2e-mariadb-{next(_COUNT)}")
    for server in (scene.server, scene.copy):
        await server.query(f"DROP DATABASE IF EXISTS {DATABASE}; CREATE DATABASE {DATABASE}")
    scene.pods.ran.clear()
    await scene.strategy()
    return scene


async def ended(scene: MariaDBScene) -> None:
    """Nothing that could run once more is left of the jobs; then the jobs and their Backups go, for the next test."""
    try:
        await wait_until(partial(_is_idle, scene), timeout=20, what="no object of the operator's is left")
    finally:
        for kind in _OF_A_TEST:
            await kube.clear(scene.client, kind, scene.namespace)
        for kind in _OF_A_TEST:
            for name in await kube.names(scene.client, kind, scene.namespace):
                await scene.gone(kind, name)


async def _is_idle(scene: MariaDBScene) -> bool:
    return not await scene.operators()
