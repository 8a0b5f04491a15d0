"""Following on screen, and what to tell people who stop to follow: how they come back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio

from ._cli_command import Common
from ._cli_output import status, tell
from .errors import ChbackupError, OperationLost, WaitTimeout
from .flows import Progress
from .operation import Operation

Hints = Mapping[type[ChbackupError], str]


class Follower:
    """What a flow has told so far; it is the flow's `on_progress`."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self.operation: Operation | None = None
        self.submitting = False

    def __call__(self, progress: Progress) -> None:
        self.submitting = progress.step == "submitting"
        over = progress.step in ("verifying", "cleaning up")
        self.operation = None if over else progress.operation or self.operation
        row = progress.action
        self._show(f"{progress.archive}: {progress.step}" + (f" `{row.command}`: {row.status}" if row else ""))


@contextmanager
def following(
    common: Common,
    what: str,
    *,
    again: Sequence[str],
    then: str,
    hints: Hints | None = None,
    operation: Operation | None = None,
) -> Iterator[Follower]:
    """Show how `what` goes on; when it is left before its end, say how to come back.

    `again` are the words of the command that comes back, and `then` is what it does. `hints` say what helps against an
    error.
    """
    follower = Follower(lambda _: None)
    try:
        with status(what) as show:
            follower = Follower(show)
            follower.operation = operation
            yield follower
    except anyio.get_cancelled_exc_class():
        for line in way_back(common, follower, again, then):
            tell(line)
        raise
    except WaitTimeout as error:
        _note(error, way_back(common, follower, again, then))
        raise
    except OperationLost as error:
        _note(error, [f"`{common.again('list')}` shows what there is of it"])
        raise
    except ChbackupError as error:
        _note(error, [hint for kind, hint in (hints or {}).items() if type(error) is kind])
        raise


def way_back(common: Common, follower: Follower, again: Sequence[str], then: str) -> list[str]:
    """Return what to tell who leaves: what goes on without them, its token, the commands that come back to it."""
    command = f"`{common.again(*again)}` {then}"
    operation = follower.operation
    if operation is None:
        unknown = "whether it was started on the server is not known; " if follower.submitting else ""
        return [unknown + command]
    wait = common.again("wait", operation.token)
    lines = [
        f"the server goes on with `{operation.verb} {operation.name}`",
        f"token: {operation.token}",
        f"`{wait}` follows it",
    ]
    ends_there = operation.verb == "restore" or again[0] == "wait"
    return lines if ends_there else [*lines, command]


def _note(error: Exception, lines: Sequence[str]) -> None:
    for line in lines:
        error.add_note(line)
