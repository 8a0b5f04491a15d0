"""The endpoints that only read (and `list`, which reads but takes the lock)."""

import re
from datetime import datetime
from typing import Any

from ._answers import Answer, Refusal, Request, first, json_lines, plain
from ._archives import Archive
from ._listing import collect, list_archives
from ._metrics import COMMANDS
from ._pod import Pod

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
    return json_lines(pod.version, [row.document(pod.stamp) for row in rows])


async def actions(pod: Pod, request: Request) -> Answer:
    """Answer with the history."""
    last = _small_integer(first(request.parameters, "last"))
    rows = pod.history.select(last, first(request.parameters, "filter"))
    return json_lines(pod.version, [row.document(pod.stamp) for row in rows])


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
    steps = collect(list_archives(pod, where), result.append)
    if pod.skips("list"):
        job = pod.storage.timeline.start(steps, lambda _: None)
    else:
        job = pod.run(pod.new_row(f"list {where}".strip()), steps, deaf=pod.faults.clickhouse_down)
    await pod.storage.timeline.wait(job)
    return json_lines(pod.version, result[0] if result else [])


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
