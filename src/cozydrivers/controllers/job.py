"""What BackupJob and RestoreJob share: one pass over one job, from resolving it to saying where it stands.

A pass takes the job from the cache, resolves what it refers to, takes the locks, lets the driver do one step, and
writes what has changed. Each write carries the resourceVersion that was read, so two passes never build on the same
state.
"""

import random as randomness
from abc import abstractmethod
from dataclasses import replace
from datetime import datetime
from typing import Any

import anyio

from cozydrivers.controllers.ending import JobEnding
from cozydrivers.controllers.ledger import CHECKPOINT, FINALIZER, Ledger, NewerLedger, deadline, ledger_of
from cozydrivers.controllers.lock import lock, unlock, wanted
from cozydrivers.controllers.resolve import Absence, NotOurs, Refusal, Target
from cozydrivers.controllers.status import Standing, created, ended
from cozydrivers.controllers.wiring import APPLICATION, works_on
from cozydrivers.controllers.writes import J
from cozydrivers.drivers.base import Driver, Failed, Intent, Outcome, Patience, Run, Running, Succeeded
from cozydrivers.errors import Conflict, Forbidden, Invalid, NewerVersion, Unauthorized
from cozydrivers.runtime import Controller, Key
from cozydrivers.runtime.admission import Candidate
from cozydrivers.runtime.backoff import backoff

_MOST_INTENTS = 5
"""Intents that one pass may carry out; more would be a driver that does not come to an end."""

WORKERS = 16
"""Jobs of a kind that are looked at side by side."""

_AFTER_CONFLICT = 0.1
"""Seconds that a job is left alone, more or less, after somebody else has written on it."""
_NEWER_PAUSE = 300.0
_SHORT_WAIT = 1.0


class JobController(JobEnding[J]):
    """Follows the jobs of one kind in a namespace, or in all of them.

    `async with` opens the drivers and fills the caches; then `reconcile` does one pass, or `run` works on all jobs
    until cancelled. `now` is the wall clock. A Manager gives its controllers `services` to share.
    """

    async def run(self) -> None:
        """Work on all jobs until cancelled."""
        name, metrics = self.kind.resource.kind, self.services.metrics
        await Controller(name, self._turn, self._queue, workers=WORKERS, metrics=metrics).run()

    async def reconcile(self, namespace: str, name: str, uid: str = "") -> float | None:
        """One pass over one job: seconds until the next look, None when only a change of it matters.

        Passes over the same job wait for one another. A job that the caches do not show yet is read from the server
        first; with `uid` also where they still show another one of that name. None where there is none. What is
        raised is a trouble that passes, ApiError and what the driver raises: call again later.
        """
        key = Key(namespace, name)
        await self._jobs.catch_up(key, uid)
        return await self._turn(key)

    async def _turn(self, key: Key) -> float | None:
        async with self._turns.setdefault(key, anyio.Lock()):
            job = self._jobs.get(key)
            return None if job is None else await self._reconcile(job)

    async def _reconcile(self, job: J) -> float | None:
        try:
            return await self._pass(job)
        except NotOurs:
            return None
        except (NewerLedger, NewerVersion):
            message = "it was begun by a newer version of cozydrivers; it is left untouched"
            await self._writes.event(job, "NewerVersion", message, warning=True)
            return _NEWER_PAUSE
        except Conflict:  # the other's write has woken this job already, and may do so again at once
            await anyio.sleep(backoff(1, _AFTER_CONFLICT, _AFTER_CONFLICT, randomness.random))
            return 0.0 if self._is_news(job) else _SHORT_WAIT
        except (Forbidden, Invalid, Unauthorized) as error:
            waiting = Running("NotAllowed", str(error), 30.0, patience=Patience.ABSENT)
            return await self._stand(job, waiting, timeout=0.0)

    def _is_news(self, job: J) -> bool:
        """Whether the cache shows another version of a job by now; with the same one a write fails again."""
        shown = self._jobs.get(Key(job.metadata.namespace, job.metadata.name))
        return shown is None or shown.metadata.resource_version != job.metadata.resource_version

    async def _pass(self, job: J) -> float | None:
        if job.metadata.deletion_timestamp is not None or ended(job.status):
            return await self._wind_up(job)
        if job.status.phase == "Running" and ledger_of(job).driver is None:
            return await self._without_checkpoint(job)
        try:
            target = await self.resolve(job)
        except Refusal as refusal:
            return await self.end(job, Failed("Refused", str(refusal)))
        except Absence as absence:
            waiting = Running(absence.reason, str(absence), 10.0, patience=Patience.ABSENT)
            return await self._stand(job, waiting, timeout=0.0)
        return await self._drive(job, target)

    async def _without_checkpoint(self, job: J) -> float | None:
        if FINALIZER not in job.metadata.finalizers:
            return await self.not_begun_by_us(job)
        return await self.end(job, Failed("Refused", f"its annotation {CHECKPOINT} was removed or changed"))

    async def _drive(self, job: J, target: Target) -> float | None:
        run = await self.run_of(job, target)
        if run.checkpoint is not None:
            return await self._settle(*await self._carry_out(job, target, run))
        waiting = self._kept_waiting(job, target)
        if waiting is None and not self._may_start(job):
            return await self._wait_for_slot(job)
        refused = "" if waiting else await self.refusal(job, target)
        if refused:
            return await self.end(job, Failed("Refused", refused))
        outcome = waiting or await self.step(target.driver, run)
        if isinstance(outcome, Intent):
            job, outcome = await self._begin(job, target, run, outcome)
        if ledger_of(job).driver is None and self.services.admission is not None:
            self.services.admission.leave(job.metadata.uid)
        return await self._settle(job, target, outcome)

    def _kept_waiting(self, job: J, target: Target) -> Running | None:
        """What keeps a job from beginning, as far as it is known without asking anybody."""
        application = target.application
        namespace, name = application.metadata.namespace, application.metadata.name
        if paused := self._paused(target):
            return paused
        others = (other for kind in self.job_caches for other in kind.by(APPLICATION, f"{namespace}/{name}"))
        if any(works_on(other, application) for other in others if other.metadata.uid != job.metadata.uid):
            return self._locked(target)
        return None

    def _locked(self, target: Target) -> Running:
        message = f"another job works on {target.application.resource.kind} {target.application.metadata.name}"
        return Running("TargetLocked", message, 5.0, patience=Patience.BUSY)

    def _may_start(self, job: J) -> bool:
        if self.services.admission is None:
            return True
        metadata = job.metadata
        candidate = Candidate(metadata.uid, metadata.namespace, created(job), job.resource.kind == "RestoreJob")
        return self.services.admission.ask(candidate, lambda: self._queue.add(Key.of(job)))

    async def _wait_for_slot(self, job: J) -> float:
        """It is woken once it may start. Who waits for a moment only is not told so."""
        if self.services.admission is None or self.services.admission.waited(job.metadata.uid) < _SHORT_WAIT:
            return _SHORT_WAIT
        message = "waiting for a slot: as many jobs run as may"
        return await self._stand(job, Running("WaitingForSlot", message, 30.0, patience=Patience.BUSY), timeout=0.0)

    async def _begin(self, job: J, target: Target, run: Run, outcome: Intent) -> tuple[J, Outcome]:
        """Take the locks, look once more under them, and carry out what is intended then."""
        locks, taken = self.services.locks, wanted(job, target.application, outcome.storages)
        if not await lock(locks, job, taken, self.now()):
            return job, self._locked(target)
        job, _, begun = await self._carry_out(job, target, run)
        if ledger_of(job).driver is None:
            await unlock(locks, job, taken)
        return job, begun

    async def _carry_out(self, job: J, target: Target, run: Run) -> tuple[J, Target, Outcome]:
        """A step under the locks, and what it intends: each intent is saved before the call that sends it."""
        outcome = await self.step(target.driver, run)
        for _ in range(_MOST_INTENTS):
            if not isinstance(outcome, Intent):
                return job, target, outcome
            if paused := self._paused(target):
                return job, target, paused
            job = await self._writes.bind(await self._announce(job, outcome), outcome.checkpoint, target)
            run = replace(run, checkpoint=ledger_of(job).driver, fresh=self.services.leading(), now=self.now())
            outcome = await self.step(target.driver, run)
        raise RuntimeError(f"{job.metadata.name}: the driver intends without an end")

    def _paused(self, target: Target) -> Running | None:
        application = target.application
        why = self.services.paused(application.metadata.namespace, type(application), application.metadata.name)
        return Running("Paused", why, 30.0, patience=Patience.BUSY) if why else None

    async def _settle(self, job: J, target: Target, outcome: Outcome) -> float | None:
        match outcome:
            case Succeeded():
                return await self._succeed(job, target, outcome)
            case Failed():
                return await self.end(job, outcome)
            case Running():
                return await self._stand(job, outcome, timeout=target.timeout)
        raise TypeError("an intent is carried out, not settled")

    async def _stand(self, job: J, outcome: Running, *, timeout: float) -> float:
        """Write where a job stands, or end it when it has stood there for too long."""
        now = self.now()
        ledger = _with_absence(ledger_of(job), outcome.patience, now)
        if outcome.checkpoint is not None:
            ledger = ledger.model_copy(update={"driver": dict(outcome.checkpoint)})
        if outcome.is_cache and ledger.absent_since == ledger_of(job).absent_since:
            self._remember(job, outcome.checkpoint)
        else:
            self._remember(job, None)
            job = await self._writes.save(job, ledger) if ledger != ledger_of(job) else job
        ends, limit = deadline(
            outcome.patience, ledger, created=created(job), started=job.status.started_at, timeout=timeout
        )
        if ends is not None and self._may_time_out(job, ledger, ends):
            return await self.end(job, Failed("TimedOut", f"given up after {limit}: {outcome.message}")) or 0.0
        await self._writes.tell(job, outcome)
        if outcome.message:
            standing = Standing(_phase(ledger), outcome.reason, outcome.message, outcome.patience, outcome.conditions)
            await self._writes.stand(job, standing)
        return outcome.retry_after

    def _may_time_out(self, job: J, ledger: Ledger, ends: datetime) -> bool:
        """Whether its time is up, and neither the clocks nor many jobs that are late at once speak against that."""
        if ledger.driver is None:
            return ends < self.now() and not self.services.on_hold()
        self.services.guard.running(job.metadata.uid, ends)
        return self.services.guard.may_time_out(job.metadata.uid, self.now())

    async def _succeed(self, job: J, target: Target, outcome: Succeeded) -> float | None:
        try:
            extra = await self.finish(job, target, outcome)
        except Refusal as refusal:
            return await self.end(job, Failed("Refused", str(refusal)))
        await self._writes.tell(job, outcome)
        standing = Standing("Succeeded", self.done_reason, outcome.message, None, outcome.conditions, extra)
        job = await self._writes.stand(job, standing)
        self._count_end(job, self.done_reason, outcome.artifact.size_bytes if outcome.artifact else None)
        await self._let_go(job)
        return None

    async def _announce(self, job: J, outcome: Intent) -> J:
        """What was found before an intent is written before it; a job is Running only once it has one."""
        await self._writes.tell(job, outcome)
        if not outcome.conditions:
            return job
        phase = _phase(ledger_of(job))
        standing = Standing(phase, "Submitting", outcome.message, Patience.ENGINE, outcome.conditions)
        return await self._writes.stand(job, standing)

    # What differs between the two kinds

    done_reason: str

    @abstractmethod
    async def resolve(self, job: J) -> Target:
        """What the job refers to; raises Refusal, Absence, NotOurs."""

    @abstractmethod
    async def refusal(self, job: J, target: Target) -> str:
        """Why a job must not begin, as a sentence; empty where it may."""

    @abstractmethod
    async def step(self, driver: Driver, run: Run) -> Outcome:
        """Let the driver do one step."""

    @abstractmethod
    async def finish(self, job: J, target: Target, outcome: Succeeded) -> dict[str, Any]:
        """Record what was made; returns what its status says beyond the common. Raises Refusal."""

    @abstractmethod
    async def not_begun_by_us(self, job: J) -> float | None:
        """A job that is Running without our intent is never executed."""


def _phase(ledger: Ledger) -> str:
    return "Pending" if ledger.driver is None else "Running"


def _with_absence(ledger: Ledger, patience: Patience, now: datetime) -> Ledger:
    since = ledger.absent_since or now if patience is Patience.ABSENT else None
    return ledger.model_copy(update={"absent_since": since})
