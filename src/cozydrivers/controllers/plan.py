"""Plans: each starts BackupJobs on a schedule, and keeps the finished ones within limits."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Self

from cozydrivers.api.backups import Backup, BackupJob, Plan
from cozydrivers.api.base import Condition, TypedReference
from cozydrivers.controllers.ledger import JOB_UID
from cozydrivers.controllers.planning import (
    LAST_SLOT,
    Sight,
    Verdict,
    decide,
    is_past,
    job_name,
    made,
    noted_slot,
    text_of,
)
from cozydrivers.controllers.status import ended, with_conditions
from cozydrivers.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.metrics import Metrics
from cozydrivers.runtime import Controller, EventRecorder, Key, WorkQueue
from cozydrivers.runtime.cache import Caches
from cozydrivers.runtime.conditions import as_written

_AGAIN = timedelta(seconds=30)
"""Until a job that the API server refused is tried again."""

_MAKER = "maker"
"""Index of Backups by the UID of the job that made them."""


class _NotStarted(Exception):
    """The slot's job could not be created."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PlanController:
    """Follows the Plans that `caches` hold; those must run meanwhile, and whoever runs them opens and closes them.

    `reconcile` does one pass over one Plan, `run` works on all of them until cancelled. `now` is the wall clock.
    `paused(namespace, application)` says why nothing new may begin, empty where it may.
    """

    def __init__(
        self,
        kube: KubeClient,
        *,
        caches: Caches,
        now: Callable[[], datetime],
        paused: Callable[[str, TypedReference], str] = lambda namespace, application: "",
        metrics: Metrics | None = None,
    ) -> None:
        self.kube = kube
        self.now = now
        self.paused = paused
        self._metrics = metrics or Metrics()
        self._queue = WorkQueue(name=Plan.resource.kind, metrics=self._metrics)
        self._events = EventRecorder(kube, "cozydrivers")
        self._plans = caches.of(Plan, selected=True)
        self._jobs = caches.of(BackupJob, selected=True)
        self._backups = caches.of(Backup, selected=True)
        self._backups.add_index(_MAKER, lambda backup: (backup.metadata.annotations.get(JOB_UID, ""),))
        self._plans.subscribe(self._plan_changed)
        self._jobs.subscribe(self._job_changed)
        self._backups.subscribe(self._backup_changed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        return None

    def _plan_changed(self, old: Plan | None, new: Plan | None) -> None:
        if new is not None and (old is None or _as_written(old) != _as_written(new)):
            self._queue.add(Key.of(new))

    def _job_changed(self, old: BackupJob | None, new: BackupJob | None) -> None:
        if old is not None and (new is None or _settled(old) != _settled(new)):
            for owner in old.metadata.owner_references:
                if owner.kind == Plan.resource.kind:
                    self._queue.add(Key(old.metadata.namespace, owner.name))

    def _backup_changed(self, old: Backup | None, new: Backup | None) -> None:
        if old is not None and new is None and old.spec.plan_ref is not None:
            self._queue.add(Key(old.metadata.namespace, old.spec.plan_ref.name))

    async def run(self) -> None:
        """Work on all Plans until cancelled."""
        name = Plan.resource.kind
        await Controller(name, lambda key: self.reconcile(*key), self._queue, metrics=self._metrics).run()

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """One pass over one Plan: seconds until the next look, at most a day; None when there is no such Plan."""
        plan = self._plans.get(Key(namespace, name))
        if plan is None or plan.metadata.deletion_timestamp is not None:
            return None
        try:
            return (await self._pass(plan)).total_seconds()
        except Conflict:
            return 0.2
        except NotFound:
            return _AGAIN.total_seconds()

    async def _pass(self, plan: Plan) -> timedelta:
        namespace = plan.metadata.namespace
        jobs = [job for job in self._jobs.owned_by(plan.metadata.uid) if job.metadata.namespace == namespace]
        paused = self.paused(namespace, plan.spec.application_ref)
        kept = frozenset(job.metadata.uid for job in jobs if self._has_backup(job))
        verdict = decide(Sight(plan, jobs, kept, paused), self.now())
        if verdict.start is not None:
            verdict = await self._start(plan, verdict, verdict.start)
        plan = await self._note(plan, verdict.last)
        await self._say(plan, verdict)
        await self._tidy(verdict.delete, namespace)
        return verdict.wait

    def _has_backup(self, job: BackupJob) -> bool:
        reference = job.status.backup_ref
        named = self._backups.get(Key(job.metadata.namespace, reference.name)) if reference else None
        return any(made(job, backup) for backup in (named, *self._backups.by(_MAKER, job.metadata.uid)) if backup)

    async def _start(self, plan: Plan, verdict: Verdict, slot: datetime) -> Verdict:
        """Have the slot's job, or say why there is none."""
        try:
            await self._create(plan, slot)
        except _NotStarted as problem:
            ready = Condition(type="Ready", status="False", reason=problem.reason, message=str(problem))
            return replace(verdict, ready=ready, last=None, wait=min(verdict.wait, _AGAIN))
        return verdict

    async def _create(self, plan: Plan, slot: datetime) -> None:
        """Create the slot's job. Its name is that of the slot, so another controller can't have made a second one."""
        try:
            created = await self.kube.create(BackupJob, _job(plan, slot), plan.metadata.namespace)
        except AlreadyExists:
            await self._adopt(plan, job_name(plan.metadata.name, slot))
        except (Forbidden, Invalid) as error:
            raise _NotStarted("NotAllowed", f"the slot {text_of(slot)}: {error}") from None
        else:
            self._jobs.put(created)

    async def _adopt(self, plan: Plan, name: str) -> None:
        """Take a job that exists for the slot's own, if it is this very Plan's (I11)."""
        found = await self.kube.get(BackupJob, name, plan.metadata.namespace)
        if all(owner.uid != plan.metadata.uid for owner in found.metadata.owner_references):
            raise _NotStarted("NameTaken", f"BackupJob {name} exists, and is not this Plan's")
        self._jobs.put(found)

    async def _note(self, plan: Plan, last: datetime | None) -> Plan:
        """Keep the last slot on the Plan: its job may be deleted at any time, and must not be made again."""
        if last is None or last == noted_slot(plan):
            return plan
        metadata = {"resourceVersion": plan.metadata.resource_version, "annotations": {LAST_SLOT: text_of(last)}}
        noted = await self.kube.merge_patch(Plan, plan.metadata.name, {"metadata": metadata}, plan.metadata.namespace)
        self._plans.put(noted)
        return noted

    async def _say(self, plan: Plan, verdict: Verdict) -> None:
        """Write the conditions, and an event on what is new and not as it should be; nothing where nothing changed."""
        now = self.now()
        told = (verdict.error, verdict.ready)
        conditions = with_conditions(plan.status.conditions, told, now, plan.metadata.generation)
        if conditions == as_written(plan.status.conditions):
            return
        body = {"metadata": {"resourceVersion": plan.metadata.resource_version}, "status": {"conditions": conditions}}
        name, namespace = plan.metadata.name, plan.metadata.namespace
        self._plans.put(await self.kube.merge_patch(Plan, name, body, namespace, status=True))
        ready = verdict.ready
        if ready.reason not in ("Scheduled", "Suspended", "Paused"):
            await self._events.record(plan, ready.reason, ready.message, warning=True, now=now)

    async def _tidy(self, jobs: Sequence[BackupJob], namespace: str) -> None:
        """Delete finished jobs, after an uncached look that they have no Backup."""
        backups = (await self.kube.list(Backup, namespace)).items if jobs else []
        for job in jobs:
            if not any(made(job, backup) for backup in backups):
                await self._delete(job)

    async def _delete(self, job: BackupJob) -> None:
        metadata = job.metadata
        with suppress(NotFound, Conflict):
            await self.kube.delete(
                BackupJob,
                metadata.name,
                metadata.namespace,
                uid=metadata.uid,
                resource_version=metadata.resource_version,
            )


def _as_written(plan: Plan) -> tuple[Any, ...]:
    """A Plan without what we write ourselves."""
    metadata = plan.metadata
    annotations = {name: value for name, value in metadata.annotations.items() if name != LAST_SLOT}
    return metadata.uid, metadata.generation, metadata.deletion_timestamp, annotations


def _settled(job: BackupJob) -> tuple[bool, bool]:
    """What matters of a job to its Plan."""
    return ended(job.status), is_past(job)


def _job(plan: Plan, slot: datetime) -> dict[str, Any]:
    """The slot's BackupJob: it goes with the Plan, the Backup that it makes does not."""
    owner = {
        "apiVersion": Plan.resource.api_version,
        "kind": Plan.resource.kind,
        "name": plan.metadata.name,
        "uid": plan.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "metadata": {
            "name": job_name(plan.metadata.name, slot),
            "labels": dict(plan.metadata.labels),
            "ownerReferences": [owner],
        },
        "spec": {
            "planRef": {"name": plan.metadata.name},
            "applicationRef": plan.spec.application_ref.written(),
            "backupClassName": plan.spec.backup_class_name,
        },
    }
