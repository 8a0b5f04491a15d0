"""What the content of a dump proves: one layer of the compression asked for, a dump's first line, a dump's last line.

mariadb-dump writes its last line only where all before it went well. A Job whose container was restarted compresses
twice (seen on 25.10.2 and 26.6.0), and a restore then feeds compressed bytes to the server. Sentences quote nothing of
a dump: its data may be secret.
"""

import bz2
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from cozydrivers.drivers.mariadb.settings import Compression

HEAD = 1024 * 1024
"""Bytes of an object's beginning that show its first line: more than bzip2's largest block."""
OUTPUT = 256 * 1024
"""Bytes that one call decompresses at most."""

_BEGINNINGS = (b"-- MariaDB dump", b"/*M!999999", b"-- MySQL dump")
_END = b"-- Dump completed"
_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
_SIGN = 32
"""Bytes that show what begins."""
_TAIL = 4096
_OPEN: Mapping[Compression, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
    "bzip2": bz2.BZ2Decompressor,
}


def head_problem(first: bytes, compression: Compression) -> str:
    """What speaks against an object that begins so, empty where nothing does; `first` are HEAD bytes, or all it has."""
    reading = Reading(compression)
    reading.feed(first)
    return reading.problem or reading.head_problem()


class Reading:
    """A dump that comes in chunks; holds no more of it than a chunk, and what a decompressor needs.

    `problem` is what speaks against it so far, empty where nothing does. While it is `pending`, a chunk is not yet
    decompressed wholly: feed nothing more. `produced` are the bytes of the dump itself so far.
    """

    def __init__(self, compression: Compression) -> None:
        self.problem: str = ""
        self.produced: int = 0
        self._layer = _Layer(compression) if compression != "none" else None
        self._compression = compression
        self._raw = self._head = self._tail = b""

    @property
    def pending(self) -> bool:
        """Whether there is more to decompress of what was fed."""
        return not self.problem and self._layer is not None and self._layer.pending

    def feed(self, chunk: bytes = b"") -> None:
        """Take the next chunk, and decompress up to OUTPUT bytes of what there is."""
        if self.problem:
            return
        self._raw += chunk[: _SIGN - len(self._raw)]
        try:
            self._take(self._layer.feed(chunk) if self._layer else chunk)
        except (zlib.error, OSError):
            self.problem = self._broken()

    def finish(self) -> str:
        """What speaks against it, now that all of it was fed and nothing is pending; empty for a whole dump."""
        return self.problem or self.head_problem() or self._end_problem()

    def head_problem(self) -> str:
        """What speaks against its beginning, as far as it was fed."""
        if not self._raw:
            return "it is empty"
        if not self._head:
            return self._cut() or f"it is empty under its {self._compression}"
        inner = _layer_of(self._head)
        if inner:
            if self._layer:
                return f"it is compressed twice: its {self._compression} data holds {inner} data"
            return f"it is compressed with {inner}, though no compression was asked for"
        return "" if self._head.startswith(_BEGINNINGS) else "it does not begin as a dump does"

    def _take(self, output: bytes) -> None:
        self.produced += len(output)
        self._tail = (self._tail + output[-_TAIL:])[-_TAIL:]
        if len(self._head) < _SIGN:
            self._head += output[: _SIGN - len(self._head)]
            if len(self._head) == _SIGN:
                self.problem = self.head_problem()

    def _broken(self) -> str:
        if self._layer and self._layer.ended:
            return f"what follows its {self._compression} data is something else, or broken"
        found = _layer_of(self._raw)
        if found == self._compression:
            return f"its {found} data is broken"
        if found:
            return f"it is compressed with {found}, not with {self._compression}"
        if self._raw.startswith(_BEGINNINGS):
            return f"it is not compressed, though {self._compression} was asked for"
        return f"it is no {self._compression} data"

    def _cut(self) -> str:
        return f"its {self._compression} data is cut short" if self._layer and self._layer.inside else ""

    def _end_problem(self) -> str:
        _, line_end, last = self._tail.rstrip().rpartition(b"\n")
        whole = line_end and last.startswith(_END)
        return self._cut() or ("" if whole else f"it is cut short: its last line does not begin with {_END.decode()!r}")


class _Layer:
    """Decompresses gzip members, or bzip2 streams, that follow each other. Raises zlib.error or OSError.

    `inside` says that one has begun and not ended, `ended` how many have.
    """

    def __init__(self, compression: Compression) -> None:
        self.pending = False
        self.ended = 0
        self._open = _OPEN[compression]
        self._stream: Any = None
        self._rest = b""

    @property
    def inside(self) -> bool:
        return self._stream is not None

    def feed(self, chunk: bytes) -> bytes:
        data = self._rest + chunk
        if self._stream is None:
            if not data:
                return b""
            self._stream = self._open()
        stream = self._stream
        output: bytes = stream.decompress(data, OUTPUT)
        if stream.eof:
            self.ended, self._stream, self._rest = self.ended + 1, None, stream.unused_data
        else:  # bzip2 keeps to itself what it has not come to
            self._rest = getattr(stream, "unconsumed_tail", b"")
        self.pending = bool(self._rest) or (self.inside and len(output) == OUTPUT)
        return output


def _layer_of(data: bytes) -> str:
    """The compression that data begins with, empty for none that is known."""
    if data.startswith(b"\x1f\x8b"):
        return "gzip"
    return "bzip2" if _BZIP2.match(data) else ""
