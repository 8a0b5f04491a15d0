"""What the commands print: tables for people, JSON for programs."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from .flows import DeleteReport, RestoreReport
from .models import Action, Archive


class Output(StrEnum):
    """The forms of a result."""

    TABLE = "table"
    JSON = "json"


def show_archives(archives: Sequence[Archive], output: Output) -> None:
    """Print archives."""
    if output is Output.JSON:
        _show_json([_plain(archive) for archive in archives])
        return
    rows = [
        (item.name, item.location, str(item.created or ""), decimal(item.size), item.required, item.broken or "good")
        for item in archives
    ]
    _show_table(("NAME", "WHERE", "CREATED", "SIZE", "BASE", "STATE"), rows)


def show_restored(report: RestoreReport, output: Output) -> None:
    """Print what a restore has made."""
    if output is Output.JSON:
        tables = [asdict(table) for table in report.tables]
        _show_json({"archive": _plain(report.archive), "tables": tables, "left_out": list(report.left_out)})
        return
    rows = [
        (table.name, table.engine, decimal(table.archived_bytes), "replaced" if table.replaced else "created")
        for table in report.tables
    ]
    rows += [(name, "", "", "left as it was: its rows are in no archive") for name in report.left_out]
    _show_table(("TABLE", "ENGINE", "SIZE", "RESULT"), rows)


def show_deleted(report: DeleteReport, output: Output) -> None:
    """Print what a delete has removed."""
    removed = [archive for archive in (report.local, report.remote) if archive]
    if output is Output.JSON:
        _show_json({"name": report.name, "deleted": [_plain(archive) for archive in removed]})
        return
    places = " and ".join({"local": "locally", "remote": "remotely"}[archive.location] for archive in removed)
    show_text(f"{report.name}: deleted {places}" if removed else f"{report.name}: there was none")


def show_row(row: Action, output: Output) -> None:
    """Print a row of the history."""
    if output is Output.JSON:
        _show_json(row.model_dump(mode="json", exclude={"position"}))
        return
    columns = ("COMMAND", "STATUS", "START", "FINISH")
    _show_table(columns, [(row.command, row.status, str(row.start or ""), str(row.finish or ""))])


def show_text(text: str) -> None:
    """Print one line."""
    _stdout().print(text, soft_wrap=True)


def show_error(text: str) -> None:
    """Print one line to stderr."""
    _console(stderr=True).print(f"chbackup: {text}", style="red", soft_wrap=True)


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is going on; yields what changes the text."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(text) as line:
        yield line.update


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def _stdout() -> Console:
    console = _console()
    if not console.is_terminal:
        console.width = 10_000  # programs get whole lines
    return console


def _show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    _stdout().print(table)


def _show_json(value: Any) -> None:
    _stdout().print(json.dumps(value, indent=2), soft_wrap=True)


def _plain(archive: Archive) -> dict[str, Any]:
    return archive.model_dump(mode="json", exclude={"created_raw"})
