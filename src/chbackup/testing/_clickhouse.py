"""A model of ClickHouse's tables: made of parts, and nothing about SQL."""

from collections.abc import Callable, Iterable
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

    def drop_parts(self, gone: Callable[[Part], bool]) -> None:
        """Drop the parts that a rule names."""
        self.parts = [part for part in self.parts if not gone(part)]
