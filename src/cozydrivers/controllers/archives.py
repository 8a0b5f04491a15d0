"""The deletion of a Backup's archives: one pass, from what decides over them to what has come of it."""

import logging
import random as randomness
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cozydrivers.api.backups import Backup, BackupClass
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.audits import application_of
from cozydrivers.controllers.backup_writes import BackupWrites
from cozydrivers.controllers.deletion import (
    ARCHIVE_FINALIZER,
    DELETION_POLICY,
    LEAVING,
    LIMIT,
    Circumstances,
    Retained,
    policy_of,
    why_retained,
)
from cozydrivers.controllers.ledger import CLASS
from cozydrivers.controllers.lock import lock, target_of, unlock
from cozydrivers.controllers.resolve import Absence, NotOurs, Refusal, Target, binding, restore_target, situation
from cozydrivers.controllers.services import Services
from cozydrivers.drivers.base import DeleteRun, Driver, Failed, Intent, Outcome, Patience, Running, Succeeded
from cozydrivers.errors import Forbidden, Invalid, InvalidInput, NotFound, Unauthorized
from cozydrivers.runtime.audit import AuditRecord, audit
from cozydrivers.runtime.backoff import backoff
from cozydrivers.runtime.cache import Caches
from cozydrivers.runtime.locks import Lock, storage_lock

Audit = Callable[[Mapping[str, Any]], None]
"""Writes a line of the audit log; raises where it can't, and then nothing is deleted."""

Step = Callable[[Backup, Driver, Target], Awaitable[Outcome]]

FIRST_WAIT, LONGEST_WAIT = 10.0, 3600.0
"""Seconds between two looks while something is in the way; see `backoff`."""
PAUSED_LOOK = 60.0

_log = logging.getLogger(__name__)


def log_audit(line: Mapping[str, Any]) -> None:
    """Write a line to the audit log."""
    audit(AuditRecord(**line))


class Archives:
    """Deletes the archives of Backups that are being deleted, or says why they stay, and lets go of the Backup.

    What it keeps in memory, by UID, is how often it has waited, when it was last paused and what it has announced.
    """

    def __init__(
        self,
        services: Services,
        drivers: Sequence[Driver],
        writes: BackupWrites,
        audit: Audit,
    ) -> None:
        self._services = services
        self._kube = services.kube
        self._drivers = drivers
        self._writes = writes
        self._now = services.now
        self._audit = audit
        self._waits: dict[str, int] = {}
        self._paused_at: dict[str, datetime] = {}
        self._announced: dict[str, dict[str, int]] = {}

    def forget(self, uid: str) -> None:
        """Forget a Backup that is gone."""
        for memory in (self._waits, self._paused_at, self._announced):
            memory.pop(uid, None)

    async def step(self, seen: Backup, driver: Driver | None) -> float | None:
        """One pass over a Backup that is being deleted: seconds until the next, None when it is let go."""
        backup = await self._as_it_is(seen)
        if backup is None:
            return None
        if await self._is_terminating(backup.metadata.namespace):
            await self._retain(backup, LEAVING)
        elif driver is not None:
            return await self._judge(backup, driver)
        elif any(backup.spec.application_ref.kind == each.application.resource.kind for each in self._drivers):
            await self._retain(backup, Retained("no driver is for its strategy"))
        return None

    async def _judge(self, backup: Backup, driver: Driver) -> float | None:
        try:
            if retained := why_retained(await self._circumstances(backup, driver)):
                await self._retain(backup, retained)
                return None
            if why := self._pausing(backup, driver):
                self._paused_at[backup.metadata.uid] = self._now()
                await self._writes.event(backup, "Paused", f"its archives are not deleted now: {why}")
                return PAUSED_LOOK
            outcome = await self._drive(backup, driver, self._delete)
        except (Forbidden, Invalid, Unauthorized) as error:
            outcome = _in_the_way("NotAllowed", str(error))
        return await self._settle(backup, driver, outcome)

    async def _as_it_is(self, seen: Backup) -> Backup | None:
        """The Backup, read uncached; None where it is another one now, or let go (I4, I11)."""
        try:
            backup = await self._kube.get(Backup, seen.metadata.name, seen.metadata.namespace)
        except NotFound:
            return None
        held = backup.metadata.deletion_timestamp is not None and ARCHIVE_FINALIZER in backup.metadata.finalizers
        return backup if held and backup.metadata.uid == seen.metadata.uid else None

    async def _circumstances(self, backup: Backup, driver: Driver) -> Circumstances:
        policy, problem = await self._class_policy(backup)
        found = Circumstances(
            latch=backup.metadata.annotations.get(DELETION_POLICY, ""),
            class_policy=policy,
            class_problem=problem,
            application=await self._exists(driver, backup),
            cluster=(await self._kube.get(Namespace, "kube-system")).metadata.uid,
        )
        try:
            return replace(found, record=driver.record(backup))
        except InvalidInput as error:
            return replace(found, record_problem=str(error))

    async def may_go(self, backup: Backup, driver: Driver) -> bool:
        """Whether all that decides over its archives, read from the server, says that they go now (I4)."""
        if await self._is_terminating(backup.metadata.namespace) or self._pausing(backup, driver):
            return False
        return why_retained(await self._circumstances(backup, driver)) is None

    async def look(self, backup: Backup, driver: Driver) -> Outcome:
        """What a deletion of its archives would begin with now: an Intent where they would go. Deletes nothing."""
        return await self._drive(backup, driver, self._see)

    def _pausing(self, backup: Backup, driver: Driver) -> str:
        return self._services.paused(backup.metadata.namespace, driver.application, backup.spec.application_ref.name)

    async def _is_terminating(self, name: str) -> bool:
        try:
            namespace = await self._kube.get(Namespace, name)
        except NotFound:
            return True
        return namespace.metadata.deletion_timestamp is not None or namespace.status.phase == "Terminating"

    async def _class_policy(self, backup: Backup) -> tuple[str, str]:
        """What the class that a Backup was made with says now, else why it says nothing."""
        name = backup.metadata.annotations.get(CLASS, "")
        try:
            backup_class = await self._kube.get(BackupClass, name or "-")
            bound = binding(backup_class, backup.spec.application_ref)
            policy = policy_of(bound)
        except NotFound:
            return "", f"BackupClass {name or 'of no name'} does not exist"
        except (Refusal, InvalidInput) as error:
            return "", str(error)
        if bound.strategy_ref != backup.spec.strategy_ref:
            return "", f"BackupClass {name} binds another strategy than {backup.spec.strategy_ref.name} now"
        return policy, ""

    async def _exists(self, driver: Driver, backup: Backup) -> bool:
        name, namespace = backup.spec.application_ref.name, backup.metadata.namespace
        try:
            return bool(name and await self._kube.get(driver.application, name, namespace))
        except NotFound:
            return False

    async def _drive(self, backup: Backup, driver: Driver, step: Step) -> Outcome:
        """Under the application's lock; what can't be done now is waited for."""
        try:
            target = await restore_target(Caches(self._kube), self._drivers, backup.metadata.namespace, backup, None)
            async with self._holding(backup, [target_of(target.application)]) as held:
                if not held:
                    return _in_the_way("TargetLocked", f"a job works on {backup.spec.application_ref.name}")
                return await step(backup, driver, target)
        except Absence as absence:
            return _in_the_way(absence.reason, str(absence))
        except (Refusal, NotOurs) as refusal:
            return Failed("Refused", str(refusal) or "no driver is for its strategy")
        except TimeoutError:
            return _in_the_way("SidecarUnreachable", "the look at all sidecars took too long")

    async def _see(self, backup: Backup, driver: Driver, target: Target) -> Outcome:
        return await driver.delete(await self._run(backup, target))

    async def _delete(self, backup: Backup, driver: Driver, target: Target) -> Outcome:
        """Look; then, under the locks on the storage and after a line in the audit log, look again and delete."""
        outcome = await self._see(backup, driver, target)
        if not isinstance(outcome, Intent):
            return outcome
        async with self._holding(backup, [storage_lock(name) for name in sorted(outcome.storages)]) as held:
            if not held:
                return _in_the_way("StorageLocked", "somebody works on the same storage path")
            if not self._services.leading() or not await self.may_go(backup, driver):
                return Running("Deleting", "what decides over the archives has changed meanwhile", 0.2)
            self._announce(backup, outcome)
            run = replace(await self._run(backup, target), checkpoint=outcome.checkpoint, fresh=True)
            outcome = await driver.delete(run)
        if isinstance(outcome, Intent):
            raise RuntimeError(f"{backup.metadata.name}: the driver intends without an end")
        return outcome

    @asynccontextmanager
    async def _holding(self, backup: Backup, locks: Sequence[Lock]) -> AsyncGenerator[bool, None]:
        """Hold locks, if they are free; a crash leaves them to the next pass over the same Backup."""
        held = await lock(self._services.locks, backup, locks, self._now())
        try:
            yield held
        finally:
            if held:
                await unlock(self._services.locks, backup, locks)

    async def _run(self, backup: Backup, target: Target) -> DeleteRun:
        held = situation(target, backup, self._kube, Caches(self._kube), self._now())
        return DeleteRun(**held, backup=backup, kept=await self._others(backup))

    async def _others(self, backup: Backup) -> list[Backup]:
        """The other Backups of the application, read uncached: what they need stays (I8)."""
        every = (await self._kube.list(Backup, backup.metadata.namespace)).items
        return [
            other
            for other in every
            if other.metadata.uid != backup.metadata.uid and application_of(other) == application_of(backup)
        ]

    # What has come of it

    async def _settle(self, backup: Backup, driver: Driver, outcome: Outcome) -> float | None:
        match outcome:
            case Running():
                return await self._wait(backup, outcome)
            case Succeeded():
                await self._deleted(backup, driver, outcome)
            case Failed():
                await self._retain(backup, Retained(outcome.message))
            case _:
                raise TypeError("an intent is carried out, not settled")
        return None

    async def _deleted(self, backup: Backup, driver: Driver, outcome: Succeeded) -> None:
        """The last lines are for all of them: what was announced before a restart is not known any more."""
        record = driver.record(backup)
        announced = self._announced.get(backup.metadata.uid, {})
        for archive in dict.fromkeys([*(record.archives if record else ()), *announced]):
            self._line(backup, "done", archive, announced.get(archive), outcome.message)
        await self._writes.event(backup, "ArchiveDeleted", f"its archives are gone: {outcome.message}")
        await self._let_go(backup)

    async def _retain(self, backup: Backup, retained: Retained) -> None:
        for archive, size in self._announced.get(backup.metadata.uid, {}).items():
            self._line(backup, "failed", archive, size, retained.why)
        name = f"Backup {backup.metadata.namespace}/{backup.metadata.name}"
        _log.info("%s goes, its archives stay: %s", name, retained.why)
        if retained is not LEAVING:
            message = f"its archives stay in the store: {retained.why}"
            await self._writes.event(backup, "ArchiveRetained", message, warning=retained.surprise)
        await self._let_go(backup)

    async def _let_go(self, backup: Backup) -> None:
        await self._writes.release(backup, [ARCHIVE_FINALIZER])
        self.forget(backup.metadata.uid)

    async def _wait(self, backup: Backup, outcome: Running) -> float | None:
        uid = backup.metadata.uid
        since = max(backup.metadata.deletion_timestamp or self._now(), self._paused_at.get(uid, _EVER))
        if self._now() - since > LIMIT:
            await self._retain(backup, Retained(f"given up after {LIMIT}: {outcome.message}"))
            return None
        works = outcome.patience is Patience.ENGINE
        if not works:
            await self._writes.event(backup, outcome.reason, f"its archives are not deleted yet: {outcome.message}")
        await self._writes.stand(backup, "Progressing", str(works), outcome.reason, outcome.message)
        if works:
            return outcome.retry_after
        self._waits[uid] = self._waits.get(uid, 0) + 1
        return backoff(self._waits[uid], FIRST_WAIT, LONGEST_WAIT, randomness.random)

    # The audit log

    def _announce(self, backup: Backup, intent: Intent) -> None:
        """A line for each archive that is about to be deleted, once."""
        said = self._announced.setdefault(backup.metadata.uid, {})
        for archive, size in intent.checkpoint["archives"].items():
            if archive not in said:
                self._line(backup, "about to", archive, size, intent.message)
                said[archive] = size

    def _line(self, backup: Backup, outcome: str, archive: str, size: int | None, evidence: str) -> None:
        rule = f"deletionPolicy Delete of BackupClass {backup.metadata.annotations.get(CLASS, '')}"
        told = {"outcome": outcome, "archive": archive, "bytes": size, "rule": rule, "evidence": evidence}
        self._audit(audit_line(backup, self._now(), told))


def audit_line(backup: Backup, now: datetime, told: Mapping[str, Any]) -> Mapping[str, Any]:
    """A line of the audit log on a deletion for a Backup: `told` is what it says beside whose and when."""
    metadata = backup.metadata
    return {
        "time": now,
        "actor": f"Backup {metadata.namespace}/{metadata.name}",
        "action": "delete",
        "kind": "Backup",
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        **told,
    }


_EVER = datetime.min.replace(tzinfo=UTC)


def _in_the_way(reason: str, message: str) -> Running:
    return Running(reason, message, FIRST_WAIT, patience=Patience.BUSY)
