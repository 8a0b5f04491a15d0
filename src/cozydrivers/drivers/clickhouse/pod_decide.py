"""What is done next with the Jobs of a run, by what is seen of them. Pure, and total."""

from collections.abc import Sequence
from dataclasses import dataclass

from cozydrivers.api.batch import Job
from cozydrivers.api.core import Pod
from cozydrivers.drivers.base import EndReason
from cozydrivers.drivers.clickhouse.pod_state import STARTED, PodState
from cozydrivers.drivers.owned import is_own
from cozydrivers.drivers.pod_log import pod_trouble


@dataclass(frozen=True)
class Sight:
    """One shard's Job, None where there is none, and its Pods as far as they tell more."""

    shard: int
    name: str
    job: Job | None = None
    pods: Sequence[Pod] = ()


@dataclass(frozen=True)
class Create:
    """Create the Jobs of these shards, suspended."""

    shards: tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """Save the UIDs of all Jobs, by shard."""

    uids: tuple[str, ...]


@dataclass(frozen=True)
class Start:
    """Start these Jobs."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Wait:
    """The Jobs are at work."""

    message: str


@dataclass(frozen=True)
class Finish:
    """Every Job has succeeded."""


@dataclass(frozen=True)
class End:
    """The run can't succeed any more; `failed` is what the engine tells more about."""

    reason: EndReason
    message: str
    failed: Sight | None = None


Decision = Create | Record | Start | Wait | Finish | End


def decide(state: PodState, sights: Sequence[Sight], run_uid: str) -> Decision:
    """All Jobs are created before one is recorded, and all are recorded before one is started (I7, I3)."""
    known = [part.job_uid for part in state.parts]
    for sight, uid in zip(sights, known, strict=True):
        end = _end(sight, uid, run_uid)
        if end is not None:
            return end
    jobs = [sight.job for sight in sights if sight.job is not None]
    if len(jobs) < len(sights):
        return Create(tuple(sight.shard for sight in sights if sight.job is None))
    if [job.metadata.uid for job in jobs] != known:
        return Record(tuple(job.metadata.uid for job in jobs))
    idle = tuple(job for job in jobs if _never_started(job))
    if idle:
        return Start(idle)
    if not all(succeeded(job) for job in jobs):
        return Wait(_progress(sights))
    return Finish()


def _end(sight: Sight, known: str, run_uid: str) -> End | None:
    """What ends the run, of one shard."""
    job, label = sight.job, f"shard {sight.shard}: Job {sight.name}"
    if job is None:
        return End("Lost", f"{label} was deleted before its end was seen; it is not run again") if known else None
    if not is_own(job, run_uid):
        return End("Refused", f"{label} exists, and was not created for this job")
    if known not in ("", job.metadata.uid):
        return End("Lost", f"{label} was deleted, and another one has its name")
    failed = job.condition("Failed")
    if failed is not None:
        reason: EndReason = "TimedOut" if failed.reason == "DeadlineExceeded" else "EngineFailed"
        return End(reason, f"{label} failed: {failed.reason}", sight)
    if job.finished and not succeeded(job):
        return End("EngineFailed", f"{label} is Complete, and none of its Pods has succeeded")
    if job.metadata.deletion_timestamp is not None and not job.finished:
        return End("Lost", f"{label} is being deleted by somebody else")
    return None


def succeeded(job: Job) -> bool:
    """The evidence that there is: a Pod of the Job has ended with exit code 0."""
    return job.condition("Complete") is not None and job.status.succeeded > 0


def _never_started(job: Job) -> bool:
    """Suspended, and not by somebody who stopped what ran: that could do its work twice."""
    return job.spec.suspend and STARTED not in job.metadata.annotations and job.status.start_time is None


def looks_stuck(job: Job | None) -> bool:
    """Whether its Pods tell more than the Job: it failed, or was started and no Pod of it is ready."""
    if job is None or job.spec.suspend:
        return False
    return job.condition("Failed") is not None or (not job.finished and job.status.ready == 0)


def _progress(sights: Sequence[Sight]) -> str:
    done = sum(1 for sight in sights if sight.job is not None and succeeded(sight.job))
    said = [f"shard {sight.shard}: {trouble}" for sight in sights if (trouble := _trouble(sight))]
    return "; ".join([f"{done} of {len(sights)} Jobs have succeeded", *said])


def _trouble(sight: Sight) -> str:
    if sight.job is not None and sight.job.spec.suspend:
        return f"Job {sight.name} was suspended by somebody else"
    return next((trouble for pod in sight.pods if (trouble := pod_trouble(pod))), "")
