"""What the flows share: submit once, follow, look at the lists, clean up."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import anyio

from ._waiting import Deadline, latest
from .client import Client
from .errors import Busy, ChbackupError, ConnectionFailed, NotFound, OperationLost, ServerError, Unsupported
from .models import Action, Archive, Table
from .operation import Operation, settled_history
from .versions import Feature

Step = Literal["submitting", "downloading", "restoring", "following", "verifying", "cleaning up"]

_REPLY_GRACE = 10.0
_CLEAN_UP = 60.0
BLIND = 300.0  # how long an object store may look empty before that counts as an answer


@dataclass(frozen=True)
class Progress:
    """Where a flow stands; `action` is the row of the operation that it follows."""

    step: Step
    archive: str
    action: Action | None = None


OnProgress = Callable[[Progress], object]


async def check_version(client: Client, deadline: Deadline) -> None:
    """Raise Unsupported for a server whose rows cannot be told apart."""
    if await deadline.read(lambda: client.supports(Feature.OPERATION_IDS)) is False:
        raise Unsupported(f"verified flows need clickhouse-backup 2.6.40, the server is {await client.version()}")


async def submit_once(
    client: Client, submit: Callable[[], Awaitable[Operation]], verb: str, name: str, deadline: Deadline
) -> Operation | None:
    """Submit an operation, or find the one whose reply was lost; None when it cannot be found.

    It is sent again only when nothing can have been started: the server was busy, or was never reached.
    """
    known = {identity(row) for row in await deadline.read(client.actions) if not row.running}
    while True:
        try:
            return await submit()
        except Busy as error:
            deadline.saw = error.message
        except ConnectionFailed as error:
            deadline.saw = error.message
            if error.sent:
                break
        except ServerError as error:
            if error.status_code == 500:  # the sidecar's own refusal; others may stand between it and us
                raise
            break
        await deadline.pause()
    return await _find_submitted(client, verb, name, known, deadline)


async def follow(operation: Operation, deadline: Deadline, on_progress: OnProgress | None) -> Action | None:
    """Follow an operation to its end and return its last row, None when the server has lost it."""
    row = None
    try:
        async for row in operation.watch(deadline.left):
            report(on_progress, "following", operation.name, row)
    except OperationLost:
        return None
    return row


def report(on_progress: OnProgress | None, step: Step, archive: str, action: Action | None = None) -> None:
    """Tell the caller where the flow stands."""
    if on_progress:
        on_progress(Progress(step, archive, action))


async def is_absent_remotely(client: Client, name: str, deadline: Deadline) -> bool:
    """Whether the object store itself says that there is no such archive; a list alone may be an outage."""
    try:
        await deadline.read(lambda: client.tables(remote_backup=name))
    except NotFound:
        return True
    return False


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
    """Delete the local copy; none is as good."""
    with suppress(NotFound):
        await deadline.read(lambda: client.delete_local(name))


async def discard_local(client: Client, name: str) -> str:
    """Delete what a failed operation left on the disk, as far as that goes; say what stays.

    Nothing is deleted while the remote list is empty: the local copy may be the last one.
    """
    deadline = Deadline(_CLEAN_UP, f"deleting the local copy of {name}")
    try:
        if not await deadline.read(client.list_remote):
            return "; a local copy may be left, the remote list is empty"
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


def find(archives: Sequence[Archive], name: str) -> Archive | None:
    """Return the archive of this name, None when the list does not show it."""
    return next((archive for archive in archives if archive.name == name), None)


async def _find_submitted(
    client: Client, verb: str, name: str, known: set[tuple[object, ...]], deadline: Deadline
) -> Operation | None:
    def shown(rows: Sequence[Action]) -> list[Action]:
        return [
            row for row in rows if row.archive == name and row.verb in _SHOWN_AS[verb] and identity(row) not in known
        ]

    end = anyio.current_time() + client.timeout + _REPLY_GRACE
    while anyio.current_time() < end:
        rows = await settled_history(client, deadline, lambda rows: bool(shown(rows)))
        if row := latest(shown(rows)):
            return Operation(client, verb, name, row.operation_id, position=row.position)
    return None


def identity(row: Action) -> tuple[object, ...]:
    """Return what tells a row from others, over answers of different length."""
    return row.command, row.start, row.operation_id


# A server whose process ended in between may have gone on by itself.
_SHOWN_AS = {
    "create_remote": ("create_remote", "upload"),
    "upload": ("upload",),
    "download": ("download",),
    "restore": ("restore",),
}
