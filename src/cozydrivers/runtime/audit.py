"""The audit log: one JSON line before and one after each delete and each overwrite.

It goes through the logger `cozydrivers.audit`. A line is in the file, and the file on the disk, when `audit` returns:
call it before the request is sent. A line that can't be written raises, so that nothing is deleted without a trace.
"""

import json
import logging
import logging.handlers
import os
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, NoReturn, TextIO

LOGGER = "cozydrivers.audit"

_log = logging.getLogger(LOGGER)
_log.setLevel(logging.INFO)  # whatever the level of the others


@dataclass(frozen=True)
class AuditRecord:
    """Something that is destroyed. `kind`, `namespace`, `name` and `uid` are of the object it is destroyed for.

    `actor` is who asked: an object (`RestoreJob tenant-a/undo`) or a person. `archive` is what is deleted, or what the
    overwritten is replaced from; `bytes` its size where known. `rule` says why it may go, `evidence` what was seen.
    """

    time: datetime
    actor: str
    action: Literal["delete", "overwrite"]
    outcome: Literal["about to", "done", "failed", "unknown"]
    kind: str
    namespace: str
    name: str
    uid: str
    archive: str = ""
    bytes: int | None = None
    rule: str = ""
    evidence: str = ""


def audit(record: AuditRecord) -> None:
    """Write a line; returns when it is where the audit log is kept. Raises OSError if it can't be written."""
    at = record.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    _log.info("%s", json.dumps({"time": at, "logger": LOGGER, **_without_time(record)}))


def open_audit_log(path: str = "") -> None:
    """Send the audit log to a file, which is appended to and may be rotated, or to stderr and nowhere else."""
    handler = _AuditFile(path, encoding="utf-8") if path else _AuditStream(sys.stderr)
    for old in list(_log.handlers):
        _log.removeHandler(old)
        old.close()
    _log.addHandler(handler)
    _log.propagate = False


def _without_time(record: AuditRecord) -> dict[str, str | int | None]:
    return {name: value for name, value in asdict(record).items() if name != "time"}


class _AuditStream(logging.StreamHandler[TextIO]):
    """A stream that is flushed with each line; a failure is raised."""

    def handleError(self, record: logging.LogRecord) -> NoReturn:  # noqa: N802 - logging's name
        raise  # noqa: PLE0704 - called while the exception is handled


class _AuditFile(logging.handlers.WatchedFileHandler):
    """A file that is on the disk with each line; a failure is raised."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        assert self.stream is not None
        os.fsync(self.stream.fileno())

    def handleError(self, record: logging.LogRecord) -> NoReturn:  # noqa: N802 - logging's name
        raise  # noqa: PLE0704 - called while the exception is handled
