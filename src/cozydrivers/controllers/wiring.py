"""How the controller of one kind of job is fed: its caches, its queue, and what wakes its jobs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Generic, Self
from weakref import WeakValueDictionary

import anyio

from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.ledger import CHECKPOINT, FINALIZER, NewerLedger, ledger_of
from cozydrivers.controllers.services import Services, open_all, utc_now
from cozydrivers.controllers.status import ended
from cozydrivers.controllers.writes import J, Writes
from cozydrivers.drivers.base import Checkpoint, Driver
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import Key, WorkQueue
from cozydrivers.runtime.cache import Cache, Caches

APPLICATION = "application"
"""Index of the jobs that are not at their end, or hold the lock of an application: by `<namespace>/<name>` of it.

That of Backups is by `<namespace>/<kind>/<name>`.
"""

PHASE = "phase"


class JobWiring(Generic[J]):
    """What feeds a controller of jobs; see `JobController`."""

    kind: type[J]

    def __init__(
        self,
        kube: KubeClient,
        *,
        drivers: Sequence[Driver],
        namespace: str | None = None,
        now: Callable[[], datetime] = utc_now,
        services: Services | None = None,
    ) -> None:
        self.kube = kube
        self.drivers = drivers
        self._is_alone = services is None
        self.services: Services = services or Services(kube, Caches(kube, [namespace] if namespace else []), now)
        self.caches: Caches = self.services.caches
        self.now: Callable[[], datetime] = self.services.now
        self._queue = WorkQueue(name=self.kind.resource.kind, metrics=self.services.metrics)
        self._turns: WeakValueDictionary[Key, anyio.Lock] = WeakValueDictionary()
        self._known: dict[str, tuple[str, Checkpoint]] = {}
        self._held: dict[str, Backup] = {}
        caches = declare(self.caches, drivers)
        self.job_caches: Sequence[Cache[Any]] = tuple(caches.values())
        self._jobs: Cache[J] = caches[self.kind]
        self._jobs.subscribe(self._changed)
        self._wake_by_engines()
        self._writes: Writes[J] = Writes(kube, self.kind, self._jobs, self.now)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Where nobody shares its services, open the drivers and fill the caches."""
        async with AsyncExitStack() as stack:
            if self._is_alone:
                await open_all(stack, self.drivers, self.caches)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._stack.__aexit__(*exc_info)

    def in_phase(self, phase: str) -> Sequence[J]:
        """The jobs that are in a phase, as far as the cache knows."""
        return self._jobs.by(PHASE, phase)

    def _changed(self, old: J | None, new: J | None) -> None:
        if new is None or ended(new.status):
            gone = new or old
            if gone is not None:
                self._forget(gone.metadata.uid)
        if new is not None and (old is None or others_changed(old, new)):
            self._queue.add(Key.of(new))

    def _forget(self, uid: str) -> None:
        self._known.pop(uid, None)
        self._held.pop(uid, None)
        self.services.guard.ended(uid)
        if self.services.admission is not None:
            self.services.admission.leave(uid)

    def _remember(self, job: J, checkpoint: Checkpoint | None) -> None:
        """Keep in memory what only spares look-ups, for as long as the job's annotation stays what it is."""
        if checkpoint is None:
            self._known.pop(job.metadata.uid, None)
        else:
            self._known[job.metadata.uid] = job.metadata.annotations.get(CHECKPOINT, ""), checkpoint

    def checkpoint_of(self, job: J) -> Checkpoint | None:
        """How far a job's run is: as saved, or as remembered since."""
        saved = job.metadata.annotations.get(CHECKPOINT, "")
        text, checkpoint = self._known.get(job.metadata.uid, ("", None))
        return checkpoint if checkpoint is not None and text == saved else ledger_of(job).driver

    def _wake_by_engines(self) -> None:
        for driver in self.drivers:
            self.caches.of(driver.application).subscribe(self._waker(lambda found: found.metadata.name))
            for watch in driver.watches:
                self.caches.of(watch.kind, label=watch.label).subscribe(self._waker(watch.application))

    def _waker(self, application: Callable[[KubeObject], str | None]) -> Callable[[Any, Any], None]:
        def wake(old: KubeObject | None, new: KubeObject | None) -> None:
            touched = new or old
            if touched is not None:
                self.wake(touched.metadata.namespace, application(touched) or "")

        return wake

    def wake(self, namespace: str, application: str) -> None:
        """Have the jobs of an application looked at."""
        for job in self._jobs.by(APPLICATION, f"{namespace}/{application}"):
            self._queue.add(Key.of(job))


def declare(caches: Caches, drivers: Sequence[Driver]) -> Mapping[type[KubeObject], Cache[Any]]:
    """Declare what the controllers of jobs read; returns the caches of the two kinds of job."""
    caches.of(Namespace)
    caches.of(BackupClass)
    caches.of(Backup, selected=True).add_index(APPLICATION, _backed_up)
    for driver in drivers:
        caches.of(driver.application)
        caches.of(driver.strategy)
        for watch in driver.watches:
            caches.of(watch.kind, label=watch.label)
    jobs: dict[type[KubeObject], Cache[Any]] = {}
    for kind in (BackupJob, RestoreJob):
        jobs[kind] = caches.of(kind, selected=True)
        jobs[kind].add_index(APPLICATION, _applications)
        jobs[kind].add_index(PHASE, lambda job: (job.status.phase,))
    return jobs


def _backed_up(backup: Backup) -> Iterable[str]:
    reference = backup.spec.application_ref
    return (f"{backup.metadata.namespace}/{reference.kind}/{reference.name}",)


def backups_of(caches: Caches, application: KubeObject) -> Sequence[Backup]:
    """The Backups of an application, as far as the cache knows."""
    metadata = application.metadata
    name = f"{metadata.namespace}/{application.resource.kind}/{metadata.name}"
    return caches.of(Backup, selected=True).by(APPLICATION, name)


def _applications(job: BackupJob | RestoreJob) -> Iterable[str]:
    at_its_end = ended(job.status) and FINALIZER not in job.metadata.finalizers
    return () if at_its_end else (f"{job.metadata.namespace}/{application_of(job)}",)


def application_of(job: BackupJob | RestoreJob) -> str:
    """The application that a job works on, as far as the job itself tells."""
    reference = job.spec.application_ref if isinstance(job, BackupJob) else job.spec.target_application_ref
    try:
        locked = ledger_of(job).application.name
    except NewerLedger:
        locked = ""
    return locked or (reference.name if reference else "")


def works_on(job: BackupJob | RestoreJob, application: KubeObject) -> bool:
    """Whether a job of an application's name has begun something there; what a newer version has begun may be there."""
    if FINALIZER not in job.metadata.finalizers:
        return False
    try:
        return ledger_of(job).application.kind == application.resource.kind
    except NewerLedger:
        return True


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
