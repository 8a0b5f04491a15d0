"""A cluster with ClickHouse applications, their sidecars, and controllers as processes that can die."""

from collections.abc import Mapping
from typing import Any

import anyio
from tests.cozydrivers.stage import APP, CLASS, TENANT, Stage
from tests.simulation.observer import Observer
from tests.simulation.process import Point, Process, changes
from tests.simulation.story import Story

from chbackup.testing import FakeSidecar, FakeStorage
from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Pod
from cozydrivers.testing._status import Failure
from cozydrivers.testing.operators import Installation, Network

TABLES = ("shop.orders", "shop.items")
SECOND_APP = "other-clickhouse"


class World(Stage):
    """A stage with an observer, whose controllers are processes of their own.

    What the world does itself goes past all faults of the API server.
    """

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
        self.story = story
        self.network = Network()
        self.elected = elected
        self.parameters = {"deletionPolicy": "Delete", **(parameters or {})}
        storage = FakeStorage()
        self.apps = [
            Installation(self.network, namespace=TENANT, name=name, replicas=replicas, version=version, storage=storage)
            for name in (APP, SECOND_APP)[:apps]
        ]
        self.app = self.apps[0]
        self.observer = Observer(self.cluster, self.apps, story)
        self.processes: list[Process] = []
        self.rotating: set[str] = set()
        self._numbers = 0

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

    # Controllers

    def process(self, fate: Point | None = None) -> Process:
        """A controller that does not run yet."""
        self._numbers += 1
        process = Process(self, fate, name=f"controller-{self._numbers}", elected=self.elected, seen=self._told)
        self.processes.append(process)
        return process

    def _told(self, who: str, request: str, answer: object) -> None:
        if not changes(request):
            return
        if "/events" not in request and not request.endswith("/leases/cozydrivers"):
            self.story.tell(f"{who}: {request} -> {answer[0] if isinstance(answer, tuple) else repr(answer)}")
        self.observer.look()

    async def supervise(self) -> None:
        """Run a controller, and another one a second after each that ends."""
        while True:
            process = self.process()
            self.story.tell(f"{process.name} starts")
            await process.run()
            self.story.tell(f"{process.name} has ended")
            await anyio.sleep(1.0)

    # What users do

    def create(self, kind: type[KubeObject], name: str, spec: Mapping[str, Any]) -> None:
        """Create an object."""
        resource = kind.resource
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
        self.story.tell(f"user: creates {resource.kind} {name}")
        self.cluster.act("POST", resource.path(TENANT), body)

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

    def deletes(self, kind: type[KubeObject], name: str) -> None:
        """Delete an object that exists."""
        self.story.tell(f"user: deletes {kind.resource.kind} {name}")
        self.cluster.act("DELETE", kind.resource.path(TENANT, name))

    def patch(self, kind: type[KubeObject], name: str, patch: Mapping[str, Any], namespace: str = TENANT) -> None:
        """Merge-patch an object."""
        self.cluster.act("PATCH", kind.resource.path(namespace or None, name), dict(patch))

    def find(self, kind: type[KubeObject], name: str) -> Any:
        """An object as it is now, raw; None where there is none."""
        try:
            return self.cluster.act("GET", kind.resource.path(TENANT, name))
        except Failure:
            return None

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

    def succeeded(self, kind: type[KubeObject], name: str) -> bool:
        """Whether a job has succeeded."""
        return bool((self.find(kind, name) or {}).get("status", {}).get("phase") == "Succeeded")

    def backups(self, app: Installation) -> list[str]:
        """The names of an application's Backups that are not being deleted."""
        found = self.cluster.act("GET", Backup.resource.path(TENANT))["items"]
        return [
            backup["metadata"]["name"]
            for backup in found
            if backup["spec"]["applicationRef"]["name"] == app.name and "deletionTimestamp" not in backup["metadata"]
        ]

    async def calm(self, within: float = 4 * 3600.0) -> None:
        """Wait until nothing is left to do; then what must hold at the end is checked."""
        pause, deadline = 0.25, anyio.current_time() + within
        while waiting := self.observer.unfinished():
            if anyio.current_time() > deadline:
                self.observer.fail(f"wait: after {within:g} s without accidents there is still {waiting}")
            await anyio.sleep(pause)
            self.observer.look()
            pause = min(pause * 1.2, 30.0)
        self.observer.at_end()
