"""The daily look in the engine for what Backups stand for, one per application and strategy."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import anyio

from cozydrivers.api.backups import Backup
from cozydrivers.controllers.backup_writes import BackupWrites, condition_of
from cozydrivers.controllers.ledger import CLASS
from cozydrivers.controllers.resolve import Absence, NotOurs, Refusal, restore_target, situation
from cozydrivers.drivers.base import AuditRun, Driver, Finding
from cozydrivers.errors import ApiError, InvalidInput, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import Key
from cozydrivers.runtime.cache import Cache, Caches
from cozydrivers.runtime.describe import describe

DAY = 24 * 3600.0
FIRST, SPREAD = 300.0, 3600.0
"""Seconds from the start to the first look, and over which the first looks at all applications are spread."""
RETRY = 3600.0
"""Seconds to the next look after one that has told nothing."""

Application = tuple[str, str, str]
"""Namespace, kind and name."""

_log = logging.getLogger(__name__)


class Audits:
    """Looks up each Ready Backup once a day. When is kept in memory: nothing is written while nothing has changed.

    `failed` are the Backups that could not be looked up the last time.
    """

    def __init__(
        self,
        kube: KubeClient,
        drivers: Sequence[Driver],
        cache: Cache[Backup],
        writes: BackupWrites,
        now: Callable[[], datetime],
    ) -> None:
        self.failed: set[Key] = set()
        self._kube = kube
        self._drivers = drivers
        self._cache = cache
        self._writes = writes
        self._now = now
        self._due: dict[Application, float] = {}

    async def step(self, backup: Backup, driver: Driver) -> float | None:
        """Look up the Backup's application when that is due: seconds until the next look, None where there is none."""
        if not _is_to_be_looked_up(backup, driver):
            self.failed.discard(Key.of(backup))
            return None
        application = application_of(backup)
        due = self._due.setdefault(application, anyio.current_time() + FIRST + _share(application) * SPREAD)
        if due > anyio.current_time():
            return due - anyio.current_time()
        self._due[application] = anyio.current_time() + DAY
        if not await self._look(application, driver):
            self._due[application] = anyio.current_time() + RETRY
        return self._due[application] - anyio.current_time()

    async def _look(self, application: Application, driver: Driver) -> bool:
        """Look up all Backups of an application; False where one of them could not be."""
        every = [each for each in self._cache.list(application[0]) if application_of(each) == application]
        backups = [each for each in every if _is_to_be_looked_up(each, driver)]
        try:
            if not await self._exists(application, driver):
                self.failed.difference_update(map(Key.of, backups))
                return True
            told = [await self._look_at(group, driver) for group in by_strategy(backups)]
        except ApiError as error:
            _log.warning("audit of the Backups of %s %s/%s: %s", *application[1:2], *application[::2], describe(error))
            self.failed.update(map(Key.of, backups))
            return False
        return all(told)

    async def _exists(self, application: Application, driver: Driver) -> bool:
        namespace, _, name = application
        try:
            await self._kube.get(driver.application, name, namespace)
        except NotFound:
            return False
        return True

    async def _look_at(self, backups: Sequence[Backup], driver: Driver) -> bool:
        found = await look_up(self._kube, self._drivers, backups, driver, self._now())
        for backup in backups:
            finding = found.get(backup.metadata.uid)
            if finding is None:
                self.failed.add(Key.of(backup))
                continue
            self.failed.discard(Key.of(backup))
            await self._tell(backup, finding)
        return all(backup.metadata.uid in found for backup in backups)

    async def _tell(self, backup: Backup, finding: Finding) -> None:
        """Write what was found where it is news: that all is there is none, unless it was said to be gone."""
        ready = condition_of(backup, "Ready")
        if not finding.reason and (ready is None or ready.status == "True"):
            return
        now = await self._as_it_is(backup)
        if now is None:
            return
        status, reason = ("False", finding.reason) if finding.reason else ("True", "ArchiveFound")
        message = finding.message or "its archives are in the store, and their chains whole"
        if await self._writes.stand(now, "Ready", status, reason, message):
            await self._writes.event(now, reason, message, warning=bool(finding.reason))

    async def _as_it_is(self, seen: Backup) -> Backup | None:
        try:
            backup = await self._kube.get(Backup, seen.metadata.name, seen.metadata.namespace)
        except NotFound:
            return None
        return backup if backup.metadata.uid == seen.metadata.uid else None


async def look_up(
    kube: KubeClient, drivers: Sequence[Driver], backups: Sequence[Backup], driver: Driver, now: datetime
) -> Mapping[str, Finding]:
    """Look in the engine for Backups of one application and strategy: what was found, by UID. Raises ApiError.

    What can't be looked up now is left out.
    """
    namespace = backups[0].metadata.namespace
    try:
        target = await restore_target(Caches(kube), drivers, namespace, backups[0], None)
    except (Absence, Refusal, NotOurs):
        return {}
    held = situation(target, target.application, kube, Caches(kube), now)
    return await driver.audit(AuditRun(**held, backups=backups))


def application_of(backup: Backup) -> Application:
    """The application that a Backup is of."""
    reference = backup.spec.application_ref
    return backup.metadata.namespace, reference.kind, reference.name


def _is_to_be_looked_up(backup: Backup, driver: Driver) -> bool:
    if backup.status.phase != "Ready" or backup.metadata.deletion_timestamp is not None:
        return False
    try:
        return driver.record(backup) is not None
    except InvalidInput:
        return True


def by_strategy(backups: Iterable[Backup]) -> Iterable[Sequence[Backup]]:
    """Backups, those together that are reached with the same credentials."""
    groups: dict[tuple[str, str], list[Backup]] = {}
    for backup in backups:
        key = backup.spec.strategy_ref.name, backup.metadata.annotations.get(CLASS, "")
        groups.setdefault(key, []).append(backup)
    return groups.values()


def _share(application: Application) -> float:
    """A number from 0 to 1 that is always the same for an application, so that all looks are spread evenly."""
    return int.from_bytes(hashlib.sha256("/".join(application).encode()).digest()[:4]) / 2**32
