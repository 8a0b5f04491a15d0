"""A cluster with ClickHouse applications, their sidecars, and controllers as processes that can die."""

from collections.abc import Mapping
from typing import Any

from tests.cozydrivers.stage import APP, CLASS, TENANT, Stage
from tests.simulation.ground import Ground
from tests.simulation.observer import Observer
from tests.simulation.process import Meet
from tests.simulation.sidecars import Sidecars
from tests.simulation.story import Story

from chbackup.testing import FakeSidecar, FakeStorage
from cozydrivers import ClickHouseDriver
from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import BackupClass, BackupJob, RestoreJob
from cozydrivers.api.core import Pod
from cozydrivers.drivers.base import Driver
from cozydrivers.testing.operators import Installation, Network

TABLES = ("shop.orders", "shop.items")
SECOND_APP = "other-clickhouse"


class World(Ground, Stage):
    """A stage with an observer, whose controllers are processes of their own."""

    observer: Observer

    def __init__(
        self,
        story: Story,
        *,
        apps: int = 1,
        replicas: int = 1,
        version: str = "2.7.4",
        parameters: Mapping[str, str] | None = None,
        elected: bool = False,
    ) -> None:
        super().__init__()
        self.begin(story, elected=elected)
        self.network = Network()
        self.parameters = {"deletionPolicy": "Delete", **(parameters or {})}
        storage = FakeStorage()
        self.apps = [
            Installation(self.network, namespace=TENANT, name=name, replicas=replicas, version=version, storage=storage)
            for name in (APP, SECOND_APP)[:apps]
        ]
        self.app = self.apps[0]
        self.observer = Observer(self.cluster, self.apps, story)
        self.rotating: set[str] = set()

    async def set_up(self) -> None:
        """Deploy it all; each shard has tables with rows of its own."""
        await super().set_up()
        for app in self.apps[1:]:
            await app.deploy(self.kube)
        binding = {**self.seed[1]["spec"]["strategies"][0], "parameters": self.parameters}
        self.patch(BackupClass, CLASS, {"spec": {"strategies": [binding]}}, "")
        for number, app in enumerate(self.apps):
            for shard in range(app.shards):
                for offset, table in enumerate(TABLES):
                    app.sidecar(shard).tables.add_table(table, 10 + 10 * number + 3 * shard + offset)
        self.observer.begin()

    @property
    def sidecars(self) -> list[FakeSidecar]:
        """Those of all applications."""
        return [sidecar for app in self.apps for sidecar in app.sidecars.values()]

    def drivers(self, meet: Meet) -> list[Driver]:
        """That of ClickHouse."""
        return [ClickHouseDriver(connect=Sidecars(self.network, meet).connect, objects=self.network.objects.open)]

    # What users do

    def backs_up(self, name: str, app: Installation | None = None) -> None:
        """Create a BackupJob."""
        reference = {
            "apiGroup": ClickHouse.resource.group,
            "kind": ClickHouse.resource.kind,
            "name": (app or self.app).name,
        }
        self.create(BackupJob, name, {"applicationRef": reference, "backupClassName": CLASS})

    def restores(self, name: str, backup: str, **options: Any) -> None:
        """Create a RestoreJob, in place."""
        self.create(RestoreJob, name, {"backupRef": {"name": backup}, **({"options": options} if options else {})})

    def drops_tables(self, app: Installation | None = None) -> None:
        """Drop the tables on every replica of an application."""
        self.story.tell(f"user: drops the tables of {(app or self.app).name}")
        for sidecar in (app or self.app).sidecars.values():
            for table in TABLES:
                if table in sidecar.tables:
                    sidecar.tables.drop(table)
        self.observer.tables_changed_by_hand()

    def makes_tables(self, app: Installation, rows: int) -> None:
        """Create the tables again where they are absent, with other rows."""
        for (shard, replica), sidecar in app.sidecars.items():
            for table in TABLES:
                if table not in sidecar.tables and replica == 0:
                    sidecar.tables.add_table(table, rows + shard)
        self.observer.tables_changed_by_hand()

    def inserts(self, app: Installation, rows: int) -> None:
        """Add rows to every table that is there, and a table that no earlier Backup has."""
        for sidecar in app.sidecars.values():
            for table in TABLES:
                if table in sidecar.tables:
                    sidecar.tables.insert(table, rows)
        self.observer.tables_changed_by_hand()

    # What kubelets do

    def recreates_pod(self, app: Installation, shard: int, address: str = "") -> None:
        """Replace a Pod by one with another UID, at a new address or the given one; its process has to be started."""
        sidecar, name = app.sidecar(shard), app.pod_name(shard)
        self.network.detach(sidecar)
        self.cluster.act("DELETE", Pod.resource.path(TENANT, name), {"gracePeriodSeconds": 0})
        address = self.network.attach(sidecar, name=address)
        app._restarts.pop((shard, 0), None)
        body = {"apiVersion": "v1", "kind": "Pod", **app._pod(shard, 0)}
        self.cluster.act("POST", Pod.resource.path(TENANT), body)
        self.reports(app, shard, podIP=address, phase="Running", conditions=[{"type": "Ready", "status": "True"}])
        self.story.tell(f"kubelet: {name} is another Pod, at {address}")

    def reports(self, app: Installation, shard: int, **status: Any) -> None:
        """Write a Pod's status, with how often its sidecar was restarted."""
        path = f"{Pod.resource.path(TENANT, app.pod_name(shard))}/status"
        self.cluster.act("PATCH", path, {"status": {"containerStatuses": app._statuses(shard, 0), **status}})

    def starts(self, sidecar: FakeSidecar) -> None:
        """Start a sidecar's process where it does not run; the Pod's restart count tells of it."""
        if sidecar.running:
            return
        sidecar.start_process()
        for app in self.apps:
            for (shard, replica), other in app.sidecars.items():
                if other is sidecar and replica == 0:
                    app._restarts[shard, 0] = app._restarts.get((shard, 0), 0) + 1
                    self.reports(app, shard)

    def address(self, sidecar: FakeSidecar) -> str:
        """Where a sidecar listens."""
        return next(address for address, other in self.network._sidecars.items() if other is sidecar)

    # What is so
