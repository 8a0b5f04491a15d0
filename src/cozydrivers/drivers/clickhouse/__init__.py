"""The driver for ClickHouse: one archive per shard, made and restored by the clickhouse-backup sidecars themselves."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self, TypeVar

import anyio

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
from cozydrivers.drivers.step import Missing, timed
from cozydrivers.errors import InvalidInput
from cozydrivers.metrics import Metrics

AnyRun = TypeVar("AnyRun", bound=Run)

AUDIT_TIMEOUT = 600.0
"""Seconds that the look at all Backups of an application may take."""
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
        try:
            with anyio.fail_after(AUDIT_TIMEOUT):
                return await auditing.audit(await open_eyes(run, self._access), run)
        except (Missing, TimeoutError):
            return {}

    async def recoverability(self, run: Inspection) -> Recoverability:
        """Look what the application can be restored from; what could not be read is among the problems."""
        try:
            with anyio.fail_after(AUDIT_TIMEOUT):
                return await recoverability.inspect(await open_eyes(run, self._access), run)
        except (Missing, InvalidInput, TimeoutError) as trouble:
            return Recoverability(problems=[str(trouble) or TOO_LONG])

    async def importable(self, run: Inspection) -> Importable:
        """Look for the sets of which Backups can be rebuilt."""
        try:
            with anyio.fail_after(AUDIT_TIMEOUT):
                return await importing.find(await open_eyes(run, self._access), run)
        except (Missing, InvalidInput, TimeoutError) as trouble:
            return Importable(problems=[str(trouble) or TOO_LONG])

    async def _step(
        self,
        run: AnyRun,
        by_sidecars: Callable[[Eyes, AnyRun], Awaitable[Outcome]],
        by_pods: Callable[[AnyRun], Awaitable[Outcome]],
    ) -> Outcome:
        return await (timed(by_pods(run)) if pod_state.in_pods(run) else self._by_sidecars(run, by_sidecars))

    async def _by_sidecars(self, run: AnyRun, step: Callable[[Eyes, AnyRun], Awaitable[Outcome]]) -> Outcome:
        async def work() -> Outcome:
            return await step(await open_eyes(run, self._access), run)

        return await timed(work())
