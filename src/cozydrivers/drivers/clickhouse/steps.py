"""The vocabulary of decisions: what may be done next with one archive, and what to say meanwhile. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from chbackup import Action, poll_delay
from cozydrivers.drivers.base import EndReason, Patience
from cozydrivers.drivers.clickhouse.checkpoint import Debris, Member, State
from cozydrivers.drivers.clickhouse.following import Rows, killed, quietened
from cozydrivers.drivers.clickhouse.look import Scene
from cozydrivers.drivers.clickhouse.places import Place

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
    """To be submitted under a new intent; `given_up` is the name that it leaves behind.

    `place` is another replica's, which takes the place of the one that was looked at; `said` is why.
    """

    member: Member
    given_up: Debris | None = None
    place: Place | None = None
    said: str = ""


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


def busy_sidecar(scene: Scene, state: State | None = None) -> str:
    """What runs on any sidecar of the storage path, or which one can't be asked; empty when all are idle.

    What the run itself has going on another shard does not count.
    """
    own = {member.submission.operation_id for member in state.members} - {""} if state else set()
    for pod, sight in scene.survey.items():
        if sight.trouble:
            return sight.trouble
        row = next((row for row in sight.rows.all or () if row.running and row.operation_id not in own), None)
        if row is not None:
            return f"the sidecar of {pod} is busy with: {row.command}"
    return "" if scene.survey else "the sidecars have not been asked yet"


def unsent(member: Member) -> Member:
    """The member before its submission, where that is `sending` in the very call that could have sent it."""
    if member.submission.state != "sending":
        return member
    return member.submitted(state="planned")


def adopted(member: Member, row: Action) -> Member:
    """The member with the row that was found for it."""
    sent = member.submitted(state="sent", operation_id=row.operation_id, quiet_since=None)
    return sent.model_copy(update={"begun": True})


def sought(member: Member) -> Member:
    """The member whose submission may or may not have arrived: it is looked for, and not sent again under its name."""
    return member.submitted(state="sought")


def looking(member: Member) -> Hold:
    """What was perhaps sent may still turn up."""
    return Hold("LookingForSubmission", f"{member.label}: looking for what was sent", 2.0, sought(member))


def restarted(member: Member, rows: Rows, now: datetime) -> Hold:
    """A restarted sidecar is left alone, so that its own resume starts; after a kill, until nothing of it runs."""
    quiet = member.model_copy(update={"submission": quietened(member.submission, rows, now)})
    if rows.own is not None and killed(rows.own):
        message = f"{member.label}: the operation was killed on the sidecar; waiting until nothing of it runs"
        return Hold("BeingCancelled", message, 1.0, quiet)
    return Hold("SidecarRestarted", f"{member.label}: the sidecar was restarted; leaving it alone", 1.0, quiet)


def at_work(member: Member, now: datetime, what: str) -> Hold:
    """The engine works; polling is proportional to the time already waited."""
    waited = max((now - member.submission.at) / timedelta(seconds=1), 0.0)
    return Hold("InProgress", f"{member.label}: {what}", poll_delay(waited), member)
