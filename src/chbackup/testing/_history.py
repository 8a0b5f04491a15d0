"""The rows of `/backup/actions`: in memory, one per operation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from ._timeline import Job

IN_PROGRESS, SUCCESS, CANCEL, ERROR = "in progress", "success", "cancel", "error"


@dataclass(eq=False)
class Row:
    """One operation as the server reports it."""

    command: str
    start: datetime
    operation_id: str = ""
    status: str = IN_PROGRESS
    finish: datetime | None = None
    error: str = ""
    job: Job | None = None
    callbacks: list[str] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether it holds the lock."""
        return self.status == IN_PROGRESS

    def end(self, status: str, error: str, now: datetime) -> None:
        """Write the row's end."""
        self.status, self.error, self.finish = status, error, now

    def document(self, stamp: Callable[[datetime], str]) -> dict[str, str]:
        """Return the row as JSON, times written by `stamp`, empty fields left out."""
        fields = {
            "command": self.command,
            "status": self.status,
            "start": stamp(self.start),
            "finish": stamp(self.finish) if self.finish else "",
            "error": self.error,
            "operation_id": self.operation_id,
        }
        return {key: value for key, value in fields.items() if value or key == "command"}


class History:
    """All rows of one process, oldest first; `limit` finished ones are kept (0: all, servers up to 2.8.0)."""

    def __init__(self, limit: int = 0) -> None:
        self.rows: list[Row] = []
        self._limit = limit

    @property
    def busy(self) -> bool:
        """Whether any row is in progress: the server's lock."""
        return any(row.running for row in self.rows)

    def add(self, row: Row) -> Row:
        """Register a row and forget the oldest finished ones beyond the limit."""
        self._trim()
        self.rows.append(row)
        return row

    def by_operation_id(self, operation_id: str) -> list[Row]:
        """Return the first row with that id, or nothing."""
        return [row for row in self.rows if row.operation_id == operation_id][:1]

    def select(self, last: int, text: str) -> list[Row]:
        """Return the rows whose command, status or error contains the text, of them the last N (0 or less: all)."""
        rows = [row for row in self.rows if text in row.command or text in row.status or text in row.error]
        return rows[-last:] if last > 0 else rows

    def to_kill(self, command: str) -> Row | None:
        """Return the row that a kill means: the exact command, or the oldest running one when none is given."""
        wanted: Callable[[Row], bool] = (lambda row: row.command == command) if command else (lambda _: True)
        return next((row for row in self.rows if row.running and wanted(row)), None)

    def _trim(self) -> None:
        finished = [row for row in self.rows if not row.running]
        surplus = finished[: max(0, len(finished) - self._limit)] if self._limit else []
        self.rows = [row for row in self.rows if row not in surplus] if surplus else self.rows
