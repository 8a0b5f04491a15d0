"""The commands that read: list, tables, actions, status, version. `-o json` prints an array of the server's rows."""

from enum import StrEnum
from typing import Annotated

import typer

from ._cli_command import Common, command
from ._cli_output import Output, show, show_text, show_value, size
from .models import Action, Archive, Table

_READ_TIMEOUT = 30.0

_ACTION_COLUMNS = ("COMMAND", "STATUS", "START", "FINISH", "ERROR")
ARCHIVE_COLUMNS = ("NAME", "WHERE", "CREATED", "SIZE", "BASE", "STATE")


class Where(StrEnum):
    """Which list."""

    LOCAL = "local"
    REMOTE = "remote"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "list", example="chbackup list remote -o json", timeout=_READ_TIMEOUT)(list_archives)
    command(app, "tables", example="chbackup tables 'shop.*'", timeout=_READ_TIMEOUT)(tables)
    command(app, "actions", example="chbackup actions --filter 'in progress'", timeout=_READ_TIMEOUT)(actions)
    command(app, "status", example="chbackup status -o yaml", timeout=_READ_TIMEOUT)(status)
    command(app, "version", example="chbackup version --url http://10.0.3.7:7171", timeout=_READ_TIMEOUT)(version)


async def list_archives(
    common: Common, where: Annotated[Where | None, typer.Argument(help="Which list; both without it.")] = None
) -> None:
    """List archives.

    An empty remote list may be an outage of the object store.
    """
    async with common.client(timeout=common.timeout) as client:
        calls = {None: client.list_all, Where.LOCAL: client.list_local, Where.REMOTE: client.list_remote}
        archives = await calls[where]()
    show(archives, common.output, ARCHIVE_COLUMNS, map(archive_row, archives))


async def tables(
    common: Common,
    pattern: Annotated[str | None, typer.Argument(help="The server's pattern, such as shop.*")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Also those that the server's settings skip.")] = False,
    local_backup: Annotated[
        str | None, typer.Option("--local-backup", metavar="NAME", help="The tables of this local archive.")
    ] = None,
    remote_backup: Annotated[
        str | None, typer.Option("--remote-backup", metavar="NAME", help="The tables of this remote archive.")
    ] = None,
) -> None:
    """List the tables of ClickHouse, or of an archive.

    `-o json` holds `create_table_query`, in which passwords may stand; the table never does.
    """
    async with common.client(timeout=common.timeout) as client:
        found = await client.tables(pattern, all=all_, local_backup=local_backup, remote_backup=remote_backup)
    show(found, common.output, ("TABLE", "ENGINE", "SIZE", "BACKED UP"), map(_table_row, found))


async def actions(
    common: Common,
    last: Annotated[int | None, typer.Option("--last", min=1, max=32767, help="Only so many, the latest.")] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="TEXT", help="Only those with this in command, status or error.")
    ] = None,
) -> None:
    """Show the server's history, oldest first.

    It is kept in memory: a restart of the sidecar forgets it.
    """
    async with common.client(timeout=common.timeout) as client:
        rows = await client.actions(last, filter=filter_)
    show(rows, common.output, _ACTION_COLUMNS, map(action_row, rows))


async def status(common: Common) -> None:
    """Show the last row of the server's history, whoever caused it."""
    async with common.client(timeout=common.timeout) as client:
        row = await client.status()
    rows = [row] if row else []
    show(rows, common.output, _ACTION_COLUMNS, map(action_row, rows))


async def version(common: Common) -> None:
    """Print the server's version."""
    async with common.client(timeout=common.timeout) as client:
        text = await client.version()
    if common.output is Output.TABLE:
        show_text(text)
    else:
        show_value([{"version": text}], common.output)


def show_archive(archive: Archive, output: Output) -> None:
    """Print one archive."""
    show(archive, output, ARCHIVE_COLUMNS, [archive_row(archive)])


def show_action(row: Action, output: Output) -> None:
    """Print one row of the history."""
    show(row, output, _ACTION_COLUMNS, [action_row(row)])


def archive_row(archive: Archive) -> tuple[str, ...]:
    """Return the cells of an archive."""
    created = str(archive.created or "")
    return archive.name, archive.location, created, size(archive.size), archive.required, archive.broken or "good"


def action_row(row: Action) -> tuple[str, ...]:
    """Return the cells of a row of the history."""
    return row.command, row.status, str(row.start or ""), str(row.finish or ""), row.error


def _table_row(table: Table) -> tuple[str, ...]:
    # Only the family of the engine: its arguments may be credentials.
    return table.full_name, table.engine_family, size(table.total_bytes), "no" if table.skip else "yes"
