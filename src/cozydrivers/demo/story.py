"""Backup, loss, restore of the older Backup, purge: the main job of this software, end to end."""

import logging
import time
from pathlib import Path
from typing import Any, TypeVar

import anyio
import yaml
from rich.console import Console

from chbackup import verified_delete
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.strategy import Altinity
from cozydrivers.demo.screen import Screen
from cozydrivers.drivers.clickhouse import ClickHouseDriver
from cozydrivers.kube import KubeClient
from cozydrivers.manager import Manager
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import Installation, Network

TENANT = "tenant-user"
APP = "my-clickhouse"
TABLE = "shop.orders"
CLASS = "clickhouse-data-backup"
LIMIT = 25.0
"""Seconds until the demo gives up."""

Job = TypeVar("Job", BackupJob, RestoreJob)


def main() -> int:
    """Run the demo; 0 when everything was as it should be."""
    logging.basicConfig(level=logging.ERROR)
    screen = Screen(Console())
    started = time.monotonic()
    try:
        anyio.run(_play, screen)
    except TimeoutError:
        screen.check(False, f"the demo ends within {LIMIT:.0f} s")
    said = "everything as it should be" if not screen.failures else f"{screen.failures} claims did not hold"
    screen.act(f"Done in {time.monotonic() - started:.1f} s: {said}.")
    return 1 if screen.failures else 0


async def _play(screen: Screen) -> None:
    with anyio.fail_after(LIMIT):
        cluster = FakeCluster(crds=[fixtures() / "crds"])
        story = Story(screen, cluster.kube())
        await story.set_up()
        driver = ClickHouseDriver(connect=story.network.connect, objects=story.network.objects.open)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Manager(story.kube, drivers=[driver], now=cluster.now).run)
            await story.tell()
            tasks.cancel_scope.cancel()


def fixtures() -> Path:
    """The folder of manifests: packed into the wheel, or that of the source tree."""
    packed = Path(__file__).parent / "fixtures"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "fixtures"


class Story:
    """The acts, each in a method."""

    def __init__(self, screen: Screen, kube: KubeClient) -> None:
        self.screen = screen
        self.kube = kube
        self.network: Network = Network()
        self.app: Installation = Installation(self.network, namespace=TENANT, name=APP)

    async def tell(self) -> None:
        """All acts in order."""
        older = await self.back_up("monday", 1000)
        newer = await self.back_up("tuesday", 500)
        await self.lose()
        await self.restore(older)
        await self.purge(newer, older)

    async def set_up(self) -> None:
        """The platform team's part: ClickHouse runs; the seed's strategy and BackupClass are applied, unchanged."""
        self.screen.act("An embedded cluster: ClickHouse of two shards, a clickhouse-backup sidecar in each Pod")
        await self.app.deploy(self.kube)
        for sidecar in self.app.sidecars.values():
            sidecar.tables.add_table(TABLE)
            sidecar.duration.create, sidecar.duration.upload = 0.3, 0.9
            sidecar.duration.download, sidecar.duration.restore = 0.6, 0.5
        for body in yaml.safe_load_all((fixtures() / "seed/clickhouse.yaml").read_text(encoding="utf-8")):
            kinds: dict[str, type[KubeObject]] = {"Altinity": Altinity, "BackupClass": BackupClass}
            await self.kube.create(kinds[body["kind"]], body)
            self.screen.say(f"applied {body['kind']} {body['metadata']['name']}")

    async def back_up(self, name: str, rows: int) -> Backup:
        """A tenant's BackupJob, after some rows were added."""
        self.screen.act(f"{rows} rows a shard are added; the tenant creates BackupJob {name}")
        for sidecar in self.app.sidecars.values():
            sidecar.tables.insert(TABLE, rows)
        self.show_rows()
        reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": APP}
        job = await self.follow(BackupJob, name, {"applicationRef": reference, "backupClassName": CLASS})
        self.screen.check(job.status.phase == "Succeeded", f"BackupJob {name} Succeeded: {job.status.message}")
        backup = await self.kube.get(Backup, job.status.backup_ref.name if job.status.backup_ref else name, TENANT)
        self.show_archives()
        listed = self.app.sidecar(0).remote
        self.screen.check(recorded(backup) <= listed.keys(), f"Backup {name} records archives that the store lists")
        left = [copy for sidecar in self.app.sidecars.values() for copy in sidecar.local]
        self.screen.check(not left, "no local copy is left on any shard")
        return backup

    async def lose(self) -> None:
        """What backups are for."""
        self.screen.act(f"DROP TABLE {TABLE}, on both shards")
        for sidecar in self.app.sidecars.values():
            sidecar.tables.drop(TABLE)
        self.show_rows()

    async def restore(self, backup: Backup) -> None:
        """A RestoreJob of the older Backup: named means named."""
        name = backup.metadata.name
        self.screen.act(f"The tenant creates a RestoreJob of {name}, the older of the two Backups")
        job = await self.follow(RestoreJob, "undo", {"backupRef": {"name": name}})
        self.screen.check(job.status.phase == "Succeeded", f"RestoreJob undo Succeeded: {job.status.message}")
        self.show_rows()
        self.screen.check(self.rows() == [1000, 1000], f"each shard has the 1000 rows of {name} back, not the 1500")

    async def purge(self, backup: Backup, kept: Backup) -> None:
        """Delete one set, and nothing else."""
        self.screen.act(f"The archives of {backup.metadata.name} are purged, then the Backup")
        for archive in sorted(recorded(backup)):
            async with self.app.sidecar(0).client() as sidecar:
                await verified_delete(sidecar, archive)
            self.screen.say(f"deleted {archive}")
        metadata = backup.metadata
        await self.kube.delete(Backup, metadata.name, TENANT, uid=metadata.uid)
        self.show_archives()
        left = set(self.app.sidecar(0).remote)
        self.screen.check(left == recorded(kept), f"the store lists the archives of {kept.metadata.name} and no other")

    async def follow(self, kind: type[Job], name: str, spec: dict[str, Any]) -> Job:
        """Create a job and print its phases as they change, until its end."""
        job = await self.kube.create(kind, {"metadata": {"name": name}, "spec": spec}, TENANT)
        said = ""
        while True:
            now = f"{job.status.phase or 'new'}: {job.status.message}"
            if now != said:
                self.screen.say(f"[cyan]{kind.__name__} {name}[/cyan] {now}")
                said = now
            if job.status.phase in ("Succeeded", "Failed") and not job.metadata.finalizers:
                return job
            await anyio.sleep(0.05)
            job = await self.kube.get(kind, name, TENANT)

    def rows(self) -> list[int]:
        """Rows of the table by shard; 0 where it does not exist."""
        return [sidecar.tables.count(TABLE) if TABLE in sidecar.tables else 0 for sidecar in self.app.sidecars.values()]

    def show_rows(self) -> None:
        """Print them."""
        names = ["no table" if TABLE not in sidecar.tables else "" for sidecar in self.app.sidecars.values()]
        counted = zip(self.rows(), names, strict=True)
        self.screen.table(
            ("shard", TABLE), [(shard, name or f"{rows} rows") for shard, (rows, name) in enumerate(counted)]
        )

    def show_archives(self) -> None:
        """Print what the object store lists."""
        remote = self.app.sidecar(0).remote
        self.screen.table(
            ("archive in the object store", "bytes"),
            [(name, archive.metadata.data_size if archive.metadata else "broken") for name, archive in remote.items()],
        )


def recorded(backup: Backup) -> set[str]:
    """The archives that a Backup records."""
    return {value for key, value in backup.spec.driver_metadata.items() if key.startswith("clickhouse.backup/archive.")}
