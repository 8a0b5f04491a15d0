"""The vocabulary of decisions: what may be done next with one archive, and what to say meanwhile. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from chbackup import poll_delay
from cozydrivers.drivers.base import EndReason, Patience
from cozydrivers.drivers.clickhouse.checkpoint import Debris, Member
from cozydrivers.drivers.clickhouse.following import Rows, quietened

MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Hold:
    """Nothing to do now; look again in `retry_after` seconds. `member` is what has become known of it."""

    reason: str
    message: str
    retry_after: float
    member: Member
    patience: Patience = Patience.ENGINE


@dataclass(frozen=True)
class Go:
    """Known and done: the member has come this far, look on at once."""

    member: Member


@dataclass(frozen=True)
class Submit:
    """Send what the saved intent says."""

    member: Member


@dataclass(frozen=True)
class Plan:
    """To be submitted under a new intent; `given_up` is the name that it leaves behind."""

    member: Member
    given_up: Debris | None = None


@dataclass(frozen=True)
class DropLocal:
    """Delete the local copy, which has served its purpose."""

    member: Member


@dataclass(frozen=True)
class Done:
    """Nothing is left to do for this archive."""

    member: Member


@dataclass(frozen=True)
class End:
    """The run can't succeed any more."""

    reason: EndReason
    message: str


Step = Hold | Go | Submit | Plan | DropLocal | Done | End


def unreachable(member: Member, trouble: str) -> Hold:
    """A sidecar that can't be asked is waited for."""
    return Hold("SidecarUnreachable", f"{member.label}: {trouble}", 5.0, member, Patience.ABSENT)


def sought(member: Member) -> Member:
    """The member whose submission may or may not have arrived: it is looked for, and not sent again under its name."""
    return member.model_copy(update={"submission": member.submission.model_copy(update={"state": "sought"})})


def looking(member: Member) -> Hold:
    """What was perhaps sent may still turn up."""
    return Hold("LookingForSubmission", f"{member.label}: looking for what was sent", 2.0, sought(member))


def restarted(member: Member, rows: Rows, now: datetime) -> Hold:
    """A restarted sidecar is left alone, so that its own resume starts."""
    quiet = member.model_copy(update={"submission": quietened(member.submission, rows, now)})
    return Hold("SidecarRestarted", f"{member.label}: the sidecar was restarted; leaving it alone", 1.0, quiet)


def at_work(member: Member, now: datetime, what: str) -> Hold:
    """The engine works; polling is proportional to the time already waited."""
    waited = max((now - member.submission.at) / timedelta(seconds=1), 0.0)
    return Hold("InProgress", f"{member.label}: {what}", poll_delay(waited), member)
