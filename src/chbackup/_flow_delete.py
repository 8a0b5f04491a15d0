"""verified_delete: delete an archive everywhere on one sidecar, and nothing that a kept one needs."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ._steps import Flow, OnProgress, find, is_absent_remotely
from ._waiting import DAY, Deadline
from .client import Client
from .errors import Busy, ChbackupError, NotFound, Refused, RequiredByOthers
from .evidence import dependents
from .models import Action, Archive
from .names import check_name


@dataclass(frozen=True)
class DeleteReport:
    """What was there to delete, and is gone."""

    name: str
    local: Archive | None
    remote: Archive | None


async def verified_delete(
    client: Client,
    name: str,
    *,
    broken: bool = False,
    timeout: float = DAY,
    on_progress: OnProgress | None = None,
) -> DeleteReport:
    """Delete an archive locally and remotely, and return when neither list shows it; none at all is as good.

    `broken` allows to delete a broken one. It may be an upload of another sidecar on the same storage path, which
    this one does not show: make sure that none is running. This flow works on every version of the server.

    Raises RequiredByOthers when increments need it, whatever the server's version would allow; Refused for a broken
    one, when a list holds an archive without a name, or when the archive is made anew meanwhile; Busy when a running
    row names it; WaitTimeout.
    """
    deadline = Deadline(timeout, f"delete {check_name(name, existing=True)}")
    flow = Flow(client, name, deadline, on_progress)
    local = remote = None
    while True:
        sight = await _look(client, name, deadline)
        refuse_changed(name, [local, remote], [sight.local, sight.remote])
        local, remote = sight.local or local, sight.remote or remote
        refuse(name, sight, broken=broken)
        flow.report("cleaning up")
        if not sight.deleting and (sight.remotes or await is_absent_remotely(client, name, deadline)):
            if sight.local:
                await _delete(client.delete_local, name, deadline)
            elif sight.remote:
                await _delete(client.delete_remote, name, deadline)
            else:
                return DeleteReport(name, local, remote)
        await deadline.pause()


@dataclass(frozen=True)
class Sight:
    """What one look shows."""

    rows: tuple[Action, ...]
    locals: tuple[Archive, ...]
    remotes: tuple[Archive, ...]
    local: Archive | None
    remote: Archive | None
    deleting: bool


def refuse(name: str, sight: Sight, *, broken: bool) -> None:
    """Raise the reason why the archive must stay, if there is one."""
    archives = [*sight.remotes, *sight.locals]
    if any(not archive.name for archive in archives):
        raise Refused(f"delete {name}: a list holds an archive without a name, so what it needs is not known")
    if needing := tuple(dependents(archives, name)):
        error = RequiredByOthers(f"delete {name}: it is needed by {', '.join(needing)}")
        error.dependents = needing
        raise error
    damaged = [archive for archive in (sight.local, sight.remote) if archive and archive.broken]
    if damaged and not broken:
        raise Refused(f"delete {name}: the {damaged[0].location} one is broken ({damaged[0].broken}): pass broken=True")
    in_use = [row for row in sight.rows if name in row.names or (damaged and row.verb != "list")]
    if in_use:
        raise Busy(f"delete {name}: `{in_use[0].command}` is running", rows=in_use)


def refuse_changed(name: str, before: Sequence[Archive | None], now: Sequence[Archive | None]) -> None:
    """Raise Refused when an archive is not what was to be deleted: a lost delete may have worked, and it is new."""
    for old, new in zip(before, now, strict=True):
        if old and new and (old.created, old.data_size, old.required) != (new.created, new.data_size, new.required):
            raise Refused(f"delete {name}: the {new.location} one has changed meanwhile: it was made anew")


async def _look(client: Client, name: str, deadline: Deadline) -> Sight:
    rows = [row for row in await deadline.read(lambda: client.actions(filter="in progress")) if row.running]
    locals_ = await deadline.read(client.list_local)
    remotes = await deadline.read(client.list_remote)
    # A delete of the same name may be our own, its reply lost.
    others = tuple(row for row in rows if row.verb != "delete" or row.archive != name)
    return Sight(
        others, tuple(locals_), tuple(remotes), find(locals_, name), find(remotes, name), len(others) < len(rows)
    )


async def _delete(delete: Callable[[str], Awaitable[None]], name: str, deadline: Deadline) -> None:
    with suppress(NotFound):
        try:
            await delete(name)
        except ChbackupError as error:
            if not error.retryable:
                raise
            deadline.saw = error.message
