"""`/backup/tables`: what ClickHouse holds, and what an archive does."""

import math
from collections.abc import Generator, Iterable, Mapping
from typing import Any

from ._answers import Answer, Request, error_answer, first, json_lines
from ._archives import Archive, TableFile
from ._clickhouse import Part, Table
from ._listing import collect, reachable, refresh_cache
from ._options import Options
from ._pod import Pod

SYSTEM = {"metrics": "SystemMetrics", "numbers": "SystemNumbers", "one": "SystemOne", "parts": "SystemParts"}
"""Some of ClickHouse's own tables: only `/backup/tables/all` shows them."""
Rows = list[dict[str, Any]]


async def tables(pod: Pod, request: Request) -> Answer:
    """Answer with ClickHouse's tables, or with those of an archive."""
    result: list[Answer] = []
    steps = collect(_tables(pod, request.parameters, everything=request.path.endswith("/all")), result.append)
    await pod.storage.timeline.wait(pod.storage.timeline.start(steps, lambda _: None))
    return result[0]


def _tables(pod: Pod, query: dict[str, list[str]], *, everything: bool) -> Generator[float, None, Answer]:
    while pod.faults.clickhouse_down:
        yield 1.0
    options = Options(tables=first(query, "table"))
    details = _Details(query) if pod.version.since(2, 8, 0) else _Details({})
    if pod.version.since(2, 7, 0) and (local := _given(query, "local_backup", "local-backup")) is not None:
        return _local_archive_tables(pod, local, options, details)
    if (remote := _given(query, "remote_backup", "remote-backup")) is not None:
        return (yield from _remote_archive_tables(pod, remote, options, details))
    live = [table for name in options.select(pod.tables.names()) if (table := pod.tables.get(name))]
    hidden = options.select(f"system.{name}" for name in SYSTEM) if everything else []
    if details.wanted:
        rows = [_live_row(table) | details.of(table.parts if table.has_parts else ()) for table in live] + [
            _hidden_row(name) for name in hidden
        ]
    else:
        rows = [_go_table(table) for table in live] + [_go_hidden(name) for name in hidden]
    return json_lines(pod.version, rows)


def _given(query: Mapping[str, list[str]], *names: str) -> str | None:
    return next((query[name][0] for name in names if name in query), None)


class _Details:
    """The lists of parts and partitions, as far as they are asked for: by exactly `1` or `true`."""

    def __init__(self, query: Mapping[str, list[str]]) -> None:
        self.parts = first(query, "list_parts", "parts") in {"1", "true"}
        self.partitions = first(query, "partitions", "list_partitions") in {"1", "true"}
        self.wanted = self.parts or self.partitions

    def of(self, parts: Iterable[Part], *, sized: bool = True) -> dict[str, Rows]:
        """Return the lists that are not empty; an archive's say nothing of sizes and values."""
        known = list(parts)
        lists = {
            "parts_list": _parts_list(known, sized=sized) if self.parts else [],
            "partitions": _partitions(known, sized=sized) if self.partitions else [],
        }
        return {name: rows for name, rows in lists.items() if rows}


def _parts_list(parts: list[Part], *, sized: bool) -> Rows:
    rows: Rows = []
    for part in parts:
        size = {"total_bytes": part.size, "size": human_size(part.size)} if sized else {}
        rows.append({"name": part.name, "partition_id": part.partition} | size)
    return rows


def _partitions(parts: list[Part], *, sized: bool) -> Rows:
    rows: Rows = []
    for partition in sorted({part.partition for part in parts}):
        own = [part for part in parts if part.partition == partition]
        size = sum(part.size for part in own)
        value = {"partition": "tuple()" if partition == "all" else partition} if sized else {}
        total = {"total_bytes": size, "size": human_size(size)} if sized else {}
        rows.append({"partition_id": partition} | value | {"parts": len(own)} | total)
    return rows


def _local_archive_tables(pod: Pod, name: str, options: Options, details: _Details) -> Answer:
    archive = pod.local.get(name)
    if archive is None or archive.damage == "null":
        error = f"collectTablesFromLocalBackup getLocalBackup: backup '{name}' is not found"
        return error_answer(500, "tables", error)
    names = options.select(archive.tables) if archive.good else []
    if not pod.version.since(2, 8, 0):
        return json_lines(pod.version, [_missing_row(table) for table in names])
    return json_lines(pod.version, [_archive_row(archive.tables[table], details) for table in names])


def _remote_archive_tables(pod: Pod, name: str, options: Options, details: _Details) -> Generator[float, None, Answer]:
    """Read each table's json, which may be lost; for a broken archive and a store that is down there are none."""
    answered = yield from reachable(pod)
    if not answered and pod.faults.s3 != "no_bucket":
        return json_lines(pod.version, [])
    if not answered or name not in pod.remote:
        return error_answer(500, "tables", f"backup '{name}' not found on remote storage")
    refresh_cache(pod)
    names = options.select(pod.cache[name].tables) if name in pod.cache else []
    if not pod.version.since(2, 7, 0):
        return json_lines(pod.version, [_go_archive_table(table) for table in names])
    return json_lines(pod.version, [_remote_row(pod.remote[name], table, details) for table in names])


def _remote_row(archive: Archive, table: str, details: _Details) -> dict[str, Any]:
    file = archive.tables.get(table)
    return _archive_row(file, details) if file else _missing_row(table)


def _archive_row(file: TableFile, details: _Details) -> dict[str, Any]:
    row: dict[str, Any] = {"database": file.database, "table": file.name, "total_bytes": file.total_bytes}
    row |= {"size": human_size(file.total_bytes), "parts": len(file.parts)}
    row |= {"disks": ["default"] if file.parts else [], "skip": False}
    return row | details.of(file.parts.values(), sized=False)


def _missing_row(table: str) -> dict[str, Any]:
    database, _, name = table.partition(".")
    row: dict[str, Any] = {"database": database, "table": name, "total_bytes": 0, "size": "", "parts": 0}
    return row | {"disks": [], "skip": False}


def _live_row(table: Table) -> dict[str, Any]:
    row: dict[str, Any] = {"database": table.database, "table": table.name, "total_bytes": table.total_bytes}
    row |= {"size": human_size(table.total_bytes), "parts": 0, "disks": ["default"], "skip": False}
    return row | {"backup_type": "full"}


def _hidden_row(table: str) -> dict[str, Any]:
    return _missing_row(table) | {"size": "0B", "disks": None, "skip": True, "backup_type": "none"}


def _go_table(table: Table) -> dict[str, Any]:
    path = f"/var/lib/clickhouse/data/{table.database}/{table.name}/"
    row: dict[str, Any] = {"Database": table.database, "Name": table.name, "Engine": table.engine.partition("(")[0]}
    row |= {"DataPath": path, "DataPaths": [path], "UUID": "", "CreateTableQuery": table.query}
    return row | {"TotalBytes": table.total_bytes, "Skip": False, "BackupType": "full"}


def _go_archive_table(name: str) -> dict[str, Any]:
    database, _, table = name.partition(".")
    row = {"Database": database, "Name": table, "Engine": "", "DataPath": "", "DataPaths": None, "UUID": ""}
    return row | {"CreateTableQuery": "", "TotalBytes": 0, "Skip": False, "BackupType": "full"}


def _go_hidden(table: str) -> dict[str, Any]:
    engine = SYSTEM[table.partition(".")[2]]
    return _go_archive_table(table) | {"Engine": engine, "Skip": True, "BackupType": "none"}


def human_size(size: int) -> str:
    """Write bytes as the server does: `279B`, `3.17MiB`."""
    if size < 1024:
        return f"{size}B"
    power = min(int(math.log(size, 1024)), 4)
    return f"{size / 1024**power:.2f}{'KMGT'[power - 1]}iB"
