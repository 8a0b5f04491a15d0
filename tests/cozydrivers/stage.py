"""What the tests of controllers and drivers share: an embedded cluster with ClickHouse, and the manager on it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import anyio
import yaml

from cozydrivers import ClickHouseDriver, KubeClient, Manager
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.base import Condition
from cozydrivers.api.strategy import Altinity
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import Installation, Network

FIXTURES = Path(__file__).parents[2] / "fixtures"
TENANT = "tenant-user"
APP = "my-clickhouse"
CLASS = "clickhouse-data-backup"
Job = TypeVar("Job", BackupJob, RestoreJob)


class Stage:
    """An embedded cluster with one ClickHouse application of two shards, and the seed's strategy and BackupClass."""

    def __init__(self, **installation: Any) -> None:
        self.cluster = FakeCluster(crds=[FIXTURES / "crds"])
        self.kube: KubeClient = self.cluster.kube()
        self.network = Network()
        self.app = Installation(self.network, namespace=TENANT, name=APP, **installation)
        self.seed = deepcopy(_seed())

    async def set_up(self) -> None:
        """Deploy it all."""
        await self.app.deploy(self.kube)
        strategy, backup_class = self.seed
        await self.kube.create(Altinity, strategy)
        await self.kube.create(BackupClass, backup_class)

    def driver(self) -> ClickHouseDriver:
        """A driver that finds the fake sidecars."""
        return ClickHouseDriver(connect=self.network.connect, objects=self.network.objects.open)

    @property
    def later(self) -> timedelta:
        """By how much the time has been moved on, for cluster and controller, so that a long wait costs no polls."""
        return self.cluster.ahead

    @later.setter
    def later(self, ahead: timedelta) -> None:
        self.cluster.ahead = ahead

    def now(self) -> datetime:
        """The controller's wall clock, which is the cluster's."""
        return self.cluster.now()

    def manager(self) -> Manager:
        """A controller of its own, as a process would have it."""
        return Manager(self.kube, drivers=[self.driver()], now=self.now)

    @asynccontextmanager
    async def managed(self) -> AsyncGenerator[None, None]:
        """A controller that runs as long as the block."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.manager().run)
            yield
            tasks.cancel_scope.cancel()

    async def backup(self, name: str, **spec: Any) -> BackupJob:
        """Create a BackupJob."""
        reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": APP}
        body = {"metadata": {"name": name}, "spec": {"applicationRef": reference, "backupClassName": CLASS, **spec}}
        return await self.kube.create(BackupJob, body, TENANT)

    async def restore(self, name: str, backup: str, **spec: Any) -> RestoreJob:
        """Create a RestoreJob."""
        body = {"metadata": {"name": name}, "spec": {"backupRef": {"name": backup}, **spec}}
        return await self.kube.create(RestoreJob, body, TENANT)

    async def backup_job(self, name: str) -> BackupJob:
        """A BackupJob as it is now."""
        return await self.kube.get(BackupJob, name, TENANT)

    async def restore_job(self, name: str) -> RestoreJob:
        """A RestoreJob as it is now."""
        return await self.kube.get(RestoreJob, name, TENANT)

    async def made(self, name: str) -> Backup:
        """A Backup as it is now."""
        return await self.kube.get(Backup, name, TENANT)

    async def end_of(self, job: Job, *, within: float = 600.0) -> Job:
        """Wait for a job's end, and for the clean-up after it."""
        pause = 0.1
        with anyio.fail_after(within):
            while True:
                now = await self.kube.get(type(job), job.metadata.name, TENANT)
                if now.status.phase in ("Succeeded", "Failed") and not now.metadata.finalizers:
                    return now
                await anyio.sleep(pause)
                pause = min(pause * 1.1, 5)

    async def stands(self, job: Job, reason: str, *, within: float = 60.0) -> Job:
        """Wait until a job's condition Ready has that reason."""
        with anyio.fail_after(within):
            while True:
                now = await self.kube.get(type(job), job.metadata.name, TENANT)
                if any((told.type, told.reason) == ("Ready", reason) for told in now.status.conditions):
                    return now
                await anyio.sleep(0.1)

    def touched(self) -> list[str]:
        """What the sidecars were asked to do, beyond telling what they have."""
        return [
            f"{request.path}?{request.query}"
            for sidecar in self.app.sidecars.values()
            for request in sidecar.requests
            if request.method != "GET"
        ]

    async def made_by(self, job: BackupJob) -> Backup:
        """The Backup that a BackupJob names."""
        assert job.status.backup_ref is not None
        return await self.made(job.status.backup_ref.name)

    def archives(self) -> set[str]:
        """The names of all remote archives."""
        return set(self.app.sidecar(0).remote)

    def local_copies(self) -> set[str]:
        """The names of all local archives, on any shard."""
        return {name for sidecar in self.app.sidecars.values() for name in sidecar.local}


@cache
def _seed() -> list[Any]:
    return list(yaml.safe_load_all((FIXTURES / "seed/clickhouse.yaml").read_text()))


def condition(job: BackupJob | RestoreJob | Backup, kind: str) -> Condition:
    """One of an object's conditions."""
    return next(condition for condition in job.status.conditions if condition.type == kind)


def recorded(backup: Backup) -> set[str]:
    """The archives that a Backup records."""
    return {value for key, value in backup.spec.driver_metadata.items() if "/archive." in key}
