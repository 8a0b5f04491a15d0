"""What a purge has done, line by line on disk, so that it can be killed at any moment and started again."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import anyio

from .errors import InvalidInput

Event = Literal["begin", "deleting", "deleted", "failed", "end"]

_SHARED = 0.005  # seconds in which those who wait for the disk gather
_START = b'{"at": "'


class Journal:
    """A file of JSON lines; without a path, or when it is `read_only`, nothing is written.

    A set is `begin`, its archives are `deleting`, then `deleted` or `failed`, and the set is `end` when all are gone;
    `begun` are the sets that earlier runs have left between. A line has left this process when `write` returns, and
    is on disk when `sync` returns.

    Raises InvalidInput when the file is not a journal, or cannot be written.
    """

    def __init__(self, path: str | Path | None, *, read_only: bool = False) -> None:
        self.begun: frozenset[str] = frozenset()
        self._file: IO[bytes] | None = None
        self._written = self._synced = 0
        if path is None or (read_only and not Path(path).exists()):
            return
        try:
            file = Path(path).open("rb" if read_only else "a+b")  # noqa: SIM115 - closed below, or by __exit__
        except OSError as error:
            raise InvalidInput(f"the journal {str(path)!r} cannot be opened: {error.strerror}") from None
        try:
            self.begun, whole = _read(file, str(path))
        except InvalidInput:
            file.close()
            raise
        if read_only:
            file.close()
            return
        file.truncate(whole)
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            with self._file:
                os.fsync(self._file.fileno())

    def write(self, event: Event, **fields: Any) -> None:
        """Append a line with the time."""
        if not self._file:
            return
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self._written += 1

    async def sync(self) -> None:
        """Wait until the disk has what was written; those who wait together share one wait."""
        if not self._file:
            return
        mine = self._written
        await anyio.sleep(_SHARED)
        if self._synced < mine:
            latest = self._written
            os.fsync(self._file.fileno())
            self._synced = latest


def _read(file: IO[bytes], path: str) -> tuple[frozenset[str], int]:
    """Return the sets that were begun and not ended, and how many bytes are whole lines."""
    begun: dict[str, None] = {}
    whole = 0
    for line, entry in _lines(file, path):
        whole += len(line)
        name = str(entry.get("set"))
        if entry["event"] == "begin":
            begun[name] = None
        elif entry["event"] == "end":
            begun.pop(name, None)
    return frozenset(begun), whole


def _lines(file: IO[bytes], path: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    file.seek(0)
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n") and line.startswith(_START[: len(line)]):
            return  # cut by a crash
        entry: Any = None
        with suppress(ValueError):
            entry = json.loads(line)
        if not line.startswith(_START) or not isinstance(entry, dict) or "event" not in entry:
            raise InvalidInput(f"{path!r} is not the journal of a purge: see line {number}")
        yield line, entry
