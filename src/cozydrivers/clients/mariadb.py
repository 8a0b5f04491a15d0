"""How mariadb-operator's objects stand: one pure decision for Backup, Restore and PhysicalBackup, 25.10 and 26.x.

The operator says `Complete=True` of a failed Job too, takes any Job of the object's name for its own, and runs again
whatever somebody deletes the Job of. So it is decided by the condition's reason, and the Job is asked as the second
witness: the Job whose controller is the very object, by its UID. Where the two do not agree nothing is decided yet.
"""

from dataclasses import dataclass
from typing import Literal

from cozydrivers.api.base import Condition
from cozydrivers.api.batch import Job
from cozydrivers.api.mariadb import (
    COMPLETE,
    Backup,
    MariaDB,
    PhysicalBackup,
    PointInTimeRecovery,
    Restore,
)

__all__ = [
    "Backup",
    "MariaDB",
    "PhysicalBackup",
    "PointInTimeRecovery",
    "Restore",
    "State",
    "has_run",
    "is_at_work",
    "is_waiting",
    "state_of",
]

Thing = Backup | Restore | PhysicalBackup

Phase = Literal["Waiting", "Running", "Succeeded", "Failed", "Unknown"]


@dataclass(frozen=True)
class State:
    """How an object stands. Only Succeeded and Failed are ends; Waiting is for something that it needs.

    `reason` and `message` are the operator's or the Job's; `message` is a sentence's end.
    """

    phase: Phase
    reason: str = ""
    message: str = ""


_SUCCESS = ("JobComplete", "CronJobSuccess", "CronJobSucess", "SnapshotComplete")
"""CronJobSucess is the operator's own spelling in old releases."""
_FAILURE = ("JobFailed", "CronJobFailed", "SnapshotFailed")
_AT_WORK = ("JobRunning", "CronJobRunning", "JobNotComplete", "SnapshotInProgress", "SnapshotNotComplete")
_HELD = ("JobSuspended", "SnapshotSuspended")


def state_of(thing: Thing, job: Job | None) -> State:
    """How a one-shot object stands, by its condition and by its Job, None where there is none."""
    condition = thing.status.condition(COMPLETE) or Condition(type=COMPLETE)
    if job is not None and not job.is_controlled_by(thing.metadata.uid):
        return State("Unknown", "ForeignJob", f"Job {job.metadata.name} belongs to another object of its name")
    told = _by_condition(condition)
    if job is None:
        return _without_job(told)
    witnessed = _by_job(job)
    if witnessed.phase == "Failed" or told.phase == "Failed":
        return witnessed if witnessed.phase == "Failed" else told
    if told.phase == "Succeeded" and witnessed.phase == "Succeeded":
        return told
    if "Succeeded" in (told.phase, witnessed.phase):
        return State("Running", told.reason, "its Job and its condition do not both say that it is complete yet")
    if told.phase == "Waiting":  # the operator says so of a server that is not Ready, whatever the Job does
        return State("Running", told.reason, told.message)
    return told if told.phase != "Unknown" or told.reason else witnessed


def by_condition(thing: Thing) -> State:
    """How an object stands by its condition alone, also one with a schedule; good enough to show it."""
    return _by_condition(thing.status.condition(COMPLETE) or Condition(type=COMPLETE))


def is_at_work(thing: Thing) -> bool:
    """Whether something that is not at its end works on its MariaDB, or will as soon as it can."""
    return by_condition(thing).phase in ("Waiting", "Running", "Unknown") and not _is_scheduled(thing)


def has_run(thing: Thing) -> bool:
    """Whether it is at its end, and so would run once more if somebody deleted its Job."""
    return by_condition(thing).phase in ("Succeeded", "Failed") and not _is_scheduled(thing)


def is_waiting(thing: Thing) -> bool:
    """Whether it waits for what it needs; the operator says so of what has ended too, while the server is not Ready."""
    return by_condition(thing).phase == "Waiting" and not _is_scheduled(thing)


def _is_scheduled(thing: Thing) -> bool:
    """Whether a schedule makes its Jobs; while one of these runs, the reason says so."""
    if isinstance(thing, Restore) or thing.spec.schedule is None:
        return False
    condition = thing.status.condition(COMPLETE)
    return condition is None or condition.reason not in ("CronJobRunning", "JobRunning", "SnapshotInProgress")


def _by_condition(condition: Condition) -> State:
    reason, message = condition.reason, condition.message
    if reason in _SUCCESS and condition.status == "True":
        return State("Succeeded", reason, message)
    if reason in _FAILURE or (reason == "CronJobScheduled" and message == "Failed"):
        return State("Failed", reason, message)
    if reason in _AT_WORK:
        return State("Running", reason, message)
    if reason in _HELD:
        return State("Running", reason, "its Job is suspended")
    if reason in ("Failed", "CronJobScheduled"):
        return State("Waiting", reason, message)
    return State("Unknown", reason, message)


def _without_job(told: State) -> State:
    """Success needs a second witness; a Job that is gone after it has failed still has failed."""
    if told.phase == "Succeeded":
        return State("Unknown", "NoJob", "its Job is gone, so nothing shows that the dump is complete")
    return told


def _by_job(job: Job) -> State:
    failed = job.condition("Failed") or job.condition("FailureTarget")
    if failed is not None:
        return State("Failed", failed.reason or "JobFailed", failed.message or "its Job has failed")
    if job.condition("Complete") is not None:
        if job.status.succeeded > 0:
            return State("Succeeded", "JobComplete", "Success")
        return State("Failed", "NoPodSucceeded", "its Job is Complete, and none of its Pods has succeeded")
    if job.spec.suspend:
        return State("Running", "JobSuspended", "its Job is suspended")
    return State("Running", "JobRunning", "its Job is at work")
