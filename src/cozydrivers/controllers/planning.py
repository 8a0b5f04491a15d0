"""What a Plan's next step is: which slot starts, which finished jobs go, and what the Plan says of itself. Pure.

A slot is a time of the schedule. It starts at that time, later by the Plan's own share of `jitter`; the latest one that
has had no job still starts within the starting deadline. The last slot that had its job is known from the names of the
Plan's jobs and from an annotation, as a job may have been deleted since.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import chain

from cozydrivers.api.backups import Backup, BackupJob, Plan
from cozydrivers.api.base import Condition, KubeObject
from cozydrivers.controllers.ledger import JOB_UID, PREFIX
from cozydrivers.controllers.status import ended
from cozydrivers.durations import seconds
from cozydrivers.errors import InvalidInput
from cozydrivers.runtime.cron import Schedule, latest, parse

SUSPEND = PREFIX + "suspend"
JITTER = PREFIX + "jitter"
STARTING_DEADLINE = PREFIX + "starting-deadline"
KEEP_SUCCESSFUL = PREFIX + "successful-jobs-history-limit"
KEEP_FAILED = PREFIX + "failed-jobs-history-limit"
LAST_SLOT = PREFIX + "last-slot"

LONGEST_WAIT = timedelta(days=1)
PAUSED_WAIT = timedelta(minutes=1)
"""Until the next look at whether a Plan is still paused: nothing else tells."""

LONGEST_NAME = 253
_MINUTE = timedelta(minutes=1)
_SKEW = timedelta(minutes=1)
"""How far ahead of this clock another controller's may be; a last slot beyond that counts for nothing."""


@dataclass(frozen=True)
class Sight:
    """What one pass sees: the Plan, its jobs, the UIDs of those that have a Backup, and why it is paused, if it is."""

    plan: Plan
    jobs: Sequence[BackupJob]
    kept: Collection[str] = ()
    paused: str = ""


@dataclass(frozen=True)
class Verdict:
    """What to do: start a job for the slot `start`, note `last`, delete finished jobs, say it, and come back.

    Without `last` no slot has had a job yet.
    """

    error: Condition
    ready: Condition
    wait: timedelta
    start: datetime | None = None
    last: datetime | None = None
    delete: Sequence[BackupJob] = ()


@dataclass(frozen=True)
class _Terms:
    """A Plan as it is written. `delay` is its share of the jitter."""

    schedule: Schedule
    suspended: bool
    delay: timedelta
    deadline: timedelta
    keep: Mapping[str, int]


def decide(sight: Sight, now: datetime) -> Verdict:
    """Decide on one Plan at one time."""
    plan = sight.plan
    try:
        terms = _terms(plan)
    except InvalidInput as error:
        return _unusable("InvalidAnnotation", str(error))
    except _Schedule as error:
        return _unusable("InvalidSchedule", str(error))
    last = last_slot(plan, sight.jobs, now)
    delete = [] if sight.paused else superfluous(sight.jobs, sight.kept, terms.keep)
    start, ready, wait = _next(sight, terms, last, now)
    valid = Condition(type="Error", status="False", reason="ScheduleValid", message="the schedule is valid")
    return Verdict(valid, ready, min(wait, LONGEST_WAIT), start, start or last, delete)


def _next(
    sight: Sight, terms: _Terms, last: datetime | None, now: datetime
) -> tuple[datetime | None, Condition, timedelta]:
    """The slot to start, if any, what to say, and when to look again."""
    shifted = now - terms.delay
    after = max(_created(sight.plan), _end_of(last) if last else _created(sight.plan))
    slot = latest(terms.schedule, after, shifted)
    ready = _standing(sight, terms, slot, shifted)
    upcoming = terms.schedule.next(max(after, shifted))
    waits = [LONGEST_WAIT if upcoming is None else upcoming - shifted]
    if ready.reason == "Paused":
        waits.append(PAUSED_WAIT)
    if ready.reason == "RunInProgress" and slot is not None:
        waits.append(slot + terms.deadline - shifted + timedelta(seconds=1))
    return slot if ready.reason == "Scheduled" else None, ready, min(waits)


def _standing(sight: Sight, terms: _Terms, slot: datetime | None, shifted: datetime) -> Condition:
    """What keeps the latest slot that has had no job from starting now; Scheduled where nothing does."""
    running = min((job.metadata.name for job in sight.jobs if not ended(job.status)), default="")
    if terms.suspended:
        return _ready("False", "Suspended", f"suspended by its annotation {SUSPEND}")
    if sight.paused:
        return _ready("False", "Paused", sight.paused)
    if slot is not None and shifted > slot + terms.deadline:
        message = f"the slot {text_of(slot)} had no BackupJob within {terms.deadline} of its time"
        return _ready("True", "SlotMissed", message)
    if slot is not None and running:
        until = text_of(slot + terms.delay + terms.deadline)
        message = f"the slot {text_of(slot)} waits for BackupJob {running} to end, and is skipped after {until}"
        return _ready("True", "RunInProgress", message)
    return _ready("True", "Scheduled", f"starts backups by {sight.plan.spec.schedule.cron!r}")


def _ready(status: str, reason: str, message: str) -> Condition:
    return Condition(type="Ready", status=status, reason=reason, message=message)


def _unusable(reason: str, message: str) -> Verdict:
    error = Condition(type="Error", status="True", reason=reason, message=message)
    return Verdict(error, _ready("False", reason, message), LONGEST_WAIT)


# Names and slots


def job_name(plan: str, slot: datetime) -> str:
    """Name of a slot's job: `<plan>-<unix minute>`, as the reference controller names it.

    A Plan's name that leaves no room for that is cut, and told from others by a hash.
    """
    minute = f"-{int(slot.timestamp()) // 60}"
    if len(plan) + len(minute) > LONGEST_NAME:
        digest = f"-{sha256(plan.encode()).hexdigest()[:10]}"
        plan = plan[: LONGEST_NAME - len(digest) - len(minute)].rstrip("-.") + digest
    return plan + minute


def slot_of(plan: str, job: str) -> datetime | None:
    """The minute in the name of a job, if it is one of this Plan's."""
    found = re.search(r"-([0-9]{1,9})\Z", job)
    slot = datetime.fromtimestamp(60 * int(found[1]), UTC) if found else None
    return slot if slot is not None and job_name(plan, slot) == job else None


def last_slot(plan: Plan, jobs: Sequence[BackupJob], now: datetime) -> datetime | None:
    """The latest slot that has had its job; one that is well ahead of the clock is none that we wrote."""
    names = (slot_of(plan.metadata.name, job.metadata.name) for job in jobs)
    slots = [slot for slot in chain(names, [noted_slot(plan)]) if slot is not None and slot <= now + _SKEW]
    return max(slots, default=None)


def noted_slot(plan: Plan) -> datetime | None:
    """What the annotation says; None where it says nothing that can be read."""
    try:
        slot = datetime.fromisoformat(plan.metadata.annotations.get(LAST_SLOT, ""))
    except ValueError:
        return None
    return slot if slot.tzinfo is not None else None


def text_of(slot: datetime) -> str:
    """A slot, to be read."""
    return slot.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _end_of(slot: datetime) -> datetime:
    """The last moment of a slot's minute: two slots in one minute are one, as they have one name."""
    return slot.replace(second=0, microsecond=0) + _MINUTE - timedelta(microseconds=1)


# Reading a Plan


class _Schedule(Exception):
    """A schedule that starts nothing."""


def _terms(plan: Plan) -> _Terms:
    """Read a Plan; raises InvalidInput for an annotation, _Schedule for its schedule."""
    jitter = _duration(plan, JITTER, "0s")
    return _Terms(
        schedule=_schedule(plan),
        suspended=_flag(plan, SUSPEND),
        delay=timedelta(seconds=int(_share(plan.metadata.uid) * jitter)),
        deadline=timedelta(seconds=_duration(plan, STARTING_DEADLINE, "300s")),
        keep={"Succeeded": _count(plan, KEEP_SUCCESSFUL, "3"), "Failed": _count(plan, KEEP_FAILED, "1")},
    )


def _schedule(plan: Plan) -> Schedule:
    kind, cron = plan.spec.schedule.type, plan.spec.schedule.cron
    if kind not in ("", "cron"):
        raise _Schedule(f"spec.schedule.type is {kind!r}; only cron is known")
    if not cron:
        raise _Schedule("spec.schedule.cron is empty; it takes a schedule such as '0 3 * * *' or @daily")
    try:
        schedule = parse(cron, _created(plan))
    except InvalidInput as error:
        raise _Schedule(f"spec.schedule.cron is {cron!r}: {error}") from None
    if schedule.next(_created(plan)) is None:
        raise _Schedule(f"spec.schedule.cron is {cron!r}, which has no time within five years")
    return schedule


def _duration(plan: Plan, name: str, default: str) -> float:
    try:
        return seconds(plan.metadata.annotations.get(name, default))
    except InvalidInput as error:
        raise InvalidInput(f"annotation {name}: {error}") from None


def _flag(plan: Plan, name: str) -> bool:
    text = plan.metadata.annotations.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidInput(f"annotation {name}: {text!r} is neither true nor false")
    return text == "true"


def _count(plan: Plan, name: str, default: str) -> int:
    text = plan.metadata.annotations.get(name, default)
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise InvalidInput(f"annotation {name}: {text!r} is no number from 0 to 999999")
    return int(text)


def _share(uid: str) -> float:
    """A number from 0 to 1, less than 1, that is always the same for a Plan."""
    return int.from_bytes(sha256(uid.encode()).digest()[:6]) / 2**48


def _created(obj: KubeObject) -> datetime:
    return obj.metadata.creation_timestamp or datetime.min.replace(tzinfo=UTC)


# History


def superfluous(jobs: Sequence[BackupJob], kept: Collection[str], limits: Mapping[str, int]) -> list[BackupJob]:
    """The oldest finished jobs beyond the limit of their phase. Those that have a Backup neither go nor count."""
    past = sorted(
        (job for job in jobs if is_past(job) and job.metadata.uid not in kept),
        key=lambda job: (_created(job), job.metadata.name),
        reverse=True,
    )
    by_phase = ([job for job in past if job.status.phase == phase][limit:] for phase, limit in limits.items())
    return list(chain.from_iterable(by_phase))


def is_past(job: BackupJob) -> bool:
    """Whether a job is finished and cleaned up."""
    return ended(job.status) and not job.metadata.finalizers and job.metadata.deletion_timestamp is None


def made(job: BackupJob, backup: Backup) -> bool:
    """Whether a Backup says that the job made it; or the job says so, and the Backup names no other one."""
    maker = backup.metadata.annotations.get(JOB_UID)
    if maker is not None:
        return maker == job.metadata.uid
    return job.status.backup_ref is not None and job.status.backup_ref.name == backup.metadata.name
