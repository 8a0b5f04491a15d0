"""verified_backup: create and upload an archive once, follow it, prove it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import anyio

from ._steps import (
    BLIND,
    OnProgress,
    check_version,
    delete_local,
    discard_local,
    find,
    follow,
    identity,
    report,
    submit_once,
    tables_of,
)
from ._waiting import DAY, Deadline, latest
from .client import Client
from .errors import ChbackupError, NotVerified, OperationLost, Refused
from .evidence import bases, chain_problems, hurt_by, prove_archive, since
from .models import Action, Archive, Table
from .names import check_name
from .operation import Operation, failure_of, settled_history

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
) -> Archive:
    """Make a remote archive, prove it, delete its local copy, and return what the remote list says of it.

    `tables` is the server's pattern, such as `shop.*`. `diff_from_remote` makes an increment. `adopt` goes on with
    what an earlier call of this name has started, and proves it. A name is submitted once: when the reply was lost
    or the server has restarted, what it made of it is looked for, never asked for again.

    Raises Refused when the name is used or the base is not whole, OperationFailed, OperationCancelled,
    OperationLost, NotVerified, WaitTimeout, and what sending raises.
    """
    deadline = Deadline(timeout, f"backup {check_name(name)}")
    run = _Run(client, name, tables, diff_from_remote, deadline, on_progress, adopt)
    await check_version(client, deadline)
    sight = await run.start()
    while (move := next_move(sight, run.state)) not in (Move.PROVE, Move.FAIL):
        await run.act(move, sight)
        sight = await run.look()
    if move is Move.FAIL:
        raise await run.failure(sight)
    report(on_progress, "verifying", name)
    archive = await run.prove()
    report(on_progress, "cleaning up", name)
    await delete_local(client, name, deadline)
    return archive


async def start_backup(
    client: Client, name: str, *, tables: str | None = None, diff_from_remote: str | None = None, timeout: float = DAY
) -> Operation:
    """Do the checks of `verified_backup`, submit, and return without waiting.

    Raises what `verified_backup` raises before it waits, and OperationLost.
    """
    deadline = Deadline(timeout, f"backup {check_name(name)}")
    run = _Run(client, name, tables, diff_from_remote, deadline, None, adopt=False)
    await check_version(client, deadline)
    operation = await run.begin(Move.SUBMIT, await run.start())
    if operation is None:
        raise OperationLost(f"backup {name}: the reply was lost, and the server shows no trace of it")
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
    """What one look at the server shows of an archive; `row` is the last one that makes it."""

    rows: tuple[Action, ...] = ()
    row: Action | None = None
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
    for where, archive in (("remotely", sight.remote), ("locally", sight.local)):
        if archive:
            raise Refused(f"backup {name}: an archive of this name exists {where}: {archive.desc}")
    rows = [row for row in sight.rows if row.running and name in row.names]
    if rows:
        raise Refused(f"backup {name}: `{rows[0].command}` is running", rows=rows)


def refuse_base(name: str, base: str, sight: Sight) -> None:
    """Raise Refused when an increment on this base could not be restored."""
    problems = chain_problems(sight.remotes, base)
    if name in (base, *bases(sight.remotes, base)):
        problems.append("an archive cannot be its own base")
    if problems:
        raise Refused(f"backup {name}: {base} cannot be its base: {'; '.join(problems)}")


@dataclass
class _Run:
    client: Client
    name: str
    tables: str | None
    base: str | None
    deadline: Deadline
    on_progress: OnProgress | None
    adopt: bool
    state: State = field(default_factory=State)
    known: frozenset[object] = frozenset()  # rows of an earlier life of the name
    own: set[str] = field(default_factory=set)
    source_bytes: int | None = None

    async def start(self) -> Sight:
        """Look for the first time, and refuse what must not be begun."""
        if self.adopt:
            await settled_history(self.client, self.deadline, lambda rows: bool(self._making(rows)))
        sight = await self.look()
        if not self.adopt:
            refuse_used(self.name, sight)
            self.known = frozenset(identity(row) for row in sight.rows)
            sight = replace(sight, row=None)
        if self.base is not None:
            refuse_base(self.name, check_name(self.base), sight)
        made = self._making(sight.rows)
        self.own = {row.operation_id for row in made if row.verb == "upload" or row is made[0]} - {""}
        return sight

    async def look(self) -> Sight:
        """Read the history and the lists."""
        rows = await self.deadline.read(self.client.actions)
        local = await self.deadline.read(self.client.list_local)
        remotes = await self.deadline.read(self.client.list_remote)
        row = latest(self._making(rows))
        return Sight(tuple(rows), row, find(local, self.name), tuple(remotes), find(remotes, self.name))

    async def act(self, move: Move, sight: Sight) -> None:
        """Do one step and follow it to its end."""
        operation = await self.begin(move, sight)
        self.state.submitted = True
        self.state.lost = operation is None
        if operation is None:
            return
        self.own |= {operation.operation_id} - {""}
        row = await follow(operation, self.deadline, self.on_progress)
        if row and row.status == "cancel":
            await anyio.sleep(_SETTLE)  # what was killed is still being stopped

    async def begin(self, move: Move, sight: Sight) -> Operation | None:
        """Submit what a step asks for, or take up what runs; None when the server shows no trace of it."""
        if move is Move.FOLLOW and sight.row:
            row = sight.row
            return Operation(self.client, row.verb, self.name, row.operation_id, position=row.position)
        report(self.on_progress, "submitting", self.name)
        if move is Move.UPLOAD:
            self.state.uploads += 1
            return await submit_once(self.client, lambda: self._upload(sight), "upload", self.name, self.deadline)
        self.source_bytes = await self._source_bytes()
        return await submit_once(self.client, self._create_remote, "create_remote", self.name, self.deadline)

    async def _create_remote(self) -> Operation:
        return await self.client.create_remote(self.name, tables=self.tables, diff_from_remote=self.base)

    async def _upload(self, sight: Sight) -> Operation:
        has_base = sight.local is not None and sight.local.required
        return await self.client.upload(self.name, diff_from_remote=None if has_base else self.base)

    async def prove(self) -> Archive:
        """Return the archive once nothing speaks against it; an object store that looks empty is asked again."""
        if self.source_bytes != await self._source_bytes():
            self.source_bytes = None  # the tables have changed: what the increment was made from is not known
        patience = self.deadline.part(BLIND, f"proving {self.name}")
        while True:
            sight = await self.look()
            tables = await tables_of(self.client, self.name, patience)
            problems = self._problems(sight, tables)
            if sight.remote and not problems:
                return sight.remote
            if not patience.left or (sight.remotes and tables):
                break
            await patience.pause()
        error = NotVerified(f"backup {self.name} is not proven: {'; '.join(problems)}", rows=sight.rows)
        error.problems = tuple(problems)
        raise error

    async def failure(self, sight: Sight) -> ChbackupError:
        """Clean up, and build the error that says what became of the archive."""
        error = (sight.row and failure_of(sight.row)) or self._lost(sight)
        if not self.state.lost:  # else it may still be running
            report(self.on_progress, "cleaning up", self.name)
            error.message += await discard_local(self.client, self.name)
        return error

    def _lost(self, sight: Sight) -> OperationLost:
        error = OperationLost(f"backup {self.name}: the server has forgotten it, and lists no good archive")
        error.local, error.remote = sight.local, sight.remote
        return error

    def _problems(self, sight: Sight, tables: list[Table]) -> list[str]:
        # A flow deletes the local copy after the proof only, so one to be adopted may have lost it.
        local = sight.local or (sight.remote if self.adopt else None)
        problems = prove_archive(
            remote=sight.remote,
            local=local,
            tables=tables,
            required=self.base or "",
            source_bytes=self.source_bytes,
        )
        made = [row for row in sight.rows if row.operation_id in self.own]
        rows = since(sight.rows, made[0]) if made else list(sight.rows)
        hurt = hurt_by(rows, self.name, own=self.own, bases=bases(sight.remotes, self.name))
        return problems + [f"`{row.command}` could have hurt it" for row in hurt]

    def _making(self, rows: Iterable[Action]) -> list[Action]:
        return [
            row for row in rows if row.verb in _MAKES and row.archive == self.name and identity(row) not in self.known
        ]

    async def _source_bytes(self) -> int | None:
        """Return the size of the tables that are in archives with their rows; for an increment only."""
        if self.base is None:
            return None
        tables = await self.deadline.read(lambda: self.client.tables(table=self.tables))
        return sum(table.total_bytes for table in tables if table.engine_family.endswith("MergeTree"))
