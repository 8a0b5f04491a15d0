"""One operation that a sidecar carries out: follow it, cancel it, take it up again after a crash."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from ._waiting import DAY, Deadline, latest, poll_delay
from .callbacks import Callback
from .errors import (
    ChbackupError,
    ConnectionFailed,
    InvalidInput,
    NotFound,
    OperationCancelled,
    OperationFailed,
    OperationLost,
    Refused,
    WaitTimeout,
)
from .evidence import find_row, restarted
from .models import Action, Archive
from .names import check_name
from .versions import Feature

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Cancelled", "Operation", "operation_from_token", "poll_delay"]

_TOKEN = re.compile(r"chb1:([a-z_]+):(.+):([A-Za-z0-9-]*):(-?[0-9]+)")

# What the server starts by itself for a local archive with a state file, when its process starts.
_RESUMED_AS = {"create_remote": "upload", "upload": "upload", "download": "download"}
_WHY_LOST = {
    True: "the server's process was restarted, and did not go on with it",
    False: "the server lives, and has dropped its row from the history",
    None: "the server does not know it any more: it was restarted, or has dropped old rows from its history",
}
_QUIET = 5.0  # a server that has just started begins to resume within 0.1 s, and gives up when any row is running


@dataclass(frozen=True)
class Cancelled:
    """What became of an operation that was to be cancelled, and what the lists show of its archive then.

    `row` may say `success`: it had ended before, or the server could not stop it. `stopped` is False when the server
    may still be at work on it, because it does not wait for the end of what it kills (before 2.7.0). `message` says
    all of it, and what to do.
    """

    row: Action
    stopped: bool
    local: Archive | None
    remote: Archive | None
    message: str


class Operation:
    """An operation as the server acknowledged it.

    `operation_id` is "" where the server gave none; then the operation is the last row of this verb and name from
    `position` in the history on. `wake` ends a pause between two looks early; without it, or when its callback gets
    lost, an end is seen by polling.
    """

    wake: Callback | None = None

    def __init__(self, client: "Client", verb: str, name: str, operation_id: str = "", *, position: int = -1) -> None:
        self.client = client
        self.verb = verb
        self.name = name
        self.operation_id = operation_id
        self.position = position

    def __repr__(self) -> str:
        return f"<Operation {self.verb} {self.name} {self.operation_id or f'row {self.position}'}>"

    @property
    def token(self) -> str:
        """A text to store, for `Client.operation`. It holds neither the address nor a secret."""
        return f"chb1:{self.verb}:{self.name}:{self.operation_id}:{self.position}"

    def watch(self, timeout: float | None = None) -> AsyncIterator[Action]:
        """Yield the operation's row whenever it changes, its last state included; one day without a timeout.

        Raises OperationLost, WaitTimeout, Unauthorized.
        """
        return _Watch(self, DAY if timeout is None else timeout)

    async def wait(self, timeout: float = DAY) -> Action:
        """Wait for the end and return the row that says `success`.

        Raises OperationFailed, OperationCancelled, OperationLost, WaitTimeout, Unauthorized.
        """
        row = await self._ended(timeout)
        if error := failure_of(row):
            raise error
        return row

    async def cancel(self, timeout: float = 60.0) -> Cancelled:
        """Kill the operation, wait until the server has confirmed its end, and say what it left behind.

        Nothing is deleted. A row that the server cannot stop in its version is waited for.

        Raises Refused when another row of the same text runs (a kill could hit that one), OperationLost, WaitTimeout.
        """
        deadline = Deadline(timeout, f"cancelling {self.verb} {self.name}")
        row = await anext(aiter(self.watch(timeout)))
        kill = row.running and await self._can_be_killed(row)
        if kill:
            await _kill(self.client, row, deadline)
        row = await self._ended(deadline.left)
        stopped = not kill or await self.client.supports(Feature.KILL_WAITS) is not False
        return await _left_by(self, row, stopped=stopped)

    async def _ended(self, timeout: float) -> Action:
        return [row async for row in self.watch(timeout)][-1]

    async def _can_be_killed(self, row: Action) -> bool:
        return bool(row.operation_id) or await self.client.supports(Feature.KILL_OF_ACTIONS) is True


def operation_from_token(client: "Client", token: str) -> Operation:
    """Build the operation that a token stands for.

    Raises InvalidInput.
    """
    found = _TOKEN.fullmatch(token)
    if not found:
        raise InvalidInput("that is not a token of an operation")
    verb, name, operation_id, position = found.groups()
    return Operation(client, verb, check_name(name, existing=True), operation_id, position=int(position))


async def settled_history(
    client: "Client", deadline: Deadline, found: Callable[[Sequence[Action]], bool]
) -> list[Action]:
    """Read the history, and nothing else, until it shows what is looked for or the server has resumed its work.

    A server that has just started goes on with its uploads and downloads, unless a list or any other row comes in
    between.
    """
    quiet_since = anyio.current_time()
    while True:
        rows = await deadline.read(client.actions)
        if any(row.resumed and row.running for row in rows):
            quiet_since = anyio.current_time()
        if found(rows) or anyio.current_time() - quiet_since >= _QUIET:
            return rows
        await deadline.pause(0.25)


def failure_of(row: Action) -> ChbackupError | None:
    """Return the error that an ended row stands for, None for a success."""
    if row.status == "success":
        return None
    kind = OperationCancelled if row.status == "cancel" else OperationFailed
    return kind(f"{row.command}: {row.error or row.status}", operation=row.verb, words=row.error, rows=[row])


class _Watch:
    """The rows of one operation as they change, over restarts of the server."""

    def __init__(self, operation: Operation, timeout: float) -> None:
        self._operation = operation
        self._client = operation.client
        self._deadline = Deadline(timeout, f"{operation.verb} {operation.name}")
        self._last: Action | None = None
        self._by_id = bool(operation.operation_id)
        self._by_name = not self._by_id

    def __aiter__(self) -> "_Watch":
        return self

    async def __anext__(self) -> Action:
        if self._last and not self._last.running:
            raise StopAsyncIteration
        while True:
            if self._last:
                await self._deadline.pause(wake=self._operation.wake)
            row = await self._deadline.read(self._look) or await self._recover()
            self._deadline.saw_row(row)
            if self._last is None or (row.command, row.status) != (self._last.command, self._last.status):
                self._last = row
                return row

    async def _look(self) -> Action | None:
        if self._by_id:
            return await self._client.status(self._operation.operation_id)
        return self._own(await self._client.actions())

    async def _recover(self) -> Action:
        """Find what became of an operation that the server does not know any more."""
        self._by_name |= await self._deadline.read(self._without_ids)
        rows = await settled_history(self._client, self._deadline, lambda rows: self._own(rows) is not None)
        row = self._own(rows)
        if row is None:
            raise await _lost(self._operation, rows)
        self._by_id = row.operation_id != ""
        return row

    async def _without_ids(self) -> bool:
        return await self._client.supports(Feature.OPERATION_IDS) is False

    def _own(self, rows: Sequence[Action]) -> Action | None:
        operation = self._operation
        if operation.operation_id:
            row = find_row(rows, operation_id=operation.operation_id, verb=operation.verb, name=operation.name)
            if row:
                return row
        gone = restarted(rows, operation.operation_id) is not False
        if gone and (row := latest(row for row in rows if _resumes(row, operation))):
            return row
        return self._own_by_name(rows) if self._by_name else None

    def _own_by_name(self, rows: Sequence[Action]) -> Action | None:
        operation, last = self._operation, self._last
        nameless = [row for row in rows if row.operation_id in ("", operation.operation_id)]
        if last and (row := latest(row for row in nameless if (row.command, row.start) == (last.command, last.start))):
            return row  # its position changes when older rows are dropped
        return find_row(nameless, verb=operation.verb, name=operation.name, after_position=operation.position - 1)


def _resumes(row: Action, operation: Operation) -> bool:
    return row.resumed and row.archive == operation.name and row.verb == _RESUMED_AS.get(operation.verb)


async def _kill(client: "Client", row: Action, deadline: Deadline) -> None:
    rows = await deadline.read(lambda: client.actions(filter="in progress"))
    twins = [other for other in rows if other.running and other.command == row.command]
    if len(twins) > 1:
        raise Refused(f"{deadline.what}: another `{row.command}` runs, and a kill may hit that one", rows=twins)
    try:
        await client.kill(row.command, timeout=max(deadline.left, 1.0))
    except NotFound:  # it has ended by itself
        return
    except ConnectionFailed as error:
        message = f"{deadline.what}: the server has not confirmed the kill: {error.message}"
        raise WaitTimeout(message, rows=[row]) from None


async def _lost(operation: Operation, rows: Sequence[Action]) -> OperationLost:
    local, remote, words = await _listed_of(operation)
    gone = restarted(rows, operation.operation_id)
    if gone is None and await operation.client.supports(Feature.TRIMMED_HISTORY) is False:
        gone = True
    error = OperationLost(
        f"{operation.verb} {operation.name}: {_WHY_LOST[gone]}; {words}",
        operation=operation.verb,
        rows=[row for row in rows if operation.name in row.names],
    )
    error.local, error.remote = local, remote
    error.restarted = gone
    return error


async def _left_by(operation: Operation, row: Action, *, stopped: bool) -> Cancelled:
    local, remote, words = await _listed_of(operation)
    message = f"`{row.command}` has ended with {row.status}; {words}"
    if row.status == "cancel" and local and operation.verb in _RESUMED_AS:
        message += "; delete the local copy, or the server goes on with it when its process starts again"
    if row.status == "cancel" and operation.verb.startswith("restore"):
        message += "; tables may be empty or missing: restore again"
    if not stopped:
        message += "; this version does not wait for the end of what it kills: look again before you delete"
    return Cancelled(row, stopped, local, remote, message)


async def _listed_of(operation: Operation) -> tuple[Archive | None, Archive | None, str]:
    local, local_words = await _listed(operation.client, "local", operation.name)
    remote, remote_words = await _listed(operation.client, "remote", operation.name)
    return local, remote, f"{local_words}, {remote_words}"


async def _listed(client: "Client", where: str, name: str) -> tuple[Archive | None, str]:
    try:
        archives = await (client.list_local() if where == "local" else client.list_remote())
    except ChbackupError as error:
        return None, f"the {where} list cannot be read ({error.message})"
    archive = next((archive for archive in archives if archive.name == name), None)
    words = (archive.broken or "a good archive") if archive else "nothing"
    return archive, f"the {where} list shows {words}"
