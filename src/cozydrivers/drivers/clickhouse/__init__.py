"""The driver for ClickHouse: one archive per shard, made and restored by the clickhouse-backup sidecars themselves."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self, TypeVar

from chbackup import Client
from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup
from cozydrivers.api.base import KubeObject
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Pod
from cozydrivers.api.strategy import Altinity
from cozydrivers.clients.objects import OpenStore, open_store
from cozydrivers.drivers import owned
from cozydrivers.drivers.base import (
    AuditRun,
    BackupRun,
    DeleteRun,
    Finding,
    Importable,
    Inspection,
    Outcome,
    Record,
    Recoverability,
    RestoreRun,
    Run,
    Watch,
)
from cozydrivers.drivers.callbacks import Callbacks
from cozydrivers.drivers.clickhouse import (
    auditing,
    backing_up,
    cleanup,
    deleting,
    importing,
    pod,
    pod_state,
    record,
    recoverability,
    restoring,
)
from cozydrivers.drivers.clickhouse.access import Access, Connect
from cozydrivers.drivers.clickhouse.look import Eyes, open_eyes
from cozydrivers.drivers.clickhouse.places import CHI_LABEL, application_of
from cozydrivers.drivers.step import audited, seen, timed
from cozydrivers.metrics import Metrics

T = TypeVar("T")
AnyRun = TypeVar("AnyRun", bound=Run)

TOO_LONG = "the look at all sidecars took too long"


class ClickHouseDriver:
    """Drives the application kind ClickHouse with strategies of the kind Altinity.

    `connect` makes a client for a sidecar's address, `objects` opens the object store that a sidecar writes to;
    `timeout` is the patience with a backup or restore, in seconds.
    With `callbacks` sidecars are asked to call when an operation ends; requests to them are counted in `metrics`.
    """

    application: type[KubeObject] = ClickHouse
    strategy: type[KubeObject] = Altinity
    watches: Sequence[Watch] = (
        Watch(Pod, CHI_LABEL, application_of),
        Watch(Job, owned.RUN, owned.application_of),
    )

    def __init__(
        self,
        *,
        connect: Connect = Client,
        objects: OpenStore = open_store,
        timeout: float = 6 * 3600.0,
        callbacks: Callbacks | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.timeout = timeout
        self._access = Access(connect, objects, callbacks, metrics)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._access.close()

    async def backup(self, run: BackupRun) -> Outcome:
        """One step of a backup."""
        return await self._step(run, backing_up.step, pod.backup)

    async def restore(self, run: RestoreRun) -> Outcome:
        """One step of a restore."""
        return await self._step(run, restoring.step, pod.restore)

    async def abort(self, run: Run) -> Outcome:
        """One step of giving a run up."""
        return await self._step(run, cleanup.abort, pod.abort)

    def record(self, backup: Backup) -> Record | None:
        """What a Backup records, None where this driver did not write it. Raises InvalidInput for what is damaged."""
        return record.summary(backup)

    def retention(self, strategy: Mapping[str, Any]) -> timedelta | None:
        """None: an Altinity strategy says no age, and sets are purged by rules that know chains."""
        return None

    async def delete(self, run: DeleteRun) -> Outcome:
        """One step of deleting the archives of a Backup."""
        return await self._by_sidecars(run, deleting.step)

    async def audit(self, run: AuditRun) -> Mapping[str, Finding]:
        """Look for the archives of an application's Backups; one that can't be looked up now is left out."""
        return await audited(self._looking(run, auditing.audit))

    async def recoverability(self, run: Inspection) -> Recoverability:
        """Look what the application can be restored from; what could not be read is among the problems."""
        look = self._looking(run, recoverability.inspect)
        return await seen(look, lambda why: Recoverability(problems=[why]), too_long=TOO_LONG)

    async def importable(self, run: Inspection) -> Importable:
        """Look for the sets of which Backups can be rebuilt."""
        look = self._looking(run, importing.find)
        return await seen(look, lambda why: Importable(problems=[why]), too_long=TOO_LONG)

    async def _step(
        self,
        run: AnyRun,
        by_sidecars: Callable[[Eyes, AnyRun], Awaitable[Outcome]],
        by_pods: Callable[[AnyRun], Awaitable[Outcome]],
    ) -> Outcome:
        return await (timed(by_pods(run)) if pod_state.in_pods(run) else self._by_sidecars(run, by_sidecars))

    async def _by_sidecars(self, run: AnyRun, step: Callable[[Eyes, AnyRun], Awaitable[Outcome]]) -> Outcome:
        return await timed(self._looking(run, step))

    async def _looking(self, run: AnyRun, work: Callable[[Eyes, AnyRun], Awaitable[T]]) -> T:
        return await work(await open_eyes(run, self._access), run)
