"""Which tables an archive holds in full, by their engines. Pure.

clickhouse-backup freezes parts, which only MergeTree tables have: of every other table an archive holds the schema
alone, and a restore recreates it empty (seen with Log on 2.7.4 and 2.8.1-dev).
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence

from chbackup import Table

_ROWLESS = frozenset(
    {"View", "LiveView", "WindowView", "MaterializedView", "Distributed", "Merge", "Dictionary", "Null", "Buffer"}
    | {"Kafka", "RabbitMQ", "NATS", "URL", "S3", "S3Queue", "HDFS", "JDBC", "ODBC", "MySQL", "PostgreSQL", "MongoDB"}
    | {
        "MaterializedPostgreSQL",
        "Hive",
        "Redis",
        "SQLite",
        "AzureBlobStorage",
        "AzureQueue",
        "DeltaLake",
        "Iceberg",
        "Hudi",
    }
    | {"TimeSeries", "GenerateRandom", "ExternalDistributed"}
)
"""Engines that keep no rows of their own on this server."""
_CONSUMERS = frozenset({"Kafka", "RabbitMQ", "NATS", "FileLog", "S3Queue", "AzureQueue", "MaterializedPostgreSQL"})
"""Engines that take from a source as soon as they exist: two of them would each get a part of its messages."""
_SHARED = re.compile(r"Replicated\w*MergeTree\s*\(\s*'([^']*)'\s*,\s*'([^']*)'")
_NAMES = re.compile(r"[\w.]+")


def is_replicated(table: Table) -> bool:
    """Whether its rows come from ZooKeeper's other replicas too."""
    return table.engine.startswith("Replicated")


def loses_rows(table: Table) -> bool:
    """Whether an archive holds its schema only although it may hold rows; unknown engines may."""
    return bool(table.engine) and not table.engine.endswith("MergeTree") and table.engine not in _ROWLESS


def replicated(live: Sequence[Table], names: Iterable[str]) -> tuple[str, ...]:
    """The replicated ones among the named tables."""
    return _named(live, names, is_replicated)


def schema_only(live: Sequence[Table], names: Iterable[str]) -> tuple[str, ...]:
    """Those among the named tables whose rows are not in an archive."""
    return _named(live, names, loses_rows)


def consuming(live: Sequence[Table], names: Iterable[str]) -> tuple[str, ...]:
    """Those among the named tables that take from a source, and the materialized views that name one of them.

    Without its table such a view can't be made.
    """
    consumers = {table.full_name for table in live if table.engine in _CONSUMERS}
    return _named(live, names, lambda table: table.full_name in consumers or _reads(table, consumers))


def _reads(table: Table, consumers: set[str]) -> bool:
    query = table.create_table_query.replace("`", "")
    return table.engine == "MaterializedView" and not consumers.isdisjoint(_NAMES.findall(query))


def shared_by(table: Table) -> str:
    """8 hex digits for what a replicated table is shared by: its path in ZooKeeper and its replica's name there."""
    found = _SHARED.search(table.create_table_query)
    return hashlib.sha256("\n".join(found.groups() if found else ()).encode()).hexdigest()[:8]


def _named(live: Sequence[Table], names: Iterable[str], test: Callable[[Table], bool]) -> tuple[str, ...]:
    wanted = set(names)
    return tuple(sorted(table.full_name for table in live if table.full_name in wanted and test(table)))


def holds_rows(table: Table) -> bool:
    """Whether an archive holds its rows; where the engine is not told, it may."""
    return not table.skip and (not table.engine or table.engine_family.endswith("MergeTree"))


def own_rows(tables: Iterable[Table]) -> tuple[str, ...]:
    """Tables whose rows stand on this replica alone."""
    own = (table for table in tables if holds_rows(table) and not is_replicated(table) and table.total_bytes > 0)
    return tuple(sorted(table.full_name for table in own))


def sizes(tables: Iterable[Table]) -> dict[str, int]:
    """Bytes by table, of those whose rows an archive holds."""
    return {table.full_name: table.total_bytes for table in tables if holds_rows(table)}
