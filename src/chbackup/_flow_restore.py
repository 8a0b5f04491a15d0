"""verified_restore: download an archive in full, measure it, and only then replace tables."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ._flow_restore_plan import (
    Plan,
    RestoredTable,
    RestoreReport,
    plan_partitions,
    plan_restore,
    report_of,
)
from ._steps import (
    Flow,
    OnProgress,
    Submit,
    Unsubmitted,
    check_version,
    delete_local,
    discard_local,
    find,
    follow,
    list_remote,
    measures_tables,
    not_verified,
    refuse_in_use,
    submit_once,
    tables_seen,
    taken,
)
from ._waiting import DAY, Deadline
from .callbacks import Callback, CallbackReceiver
from .client import Client
from .errors import (
    ChbackupError,
    InvalidInput,
    NotFound,
    OperationLost,
    Refused,
    RequiredByOthers,
    WaitTimeout,
)
from .evidence import bases, chain_problems, is_source, locked_out, partial_local, remote_problems
from .models import Action, Archive, Table
from .names import check_name
from .operation import Operation, failure_of

__all__ = ["RestoreReport", "RestoredTable", "verified_restore"]

_ALREADY_HERE = "backup is already exists"  # somebody else has made a local copy since ours was deleted


async def verified_restore(
    client: Client,
    name: str,
    *,
    tables: str | None = None,
    partitions: Sequence[str] = (),
    overwrite: bool = False,
    timeout: float = DAY,
    on_progress: OnProgress | None = None,
    callbacks: CallbackReceiver | None = None,
) -> RestoreReport:
    """Restore an archive's tables, and report what is there afterwards.

    `tables` is the server's pattern, such as `shop.*`. `overwrite` DROPS the tables of the archive that exist and
    makes them as they were; rows that are not in the archive are gone. With `partitions` (ids, server >= 2.8.0) only
    these are replaced, in those of the tables that hold them in the archive. Tables whose engine keeps its rows out
    of archives are left as they are. A local copy of this name is used if it is the archive's own, else deleted.

    Replicated tables are looked for on this sidecar's server only: drop them on all replicas before.

    Raises NotFound, Refused for an archive that is not whole or for tables that exist, Busy when a running row names
    the archive, NotVerified, OperationFailed, OperationCancelled, OperationLost, WaitTimeout, and what sending
    raises. Before the restore itself begins no table is touched.
    """
    flow = Flow(client, check_name(name, existing=True), Deadline(timeout, f"restore {name}"), on_progress, callbacks)
    run = _Run(flow, tables, _checked(partitions), overwrite)
    await check_version(client, flow.deadline)
    archive = await run.find_archive()
    chosen = await run.choose()
    await run.plan(chosen)
    flow.report("downloading")
    fetched = await run.fetch(archive)
    flow.report("restoring")
    plan = await run.restore(chosen, fetched=fetched)
    flow.report("verifying")
    result = report_of(archive, plan, await run.made(plan))
    if fetched:
        with suppress(RequiredByOthers):  # then it stays
            await delete_local(client, name, flow.deadline)
    return result


@dataclass
class _Run:
    flow: Flow
    pattern: str | None
    partitions: tuple[str, ...]
    overwrite: bool
    expected: int | None = None

    async def find_archive(self) -> Archive:
        """Return the remote archive, once it is shown to be whole, and keep the bytes of its tables."""
        client, deadline, name = self.flow.client, self.flow.deadline, self.flow.name
        await refuse_in_use(self.flow, "restore", [self.flow.name])
        remotes = await list_remote(client, deadline, name)
        archive = find(remotes, name)
        if archive is None:
            raise NotFound(f"restore {name}: there is no such archive in the remote list")
        if problems := chain_problems(remotes, name):
            raise Refused(f"restore {name}: it cannot be restored: {'; '.join(problems)}")
        needed = bases(remotes, name)
        measured = [item.name for item in await deadline.read(client.list_local) if item.name in needed]
        if measured:
            raise Refused(
                f"restore {name}: delete the local copies of {', '.join(measured)} first: beside them the size "
                "of a download does not tell whether it is whole"
            )
        self.expected = await self._size(archive)
        return archive

    async def choose(self) -> list[Table]:
        """Return the archive's tables that match the pattern, with their partitions if these matter.

        Raises Unsupported.
        """
        matching = await self.flow.deadline.read(
            lambda: self.flow.client.tables(
                table=self.pattern, remote_backup=self.flow.name, list_partitions=bool(self.partitions)
            )
        )
        if not matching:
            raise Refused(f"restore {self.flow.name}: none of its tables matches {self.pattern!r}")
        return matching

    async def plan(self, chosen: Sequence[Table]) -> Plan:
        """Compare with what is there now.

        Raises Refused.
        """
        live = await self._live_tables()
        if self.partitions:
            return plan_partitions(self.flow.name, chosen, live, self.partitions, overwrite=self.overwrite)
        return plan_restore(self.flow.name, chosen, live, overwrite=self.overwrite)

    async def fetch(self, archive: Archive) -> bool:
        """Have a local copy of the archive that is whole; whether it had to be downloaded."""
        local = await self._local()
        if local and is_source(local, archive) and not partial_local(local, self.expected):
            return False  # the download could only prove that the remote one has become worse
        if local:
            await delete_local(self.flow.client, self.flow.name, self.flow.deadline)
        operation = await self._submit("download", self._download)
        try:
            row = await follow(self.flow, operation)
        except WaitTimeout:  # an increment whose base lacks an object downloads for ever
            with suppress(ChbackupError):
                await operation.cancel()
            await discard_local(self.flow.client, self.flow.name)
            raise
        await self._require_whole(row)
        return True

    async def restore(self, chosen: Sequence[Table], *, fetched: bool) -> Plan:
        """Replace the tables, or partitions of them, and return what was planned last."""
        operation: Operation | Unsubmitted = Unsubmitted.UNSENT
        while operation is Unsubmitted.UNSENT:
            await self._require_local()
            plan = await self.plan(chosen)
            operation = await submit_once(self.flow, "restore", partial(self._restore, plan), self._asked(plan))
        if not isinstance(operation, Operation):
            raise self._lost("restore")
        row = await follow(self.flow, operation)
        if row and locked_out(row):
            raise await self._taken(row)
        if error := failure_of(row) if row else self._lost("restore"):
            error.message += "; tables may be empty or missing now: restore again with overwrite=True"
            error.message += await discard_local(self.flow.client, self.flow.name) if fetched else ""
            raise error
        return plan

    async def made(self, plan: Plan) -> list[Table]:
        """Return the tables of ClickHouse as they are now, with their partitions if these matter."""
        if not plan.partitions:
            return await self._live_tables()
        pattern = ",".join(plan.partitions)
        read = self.flow.deadline.read
        return await read(lambda: self.flow.client.tables(table=pattern, list_partitions=True))

    async def _download(self, callback: Callback | None) -> Operation:
        return await self.flow.client.download(self.flow.name, callback=callback)

    async def _restore(self, plan: Plan, callback: Callback | None) -> Operation:
        asked = self._asked(plan)
        tables, partitions = asked[0] if asked else None, asked[1:]
        return await self.flow.client.restore(
            self.flow.name, tables=tables, partitions=partitions, data=bool(partitions), callback=callback
        )

    def _asked(self, plan: Plan) -> list[str]:
        """Return the tables to restore as one text, and the partitions; nothing means all of the archive."""
        if self.pattern is None and not plan.left_out and not plan.partitions:
            return []
        tables = ",".join(table.full_name for table in plan.tables)
        return [tables, *(f"{table}:{item}" for table, items in plan.partitions.items() for item in items)]

    async def _require_whole(self, row: Action | None) -> None:
        """Measure the local copy, whatever the download's row says: a restart rewrites rows."""
        if row and (locked_out(row) or _ALREADY_HERE in row.error):
            raise await self._taken(row)
        local = await self._local()
        problems = partial_local(local, self.expected) if local else ["there is no local copy after the download"]
        if not problems:
            return
        unproven = not_verified(f"restore {self.flow.name}", problems)
        lost = self._lost("download") if row is None and (local is None or local.broken) else None
        error = (row and failure_of(row)) or lost or unproven
        error.message += await discard_local(self.flow.client, self.flow.name)
        raise error

    async def _require_local(self) -> None:
        """Look once more for the copy that is about to replace tables: another caller deletes it at its end."""
        local = await self._local()
        if local is None or partial_local(local, self.expected):
            raise Refused(f"restore {self.flow.name}: another caller has deleted its local copy; no table was touched")

    async def _size(self, archive: Archive) -> int | None:
        """Return the bytes that a whole download has, None when the server's version does not tell."""
        tables = await tables_seen(self.flow)
        if not tables:
            raise Refused(f"restore {archive.name}: the object store shows no tables of it")
        if not await measures_tables(self.flow.client, self.flow.deadline):
            return None if archive.required else archive.data_size
        total = sum(table.total_bytes for table in tables)
        if total < archive.data_size:  # more is what a rebase makes of an increment
            raise not_verified(f"restore {archive.name}", remote_problems(archive, tables))
        return total

    async def _live_tables(self) -> list[Table]:
        return await self.flow.deadline.read(lambda: self.flow.client.tables(all=True))

    async def _local(self) -> Archive | None:
        return find(await self.flow.deadline.read(self.flow.client.list_local), self.flow.name)

    async def _submit(self, verb: str, submit: Submit) -> Operation:
        while (operation := await submit_once(self.flow, verb, submit)) is Unsubmitted.UNSENT:
            await refuse_in_use(self.flow, "restore", [self.flow.name])
        if not isinstance(operation, Operation):
            raise self._lost(verb)
        return operation

    async def _taken(self, row: Action) -> Refused:
        rows = await self.flow.deadline.read(lambda: self.flow.client.actions(filter="in progress"))
        return taken(self.flow, "restore", row, [other for other in rows if self.flow.name in other.names])

    def _lost(self, verb: str) -> OperationLost:
        return OperationLost(f"restore {self.flow.name}: the server does not know the {verb} any more", operation=verb)


def _checked(partitions: Sequence[str]) -> tuple[str, ...]:
    if isinstance(partitions, str) or not all(partitions):
        raise InvalidInput("partitions must be a list of ids of partitions, such as 202601")
    return tuple(partitions)
