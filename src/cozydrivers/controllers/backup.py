"""Backups: looked up once a day, deleted when they are too old, and let go then, with their archives or without."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Self

from cozydrivers.api.backups import Backup
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.ageing import Ageing
from cozydrivers.controllers.archives import Archives, Audit, log_audit
from cozydrivers.controllers.audits import Audits, application_of
from cozydrivers.controllers.backup_writes import BackupWrites
from cozydrivers.controllers.deletion import ARCHIVE_FINALIZER, REFERENCE_FINALIZERS
from cozydrivers.controllers.ledger import CLASS
from cozydrivers.controllers.services import Services, open_all, utc_now
from cozydrivers.controllers.wiring import declare
from cozydrivers.drivers.base import Driver
from cozydrivers.errors import Conflict, InvalidInput
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import Controller, Key, WorkQueue
from cozydrivers.runtime.cache import Cache, Caches

REFERENCE_LOOK = 60.0
"""Seconds between two looks whether Cozystack's own controller is still there."""


def reference_is_there() -> bool:
    """Nobody knows that it is gone."""
    return False


class BackupController:
    """Follows Backups.

    A Manager gives it `services` to share, fills the caches and opens the drivers; else `async with` does.
    `reference_is_gone` says whether nobody holds the Lease of Cozystack's own controller, `audit` writes a line of the
    audit log. `now` is the wall clock.
    """

    def __init__(
        self,
        kube: KubeClient,
        *,
        drivers: Sequence[Driver],
        now: Callable[[], datetime] = utc_now,
        services: Services | None = None,
        reference_is_gone: Callable[[], bool] = reference_is_there,
        audit: Audit = log_audit,
    ) -> None:
        self.drivers = drivers
        self._is_alone = services is None
        self.services: Services = services or Services(kube, Caches(kube), now)
        caches, now = self.services.caches, self.services.now
        declare(caches, drivers)
        self._reference_is_gone = reference_is_gone
        self._queue = WorkQueue(name=Backup.resource.kind, metrics=self.services.metrics)
        self._stack = AsyncExitStack()
        self._backups: Cache[Backup] = caches.of(Backup, selected=True)
        self._backups.subscribe(self._changed)
        caches.of(Namespace).subscribe(self._namespace_changed)
        self._writes = BackupWrites(kube, self._backups, now)
        self._archives = Archives(self.services, drivers, self._writes, audit)
        self._audits = Audits(kube, drivers, self._backups, self._writes, now)
        self._ageing = Ageing(self.services, drivers, self._backups, self._writes, self._archives, audit)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if self._is_alone:
                await open_all(stack, self.drivers, self.services.caches)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._stack.__aexit__(*exc_info)

    @property
    def audits_failed(self) -> Collection[Key]:
        """The Backups that could not be looked up the last time."""
        return frozenset(self._audits.failed)

    async def run(self) -> None:
        """Work on all Backups until cancelled."""
        name, metrics = Backup.resource.kind, self.services.metrics
        await Controller(name, lambda key: self.reconcile(*key), self._queue, metrics=metrics).run()

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """One pass over one Backup: seconds until the next look, None when only a change of it matters."""
        backup = self._backups.get(Key(namespace, name))
        if backup is None:
            return None
        try:
            return await self._pass(backup)
        except Conflict:
            return 0.2

    async def _pass(self, backup: Backup) -> float | None:
        driver = self._driver(backup)
        if backup.metadata.deletion_timestamp is None:
            return await self._look(backup, driver) if driver else None
        if ARCHIVE_FINALIZER in backup.metadata.finalizers:
            return await self._archives.step(backup, driver)
        return await self._let_go_for_the_reference(backup, driver) if driver else None

    async def _look(self, backup: Backup, driver: Driver) -> float | None:
        waits = [await self._audits.step(backup, driver), await self._ageing.step(backup, driver)]
        return min((wait for wait in waits if wait is not None), default=None)

    def _driver(self, backup: Backup) -> Driver | None:
        """The driver for its kinds of application and strategy."""
        application, strategy = backup.spec.application_ref, backup.spec.strategy_ref
        wanted = application.kind, strategy.api_group, strategy.kind
        return next((driver for driver in self.drivers if _kinds(driver) == wanted), None)

    async def _let_go_for_the_reference(self, backup: Backup, driver: Driver) -> float | None:
        """Take off the finalizers of Cozystack's own controller, which for these kinds cleans nothing up."""
        held = [name for name in backup.metadata.finalizers if name in REFERENCE_FINALIZERS]
        if not held:
            return None
        if not self._reference_is_gone():
            return REFERENCE_LOOK
        if CLASS not in backup.metadata.annotations and _records_nothing(driver, backup):
            message = "its data in the store stays: Cozystack's own controller has made it"
            await self._writes.event(backup, "ArchiveRetained", message)
        await self._writes.release(backup, held)
        return None

    # What wakes

    def _changed(self, old: Backup | None, new: Backup | None) -> None:
        if new is None:
            if old is not None:
                self._gone(old)
        elif old is None or _told(old) != _told(new):
            self._ageing.wake(application_of(new))
            self._queue.add(Key.of(new))

    def _gone(self, backup: Backup) -> None:
        """Forget it, and wake those that may have waited for it."""
        self._archives.forget(backup.metadata.uid)
        self._audits.failed.discard(Key.of(backup))
        self._ageing.wake(application_of(backup))
        self._wake(backup.metadata.namespace, lambda other: application_of(other) == application_of(backup))

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None and new.metadata.deletion_timestamp is not None:
            self._wake(new.metadata.name, lambda backup: backup.metadata.deletion_timestamp is not None)

    def _wake(self, namespace: str, which: Callable[[Backup], bool]) -> None:
        for backup in self._backups.list(namespace):
            if which(backup):
                self._queue.add(Key.of(backup))


def _kinds(driver: Driver) -> tuple[str, str, str]:
    strategy = driver.strategy.resource
    return driver.application.resource.kind, strategy.group, strategy.kind


def _records_nothing(driver: Driver, backup: Backup) -> bool:
    try:
        return driver.record(backup) is None
    except InvalidInput:
        return False


def _told(backup: Backup) -> tuple[Any, ...]:
    """All of it that matters to us but its conditions, which we write ourselves."""
    metadata = backup.metadata
    identity = metadata.uid, metadata.deletion_timestamp, metadata.finalizers, metadata.annotations
    return *identity, backup.spec, backup.status.phase
