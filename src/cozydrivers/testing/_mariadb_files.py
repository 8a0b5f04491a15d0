"""The files of mariadb-operator's dumps: their names, which one a restore takes, and how they are compressed."""

import bz2
import gzip
import re
from collections.abc import Iterable
from datetime import datetime, timedelta

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)"
_LEGACY = re.compile(rf"backup\.({_TIME})(\.(?:none|gzip|bzip2))?\.sql")
_STANDARD = re.compile(rf"backup\.({_TIME})\.sql(\.(?:gz|bz2))")
_KINDS = {"gz": "gzip", "bz2": "bzip2"}


def time_of(name: str, *, standard: bool) -> datetime | None:
    """When a dump was started, by its name; None for what is no dump to the operator.

    A name like `.sql.gz` is one only to a release that gives it itself.
    """
    found = _LEGACY.fullmatch(name) or (_STANDARD.fullmatch(name) if standard else None)
    return datetime.fromisoformat(found[1]) if found else None


def chosen(names: Iterable[str], target: datetime, *, standard: bool) -> str | None:
    """The dump that a restore takes: the newest that is not after the target, in 25.10 the nearest of all."""
    second = target.replace(microsecond=0)
    distances: list[tuple[timedelta, str]] = []
    for name in names:
        at = time_of(name, standard=standard)
        if at is not None and (at <= second or not standard):
            distances.append((abs(second - at), name))
    return min(distances, key=lambda pair: pair[0])[1] if distances else None


def too_old(names: Iterable[str], now: datetime, retention: timedelta, *, standard: bool) -> list[str]:
    """The dumps that a backup deletes at its end; their age is counted from their start."""
    times = {name: time_of(name, standard=standard) for name in names}
    return [name for name, at in times.items() if at is not None and now - at > retention]


def compression_of(name: str) -> str:
    """How a dump is compressed, by its name."""
    parts = name.split(".")
    if len(parts) != 4:
        return "none"
    return _KINDS.get(parts[3], "none") if parts[2] == "sql" else parts[2]


def plain_name(name: str) -> str:
    """The name of a dump once it is decompressed."""
    return name if compression_of(name) == "none" else ".".join([*name.split(".")[:2], "sql"])


def compressed(content: bytes, compression: str) -> bytes:
    """Compress a file, whatever is in it already."""
    if compression == "gzip":
        return gzip.compress(content, mtime=0)
    return bz2.compress(content) if compression == "bzip2" else content


def decompressed(content: bytes, compression: str) -> bytes:
    """Take one layer off. Raises OSError, or EOFError, for what is not compressed so, or not to its end."""
    if compression == "gzip":
        return gzip.decompress(content)
    return bz2.decompress(content) if compression == "bzip2" else content
