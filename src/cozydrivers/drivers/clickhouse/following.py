"""What one submission to a sidecar has come to. Pure.

A submission is saved as `sending` before it is sent, and becomes `sent` with the acknowledgement. Only the call that
follows the saving may send. Whoever finds it `sending` later does not know whether it arrived: it is `sought` for as
long as it could still arrive, and never sent again (I3).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal

from pydantic import AwareDatetime, Field, field_validator

from chbackup import Action, Feature, parse_version
from chbackup.versions import supports
from cozydrivers.api.base import Model

REQUEST_TIMEOUT = 30.0
LOOK = timedelta(seconds=REQUEST_TIMEOUT + 10)
"""How long a request whose reply was lost may still arrive, with a margin."""
QUIET = timedelta(seconds=5)
"""How long a restarted sidecar is left alone, so that its own resume starts: any other row makes it give up."""
_BY_RESTART = ("canceled via API /restart", "canceled during server stop")


class Submission(Model):
    """One operation on one sidecar.

    One that goes on with another, after a restart, knows the ids of those before it, `earlier`, and the last row that
    there was when it was planned: only what comes `after` that can be its own.
    """

    verb: Literal["create_remote", "upload", "download", "create", "restore"]
    archive: str
    attempt: int = Field(default=1, ge=1, le=999)
    state: Literal["planned", "sending", "sought", "sent"] = "planned"
    at: AwareDatetime
    operation_id: str = ""
    earlier: tuple[str, ...] = ()
    after: str = ""
    quiet_since: AwareDatetime | None = None

    @field_validator("earlier", mode="before")
    @classmethod
    def _as_0_1_wrote_it(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Verdict(Enum):
    """What a submission has come to."""

    PLANNED = "not sent"
    SEND = "its intent is saved: to be sent now"
    LOOKING = "perhaps sent; it may still turn up"
    NOT_FOUND = "perhaps sent; it can't turn up any more"
    RUNNING = "in progress"
    SUCCEEDED = "success"
    FAILED = "the engine's error"
    CANCELLED = "somebody killed it"
    QUIET = "its sidecar was restarted, or it was killed there: the sidecar is left alone for a moment"
    LOST = "its sidecar was restarted and does nothing about it"


@dataclass(frozen=True)
class Rows:
    """A sidecar's history as it was read; None where it was not needed."""

    own: Action | None = None
    all: Sequence[Action] | None = None


def mark_of(rows: Sequence[Action]) -> str:
    """What identifies the last row of a history, so that later rows can be told from earlier ones."""
    return f"{_text(rows[-1])}|{[_text(row) for row in rows].count(_text(rows[-1]))}" if rows else ""


def _text(row: Action) -> str:
    """A row's own marks; rows of one second may have the same (times are whole seconds, lists have no id)."""
    return f"{row.start}|{row.operation_id}|{row.command}"


def since(rows: Sequence[Action], mark: str) -> Sequence[Action]:
    """The rows after the marked one; all of them where it is gone (a restart, a trimmed history)."""
    text, _, count = mark.rpartition("|")
    found = [number for number, row in enumerate(rows) if _text(row) == text]
    if not found or not re.fullmatch("[1-9][0-9]{0,8}", count):
        return rows
    return rows[found[min(int(count), len(found)) - 1] + 1 :]


def own_row(submission: Submission, rows: Sequence[Action], tag: str = "") -> Action | None:
    """The submission's row, or that of the server's own resume of it; `tag` is in the command of ours only."""
    found = [row for row in rows if _is_own(submission, row, tag) or _resumes(submission, row)]
    return found[-1] if found else None


def _is_own(submission: Submission, row: Action, tag: str) -> bool:
    if submission.operation_id:
        return row.operation_id == submission.operation_id
    return row.verb == submission.verb and row.archive == submission.archive and tag in row.command


def _resumes(submission: Submission, row: Action) -> bool:
    verb = {"create_remote": "upload"}.get(submission.verb, submission.verb)
    return row.resumed and row.verb == verb and row.archive == submission.archive


def going_on(old: Submission, rows: Rows, *, attempt: int, now: datetime) -> Submission:
    """What goes on under the same name with what a restart has interrupted."""
    earlier = tuple(each for each in (*old.earlier, old.operation_id) if each)
    verb = "upload" if old.verb == "create_remote" else old.verb
    after = mark_of(rows.all or ())
    return Submission(verb=verb, archive=old.archive, attempt=attempt, at=now, earlier=earlier, after=after)


def killed(row: Action) -> bool:
    """Whether somebody has killed it, by its row: a restart rewrites every row, those of successes too."""
    return row.status == "cancel" and not row.error.startswith(_BY_RESTART)


def deaf(row: Action, version: str) -> bool:
    """Whether a row that says `cancel` goes on all the same: one without an id does, on servers up to 2.8.0."""
    stops = supports(parse_version(version), Feature.KILL_OF_ACTIONS)
    return row.status == "cancel" and not row.operation_id and stops is False


def judge(submission: Submission, rows: Rows, *, now: datetime, fresh: bool) -> Verdict:
    """What the submission has come to, by its sidecar's history."""
    if submission.state == "planned" and not (rows.own and rows.own.resumed):
        return Verdict.PLANNED
    if rows.own is not None:
        return _by_row(submission, rows.own, rows, now)
    if submission.state == "sending" and fresh:
        return Verdict.SEND
    if submission.state in ("sending", "sought"):
        return Verdict.LOOKING if now - submission.at < LOOK else Verdict.NOT_FOUND
    return _at_rest(submission, rows, now)


def _by_row(submission: Submission, row: Action, rows: Rows, now: datetime) -> Verdict:
    match row.status:
        case "success":
            return _at_rest(submission, rows, now, then=Verdict.SUCCEEDED) if row.resumed else Verdict.SUCCEEDED
        case "error":
            return _at_rest(submission, rows, now, then=Verdict.FAILED) if row.resumed else Verdict.FAILED
        case "cancel":
            return _at_rest(submission, rows, now, then=Verdict.CANCELLED if killed(row) else Verdict.LOST)
        case _:
            return Verdict.RUNNING


def _at_rest(submission: Submission, rows: Rows, now: datetime, then: Verdict = Verdict.LOST) -> Verdict:
    """`then` once nothing has been running on the sidecar for a moment."""
    busy = any(row.running for row in rows.all or ())
    quiet = submission.quiet_since is not None and now - submission.quiet_since >= QUIET
    return then if quiet and not busy else Verdict.QUIET


def quietened(submission: Submission, rows: Rows, now: datetime) -> Submission:
    """The submission with its quiet time begun, or begun anew while anything runs on its sidecar."""
    busy = any(row.running for row in rows.all or ())
    begun = None if busy else submission.quiet_since or now
    return submission.model_copy(update={"quiet_since": begun})
