"""What an operation was asked for, whichever way it was asked."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Options:
    """Options of create, upload, download and restore; those that change nothing in the model are not here."""

    name: str = ""
    tables: str = ""
    partitions: tuple[str, ...] = ()
    schema: bool = False
    data: bool = False
    diff_from: str = ""
    diff_from_remote: str = ""
    delete_source: bool = False
    databases: tuple[tuple[str, str], ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    help: bool = False

    @property
    def state(self) -> tuple[object, ...]:
        """The parameters that a resume compares."""
        return (self.diff_from, self.diff_from_remote, self.tables, self.partitions, self.schema)

    def select(self, names: Iterable[str]) -> list[str]:
        """Return the `database.table` names that the table patterns mean, in order; no pattern means all."""
        patterns = [pattern.strip() for pattern in self.tables.split(",")] if self.tables else ["*"]
        return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))

    def wants(self, table: str, partition: str) -> bool:
        """Whether a partition is asked for: none named means all, `db.table:id,id` means that table's only."""
        return not self.partitions or any(_names(text, table, partition) for text in self.partitions)

    def target(self, table: str) -> str:
        """Return the name under which a table is restored."""
        database, _, name = table.partition(".")
        return f"{dict(self.databases).get(database, database)}.{dict(self.renames).get(name, name)}"


def _names(text: str, table: str, partition: str) -> bool:
    where, colon, what = text.partition(":")
    return partition in (what if colon else text).split(",") and (not colon or where == table)
