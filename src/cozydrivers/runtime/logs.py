"""Logs: one line per record, as text or JSON, with what the code around it is at work on.

An exception is told as `describe` tells it: what a foreign one says may hold an object, so its text and its traceback
are left out. Foreign libraries are heard from WARNING on: what they log below may hold headers and bodies.
"""

import json
import logging
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from cozydrivers.runtime.audit import open_audit_log
from cozydrivers.runtime.describe import describe

Format = Literal["text", "json"]

OURS = ("chbackup", "cozydrivers")
"""The loggers that `level` is for."""

_fields: ContextVar[Mapping[str, str]] = ContextVar("log_context", default={})  # noqa: B039 - it is never changed


def configure(format: Format = "text", level: str | int = "INFO", *, audit_log: str = "") -> None:  # noqa: A002
    """Log to stderr; the audit log goes to the file `audit_log`, else to stderr as well.

    Takes the place of what was configured before. Raises OSError where the file can't be opened.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    open_audit_log(audit_log)


@contextmanager
def log_context(**fields: str) -> Generator[None, None, None]:
    """Add fields to each line that is written within, by tasks that are started within too; empty ones are left out."""
    token = _fields.set({**_fields.get(), **{name: value for name, value in fields.items() if value}})
    try:
        yield
    finally:
        _fields.reset(token)


class TextFormatter(logging.Formatter):
    """`<time> <level> <logger>: <message> key=value`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        fields = {**_fields.get(), **_error(record)}
        pairs = "".join(f" {name}={_quoted(value)}" for name, value in fields.items())
        message = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}"
        return _one_line(message) + pairs


class JsonFormatter(logging.Formatter):
    """A JSON object per line, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        told = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_error(record),
        }
        return json.dumps({**told, **{name: value for name, value in _fields.get().items() if name not in told}})


def _error(record: logging.LogRecord) -> dict[str, str]:
    error = record.exc_info[1] if record.exc_info else None
    return {"error": describe(error)} if error is not None else {}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: str) -> str:
    return value if value.isprintable() and not set(value) & set(' "=') else json.dumps(value)


def _one_line(text: str) -> str:
    """Escape line breaks and what a terminal would obey."""
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)
