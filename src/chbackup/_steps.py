"""What the flows share: submit once, follow, look at the lists, clean up."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

import anyio

from ._waiting import REPLY_GRACE, Deadline
from .callbacks import Callback, CallbackReceiver
from .client import Client
from .errors import (
    Busy,
    ChbackupError,
    ConnectionFailed,
    NotFound,
    NotVerified,
    OperationLost,
    Refused,
    RequiredByOthers,
    ServerError,
    Unsupported,
)
from .evidence import dependents, locked_out
from .models import Action, Archive, Table
from .operation import Operation, settled_history
from .versions import Feature

Step = Literal["submitting", "downloading", "restoring", "following", "verifying", "cleaning up"]

_CLEAN_UP = 60.0
BLIND = 300.0  # how long an object store may look empty before that counts as an answer


@dataclass(frozen=True)
class Progress:
    """Where a flow stands; `action` is the last row of the `operation` that it follows."""

    step: Step
    archive: str
    action: Action | None = None
    operation: Operation | None = None


OnProgress = Callable[[Progress], object]
Submit = Callable[[Callback | None], Awaitable[Operation]]


class Unsubmitted(Enum):
    """Why there is no operation to follow: nothing was started, or the reply was lost and no row shows a trace."""

    UNSENT = auto()
    LOST = auto()


@dataclass(frozen=True)
class Flow:
    """What a flow carries along: whom it speaks to about which archive, until when, and who is told."""

    client: Client
    name: str
    deadline: Deadline
    on_progress: OnProgress | None = None
    callbacks: CallbackReceiver | None = None

    def report(self, step: Step, action: Action | None = None, operation: Operation | None = None) -> None:
        """Tell the caller where the flow stands."""
        if self.on_progress:
            self.on_progress(Progress(step, self.name, action, operation))


async def check_version(client: Client, deadline: Deadline) -> None:
    """Raise Unsupported for a server whose rows cannot be told apart."""
    if await deadline.read(lambda: client.supports(Feature.OPERATION_IDS)) is False:
        raise Unsupported(f"verified flows need clickhouse-backup 2.6.40, the server is {await client.version()}")


async def submit_once(flow: Flow, verb: str, submit: Submit, asked: Collection[str] = ()) -> Operation | Unsubmitted:
    """Submit an operation, or find the one whose reply was lost: `asked` are the texts that its row shows.

    UNSENT means that nothing can have been started: the server was busy, which is waited out, or never reached. What
    was seen before may have changed since, so look again before the next try.
    """
    known = {identity(row) for row in await flow.deadline.read(flow.client.actions)}
    shown = {flow.name, *asked}
    callback = flow.callbacks.callback() if flow.callbacks else None
    try:
        operation: Operation | Unsubmitted = await submit(callback)
    except Busy as error:
        flow.deadline.saw = error.message
        await _idle(flow)
        return Unsubmitted.UNSENT
    except ConnectionFailed as error:
        flow.deadline.saw = error.message
        if not error.sent:
            await flow.deadline.pause()
            return Unsubmitted.UNSENT
        operation = await _find_submitted(flow, verb, shown, known)
    except ServerError as error:
        if error.status_code == 500:  # the sidecar's own refusal; others may stand between it and us
            raise
        operation = await _find_submitted(flow, verb, shown, known)
    if isinstance(operation, Operation):
        operation.wake = callback
    return operation


async def follow(flow: Flow, operation: Operation) -> Action | None:
    """Follow an operation to its end and return its last row, None when the server has lost it."""
    row = None
    flow.report("following", None, operation)
    try:
        async for row in operation.watch(flow.deadline.left):
            flow.report("following", row, operation)
    except OperationLost:
        return None
    return row


def taken(flow: Flow, what: str, row: Action, others: Sequence[Action]) -> Refused:
    """Return the error for a row that another caller's operation on the same archive has kept from starting."""
    holders = [other for other in others if other.operation_id != row.operation_id and not locked_out(other)]
    who = f"`{holders[-1].command}` of another caller" if holders else "another caller"
    message = f"{what} {flow.name}: {who} is at work on this archive; nothing of it was touched: {row.error}"
    return Refused(message, words=row.error, rows=[*holders, row])


async def refuse_in_use(flow: Flow, what: str, names: Collection[str]) -> None:
    """Raise Busy while a running row of this sidecar names one of the archives."""
    rows = await flow.deadline.read(lambda: flow.client.actions(filter="in progress"))
    in_use = [row for row in rows if row.running and not row.names.isdisjoint(names)]
    if in_use:
        raise Busy(f"{what} {flow.name}: `{in_use[0].command}` is running", rows=in_use)


async def denies(client: Client, name: str) -> bool:
    """Whether the object store itself says that there is no such archive; a list alone may be an outage."""
    try:
        await client.tables(remote_backup=name)
    except NotFound:
        return True
    return False


async def is_absent_remotely(client: Client, name: str, deadline: Deadline) -> bool:
    """Whether the object store denies an archive, over every trouble that passes by itself."""
    return await deadline.read(lambda: denies(client, name))


async def list_remote(client: Client, deadline: Deadline, probe: str) -> list[Archive]:
    """Return the remote list, once it can be believed: not empty, or the store denies the archive `probe`.

    Raises WaitTimeout when the store stays blind for 5 minutes.
    """
    patience = deadline.part(BLIND, "reading the remote list, which is empty as in an outage of the object store,")
    while True:
        archives = await patience.read(client.list_remote)
        if archives or await is_absent_remotely(client, probe, patience):
            return archives
        await patience.pause()


async def delete_local(client: Client, name: str, deadline: Deadline) -> None:
    """Delete the local copy; none is as good.

    Raises RequiredByOthers when local increments need it, which servers before 2.8.1 would not mind.
    """
    if needing := tuple(dependents(await deadline.read(client.list_local), name)):
        error = RequiredByOthers(f"delete local {name}: it is needed by the local {', '.join(needing)}")
        error.dependents = needing
        raise error
    with suppress(NotFound):
        await deadline.read(lambda: client.delete_local(name))


async def discard_local(client: Client, name: str) -> str:
    """Delete what a failed operation left on the disk, as far as that goes; say what stays.

    A good local copy stays while the remote list shows no good archive at all: it may be the last one.
    """
    deadline = Deadline(_CLEAN_UP, f"deleting the local copy of {name}")
    try:
        local = find(await deadline.read(client.list_local), name)
        if local is None:
            return ""
        if not local.broken and all(archive.broken for archive in await deadline.read(client.list_remote)):
            return "; the local copy is left, because the remote list shows no good archive: delete it when it can go"
        await delete_local(client, name, deadline)
    except ChbackupError as error:
        return f"; a local copy is left: {error.message}"
    return ""


async def tables_of(client: Client, name: str, deadline: Deadline) -> list[Table]:
    """Return the tables of a remote archive; none for one that is broken or absent, or when the store is down."""
    try:
        return await deadline.read(lambda: client.tables(remote_backup=name))
    except NotFound:
        return []


async def tables_seen(flow: Flow) -> list[Table]:
    """Return the tables of the remote archive, asked for again while there are none; none after 5 minutes."""
    patience = flow.deadline.part(BLIND, f"reading the tables of {flow.name}")
    while not (tables := await tables_of(flow.client, flow.name, patience)) and patience.left:
        await patience.pause()
    return tables


async def measures_tables(client: Client, deadline: Deadline) -> bool:
    """Whether the server tells the sizes of an archive's tables."""
    return await deadline.read(lambda: client.supports(Feature.TABLES_ARE_MEASURED)) is not False


def not_verified(what: str, problems: Sequence[str], rows: Sequence[Action] = ()) -> NotVerified:
    """Build the error that lists what is missing in a proof."""
    error = NotVerified(f"{what} is not proven: {'; '.join(problems)}", rows=rows)
    error.problems = tuple(problems)
    return error


def find(archives: Sequence[Archive], name: str) -> Archive | None:
    """Return the archive of this name, None when the list does not show it."""
    return next((archive for archive in archives if archive.name == name), None)


async def _idle(flow: Flow) -> None:
    while True:
        await flow.deadline.pause()
        rows = await flow.deadline.read(lambda: flow.client.actions(filter="in progress"))
        if not any(row.running for row in rows):
            return


async def _find_submitted(
    flow: Flow, verb: str, texts: set[str], known: set[tuple[object, ...]]
) -> Operation | Unsubmitted:
    """Look for a row that began after all known ones; of several, none can be said to be ours."""

    def shown(rows: Sequence[Action]) -> list[Action]:
        named = [row for row in rows if row.archive == flow.name and row.verb in _SHOWN_AS[verb]]
        return [row for row in named if identity(row) not in known]

    def mine(row: Action) -> bool:
        return row.resumed or row.names - {""} == texts

    end = anyio.current_time() + flow.client.timeout + REPLY_GRACE
    while anyio.current_time() < end:
        rows = shown(await settled_history(flow.client, flow.deadline, lambda rows: bool(shown(rows))))
        if len(rows) == 1 and mine(rows[0]):
            return Operation(flow.client, verb, flow.name, rows[0].operation_id, position=rows[0].position)
        if rows:
            break
    return Unsubmitted.LOST


def identity(row: Action) -> tuple[object, ...]:
    """Return what tells a row from others, over answers of different length."""
    return row.command, row.start, row.operation_id


# A server whose process ended in between may have gone on by itself.
_SHOWN_AS = {
    "create_remote": ("create_remote", "upload"),
    "upload": ("upload",),
    "download": ("download",),
    "restore": ("restore",),
    "rebase": ("rebase",),
}
