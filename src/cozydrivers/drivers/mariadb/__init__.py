"""The driver for MariaDB: dumps that mariadb-operator makes and restores, proven in the bucket that they go to."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Self

from cozydrivers.api import apps, mariadb, strategy
from cozydrivers.api.backups import Backup
from cozydrivers.api.base import KubeObject
from cozydrivers.api.batch import Job
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
from cozydrivers.drivers.mariadb import (
    aborting,
    auditing,
    backing_up,
    deleting,
    importing,
    record,
    recoverability,
    restoring,
)
from cozydrivers.drivers.mariadb.settings import retention_of
from cozydrivers.drivers.mariadb.store import Access
from cozydrivers.drivers.step import audited, seen, timed

TOO_LONG = "the look at the object store took too long"


class MariaDBDriver:
    """Drives the application kind MariaDB with strategies of the kind MariaDB, by mariadb-operator 25.10 and 26.x.

    `objects` opens the bucket that dumps go to; `timeout` is the patience with a backup or restore, in seconds.
    """

    application: type[KubeObject] = apps.MariaDB
    strategy: type[KubeObject] = strategy.MariaDB
    watches: Sequence[Watch] = (
        Watch(mariadb.Backup, owned.RUN, owned.application_of),
        Watch(mariadb.Restore, owned.RUN, owned.application_of),
        Watch(Job, owned.RUN, owned.application_of),
    )

    def __init__(self, *, objects: OpenStore = open_store, timeout: float = 6 * 3600.0) -> None:
        self.timeout = timeout
        self._access = Access(objects)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing is kept open."""

    async def backup(self, run: BackupRun) -> Outcome:
        """One step of a backup."""
        return await timed(backing_up.step(run, self._access))

    async def restore(self, run: RestoreRun) -> Outcome:
        """One step of a restore."""
        return await timed(restoring.step(run, self._access))

    async def abort(self, run: Run) -> Outcome:
        """One step of giving a run up."""
        return await timed(aborting.step(run, self._access))

    def record(self, backup: Backup) -> Record | None:
        """What a Backup records, None where this driver did not write it. Raises InvalidInput for what is damaged."""
        return record.summary(backup)

    def retention(self, strategy: Mapping[str, Any]) -> timedelta | None:
        """The strategy's maxRetention. Raises InvalidInput for nonsense."""
        return retention_of(strategy)

    async def delete(self, run: DeleteRun) -> Outcome:
        """One step of deleting the dump of a Backup."""
        return await timed(deleting.step(run, self._access))

    async def audit(self, run: AuditRun) -> Mapping[str, Finding]:
        """Look for the dumps of an application's Backups; one that can't be looked up now is left out."""
        return await audited(auditing.audit(run, self._access))

    async def recoverability(self, run: Inspection) -> Recoverability:
        """Look what the application can be restored from; what could not be read is among the problems."""
        look = recoverability.inspect(run, self._access)
        return await seen(look, lambda why: Recoverability(problems=[why]), too_long=TOO_LONG)

    async def importable(self, run: Inspection) -> Importable:
        """Look for the dumps of which Backups can be rebuilt."""
        look = importing.find(run, self._access)
        return await seen(look, lambda why: Importable(problems=[why]), too_long=TOO_LONG)
