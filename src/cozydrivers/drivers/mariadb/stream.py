"""A dump read to its end, over several steps of a run.

How far a run has come is in memory alone: a restarted controller begins anew.
"""

from dataclasses import dataclass

import anyio
from anyio.lowlevel import checkpoint

from cozydrivers.clients.objects import ObjectStore
from cozydrivers.drivers.mariadb.dumps import DumpFile
from cozydrivers.drivers.mariadb.verify import Reading

CHUNK = 1024 * 1024
"""Bytes of one request."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of an object that one call reads."""
MOST_SECONDS = 20.0
"""Seconds after which a call begins no other request."""
_DENSITY = 16
"""Decompressed bytes that weigh as much as one that is read: what expands further takes more calls."""


@dataclass(frozen=True)
class Progress:
    """So many bytes of the object were read; there is more to do."""

    read: int
    size: int


@dataclass(frozen=True)
class Proven:
    """The dump is whole."""


@dataclass(frozen=True)
class Problem:
    """The object is no whole dump; the sentence begins with `it`, `its` or `what`."""

    sentence: str


Verdict = Progress | Proven | Problem


class Streams:
    """What is being read, by a run's UID and an object's key; kept until the run is forgotten."""

    def __init__(self) -> None:
        self._streams: dict[str, dict[str, _Stream]] = {}

    async def advance(
        self,
        store: ObjectStore,
        uid: str,
        dump: DumpFile,
        *,
        most_bytes: int = MOST_BYTES,
        most_seconds: float = MOST_SECONDS,
    ) -> Verdict:
        """Read on, by ranges, until the budget is spent; one call at a time for a run. Other tasks run in between.

        A verdict other than Progress stays. Raises StoreError; the next call goes on from where this one came to.
        """
        stream = self._streams.setdefault(uid, {}).setdefault(dump.key, _Stream(dump))
        stream.expect(dump.size)
        weight, deadline = stream.weight + most_bytes, anyio.current_time() + most_seconds
        while isinstance(stream.verdict, Progress):
            await stream.step(store)
            await checkpoint()
            if stream.weight >= weight or anyio.current_time() >= deadline:
                break
        return stream.verdict

    def forget(self, uid: str) -> None:
        """Drop what is kept of a run."""
        self._streams.pop(uid, None)


class _Stream:
    """One object; what a step does is done between two awaits, so that a cancelled one has done all or nothing."""

    def __init__(self, dump: DumpFile) -> None:
        self.verdict: Verdict = Progress(0, dump.size)
        self._dump = dump
        self._reading = Reading(dump.compression)
        self._offset = 0

    @property
    def weight(self) -> int:
        return self._offset + self._reading.produced // _DENSITY

    def expect(self, size: int) -> None:
        if size != self._dump.size:
            self.verdict = Problem(f"its size was {self._dump.size} bytes and is {size}")

    async def step(self, store: ObjectStore) -> None:
        """Read one chunk, or decompress more of the last one."""
        if self._reading.pending:
            self._reading.feed()
            self.verdict = self._so_far()
        else:
            self.verdict = self._take(await store.part(self._dump.key, self._offset, CHUNK))

    def _take(self, chunk: bytes | None) -> Verdict:
        if chunk is None:
            return Problem("it is gone")
        self._offset += len(chunk)
        if self._offset > self._dump.size or (not chunk and self._offset < self._dump.size):
            return Problem(f"its size is no longer {self._dump.size} bytes")
        if chunk:
            self._reading.feed(chunk)
            return self._so_far()
        problem = self._reading.finish()
        return Problem(problem) if problem else Proven()

    def _so_far(self) -> Verdict:
        if self._reading.problem:
            return Problem(self._reading.problem)
        return Progress(self._offset, self._dump.size)
