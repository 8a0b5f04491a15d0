"""verified_rebase: make an increment whole, so that it needs no other archive."""

from dataclasses import dataclass

from ._steps import (
    Flow,
    OnProgress,
    Unsubmitted,
    check_version,
    find,
    follow,
    list_remote,
    not_verified,
    refuse_in_use,
    submit_once,
    tables_seen,
)
from ._waiting import DAY, Deadline
from .callbacks import Callback, CallbackReceiver
from .client import Client
from .errors import NotFound, OperationLost, Refused, Unsupported
from .evidence import bases, chain_problems, hurt_by, since
from .models import Action, Archive
from .names import check_name
from .operation import Operation, failure_of
from .versions import Feature


async def verified_rebase(
    client: Client,
    name: str,
    *,
    timeout: float = DAY,
    on_progress: OnProgress | None = None,
    callbacks: CallbackReceiver | None = None,
) -> Archive:
    """Copy what an increment needs into it, prove that it stands alone, and return it; a full one is returned as it is.

    The server copies within the object store; its `data_size` stays that of the increment.

    Raises NotFound, Refused for an archive that is not whole, Busy when a running row names it or one of its bases,
    Unsupported (server >= 2.8.0 needed), OperationFailed, OperationCancelled, OperationLost, NotVerified, WaitTimeout,
    and what sending raises.
    """
    flow = Flow(client, check_name(name, existing=True), Deadline(timeout, f"rebase {name}"), on_progress, callbacks)
    await check_version(client, flow.deadline)
    if await client.supports(Feature.REBASE) is False:
        raise Unsupported(f"rebase needs clickhouse-backup 2.8.0, the server is {await client.version()}")
    operation: Operation | Unsubmitted = Unsubmitted.UNSENT
    while operation is Unsubmitted.UNSENT:
        before = await _look(flow)
        if not before.archive.required:
            return before.archive
        flow.report("submitting")
        operation = await submit_once(flow, "rebase", lambda callback: _rebase(flow, callback))
    row = await follow(flow, operation) if isinstance(operation, Operation) else None
    flow.report("verifying")
    return await _prove(flow, before, row)


@dataclass(frozen=True)
class Sight:
    """An increment before it is rebased: what it needs, and the bytes of its tables."""

    archive: Archive
    bases: tuple[str, ...]
    total: int


async def _look(flow: Flow) -> Sight:
    remotes = await list_remote(flow.client, flow.deadline, flow.name)
    archive = find(remotes, flow.name)
    if archive is None:
        raise NotFound(f"rebase {flow.name}: there is no such archive in the remote list")
    if problems := chain_problems(remotes, flow.name):
        raise Refused(f"rebase {flow.name}: it is not whole: {'; '.join(problems)}")
    needed = tuple(bases(remotes, flow.name))
    await refuse_in_use(flow, "rebase", [flow.name, *needed])
    return Sight(archive, needed, await _total(flow))


async def _prove(flow: Flow, before: Sight, row: Action | None) -> Archive:
    """Judge by the lists: its new metadata is written last."""
    remotes = await list_remote(flow.client, flow.deadline, flow.name)
    archive, total = find(remotes, flow.name), await _total(flow)
    rows = await flow.deadline.read(flow.client.actions)
    if archive and not archive.broken and not archive.required:
        problems = problems_of(before, total, rows, row)
    elif row is None:
        raise OperationLost(f"rebase {flow.name}: the server does not know it any more; it is not proven")
    elif error := failure_of(row):
        raise error
    else:
        state = (archive.broken or f"it still needs {archive.required}") if archive else "it is not in the remote list"
        problems = [state]
    if archive is None or problems:
        raise not_verified(f"rebase {flow.name}", problems, rows)
    return archive


def problems_of(before: Sight, total: int, rows: list[Action], own: Action | None) -> list[str]:
    """Say what speaks against an archive that lists as full now."""
    problems = [] if total == before.total else [f"its tables add up to {total} bytes, before it were {before.total}"]
    made = next((row for row in rows if own and own.operation_id and row.operation_id == own.operation_id), None)
    later = since(rows, made) if made else rows
    hurt = hurt_by(later, before.archive.name, own={made.operation_id} if made else (), bases=before.bases)
    return problems + [f"`{row.command}` could have hurt it" for row in hurt]


async def _total(flow: Flow) -> int:
    return sum(table.total_bytes for table in await tables_seen(flow))


async def _rebase(flow: Flow, callback: Callback | None) -> Operation:
    return await flow.client.rebase(flow.name, callback=callback)
