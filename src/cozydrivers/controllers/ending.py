"""How a job ends: what it says of it, and the removal of what is the run's own after a failure or a deletion."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Generic

from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.ledger import CLEANUP_LIMIT, FINALIZER, LEAVING_LIMIT, ledger_of
from cozydrivers.controllers.resolve import NotOurs, Target, situation
from cozydrivers.controllers.status import Standing, created, ended
from cozydrivers.controllers.wiring import JobWiring
from cozydrivers.controllers.writes import J
from cozydrivers.drivers.base import AuditOutcome, Failed, Outcome, Run, Running, Succeeded
from cozydrivers.runtime import Key
from cozydrivers.runtime.audit import AuditRecord, audit


class JobEnding(JobWiring[J], ABC, Generic[J]):
    """The end of a job; see `JobController`."""

    async def end(self, job: J, outcome: Failed) -> float | None:
        """Write that a job has failed, and begin to clean up."""
        await self._writes.tell(job, outcome)
        await self._writes.event(job, outcome.reason, outcome.message, warning=True)
        job = await self._writes.stand(
            job, Standing("Failed", outcome.reason, outcome.message, None, outcome.conditions)
        )
        self._count_end(job, outcome.reason)
        return await self._wind_up(job)

    def _count_end(self, job: J, reason: str, size: int | None = None) -> None:
        took = self.now() - (job.status.started_at or created(job))
        kind = ledger_of(job).application.kind or "unknown"
        self.services.metrics.job_ended(job.resource.kind, kind, job.status.phase, reason, took.total_seconds(), size)

    async def _wind_up(self, job: J) -> float | None:
        """After its end, or on its deletion: remove what is the run's own, then let go of the job."""
        if FINALIZER not in job.metadata.finalizers:
            return None
        if job.status.phase == "Succeeded" or await self.has_result(job):
            await self._let_go(job)
            return None
        since = job.metadata.deletion_timestamp or job.status.completed_at or self.now()
        limit = LEAVING_LIMIT if self._namespace_goes(job) else CLEANUP_LIMIT
        outcome = await self._abort(job)
        if isinstance(outcome, Running) and self.now() - since < limit:
            await self._cleaning_up(job, outcome)
            return max(outcome.retry_after, 0.25)
        if not isinstance(outcome, Succeeded):
            message = f"given up after {limit}: {outcome.message}"
            await self._writes.event(job, "CleanupAbandoned", message, warning=True)
        await self._writes.tell(job, outcome)
        await self._let_go(await self._cleaned_up(job))
        return None

    def _namespace_goes(self, job: J) -> bool:
        namespace = self.caches.of(Namespace).get(Key("", job.metadata.namespace))
        return namespace is not None and namespace.metadata.deletion_timestamp is not None

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
        """Take the finalizer off: with that its locks are free (see `lock`)."""
        if FINALIZER in job.metadata.finalizers:
            await self._writes.release(job)

    @abstractmethod
    async def resolve_for_cleanup(self, job: J) -> Target:
        """What the job refers to, for cleaning up after things that may be gone."""

    @abstractmethod
    async def run_of(self, job: J, target: Target) -> Run:
        """The run that the driver is given."""

    @abstractmethod
    async def has_result(self, job: J) -> bool:
        """Whether the run's result is recorded, read uncached: then nothing of it may be removed."""

    def situation(self, job: J, target: Target) -> dict[str, Any]:
        """What every run of a job holds."""
        return {
            **situation(target, job, self.kube, self.caches, self.now()),
            "checkpoint": self.checkpoint_of(job),
            "audit": partial(_audit, job, self.now),
        }


_REMOVED = "an archive of a run that came to no Backup is removed"
_OF_THIS_RUN = "its name is of this run, and no Backup of this run exists"


def _audit(
    job: KubeObject, now: Callable[[], datetime], outcome: AuditOutcome, archive: str, size: int, /, *, rule: str = ""
) -> None:
    """A line of the audit log: a restore replaces data; a backup deletes only what came to no Backup.

    What either deletes by another `rule` has that one.
    """
    metadata, kind = job.metadata, job.resource.kind
    restores = kind == "RestoreJob" and not rule
    evidence = "condition TargetChecked names them" if restores else _OF_THIS_RUN
    audit(
        AuditRecord(
            time=now(),
            actor=f"{kind} {metadata.namespace}/{metadata.name}",
            action="overwrite" if restores else "delete",
            outcome=outcome,
            kind=kind,
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid,
            archive=archive,
            bytes=size,
            rule=rule or ("tables are replaced from the Backup that was named" if restores else _REMOVED),
            evidence="listed in the store, and no Backup names it" if rule else evidence,
        )
    )
