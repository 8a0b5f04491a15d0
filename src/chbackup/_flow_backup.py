"""verified_backup: create and upload an archive once, follow it, prove it."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

import anyio

from ._steps import (
    BLIND,
    Flow,
    OnProgress,
    Unsubmitted,
    check_version,
    delete_local,
    discard_local,
    find,
    follow,
    identity,
    is_absent_remotely,
    measures_tables,
    not_verified,
    submit_once,
    tables_of,
    taken,
)
from ._waiting import DAY, Deadline, latest
from .callbacks import Callback, CallbackReceiver
from .client import Client
from .errors import ChbackupError, NotFound, OperationLost, Refused, RequiredByOthers
from .evidence import bases, chain_problems, hurt_by, locked_out, prove_archive, restarted, since
from .models import Action, Archive, Table
from .names import check_name
from .operation import Operation, failure_of, settled_history
from .versions import Feature

_MAKES = ("create_remote", "upload")
_UPLOADS = 3  # how often an upload is taken up again after restarts of the server's process
_SETTLE = 2.0


async def verified_backup(
    client: Client,
    name: str,
    *,
    tables: str | None = None,
    diff_from_remote: str | None = None,
    adopt: bool = False,
    timeout: float = DAY,
    on_progress: OnProgress | None = None,
    callbacks: CallbackReceiver | None = None,
) -> Archive:
    """Make a remote archive, prove it, delete its local copy, and return what the remote list says of it.

    `tables` is the server's pattern, such as `shop.*`. `diff_from_remote` makes an increment. `adopt` goes on with
    what an earlier call of this name has started, and proves it. A name is submitted once: when the reply was lost
    or the server has restarted, what it made of it is looked for, never asked for again. After a failure the local
    copy goes, too, unless it may be the last good one. A local copy that local increments need stays; the copies of
    another caller of this name are left alone.

    Raises Refused when the name is used or the base is not whole, OperationFailed, OperationCancelled,
    OperationLost, NotVerified, WaitTimeout, and what sending raises.
    """
    flow = Flow(client, check_name(name), Deadline(timeout, f"backup {name}"), on_progress, callbacks)
    run = _Run(flow, tables, diff_from_remote, adopt)
    await check_version(client, flow.deadline)
    sight = await run.start()
    while (move := next_move(sight, run.state)) not in (Move.PROVE, Move.FAIL):
        await run.act(move, sight)
        sight = await run.look()
    if move is Move.FAIL:
        raise await run.failure(sight)
    flow.report("verifying")
    archive = await run.prove()
    flow.report("cleaning up")
    with suppress(RequiredByOthers):  # then it stays: the archive is proven all the same
        await delete_local(client, name, flow.deadline)
    return archive


async def start_backup(
    client: Client, name: str, *, tables: str | None = None, diff_from_remote: str | None = None, timeout: float = DAY
) -> Operation:
    """Do the checks of `verified_backup`, submit, and return without waiting.

    Raises what `verified_backup` raises before it waits, and OperationLost.
    """
    flow = Flow(client, check_name(name), Deadline(timeout, f"backup {name}"))
    run = _Run(flow, tables, diff_from_remote, adopt=False)
    await check_version(client, flow.deadline)
    sight = await run.start()
    while (operation := await run.begin(Move.SUBMIT, sight)) is Unsubmitted.UNSENT:
        sight = await run.look()
    if not isinstance(operation, Operation):
        raise run.lost(sight, "the reply was lost, and the server shows no trace of it")
    return operation


class Move(Enum):
    """What comes next for an archive that is being made."""

    SUBMIT = auto()
    FOLLOW = auto()
    UPLOAD = auto()
    PROVE = auto()
    FAIL = auto()


@dataclass(frozen=True)
class Sight:
    """What one look at the server shows of an archive.

    `row` is the last one of ours that makes it, `others` are those of other callers.
    """

    rows: tuple[Action, ...] = ()
    row: Action | None = None
    others: tuple[Action, ...] = ()
    local: Archive | None = None
    remotes: tuple[Archive, ...] = ()
    remote: Archive | None = None


@dataclass
class State:
    """What has been done so far: submitted or adopted, uploads taken up again, a reply lost for good."""

    submitted: bool = False
    uploads: int = 0
    lost: bool = False


def next_move(sight: Sight, state: State) -> Move:
    """Decide what comes next. Lists beat rows: a restart rewrites rows, and a failed retention marks good ones."""
    if sight.row and sight.row.running:
        return Move.FOLLOW
    if sight.row and locked_out(sight.row):  # what is listed was made by somebody else
        return Move.FAIL
    if sight.remote and not sight.remote.broken:
        return Move.PROVE
    if sight.row:
        return Move.PROVE if sight.row.status == "success" else Move.FAIL
    if state.lost:
        return Move.FAIL
    if sight.local and not sight.local.broken and state.uploads < _UPLOADS:
        return Move.UPLOAD
    return Move.FAIL if state.submitted or sight.local or sight.remote else Move.SUBMIT


def refuse_used(name: str, sight: Sight) -> None:
    """Raise Refused when the name is not free."""
    rows = [row for row in sight.rows if row.running and name in row.names]
    if rows:
        raise Refused(f"backup {name}: the name is in use, `{rows[0].command}` is running", rows=rows)
    for where, archive in (("remotely", sight.remote), ("locally", sight.local)):
        if archive:
            raise Refused(f"backup {name}: an archive of this name exists {where}: {archive.desc}")


def refuse_base(name: str, base: str, sight: Sight) -> None:
    """Raise Refused when an increment on this base could not be restored."""
    problems = chain_problems(sight.remotes, base)
    if name in (base, *bases(sight.remotes, base)):
        problems.append("an archive cannot be its own base")
    if problems:
        raise Refused(f"backup {name}: {base} cannot be its base: {'; '.join(problems)}")


@dataclass
class _Run:
    flow: Flow
    tables: str | None
    base: str | None
    adopt: bool
    state: State = field(default_factory=State)
    known: frozenset[object] = frozenset()  # rows of an earlier life of the name
    own: set[str] = field(default_factory=set)
    source_bytes: int | None = None

    async def start(self) -> Sight:
        """Look for the first time, and refuse what must not be begun."""
        if self.base is not None:
            check_name(self.base, existing=True)
        if self.adopt:
            await settled_history(self.flow.client, self.flow.deadline, lambda rows: bool(self._making(rows)))
        sight = await self.look()
        if self.base is not None:
            refuse_base(self.flow.name, self.base, sight)
        return sight

    async def look(self) -> Sight:
        """Read the history and the lists. As long as nothing was submitted, the name must be free.

        Raises Refused.
        """
        client, deadline, name = self.flow.client, self.flow.deadline, self.flow.name
        rows = await deadline.read(client.actions)
        local = await deadline.read(client.list_local)
        remotes = await deadline.read(client.list_remote)
        fresh = not self.adopt and not self.state.submitted
        if fresh:
            self.known = frozenset(identity(row) for row in rows)
        ours, others = self._divided(rows)
        found = find(remotes, name)
        sight = Sight(tuple(rows), latest(ours), tuple(others), find(local, name), tuple(remotes), found)
        if fresh:
            refuse_used(name, sight)
        return sight

    async def act(self, move: Move, sight: Sight) -> None:
        """Do one step and follow it to its end."""
        operation = await self.begin(move, sight)
        if operation is Unsubmitted.UNSENT:
            return
        self.state.submitted = True
        self.state.uploads += move is Move.UPLOAD
        self.state.lost = operation is Unsubmitted.LOST
        if not isinstance(operation, Operation):
            return
        self.own |= {operation.operation_id} - {""}
        row = await follow(self.flow, operation)
        if row and row.status == "cancel":
            await anyio.sleep(_SETTLE)  # what was killed is still being stopped

    async def begin(self, move: Move, sight: Sight) -> Operation | Unsubmitted:
        """Submit what a step asks for, or take up what runs."""
        if move is Move.FOLLOW and sight.row:
            row = sight.row
            return Operation(self.flow.client, row.verb, self.flow.name, row.operation_id, position=row.position)
        self.flow.report("submitting")
        if move is Move.UPLOAD:
            base = None if sight.local and sight.local.required else self.base
            return await submit_once(self.flow, "upload", partial(self._upload, base), [base] if base else [])
        await self._require_absent()
        self.source_bytes = await self._source_bytes()
        asked = [text for text in (self.tables, self.base) if text]
        return await submit_once(self.flow, "create_remote", self._create_remote, asked)

    async def _require_absent(self) -> None:
        """Ask the object store itself for the name: a list may be partial, or empty in an outage."""
        name, client = self.flow.name, self.flow.client
        patience = self.flow.deadline.part(BLIND, f"asking the object store whether it holds {name}")
        while True:
            try:
                tables = await patience.read(lambda: client.tables(remote_backup=name))
            except NotFound:
                return
            if tables:
                raise Refused(f"backup {name}: the object store holds an archive of this name that no list shows")
            await patience.pause()

    async def _create_remote(self, callback: Callback | None) -> Operation:
        return await self.flow.client.create_remote(
            self.flow.name, tables=self.tables, diff_from_remote=self.base, callback=callback
        )

    async def _upload(self, base: str | None, callback: Callback | None) -> Operation:
        return await self.flow.client.upload(self.flow.name, diff_from_remote=base, callback=callback)

    async def prove(self) -> Archive:
        """Return the archive once nothing speaks against it; an object store that looks empty is asked again."""
        if self.source_bytes != await self._source_bytes():
            self.source_bytes = None  # the tables have changed: what the increment was made from is not known
        name, client = self.flow.name, self.flow.client
        measured = await measures_tables(client, self.flow.deadline)
        patience = self.flow.deadline.part(BLIND, f"proving {name}")
        while True:
            sight = await self.look()
            denied = sight.remote is None and await is_absent_remotely(client, name, patience)
            tables = [] if denied else await tables_of(client, name, patience)
            problems = self._problems(sight, tables if measured else None)
            if sight.remote and not problems:
                return sight.remote
            if denied or not patience.left or (sight.remotes and tables):
                break
            await patience.pause()
        raise not_verified(f"backup {name}", problems, sight.rows)

    async def failure(self, sight: Sight) -> ChbackupError:
        """Clean up what is ours, and build the error that says what became of the archive."""
        row = sight.row
        if row and locked_out(row):
            return taken(self.flow, "backup", row, sight.others)
        why = "the reply was lost" if self.state.lost else "the server has forgotten it"
        error = (row and failure_of(row)) or self.lost(sight, f"{why}, and lists no good archive")
        if sight.others:
            error.message += f"; its copies are left to `{sight.others[-1].command}` of another caller"
        elif self.state.lost or (row and await self._may_go_on(row)):
            error.message += "; its copies are left, because the server may still be at work on them"
        else:
            self.flow.report("cleaning up")
            error.message += await discard_local(self.flow.client, self.flow.name)
        return error

    def lost(self, sight: Sight, why: str) -> OperationLost:
        """Build the error for an archive of which the server shows no row."""
        error = OperationLost(f"backup {self.flow.name}: {why}", rows=sight.others)
        error.local, error.remote = sight.local, sight.remote
        error.restarted = restarted(sight.rows, next(iter(self.own), ""))
        return error

    async def _may_go_on(self, row: Action) -> bool:
        """Whether the server goes on with a row although it says `cancel`."""
        if row.status != "cancel" or row.operation_id:
            return False
        return await self.flow.client.supports(Feature.KILL_OF_ACTIONS) is not True

    def _problems(self, sight: Sight, tables: list[Table] | None) -> list[str]:
        # A flow deletes the local copy after the proof only, so one to be adopted may have lost it.
        name, local = self.flow.name, sight.local or (sight.remote if self.adopt else None)
        problems = prove_archive(
            remote=sight.remote,
            local=local,
            tables=tables,
            required=self.base or "",
            source_bytes=self.source_bytes,
        )
        if sight.remote and sight.remote.required:
            problems += chain_problems(sight.remotes, sight.remote.required)
        made = [row for row in sight.rows if row.operation_id in self.own]
        rows = since(sight.rows, made[0]) if made else list(sight.rows)
        hurt = hurt_by(rows, name, own=self.own, bases=bases(sight.remotes, name))
        return problems + [f"`{row.command}` could have hurt it" for row in hurt]

    def _divided(self, rows: Iterable[Action]) -> tuple[list[Action], list[Action]]:
        """Tell our rows that make the archive from those of others."""
        making = self._making(rows)
        if self.adopt and not self.own:
            begun = [row for row in making if not locked_out(row)]
            self.own = {row.operation_id for row in begun if row.verb == "upload" or row is begun[0]} - {""}
        ours = [row for row in making if row.resumed or row.operation_id in self.own]
        return ours, [row for row in making if row not in ours and not locked_out(row)]

    def _making(self, rows: Iterable[Action]) -> list[Action]:
        named = [row for row in rows if row.verb in _MAKES and row.archive == self.flow.name]
        return [row for row in named if identity(row) not in self.known]

    async def _source_bytes(self) -> int | None:
        """Return the size of the tables that are in archives with their rows; for an increment only."""
        if self.base is None:
            return None
        tables = await self.flow.deadline.read(lambda: self.flow.client.tables(table=self.tables))
        return sum(table.total_bytes for table in tables if table.engine_family.endswith("MergeTree"))
