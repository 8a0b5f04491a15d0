"""What the commands print: results to stdout, for people or for programs; everything else to stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.filesize import decimal

from .errors import InvalidInput


class Output(StrEnum):
    """The forms of a result."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Row = Sequence[str]


def show(value: Any, output: Output, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Print a result: `rows` for people, or `value` (models, dataclasses, lists of them) for programs."""
    if output is Output.TABLE:
        show_table(columns, rows)
    else:
        show_value(value, output)


def show_value(value: Any, output: Output) -> None:
    """Print a value as JSON or YAML."""
    sys.stdout.write(_yaml(plain(value)) if output is Output.YAML else json.dumps(plain(value), indent=2) + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Row], *, stderr: bool = False) -> None:
    """Print a table, each row on one line."""
    stream = sys.stderr if stderr else sys.stdout
    lines = [tuple(columns), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pads = [str.rjust if column == "SIZE" else str.ljust for column in columns]
    for line in lines:
        cells = [pad(cell, width) for pad, cell, width in zip(pads, line, widths, strict=True)]
        stream.write("  ".join(cells).rstrip() + "\n")


def show_text(text: str) -> None:
    """Print one line to stdout."""
    sys.stdout.write(printable(text) + "\n")


def tell(text: str, *, style: str | None = None) -> None:
    """Print one line to stderr."""
    console().print(printable(text), style=style, soft_wrap=True)


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is going on; yields what changes the text."""
    screen = console()
    if not screen.is_terminal:
        yield lambda _: None
        return
    with screen.status(printable(text)) as line:
        yield lambda text: line.update(printable(text))


def console() -> Console:
    """Return what prints to stderr: coloured on a terminal only, whatever the environment says."""
    on_terminal = sys.stderr.isatty()
    return Console(stderr=True, force_terminal=on_terminal, markup=False, highlight=False, emoji=False)


def size(count: int) -> str:
    """Return a number of bytes for people."""
    return decimal(count)


def printable(text: str) -> str:
    """Replace what would move a terminal's cursor or change its colours."""
    return "".join(
        char if char.isprintable() else " " if char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def plain(value: Any) -> Any:
    """Turn models and dataclasses into what JSON has."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude={"position"})
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


def _yaml(value: Any) -> str:
    try:
        import yaml
    except ModuleNotFoundError:
        raise InvalidInput("yaml is missing: pip install 'chbackup[cli]'") from None
    text: str = yaml.safe_dump(value, sort_keys=False)
    return text
