"""Backups that go because of their age: those that a strategy keeps no longer, one after another per application.

They go as if somebody had deleted them by hand, so what becomes of their archives is decided and done in `archives`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import anyio

from cozydrivers.api.backups import Backup, RestoreJob
from cozydrivers.controllers.archives import Archives, Audit, audit_line
from cozydrivers.controllers.audits import Application, application_of, by_strategy, look_up
from cozydrivers.controllers.backup_writes import BackupWrites
from cozydrivers.controllers.deletion import ARCHIVE_FINALIZER, DELETE, DELETION_POLICY, PARAMETER
from cozydrivers.controllers.ledger import CLASS, FINALIZER
from cozydrivers.controllers.resolve import Absence, NotOurs, Refusal, restore_target
from cozydrivers.controllers.services import Services
from cozydrivers.controllers.status import ended
from cozydrivers.controllers.wiring import APPLICATION
from cozydrivers.drivers.base import Driver, Intent, Reader, Record, Succeeded
from cozydrivers.errors import ApiError, ClusterUnreachable, InvalidInput
from cozydrivers.runtime.cache import Cache, Caches
from cozydrivers.runtime.describe import describe

LOOK = 3600.0
"""Seconds to the next look at an application at the latest, unless one of its Backups changes."""
PATIENCE = 60.0
"""Seconds after which no further Backup is looked at: an engine that is out of reach is so for all of them."""

_log = logging.getLogger(__name__)
_UNKNOWN = datetime.max.replace(tzinfo=UTC)


# Decide. Pure.


@dataclass(frozen=True)
class Expiry:
    """What age makes of an application's Backups: `going` are those that go, oldest first.

    `kept` is the newest good one, `wait` how long until another is old enough, None where there is none. `ages` are how
    long each is kept, by UID.
    """

    going: Sequence[Backup] = ()
    kept: Backup | None = None
    wait: timedelta | None = None
    ages: Mapping[str, timedelta] = field(default_factory=dict)


def expiry(backups: Sequence[Backup], ages: Mapping[str, timedelta], now: datetime) -> Expiry:
    """Which Backups of an application go; one without an age is kept for ever.

    One goes only where a good one was taken after it. So the newest good one never does, nor anything newer that is
    not known to be good, and where none is good none goes.
    """
    kept = max((each for each in backups if _is_good(each, now)), key=_order, default=None)
    if kept is None:
        return Expiry(ages=ages)
    older = [
        each for each in backups if each.metadata.uid in ages and _may_expire(each) and _taken(each) < _taken(kept)
    ]
    left = {each.metadata.uid: ages[each.metadata.uid] - (now - _taken(each)) for each in older}
    over = [each for each in older if left[each.metadata.uid] <= timedelta()]
    wait = min((time for time in left.values() if time > timedelta()), default=None)
    return Expiry(tuple(sorted(over, key=_order)), kept, wait, ages)


def _is_good(backup: Backup, now: datetime) -> bool:
    """Whether it can stand for those that go; what was taken in the future can't, whoever has written that."""
    unproven = backup.says("Verified", "False") or backup.metadata.deletion_timestamp is not None
    return backup.counts and not unproven and _taken(backup) <= now


def _may_expire(backup: Backup) -> bool:
    """Whether what stands on it lets it go with its archives. An imported one is kept for ever, whatever else it says.

    Without our finalizer it would leave its archives behind.
    """
    metadata = backup.metadata
    imported = any((each.type, each.reason) == ("Verified", "Imported") for each in backup.status.conditions)
    held = ARCHIVE_FINALIZER in metadata.finalizers and metadata.deletion_timestamp is None
    latched = metadata.annotations.get(DELETION_POLICY) == DELETE
    return backup.status.phase == "Ready" and held and latched and not imported


def _taken(backup: Backup) -> datetime:
    return backup.spec.taken_at or _UNKNOWN


def _order(backup: Backup) -> tuple[datetime, str]:
    return _taken(backup), backup.metadata.name


def _uid(backup: Backup | None) -> str:
    return backup.metadata.uid if backup else ""


def _record(backup: Backup, driver: Driver) -> Record | None:
    try:
        return driver.record(backup)
    except InvalidInput:
        return None


# Observe and act


class Ageing:
    """Deletes Backups that are too old. When an application is looked at next is kept in memory.

    What is watched says when one is old enough; before it is deleted everything is read from the server.
    """

    def __init__(
        self,
        services: Services,
        drivers: Sequence[Driver],
        cache: Cache[Backup],
        writes: BackupWrites,
        archives: Archives,
        audit: Audit,
    ) -> None:
        self._services = services
        self._kube = services.kube
        self._drivers = drivers
        self._cache = cache
        self._writes = writes
        self._archives = archives
        self._audit = audit
        self._due: dict[Application, float] = {}
        self._told: dict[tuple[Application, str, str], str] = {}

    def wake(self, application: Application) -> None:
        """Have an application looked at the next time that one of its Backups is."""
        self._due.pop(application, None)

    async def step(self, backup: Backup, driver: Driver) -> float | None:
        """Look at the Backup's application where that is due: seconds until the next look, None where age is nothing.

        Raises OSError where the audit log can't be written.
        """
        if _record(backup, driver) is None:
            return None
        application, now = application_of(backup), anyio.current_time()
        if self._due.get(application, now) <= now:
            self._due[application] = now + LOOK
            wait = await self._look(application, driver)
            if application in self._due:  # else it was woken meanwhile
                self._due[application] = anyio.current_time() + wait
        return max(self._due.get(application, 0.0) - anyio.current_time(), 0.0)

    async def _look(self, application: Application, driver: Driver) -> float:
        """Let one Backup of an application go where one is old enough: seconds until the next look."""
        namespace, _, name = application
        if self._services.paused(namespace, driver.application, name):
            return LOOK
        try:
            found = await self._expiry(
                self._services.caches, self._cache.by(APPLICATION, "/".join(application)), driver
            )
            if found.kept and found.going and await self._is_seen(found.kept, driver):
                await self._let_one_go(found.going, found.kept, driver)
        except ApiError as error:
            _log.warning("age of the Backups of %s %s/%s: %s", *application[1:2], *application[::2], describe(error))
            return LOOK
        return min(found.wait.total_seconds(), LOOK) if found.wait and not found.going else LOOK

    async def _expiry(self, reader: Reader, backups: Sequence[Backup], driver: Driver) -> Expiry:
        """What age makes of them; nothing while one of them is being deleted: they go one by one."""
        if any(each.metadata.deletion_timestamp for each in backups):
            return Expiry()
        ours, ages = [each for each in backups if _record(each, driver)], dict[str, timedelta]()
        for group in by_strategy(ours):
            ages |= await self._ages(reader, group, driver)
        return expiry(ours, ages, self._services.now())

    async def _ages(self, reader: Reader, group: Sequence[Backup], driver: Driver) -> Mapping[str, timedelta]:
        """How long those of one strategy are kept, as far as their class lets them go."""
        try:
            target = await restore_target(reader, self._drivers, group[0].metadata.namespace, group[0], None)
        except (Absence, Refusal, NotOurs):
            return {}
        problem, age = "", None
        try:
            age = driver.retention(target.strategy) if target.execution == "sidecar" else None
        except InvalidInput as error:
            problem = str(error)
        await self._tell(group, problem)
        if age is None or target.parameters.get(PARAMETER) != DELETE:
            return {}
        made_here = (each for each in group if (found := _record(each, driver)) and found.cluster == target.cluster_uid)
        return {each.metadata.uid: age for each in made_here}

    async def _tell(self, group: Sequence[Backup], problem: str) -> None:
        """Say once, on the newest, why none of a strategy goes because of its age."""
        newest = max(group, key=_order)
        key = application_of(newest), newest.spec.strategy_ref.name, newest.metadata.annotations.get(CLASS, "")
        if problem and self._told.get(key) != problem:
            message = f"no Backup of this strategy goes because of its age: {problem}"
            await self._writes.event(newest, "InvalidRetention", message, warning=True)
            self._told[key] = problem
        elif not problem:
            self._told.pop(key, None)

    async def _is_seen(self, kept: Backup, driver: Driver) -> bool:
        """Whether what is kept for those that go is in the store now: the daily look may be a day old (I4)."""
        found = await look_up(self._kube, self._drivers, [kept], driver, self._services.now())
        finding = found.get(kept.metadata.uid)
        if finding is not None and not finding.reason:
            return True
        why = finding.message if finding else "its archives can't be looked up now"
        name = f"Backup {kept.metadata.namespace}/{kept.metadata.name}"
        _log.warning("no Backup older than %s goes because of its age: %s", name, why)
        return False

    async def _let_one_go(self, going: Sequence[Backup], kept: Backup, driver: Driver) -> None:
        """Delete the first whose archives would go with it, which what its chain or a restore needs would not."""
        until = anyio.current_time() + PATIENCE
        for each in going:
            outcome = await self._archives.look(each, driver)
            if isinstance(outcome, Intent | Succeeded) and await self._expire(each, kept, driver):
                return
            if anyio.current_time() > until:
                return

    async def _expire(self, seen: Backup, kept: Backup, driver: Driver) -> bool:
        """Delete it if all that the server says now speaks for it, and `kept` still is what is kept for it."""
        namespace = seen.metadata.namespace
        every = (await self._kube.list(Backup, namespace)).items
        backups = [each for each in every if application_of(each) == application_of(seen)]
        found = await self._expiry(Caches(self._kube), backups, driver)
        backup = next((each for each in found.going if each.metadata.uid == seen.metadata.uid), None)
        if backup is None or _uid(found.kept) != _uid(kept) or await self._is_restored(backup):
            return False
        if not await self._archives.may_go(backup, driver):
            return False
        reference, age = backup.spec.strategy_ref, found.ages[backup.metadata.uid]
        rule = f"{reference.kind} {reference.name} keeps a Backup for {age}"
        evidence = f"taken at {_taken(backup):%FT%TZ}; Backup {kept.metadata.name} is newer, and in the store"
        await self._writes.event(backup, "Expired", f"{rule}; it was {evidence}")
        if not self._services.leading():
            return False
        await self._delete(backup, rule, evidence)
        return True

    async def _is_restored(self, backup: Backup) -> bool:
        """Whether a RestoreJob that is not at its end, or not cleaned up, names it."""
        return any(
            job.spec.backup_ref.name == backup.metadata.name
            and not (ended(job.status) and FINALIZER not in job.metadata.finalizers)
            for job in (await self._kube.list(RestoreJob, backup.metadata.namespace)).items
        )

    async def _delete(self, backup: Backup, rule: str, evidence: str) -> None:
        """Delete it as it was read, between two lines of the audit log."""
        metadata = backup.metadata
        self._line(backup, "about to", rule, evidence)
        try:
            await self._kube.delete(
                Backup, metadata.name, metadata.namespace, uid=metadata.uid, resource_version=metadata.resource_version
            )
        except ApiError as error:
            unknown = isinstance(error, ClusterUnreachable)
            self._line(backup, "unknown" if unknown else "failed", rule, describe(error))
            raise
        self._line(backup, "done", rule, evidence)

    def _line(
        self, backup: Backup, outcome: Literal["about to", "done", "failed", "unknown"], rule: str, evidence: str
    ) -> None:
        self._audit(audit_line(backup, self._services.now(), {"outcome": outcome, "rule": rule, "evidence": evidence}))
