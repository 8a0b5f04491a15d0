"""What dumps in the bucket hold, and what servers do, for the observer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.simulation.mariadb.store import Bucket

from cozydrivers.testing._mariadb_files import compression_of, decompressed
from cozydrivers.testing.dumps import FakeDatabase, Row, SqlError

Content = Mapping[tuple[str, str], tuple[Row, ...]]
"""Rows by database and table."""


@dataclass(frozen=True)
class Dump:
    """A dump in the bucket; one that is not `complete` was cut short, or is no dump."""

    size: int
    complete: bool
    content: Content


def content_of(database: FakeDatabase) -> Content:
    """What a server holds."""
    tables = ((name, table) for name in database.databases for table in database.databases[name])
    return {(name, table): tuple(database.databases[name][table]) for name, table in tables}


def read_dump(bucket: Bucket, key: str) -> Dump | None:
    """Read a dump; None where there is none."""
    if key not in bucket._stored:
        return None
    return _read(key.rpartition("/")[2], bucket.content(key))


@lru_cache(maxsize=64)
def _read(name: str, content: bytes) -> Dump:
    database = FakeDatabase()
    try:
        text = decompressed(content, compression_of(name))
        database.load(text)
    except (OSError, EOFError, SqlError):
        return Dump(len(content), False, {})
    lines = text.decode().splitlines()
    return Dump(len(content), bool(lines) and lines[-1].startswith("-- Dump completed on"), content_of(database))


def target_of(job: Mapping[str, Any], backup: Mapping[str, Any]) -> str:
    """The application that a RestoreJob restores into."""
    named: str = (job["spec"].get("targetApplicationRef") or backup["spec"]["applicationRef"])["name"]
    return named
