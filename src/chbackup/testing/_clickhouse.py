"""A model of one ClickHouse server: tables made of parts, and nothing about SQL."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Part:
    """A data part: immutable rows of one partition."""

    name: str
    partition: str
    rows: tuple[Any, ...]

    @cached_property
    def size(self) -> int:
        """Bytes on disk, computed from the rows alone."""
        return 200 + sum(8 + len(repr(row)) for row in self.rows)

    @property
    def tar_size(self) -> int:
        """Bytes of the object that holds the part in an object store."""
        return 6144 + -(-self.size // 512) * 512


@dataclass
class Table:
    """One table. Only engines of the MergeTree family have parts that a backup can hold."""

    database: str
    name: str
    engine: str
    query: str
    partitions: int | None = None
    parts: list[Part] = field(default_factory=list)
    blocks: int = 0

    @property
    def full_name(self) -> str:
        """`database.name`."""
        return f"{self.database}.{self.name}"

    @property
    def has_parts(self) -> bool:
        """Whether rows of this engine are part of a backup."""
        return self.engine.partition("(")[0].endswith("MergeTree")

    @property
    def rows(self) -> list[Any]:
        """All rows, part by part."""
        return [row for part in self.parts for row in part.rows]

    @property
    def total_bytes(self) -> int:
        """What the server reports; 0 for engines without parts."""
        return sum(part.size for part in self.parts) if self.has_parts else 0

    def insert(self, rows: Iterable[Any]) -> None:
        """Add rows, one new part per partition."""
        blocks: dict[str, list[Any]] = {}
        for row in rows:
            blocks.setdefault("all" if self.partitions is None else str(row % self.partitions), []).append(row)
        for partition in sorted(blocks):
            self.attach(partition, tuple(blocks[partition]))

    def attach(self, partition: str, rows: tuple[Any, ...]) -> None:
        """Add one part under the next block number."""
        self.blocks += 1
        self.parts.append(Part(f"{partition}_{self.blocks}_{self.blocks}_0", partition, rows))

    def empty(self) -> "Table":
        """Return a table of the same definition without rows."""
        return Table(self.database, self.name, self.engine, self.query, self.partitions)


class Tables:
    """The tables of one server, by `database.table`."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    def add_table(
        self,
        name: str,
        rows: int | Iterable[Any] = (),
        *,
        engine: str = "MergeTree",
        partitions: int | None = None,
        query: str | None = None,
    ) -> Table:
        """Create a table.

        A number of rows means the integers from 0 on; `partitions` splits them by `row % partitions`.
        """
        database, _, short = name.partition(".")
        if not short or name in self._tables:
            raise ValueError(f"{name!r} must be database.table, and not exist")
        text = query or _create_query(name, engine, partitions)
        self._tables[name] = Table(database, short, engine, text, partitions)
        self.insert(name, rows)
        return self._tables[name]

    def insert(self, name: str, rows: int | Iterable[Any]) -> None:
        """Add rows to a table; a number means that many integers after those it has."""
        table = self._tables[name]
        start = sum(len(part.rows) for part in table.parts)
        table.insert(range(start, start + rows) if isinstance(rows, int) else rows)

    def drop(self, name: str) -> None:
        """Drop a table that exists."""
        del self._tables[name]

    def rows(self, name: str) -> list[Any]:
        """All rows of a table."""
        return self._tables[name].rows

    def count(self, name: str) -> int:
        """Return the number of rows of a table."""
        return sum(len(part.rows) for part in self._tables[name].parts)

    def get(self, name: str) -> Table | None:
        """Return a table, or None."""
        return self._tables.get(name)

    def put(self, table: Table) -> None:
        """Create or replace a table."""
        self._tables[table.full_name] = table

    def names(self) -> Sequence[str]:
        """All names in order."""
        return sorted(self._tables)

    def __contains__(self, name: str) -> bool:
        return name in self._tables

    def __iter__(self) -> Iterator[Table]:
        return iter([self._tables[name] for name in self.names()])


def _create_query(name: str, engine: str, partitions: int | None) -> str:
    query = f"CREATE TABLE {name} ( id UInt64) ENGINE = {engine}"
    if not engine.partition("(")[0].endswith("MergeTree"):
        return query
    by = f" PARTITION BY id % {partitions}" if partitions else ""
    return f"{query}{by} ORDER BY id SETTINGS index_granularity = 8192"
