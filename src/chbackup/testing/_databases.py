"""A model of one ClickHouse server: its tables by name, some of them replicated."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ._clickhouse import Table
from ._zookeeper import FakeZooKeeper, ReplicatedTable, Server, expand

_ARGUMENTS = re.compile(r"(Replicated\w*MergeTree\()'([^']*)',\s*'([^']*)'")
_DEFAULT_PATH = "/clickhouse/tables/{cluster}/{shard}"
"""clickhouse-backup's setting `default_replica_path`, as far as the names of database and table, which it adds."""


class Tables:
    """The tables of one server, by `database.table`.

    Those with a Replicated engine have replicas on the servers that share their ZooKeeper: what is inserted on one is
    on all, and a replica that is new gets what the others have after some seconds, or with the next insert on any.
    """

    def __init__(
        self,
        zookeeper: FakeZooKeeper | None = None,
        macros: Mapping[str, str] | None = None,
        up: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.zookeeper: FakeZooKeeper = zookeeper or FakeZooKeeper()
        self._tables: dict[str, Table] = {}
        self._server = Server({} if macros is None else macros, up, clock)

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

        A number of rows means the integers from 0 on; `partitions` splits them by `row % partitions`. A Replicated
        `engine` has its arguments: `ReplicatedMergeTree('/clickhouse/tables/{shard}/r', '{replica}')`. ValueError when
        the table exists, or this replica of it.
        """
        database, _, short = name.partition(".")
        if not short or name in self._tables:
            raise ValueError(f"{name!r} must be database.table, and not exist")
        engine = _ARGUMENTS.sub(r"\1'\2', '\3'", engine)
        text = query or _create_query(name, engine, partitions)
        self.create(Table(database, short, engine, text, partitions))
        self.insert(name, rows)
        return self._tables[name]

    def create(self, table: Table) -> None:
        """Create an empty table as another one is defined, a replica when its engine is a Replicated one.

        Raises ReplicaExistsError when ZooKeeper has that replica.
        """
        if found := _ARGUMENTS.search(table.engine):
            path, replica = (expand(text, table, self._server.macros) for text in found.group(2, 3))
            self._tables[table.full_name] = self.zookeeper.join(path, replica, table, self._server)
        else:
            self._tables[table.full_name] = table

    def replica_exists(self, table: Table) -> bool:
        """Whether ZooKeeper has the replica that a table's definition names, be it alive or left over."""
        found = _ARGUMENTS.search(table.engine)
        if not found:
            return False
        path, replica = (expand(text, table, self._server.macros) for text in found.group(2, 3))
        return self.zookeeper.has(path, replica)

    def insert(self, name: str, rows: int | Iterable[Any]) -> None:
        """Add rows to a table; a number means that many integers after those it has."""
        table = self._known()[name]
        start = sum(len(part.rows) for part in table.parts)
        table.insert(range(start, start + rows) if isinstance(rows, int) else rows)

    def drop(self, name: str) -> None:
        """Drop a table that exists; of a replicated one this replica, whose rows stay on the others."""
        table = self._known().pop(name)
        if isinstance(table, ReplicatedTable):
            self.zookeeper.leave(table)

    def lose(self, name: str) -> None:
        """Lose a table as with its disk: of a replicated one ZooKeeper keeps the entry, which then is in the way."""
        table = self._known().pop(name)
        if isinstance(table, ReplicatedTable):
            table.shared.replicas[table.replica].table = None

    def rows(self, name: str) -> list[Any]:
        """All rows of a table."""
        return self._known()[name].rows

    def count(self, name: str) -> int:
        """Return the number of rows of a table."""
        return sum(len(part.rows) for part in self._known()[name].parts)

    def get(self, name: str) -> Table | None:
        """Return a table, or None."""
        return self._known().get(name)

    def names(self) -> Sequence[str]:
        """All names in order."""
        return sorted(self._tables)

    def __contains__(self, name: str) -> bool:
        return name in self._tables

    def __iter__(self) -> Iterator[Table]:
        return iter([self._known()[name] for name in self.names()])

    def _known(self) -> dict[str, Table]:
        self.zookeeper.settle()
        return self._tables


def _create_query(name: str, engine: str, partitions: int | None) -> str:
    query = f"CREATE TABLE {name} ( id UInt64) ENGINE = {engine}"
    if not engine.partition("(")[0].endswith("MergeTree"):
        return query
    by = f" PARTITION BY id % {partitions}" if partitions else ""
    return f"{query}{by} ORDER BY id SETTINGS index_granularity = 8192"


def readdressed(table: Table, target: str, *, elsewhere: bool = False) -> Table:
    """Return a table's definition under another name, as a restore writes it.

    The ZooKeeper path of a replicated one follows where it holds the names; `elsewhere` puts it under the server's
    `default_replica_path`, as a restore does whose replica exists already.
    """
    database, _, name = target.partition(".")
    query, engine = table.query.replace(table.full_name, target, 1), table.engine
    if found := _ARGUMENTS.search(engine):
        path = f"{_DEFAULT_PATH}/{database}/{name}" if elsewhere else _renamed(found[2], table, database, name)
        new = f"{found[1]}'{path}', '{'{replica}' if elsewhere else found[3]}'"
        query, engine = query.replace(found[0], new), engine.replace(found[0], new)
    return Table(database, name, engine, query, table.partitions)


def _renamed(path: str, table: Table, database: str, name: str) -> str:
    path = path.replace(f"/{table.database}/", f"/{database}/")
    return path.removesuffix(table.name) + name if path.endswith(f"/{table.name}") else path
