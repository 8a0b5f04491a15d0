"""The endpoints that only read (and `list`, which reads but takes the lock)."""

import math
import re
from collections.abc import Callable, Generator, Iterable
from datetime import datetime
from typing import Any, TypeVar

from ._answers import Answer, Refusal, Request, error_answer, first, json_lines, plain
from ._archives import Archive, TableFile
from ._clickhouse import Part, Table
from ._listing import list_archives, reachable, refresh_cache
from ._metrics import COMMANDS
from ._options import Options
from ._pod import Pod
from ._timeline import Steps

Result = TypeVar("Result")
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"


async def root(pod: Pod, request: Request, routes: list[str]) -> Answer:
    """Answer with the version and the routes."""
    lines = [
        f"Version: {pod.version.text}",
        "Documentation: https://github.com/Altinity/clickhouse-backup#api",
        *routes,
    ]
    return plain("".join(f"{line}\n" for line in lines))


async def version(pod: Pod, request: Request) -> Answer:
    """Answer with the server's version."""
    return json_lines(pod.version, [{"version": pod.version.text}])


async def health(pod: Pod, request: Request) -> Answer:
    """Answer OK, whatever ClickHouse and the object store do."""
    return json_lines(pod.version, [{"status": "OK"}])


async def status(pod: Pod, request: Request) -> Answer:
    """Answer with the row of an operation id, else with the last row of any kind; nothing when there is none."""
    operation_id = first(request.parameters, "operationid")
    if operation_id and pod.version.since(2, 6, 30):
        rows = pod.history.by_operation_id(operation_id)
    else:
        rows = pod.history.select(1, "")
    return json_lines(pod.version, [row.document() for row in rows])


async def actions(pod: Pod, request: Request) -> Answer:
    """Answer with the history."""
    last = _small_integer(first(request.parameters, "last"))
    rows = pod.history.select(last, first(request.parameters, "filter"))
    return json_lines(pod.version, [row.document() for row in rows])


def _small_integer(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?\d+", text):
        raise Refusal(500, "actions", f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if not -(2**15) <= int(text) < 2**15:
        raise Refusal(500, "actions", f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


async def list_backups(pod: Pod, request: Request, where: str = "") -> Answer:
    """Answer with the archives. The row it leaves holds the lock as long as the listing takes."""
    if pod.faults.broken_config:
        answer = Refusal(500, "list", f"can't parse config file: {pod.faults.broken_config}").answer
        return answer._replace(
            body=answer.body * 2, headers=answer.headers | {"Content-Length": str(len(answer.body) * 2)}
        )
    result: list[list[dict[str, Any]]] = []
    steps = _collect(list_archives(pod, where), result.append)
    if "list" in pod.settings.api_backup_actions_skip_commands.split(","):
        job = pod.storage.timeline.start(steps, lambda _: None)
    else:
        job = pod.run(pod.new_row(f"list {where}".strip()), steps, deaf=pod.faults.clickhouse_down)
    await pod.storage.timeline.wait(job)
    return json_lines(pod.version, result[0] if result else [])


def _collect(steps: Generator[float, None, Result], keep: Callable[[Result], None]) -> Steps:
    keep((yield from steps))


async def tables(pod: Pod, request: Request) -> Answer:
    """Answer with ClickHouse's tables, or with those of an archive."""
    query = request.parameters
    result: list[Answer] = []
    steps = _collect(_tables(pod, query), result.append)
    await pod.storage.timeline.wait(pod.storage.timeline.start(steps, lambda _: None))
    return result[0]


def _tables(pod: Pod, query: dict[str, list[str]]) -> Generator[float, None, Answer]:
    while pod.faults.clickhouse_down:
        yield 1.0
    options = Options(tables=first(query, "table"))
    local, remote = first(query, "local_backup", "local-backup"), first(query, "remote_backup", "remote-backup")
    if local and pod.version.since(2, 7, 0):
        return _local_archive_tables(pod, local, options)
    if remote:
        return (yield from _remote_archive_tables(pod, remote, options))
    live = [table for name in options.select(pod.tables.names()) if (table := pod.tables.get(name))]
    listed = pod.version.since(2, 8, 0)
    if listed and _switched(query, "list_parts", "parts"):
        return json_lines(pod.version, [_live_row(table) | {"parts_list": _parts_list(table.parts)} for table in live])
    if listed and _switched(query, "partitions", "list_partitions"):
        return json_lines(pod.version, [_live_row(table) | {"partitions": _partitions(table.parts)} for table in live])
    return json_lines(pod.version, [_go_table(table) for table in live])


def _switched(query: dict[str, list[str]], *names: str) -> bool:
    return first(query, *names) in {"1", "true"}


def _local_archive_tables(pod: Pod, name: str, options: Options) -> Answer:
    if name not in pod.local:
        error = f"collectTablesFromLocalBackup getLocalBackup: backup '{name}' is not found"
        return error_answer(500, "tables", error)
    filled = pod.version.since(2, 8, 0)
    files = _files(pod.local[name], options) if pod.local[name].good else []
    return json_lines(pod.version, [_archive_row(file if filled else _bare(file), filled=filled) for file in files])


def _remote_archive_tables(pod: Pod, name: str, options: Options) -> Generator[float, None, Answer]:
    if not (yield from reachable(pod)):
        return json_lines(pod.version, [])
    if name not in pod.remote:
        return error_answer(500, "tables", f"backup '{name}' not found on remote storage")
    refresh_cache(pod)
    known, archive = pod.cache.get(name), pod.remote[name]
    names = options.select(known.tables) if known else []
    if not pod.version.since(2, 7, 0):
        return json_lines(pod.version, [_go_archive_table(table) for table in names])
    rows = [
        _archive_row(archive.tables.get(table) or _missing(table), filled=table in archive.tables) for table in names
    ]
    return json_lines(pod.version, rows)


def _files(archive: Archive, options: Options) -> Iterable[TableFile]:
    return [archive.tables[name] for name in options.select(archive.tables)]


def _bare(file: TableFile) -> TableFile:
    return _missing(file.full_name)


def _missing(table: str) -> TableFile:
    database, _, name = table.partition(".")
    return TableFile(database, name, "", "")


def _archive_row(file: TableFile, *, filled: bool) -> dict[str, Any]:
    row = {"database": file.database, "table": file.name, "total_bytes": file.total_bytes}
    size = human_size(file.total_bytes) if filled else ""
    disks = ["default"] if file.parts else []
    return row | {"size": size, "parts": len(file.parts), "disks": disks, "skip": False}


def _live_row(table: Table) -> dict[str, Any]:
    row = {"database": table.database, "table": table.name, "total_bytes": table.total_bytes}
    row |= {"size": human_size(table.total_bytes), "parts": 0, "disks": ["default"], "skip": False}
    return row | {"backup_type": "full" if table.has_parts else "schema-only"}


def _parts_list(parts: Iterable[Part]) -> list[dict[str, Any]]:
    return [
        {"name": part.name, "partition_id": part.partition, "total_bytes": part.size, "size": human_size(part.size)}
        for part in parts
    ]


def _partitions(parts: list[Part]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for partition in sorted({part.partition for part in parts}):
        own = [part for part in parts if part.partition == partition]
        size = sum(part.size for part in own)
        label = "tuple()" if partition == "all" else partition
        row = {"partition_id": partition, "partition": label, "parts": len(own)}
        rows.append(row | {"total_bytes": size, "size": human_size(size)})
    return rows


def _go_table(table: Table) -> dict[str, Any]:
    path = f"/var/lib/clickhouse/data/{table.database}/{table.name}/"
    row: dict[str, Any] = {"Database": table.database, "Name": table.name, "Engine": table.engine.partition("(")[0]}
    row |= {"DataPath": path, "DataPaths": [path], "UUID": "", "CreateTableQuery": table.query}
    kind = "full" if table.has_parts else "schema-only"
    return row | {"TotalBytes": table.total_bytes, "Skip": False, "BackupType": kind}


def _go_archive_table(name: str) -> dict[str, Any]:
    database, _, table = name.partition(".")
    row = {"Database": database, "Name": table, "Engine": "", "DataPath": "", "DataPaths": None, "UUID": ""}
    return row | {"CreateTableQuery": "", "TotalBytes": 0, "Skip": False, "BackupType": "full"}


def human_size(size: int) -> str:
    """Write bytes as the server does: `279B`, `3.17MiB`."""
    if size < 1024:
        return f"{size}B"
    power = min(int(math.log(size, 1024)), 4)
    return f"{size / 1024**power:.2f}{'KMGT'[power - 1]}iB"


async def metrics(pod: Pod, request: Request) -> Answer:
    """Answer with the Prometheus text."""
    local, remote = [sorted(archives.values(), key=_age) for archives in (pod.local, pod.remote)]
    gauges = {
        "in_progress_commands": sum(row.running for row in pod.history.rows),
        "number_backups_local": len(local),
        "number_backups_remote": len(remote),
        "number_backups_local_expected": pod.settings.backups_to_keep_local,
        "number_backups_remote_expected": pod.settings.backups_to_keep_remote,
        "last_backup_size_local": _last_size(local),
        "last_backup_size_remote": _last_size(remote),
        "local_data_size": 0,
        "failed_parts_count": 0,
    }
    commands = [name for name in COMMANDS if pod.version.since(2, 8, 0) or not name.startswith("reb")]
    return plain(pod.metrics.text(gauges, commands), chunked=True, content_type=METRICS_TYPE)


def _age(archive: Archive) -> datetime:
    return archive.modified


def _last_size(archives: list[Archive]) -> int:
    return archives[-1].metadata.size if archives and archives[-1].metadata else 0
