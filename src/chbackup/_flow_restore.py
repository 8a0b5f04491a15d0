"""verified_restore: download an archive in full, measure it, and only then replace tables."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ._steps import (
    BLIND,
    OnProgress,
    check_version,
    delete_local,
    discard_local,
    find,
    follow,
    list_remote,
    report,
    submit_once,
    tables_of,
)
from ._waiting import DAY, Deadline
from .client import Client
from .errors import Busy, ChbackupError, NotFound, NotVerified, OperationLost, Refused, WaitTimeout
from .evidence import bases, chain_problems, partial_local, remote_problems
from .models import Archive, Table
from .names import check_name
from .operation import Operation, failure_of

# These keep their rows outside of what is frozen: an archive has their schema only, and a restore empties them.
_NOT_IN_ARCHIVES = frozenset(
    ("Log", "TinyLog", "StripeLog", "Memory", "Set", "Join", "File", "Buffer", "EmbeddedRocksDB")
)


@dataclass(frozen=True)
class RestoredTable:
    """A table after a restore: its bytes in the archive and now. Merges change the latter."""

    name: str
    engine: str
    archived_bytes: int
    total_bytes: int
    replaced: bool


@dataclass(frozen=True)
class RestoreReport:
    """What a restore has made; `left_out` are tables that it would have emptied, as they were before."""

    archive: Archive
    tables: tuple[RestoredTable, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The tables to restore, those of them that exist, and those left as they are."""

    tables: tuple[Table, ...]
    replaced: frozenset[str]
    left_out: tuple[str, ...]


async def verified_restore(
    client: Client,
    name: str,
    *,
    tables: str | None = None,
    overwrite: bool = False,
    timeout: float = DAY,
    on_progress: OnProgress | None = None,
) -> RestoreReport:
    """Restore an archive's tables, and report what is there afterwards.

    `tables` is the server's pattern, such as `shop.*`. `overwrite` DROPS the tables of the archive that exist and
    makes them as they were; rows that are not in the archive are gone. Tables whose engine keeps its rows out of
    archives are left as they are. A stale local copy of this name is deleted.

    Replicated tables are looked for on this sidecar's server only: drop them on all replicas before.

    Raises NotFound, Refused for an archive that is not whole or for tables that exist, Busy when a running row names
    the archive, NotVerified, OperationFailed, OperationCancelled, OperationLost, WaitTimeout, and what sending
    raises. Before the restore itself begins no table is touched.
    """
    deadline = Deadline(timeout, f"restore {check_name(name)}")
    run = _Run(client, name, tables, overwrite, deadline, on_progress)
    await check_version(client, deadline)
    archive, archived = await run.find_archive()
    chosen = await run.choose(archived)
    plan_restore(name, chosen, await run.live_tables(), overwrite=overwrite)
    report(on_progress, "downloading", name)
    await delete_local(client, name, deadline)
    await run.download(archived)
    plan = plan_restore(name, chosen, await run.live_tables(), overwrite=overwrite)
    report(on_progress, "restoring", name)
    await run.restore(plan)
    report(on_progress, "verifying", name)
    result = report_of(archive, plan, await run.live_tables())
    await delete_local(client, name, deadline)
    return result


def plan_restore(name: str, archived: Sequence[Table], live: Sequence[Table], *, overwrite: bool) -> Plan:
    """Decide which tables a restore may make.

    Raises Refused for tables that exist, unless they are to be overwritten; for replicated ones always, because the
    other replicas would bring back their rows.
    """
    existing = {table.full_name: table for table in live}
    taken = [existing[table.full_name] for table in archived if table.full_name in existing]
    if taken and not overwrite:
        raise Refused(f"restore {name}: these tables exist: {_names(taken)}; overwrite=True drops them")
    replicated = [table for table in taken if table.engine.startswith("Replicated")]
    if replicated:
        drops = " ".join(f"DROP TABLE {table.full_name} ON CLUSTER ... SYNC;" for table in replicated)
        raise Refused(f"restore {name}: replicated tables must be gone from all replicas first: {drops}")
    left_out = tuple(table.full_name for table in taken if table.engine_family in _NOT_IN_ARCHIVES)
    chosen = tuple(table for table in archived if table.full_name not in left_out)
    if not chosen:
        raise Refused(f"restore {name}: it has no table with rows to restore; left out: {', '.join(left_out)}")
    return Plan(chosen, frozenset(table.full_name for table in taken).difference(left_out), left_out)


def report_of(archive: Archive, plan: Plan, live: Sequence[Table]) -> RestoreReport:
    """Say what is there after a restore.

    Raises NotVerified when a table is missing, or empty though the archive has rows of it.
    """
    found = {table.full_name: table for table in live}
    problems = [f"{table.full_name} is missing" for table in plan.tables if table.full_name not in found]
    restored = [
        RestoredTable(
            table.full_name,
            found[table.full_name].engine,
            table.total_bytes,
            found[table.full_name].total_bytes,
            table.full_name in plan.replaced,
        )
        for table in plan.tables
        if table.full_name in found
    ]
    problems += [f"{table.name} is empty" for table in restored if table.archived_bytes and not table.total_bytes]
    if problems:
        raise _not_verified(f"restore {archive.name}", problems)
    return RestoreReport(archive, tuple(restored), plan.left_out)


@dataclass
class _Run:
    client: Client
    name: str
    pattern: str | None
    overwrite: bool
    deadline: Deadline
    on_progress: OnProgress | None

    async def find_archive(self) -> tuple[Archive, list[Table]]:
        """Return the remote archive and its tables, once it is shown to be whole."""
        await self._refuse_in_use()
        remotes = await list_remote(self.client, self.deadline, self.name)
        archive = find(remotes, self.name)
        if archive is None:
            raise NotFound(f"restore {self.name}: there is no such archive in the remote list")
        if problems := chain_problems(remotes, self.name):
            raise Refused(f"restore {self.name}: it cannot be restored: {'; '.join(problems)}")
        needed = bases(remotes, self.name)
        measured = [item.name for item in await self.deadline.read(self.client.list_local) if item.name in needed]
        if measured:
            raise Refused(
                f"restore {self.name}: delete the local copies of {', '.join(measured)} first: beside them the size "
                "of a download does not tell whether it is whole"
            )
        return archive, await self._tables(archive)

    async def choose(self, archived: list[Table]) -> list[Table]:
        """Return the archive's tables that match the pattern."""
        if self.pattern is None:
            return archived
        matching = await self.deadline.read(lambda: self.client.tables(table=self.pattern, remote_backup=self.name))
        if not matching:
            raise Refused(f"restore {self.name}: none of its tables matches {self.pattern!r}")
        return matching

    async def live_tables(self) -> list[Table]:
        """Return the tables of ClickHouse, those of the system included."""
        return await self.deadline.read(lambda: self.client.tables(all=True))

    async def download(self, archived: list[Table]) -> None:
        """Download in full, and compare the copy with what the archive names."""
        row = None
        operation = await self._submit("download", lambda: self.client.download(self.name))
        try:
            row = await follow(operation, self.deadline, self.on_progress)
        except WaitTimeout:  # an increment whose base lacks an object downloads for ever
            with suppress(ChbackupError):
                await operation.cancel()
            await discard_local(self.client, self.name)
            raise
        local = find(await self.deadline.read(self.client.list_local), self.name)
        error = (row and failure_of(row)) or self._problem(local, archived, lost=row is None)
        if error:
            error.message += await discard_local(self.client, self.name)
            raise error

    async def restore(self, plan: Plan) -> None:
        """Replace the tables."""
        everything = self.pattern is None and not plan.left_out
        tables = None if everything else ",".join(table.full_name for table in plan.tables)
        operation = await self._submit("restore", lambda: self.client.restore(self.name, tables=tables))
        row = await follow(operation, self.deadline, self.on_progress)
        error = failure_of(row) if row else self._lost("restore")
        if error:
            error.message += "; tables may be empty or missing now: restore again with overwrite=True"
            error.message += await discard_local(self.client, self.name)
            raise error

    async def _refuse_in_use(self) -> None:
        rows = await self.deadline.read(lambda: self.client.actions(filter="in progress"))
        in_use = [row for row in rows if row.running and self.name in row.names]
        if in_use:
            error = Busy(f"restore {self.name}: `{in_use[0].command}` is running", rows=in_use)
            error.holder = in_use[0]
            raise error

    async def _tables(self, archive: Archive) -> list[Table]:
        patience = self.deadline.part(BLIND, f"reading the tables of {self.name}")
        while not (tables := await tables_of(self.client, self.name, patience)) and patience.left:
            await patience.pause()
        if not tables:
            raise Refused(f"restore {self.name}: the object store shows no tables of it")
        if problems := remote_problems(archive, tables):
            raise _not_verified(f"restore {self.name}", problems)
        return tables

    async def _submit(self, verb: str, submit: Callable[[], Awaitable[Operation]]) -> Operation:
        operation = await submit_once(self.client, submit, verb, self.name, self.deadline)
        if operation is None:
            raise self._lost(verb)
        return operation

    def _lost(self, verb: str) -> OperationLost:
        return OperationLost(f"restore {self.name}: the server does not know the {verb} any more", operation=verb)

    def _problem(self, local: Archive | None, archived: Sequence[Table], *, lost: bool) -> ChbackupError | None:
        if lost and (local is None or local.broken):
            return self._lost("download")
        problems = partial_local(local, archived) if local else ["there is no local copy after the download"]
        return _not_verified(f"restore {self.name}", problems) if problems else None


def _not_verified(what: str, problems: Sequence[str]) -> NotVerified:
    error = NotVerified(f"{what} is not proven: {'; '.join(problems)}")
    error.problems = tuple(problems)
    return error


def _names(tables: Sequence[Table]) -> str:
    return ", ".join(table.full_name for table in tables)
