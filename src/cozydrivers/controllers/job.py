"""What BackupJob and RestoreJob share: one pass over one job, from resolving it to saying where it stands.

A pass reads the job, resolves what it refers to, takes the target's lock, lets the driver do one step, and writes what
has changed. Each write carries the resourceVersion that was read, so two passes never build on the same state.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Generic, Self

import anyio
from anyio.abc import TaskGroup

from cozydrivers.api.backups import BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.controllers.ledger import (
    CHECKPOINT,
    CLEANUP_LIMIT,
    FINALIZER,
    Ledger,
    ledger_of,
    waited_too_long,
)
from cozydrivers.controllers.lock import is_taken, lock, unlock
from cozydrivers.controllers.resolve import Absence, NotOurs, Refusal, Target
from cozydrivers.controllers.status import Standing, ended
from cozydrivers.controllers.writes import J, Writes
from cozydrivers.drivers.base import Driver, Failed, Intent, Outcome, Patience, Run, Running, Succeeded
from cozydrivers.errors import Conflict, Forbidden, Invalid, Unauthorized
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import Controller, Key, Reflector, WorkQueue
from cozydrivers.runtime.cache import Caches

_MOST_INTENTS = 5
"""Intents that one pass may carry out; more would be a driver that does not come to an end."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class JobController(ABC, Generic[J]):
    """Follows the jobs of one kind in a namespace, or in all of them.

    `async with` opens the drivers and runs the reflector; then `reconcile` does one pass, or `run` works on all jobs
    until cancelled. `now` is the wall clock.
    """

    kind: type[J]

    def __init__(
        self,
        kube: KubeClient,
        *,
        drivers: Sequence[Driver],
        namespace: str | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.kube = kube
        self.drivers = drivers
        self.now = now
        self._namespace = namespace
        self._queue = WorkQueue()
        self._jobs: Reflector[J] = Reflector(kube, self.kind, namespace, on_change=self._changed)
        self._writes: Writes[J] = Writes(kube, self.kind, self._jobs.store, now)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for driver in self.drivers:
                await stack.enter_async_context(driver)
            await stack.enter_async_context(self._reflecting())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._stack.__aexit__(*exc_info)

    @asynccontextmanager
    async def _reflecting(self) -> AsyncGenerator[None, None]:
        async with anyio.create_task_group() as tasks:
            self._reflect(tasks)
            await self._jobs.synced()
            yield
            tasks.cancel_scope.cancel()

    def _reflect(self, tasks: TaskGroup) -> None:
        tasks.start_soon(self._jobs.run)
        for driver in self.drivers:
            for watch in driver.watches:
                wake = self._waker(watch.application)
                reflector = Reflector(
                    self.kube, watch.kind, self._namespace, label_selector=watch.label, on_change=wake
                )
                tasks.start_soon(reflector.run)

    def _changed(self, old: J | None, new: J | None) -> None:
        if new is not None and (old is None or others_changed(old, new)):
            self._queue.add(Key.of(new))

    def _waker(self, application: Callable[[KubeObject], str | None]) -> Callable[[Any, Any], None]:
        def wake(old: KubeObject | None, new: KubeObject | None) -> None:
            touched = new or old
            if touched is None:
                return
            for job in self._jobs.store.list(touched.metadata.namespace):
                if not ended(job.status) and application_of(job) == application(touched):
                    self._queue.add(Key.of(job))

        return wake

    async def run(self) -> None:
        """Work on all jobs until cancelled."""
        await Controller(self.kind.resource.kind, lambda key: self.reconcile(*key), self._queue).run()

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """One pass over one job: seconds until the next look, None when only a change of it matters."""
        job = self._jobs.store.get(Key(namespace, name))
        if job is None:
            return None
        try:
            return await self._pass(job)
        except NotOurs:
            return None
        except Conflict:
            return 0.2
        except (Forbidden, Invalid, Unauthorized) as error:
            waiting = Running("NotAllowed", str(error), 30.0, patience=Patience.ABSENT)
            return await self._stand(job, waiting, timeout=0.0)

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
        if run.checkpoint is None:
            if await is_taken(self.kube, job, target.application):
                return await self._wait_for_lock(job, target)
            outcome = await self.step(target.driver, run)
            if not isinstance(outcome, Intent):
                return await self._settle(job, target, outcome)
        if not await lock(self.kube, job, target.application, self.now()):
            return await self._wait_for_lock(job, target)
        job, outcome = await self._carry_out(job, target, run)
        if ledger_of(job).driver is None:
            await unlock(self.kube, job, target.application)
        return await self._settle(job, target, outcome)

    async def _wait_for_lock(self, job: J, target: Target) -> float:
        message = f"another job works on {target.application.resource.kind} {target.application.metadata.name}"
        return await self._stand(job, Running("TargetLocked", message, 5.0, patience=Patience.BUSY), timeout=0.0)

    async def _carry_out(self, job: J, target: Target, run: Run) -> tuple[J, Outcome]:
        """A step under the lock, and what it intends: each intent is saved before the call that sends it."""
        outcome = await self.step(target.driver, run)
        for _ in range(_MOST_INTENTS):
            if not isinstance(outcome, Intent):
                return job, outcome
            job = await self._writes.bind(await self._announce(job, outcome), outcome.checkpoint, target)
            run = replace(run, checkpoint=ledger_of(job).driver, fresh=True, now=self.now())
            outcome = await self.step(target.driver, run)
        raise RuntimeError(f"{job.metadata.name}: the driver intends without an end")

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
        if ledger != ledger_of(job):
            job = await self._writes.save(job, ledger)
        limit = waited_too_long(
            outcome.patience,
            ledger,
            created=_created(job),
            started=job.status.started_at,
            now=now,
            timeout=timeout,
        )
        if limit:
            return await self.end(job, Failed("TimedOut", f"given up {limit}: {outcome.message}")) or 0.0
        await self._writes.tell(job, outcome)
        if outcome.message:
            standing = Standing(_phase(ledger), outcome.reason, outcome.message, outcome.patience, outcome.conditions)
            await self._writes.stand(job, standing)
        return outcome.retry_after

    async def _succeed(self, job: J, target: Target, outcome: Succeeded) -> float | None:
        try:
            extra = await self.finish(job, target, outcome)
        except Refusal as refusal:
            return await self.end(job, Failed("Refused", str(refusal)))
        await self._writes.tell(job, outcome)
        await self._writes.event(job, self.done_reason, outcome.message)
        standing = Standing("Succeeded", self.done_reason, outcome.message, None, outcome.conditions, extra)
        await self._let_go(await self._writes.stand(job, standing))
        return None

    async def end(self, job: J, outcome: Failed) -> float | None:
        """Write that a job has failed, and begin to clean up."""
        await self._writes.tell(job, outcome)
        await self._writes.event(job, outcome.reason, outcome.message, warning=True)
        job = await self._writes.stand(
            job, Standing("Failed", outcome.reason, outcome.message, None, outcome.conditions)
        )
        return await self._wind_up(job)

    async def _wind_up(self, job: J) -> float | None:
        """After its end, or on its deletion: remove what is the run's own, then let go of the job."""
        if FINALIZER not in job.metadata.finalizers:
            return None
        if job.status.phase == "Succeeded" or await self.has_result(job):
            await self._let_go(job)
            return None
        since = job.metadata.deletion_timestamp or job.status.completed_at or self.now()
        outcome = await self._abort(job)
        if isinstance(outcome, Running) and self.now() - since < CLEANUP_LIMIT:
            await self._cleaning_up(job, outcome)
            return max(outcome.retry_after, 0.25)
        if not isinstance(outcome, Succeeded):
            message = f"given up after {CLEANUP_LIMIT}: {outcome.message}"
            await self._writes.event(job, "CleanupAbandoned", message, warning=True)
        await self._let_go(await self._cleaned_up(job))
        return None

    async def _cleaning_up(self, job: J, outcome: Running) -> None:
        """Keep how far it is, and say what it waits for."""
        if outcome.checkpoint is not None and outcome.checkpoint != ledger_of(job).driver:
            update = {"driver": dict(outcome.checkpoint)}
            job = await self._writes.save(job, ledger_of(job).model_copy(update=update))
        await self._writes.progress(job, "True", outcome.reason, outcome.message)

    async def _cleaned_up(self, job: J) -> J:
        ready = next((condition for condition in job.status.conditions if condition.type == "Ready"), None)
        if ready is None or not ended(job.status):
            return job
        return await self._writes.progress(job, "False", ready.reason, ready.message)

    async def _abort(self, job: J) -> Outcome:
        try:
            target = await self.resolve_for_cleanup(job)
        except NotOurs:
            return Succeeded("no driver knows it")
        return await target.driver.abort(await self.run_of(job, target))

    async def _let_go(self, job: J) -> None:
        if FINALIZER in job.metadata.finalizers:
            await self._writes.release(job)
            target = await self.resolve_for_cleanup(job)
            await unlock(self.kube, job, target.application)

    async def _announce(self, job: J, outcome: Intent) -> J:
        """What was found before an intent is written before it; a job is Running only once it has one."""
        await self._writes.tell(job, outcome)
        phase = _phase(ledger_of(job))
        standing = Standing(phase, "Submitting", outcome.message, Patience.ENGINE, outcome.conditions)
        return await self._writes.stand(job, standing)

    # What differs between the two kinds

    done_reason: str

    @abstractmethod
    async def resolve(self, job: J) -> Target:
        """What the job refers to; raises Refusal, Absence, NotOurs."""

    @abstractmethod
    async def resolve_for_cleanup(self, job: J) -> Target:
        """The same, for cleaning up after things that may be gone."""

    def situation(self, job: J, target: Target) -> dict[str, Any]:
        """What every run holds."""
        return {
            "kube": self.kube,
            "reader": Caches(self.kube),
            "namespace": job.metadata.namespace,
            "namespace_uid": target.namespace_uid,
            "cluster_uid": target.cluster_uid,
            "application": target.application,
            "strategy": target.strategy,
            "name": job.metadata.name,
            "uid": job.metadata.uid,
            "created": _created(job),
            "now": self.now(),
            "checkpoint": ledger_of(job).driver,
            "execution": target.execution,
            "render": target.render,
        }

    @abstractmethod
    async def run_of(self, job: J, target: Target) -> Run:
        """The run that the driver is given."""

    @abstractmethod
    async def step(self, driver: Driver, run: Run) -> Outcome:
        """Let the driver do one step."""

    @abstractmethod
    async def finish(self, job: J, target: Target, outcome: Succeeded) -> dict[str, Any]:
        """Record what was made; returns what its status says beyond the common. Raises Refusal."""

    @abstractmethod
    async def has_result(self, job: J) -> bool:
        """Whether the run's result is recorded, read uncached: then nothing of it may be removed."""

    @abstractmethod
    async def not_begun_by_us(self, job: J) -> float | None:
        """A job that is Running without our intent is never executed."""


def application_of(job: BackupJob | RestoreJob) -> str:
    """The application that a job works on, as far as the job itself tells."""
    reference = job.spec.application_ref if isinstance(job, BackupJob) else job.spec.target_application_ref
    return ledger_of(job).application.name or (reference.name if reference else "")


def others_changed(old: KubeObject, new: KubeObject) -> bool:
    """Whether a change is anything but our own writes, which must not wake the job that made them."""
    before, after = old.metadata, new.metadata
    same = (before.uid, before.generation, before.deletion_timestamp) == (
        after.uid,
        after.generation,
        after.deletion_timestamp,
    )
    return not same or _annotations(old) != _annotations(new)


def _annotations(job: KubeObject) -> dict[str, str]:
    return {key: value for key, value in job.metadata.annotations.items() if key != CHECKPOINT}


def _created(job: KubeObject) -> datetime:
    return job.metadata.creation_timestamp or datetime.min.replace(tzinfo=UTC)


def _phase(ledger: Ledger) -> str:
    return "Pending" if ledger.driver is None else "Running"


def _with_absence(ledger: Ledger, patience: Patience, now: datetime) -> Ledger:
    since = ledger.absent_since or now if patience is Patience.ABSENT else None
    return ledger.model_copy(update={"absent_since": since})
