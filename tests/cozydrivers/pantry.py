"""What the tests of retention share: an embedded cluster with one application, and a driver whose engine is a set."""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

import anyio
from tests.cozydrivers.stage import FIXTURES, TENANT

from cozydrivers import KubeClient
from cozydrivers.api.backups import Backup, BackupClass, RestoreJob
from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.api.core import Namespace
from cozydrivers.api.events import Event
from cozydrivers.controllers.backup import BackupController
from cozydrivers.controllers.deletion import ARCHIVE_FINALIZER, DELETION_POLICY
from cozydrivers.controllers.ledger import CLASS
from cozydrivers.controllers.services import Services
from cozydrivers.drivers import base
from cozydrivers.errors import InvalidInput
from cozydrivers.testing import FakeCluster

DAY = timedelta(days=1)
AGE = 7 * DAY
GROUP = "strategy.backups.cozystack.io"


class Larder(KubeObject):
    resource: ClassVar[Resource] = Resource("apps.cozystack.io", "v1alpha1", "Larder", "larders", namespaced=True)


class Canning(KubeObject):
    resource: ClassVar[Resource] = Resource(GROUP, "v1alpha1", "Canning", "cannings", namespaced=False)


class LarderDriver:
    """Its engine is a set of jars, one per Backup; `lost` are those that it does not find.

    `away` says why it can't be asked, which takes some time to find out; `asked` how often it was.
    """

    application: type[KubeObject] = Larder
    strategy: type[KubeObject] = Canning
    watches: Sequence[base.Watch] = ()
    timeout = 600.0

    def __init__(self) -> None:
        self.jars: set[str] = set()
        self.lost: set[str] = set()
        self.away = ""
        self.asked = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def backup(self, run: base.BackupRun) -> base.Outcome:
        return base.Failed("Refused", "not here")

    async def restore(self, run: base.RestoreRun) -> base.Outcome:
        return base.Failed("Refused", "not here")

    async def abort(self, run: base.Run) -> base.Outcome:
        return base.Succeeded("nothing is left")

    def record(self, backup: Backup) -> base.Record | None:
        told = backup.spec.driver_metadata
        return base.Record(told["cluster"], [], [told["jar"]]) if "jar" in told else None

    def retention(self, strategy: Mapping[str, Any]) -> timedelta | None:
        days = strategy.get("keepDays", AGE.days)
        if days < 0:
            raise InvalidInput(f"spec.keepDays is {days}; it must be 0, for ever, or more")
        return timedelta(days=days) if days else None

    async def delete(self, run: base.DeleteRun) -> base.Outcome:
        self.asked += 1
        jar = run.backup.spec.driver_metadata["jar"]
        needing = [each.metadata.name for each in run.kept if each.spec.driver_metadata.get("needs") == jar]
        if self.away:
            await anyio.sleep(40)
        if self.away or jar in self.lost:
            return base.Running("NotFound", self.away or f"{jar} is lost", 5.0, patience=base.Patience.ABSENT)
        if needing:
            return base.Running("RequiredByOthers", f"{needing} need {jar}", 5.0, patience=base.Patience.BUSY)
        if jar not in self.jars:
            return base.Succeeded("it is gone")
        if not run.fresh:
            return base.Intent({"archives": {jar: 1}}, "it is there", ["shelf"])
        self.jars.discard(jar)
        return base.Running("Deleting", f"{jar} is thrown away", 1.0)

    async def audit(self, run: base.AuditRun) -> Mapping[str, base.Finding]:
        return {each.metadata.uid: base.Finding() for each in run.backups}

    async def recoverability(self, run: base.Inspection) -> base.Recoverability:
        return base.Recoverability()

    async def importable(self, run: base.Inspection) -> base.Importable:
        return base.Importable()


def crd(kind: type[KubeObject]) -> dict[str, Any]:
    of, anything = kind.resource, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": of.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    names, scope = {"kind": of.kind, "plural": of.plural}, "Namespaced" if of.namespaced else "Cluster"
    return {"spec": {"group": of.group, "names": names, "scope": scope, "versions": [version]}}


class Pantry:
    """An embedded cluster with a Larder, whose strategy keeps a Backup for 7 days and whose class says `Delete`."""

    def __init__(self) -> None:
        kinds = ["backups", "backupclasses", "backupjobs", "restorejobs", "plans"]
        crds = [FIXTURES / f"crds/backups.cozystack.io_{kind}.yaml" for kind in kinds]
        self.cluster = FakeCluster(crds=[*crds, crd(Larder), crd(Canning)])
        self.kube: KubeClient = self.cluster.kube()
        self.driver = LarderDriver()
        self.lines: list[Mapping[str, Any]] = []
        self.uid = ""

    def now(self) -> datetime:
        return self.cluster.now()

    async def set_up(self) -> None:
        await self.kube.create(Namespace, {"metadata": {"name": TENANT}})
        self.uid = (await self.kube.get(Namespace, "kube-system")).metadata.uid
        await self.kube.create(Larder, {"metadata": {"name": "jam"}}, TENANT)
        await self.kube.create(Canning, {"metadata": {"name": "cold"}, "spec": {"keepDays": AGE.days}})
        await self.kube.create(BackupClass, {"metadata": {"name": "daily"}, "spec": {"strategies": [self.bound()]}})

    def bound(self, policy: str = "Delete") -> dict[str, Any]:
        strategy = {"apiGroup": GROUP, "kind": "Canning", "name": "cold"}
        return {
            "application": {"kind": "Larder"},
            "strategyRef": strategy,
            "parameters": {"deletionPolicy": policy},
        }

    async def holds(self, name: str, age: timedelta, **changes: Any) -> Backup:
        """A Backup of that age, as a BackupJob leaves it but for the `changes` in its metadata, spec and status."""
        self.driver.jars.add(name)
        taken = self.now() - age
        body: dict[str, Any] = {
            "metadata": {
                "name": name,
                "finalizers": changes.get("finalizers", [ARCHIVE_FINALIZER]),
                "annotations": {CLASS: "daily", DELETION_POLICY: "Delete", **changes.get("annotations", {})},
            },
            "spec": {
                "applicationRef": {"kind": "Larder", "name": "jam"},
                "strategyRef": self.bound()["strategyRef"],
                "takenAt": f"{taken:%Y-%m-%dT%H:%M:%SZ}",
                "driverMetadata": {"jar": name, "cluster": self.uid} | changes.get("recorded", {}),
            },
            "status": {"phase": changes.get("phase", "Ready"), "conditions": changes.get("conditions", [])},
        }
        return await self.kube.create(Backup, body, TENANT)

    async def left(self) -> set[str]:
        """The Backups that there are; each has its jar, and no jar is without one."""
        found = {each.metadata.name for each in (await self.kube.list(Backup, TENANT)).items}
        assert found == self.driver.jars
        return found

    async def events(self, reason: str) -> list[Event]:
        return [event for event in (await self.kube.list(Event, TENANT)).items if event.reason == reason]

    async def restore(self, backup: str) -> RestoreJob:
        body = {"metadata": {"name": "undo"}, "spec": {"backupRef": {"name": backup}}}
        return await self.kube.create(RestoreJob, body, TENANT)

    @asynccontextmanager
    async def followed(self, services: Services | None = None, **options: Any) -> AsyncGenerator[None, None]:
        """The controller of Backups, as long as the block."""
        options = {"audit": self.lines.append, "now": self.now, **options}
        controller = BackupController(self.kube, drivers=[self.driver], services=services, **options)
        async with contextlib.AsyncExitStack() as stack:
            if services is not None:
                await stack.enter_async_context(services.caches)
            await stack.enter_async_context(controller)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            tasks.start_soon(controller.run)
            yield
            tasks.cancel_scope.cancel()
