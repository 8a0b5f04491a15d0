"""ClickHouse: backup, loss, restore of the older Backup, purge."""

from chbackup import verified_delete
from cozydrivers.api.backups import Backup
from cozydrivers.demo.acts import Tenant, apply_seed
from cozydrivers.demo.screen import Screen
from cozydrivers.drivers.clickhouse import ClickHouseDriver
from cozydrivers.kube import KubeClient
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import Installation, Network

TENANT = "tenant-user"
APP = "my-clickhouse"
TABLE = "shop.orders"
CLASS = "clickhouse-data-backup"


class ClickHouseStory:
    """The acts, each in a method."""

    def __init__(self, screen: Screen, cluster: FakeCluster) -> None:
        self.screen = screen
        self.kube: KubeClient = cluster.kube()
        self.network: Network = Network()
        self.app: Installation = Installation(self.network, namespace=TENANT, name=APP)
        reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": APP}
        self.tenant: Tenant = Tenant(screen, self.kube, TENANT, reference, CLASS)

    def driver(self) -> ClickHouseDriver:
        """A driver that finds its sidecars and their store."""
        return ClickHouseDriver(connect=self.network.connect, objects=self.network.objects.open)

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
        await apply_seed(self.screen, self.kube, "clickhouse.yaml")

    async def back_up(self, name: str, rows: int) -> Backup:
        """A tenant's BackupJob, after some rows were added."""
        self.screen.act(f"{rows} rows a shard are added; the tenant creates BackupJob {name}")
        for sidecar in self.app.sidecars.values():
            sidecar.tables.insert(TABLE, rows)
        self.show_rows()
        job = await self.tenant.back_up(name)
        self.tenant.check_success(job)
        backup = await self.tenant.made_by(job)
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
        self.tenant.check_success(await self.tenant.restore("undo", backup))
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
