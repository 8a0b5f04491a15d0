"""The endpoints that start or end work."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from ._answers import LOCKED, Answer, Refusal, Request, bad_escape, first, json_lines
from ._backup import create, create_remote, upload
from ._commands import clean_name, read_query
from ._history import Row
from ._housekeeping import clean, clean_local_broken, clean_remote_broken, delete, rebalance, rebase
from ._listing import reachable, refresh_cache
from ._options import Options
from ._pids import drop_pid_file
from ._pod import Pod, require_clickhouse
from ._restore import download, restore, restore_remote
from ._timeline import OperationError, Steps

WORK: dict[str, Callable[[Pod, Options], Steps]] = {
    "create": create,
    "create_remote": create_remote,
    "upload": upload,
    "download": download,
    "restore": restore,
    "restore_remote": restore_remote,
    "rebase": rebase,
    "rebalance": rebalance,
}
CLEANERS: dict[str, Callable[[Pod], Steps]] = {
    "clean": clean,
    "clean_remote_broken": clean_remote_broken,
    "clean_local_broken": clean_local_broken,
}


def refuse_when_locked(pod: Pod, operation: str) -> None:
    """Refuse while anything is in progress, and while the configuration cannot be read."""
    if pod.locked:
        raise Refusal(423, operation, LOCKED)
    if pod.faults.broken_config:
        raise Refusal(500, operation, f"can't parse config file: {pod.faults.broken_config}")


async def create_backup(pod: Pod, request: Request, operation: str) -> Answer:
    """Acknowledge create or create_remote with 201."""
    refuse_when_locked(pod, operation)
    query = request.parameters
    options, text = read_query(pod.version, operation, query)
    name = fresh = pod.local_now.strftime("%Y-%m-%dT%H-%M-%S")
    if "name" in query:
        name = clean_name(query["name"][0])
        text = f"{text} {name}"
    real = fresh if operation == "create_remote" and not name else name
    row = _start(pod, request, operation, text, Options(name=real, **options))
    acknowledged = {"status": "acknowledged", "operation": operation, "backup_name": name}
    return json_lines(pod.version, [acknowledged | _id(pod, row)], 201)


async def work_on_backup(pod: Pod, request: Request, operation: str, name: str) -> Answer:
    """Acknowledge upload, download, restore, restore_remote, rebase or rebalance with 200."""
    refuse_when_locked(pod, operation)
    options, text = read_query(pod.version, operation, request.parameters)
    name = name.replace("/", "") if operation == "download" else clean_name(name)
    text = f"{operation} {name}{text.removeprefix(operation)}" if operation == "rebalance" else f"{text} {name}"
    row = _start(pod, request, operation, text, Options(name=name, **options))
    acknowledged: dict[str, Any] = {"status": "acknowledged", "operation": operation, "backup_name": name}
    if operation == "upload":
        base = options.get("diff_from", "")
        acknowledged |= ({"backup_from": base} if base else {}) | {"diff": bool(base)}
    return json_lines(pod.version, [acknowledged | _id(pod, row)])


def _start(pod: Pod, request: Request, operation: str, text: str, options: Options) -> Row:
    callbacks = _callbacks(pod, request, operation)
    row = pod.new_row(text, with_id=_rows_have_ids(pod, operation), callbacks=callbacks)
    pod.run(row, with_refresh(pod, operation, WORK[operation](pod, options)))
    return row


def with_refresh(pod: Pod, operation: str, steps: Steps) -> Steps:
    """Do the work, then what delays the end of its row: metrics are taken from ClickHouse and the object store."""
    yield from steps
    yield from require_clickhouse(pod)
    if operation not in {"create", "download", "restore", "restore_remote"}:
        yield from reachable(pod)
        refresh_cache(pod)


def _rows_have_ids(pod: Pod, operation: str) -> bool:
    """Whether the id of the acknowledgement is the row's: not for the `_remote` pair before 2.6.40."""
    return pod.version.since(2, 6, 40) or (pod.version.since(2, 6, 30) and not operation.endswith("_remote"))


def _id(pod: Pod, row: Row) -> dict[str, str]:
    if not pod.version.since(2, 6, 0):
        return {}
    return {"operation_id": row.operation_id or pod.new_id()}


def _callbacks(pod: Pod, request: Request, operation: str) -> list[str]:
    urls = request.parameters.get("callback", [])
    for url in urls:
        if escape := bad_escape(url):
            raise Refusal(400, operation, f'could not decode url "{url}": invalid URL escape "{escape}"')
    decoded = [unquote_plus(url) for url in urls]
    given = [url for url in decoded if url.strip()]
    fallback = pod.settings.callback_url if pod.version.since(2, 8, 1) else ""
    return given or ([fallback] if fallback else [])


async def delete_backup(pod: Pod, request: Request, where: str, name: str) -> Answer:
    """Delete one archive before answering; every failure is a 500."""
    refuse_when_locked(pod, "delete")
    force = pod.version.since(2, 8, 1) and first(request.parameters, "force") in {"1", "true"}
    row = pod.new_row(f"delete {where} {clean_name(name)}{' --force' if force else ''}")
    counted = where in {"local", "remote"}
    await finish(pod, row, delete(pod, where, clean_name(name), force=force), "delete", counted=counted)
    answer = {"status": "success", "operation": "delete", "backup_name": name, "location": where}
    return json_lines(pod.version, [answer])


async def clean_backups(pod: Pod, request: Request, operation: str) -> Answer:
    """Run one of the cleaners before answering; the lock does not hold it back."""
    row = pod.new_row(operation)
    await finish(pod, row, CLEANERS[operation](pod), operation)
    return json_lines(pod.version, [{"status": "success", "operation": operation}])


async def finish(pod: Pod, row: Row, steps: Steps, operation: str, *, counted: bool = False) -> None:
    """Wait for a row's work, and refuse with its error."""
    job = pod.run(row, steps, deaf=pod.faults.clickhouse_down, counted=counted)
    await pod.storage.timeline.wait(job)
    if row.error:
        raise Refusal(500, operation, row.error)


async def kill(pod: Pod, request: Request) -> Answer:
    """Cancel one running row; from 2.7.0 on the answer waits until its work has ended."""
    try:
        command = await kill_row(pod, first(request.parameters, "command"), "/backup/kill")
    except OperationError as error:
        failed = {"status": "error", "operation": "kill", "error": str(error)}
        return json_lines(pod.version, [failed], 500)
    return json_lines(pod.version, [{"status": "success", "operation": "kill", "command": command}])


async def kill_row(pod: Pod, command: str, endpoint: str) -> str:
    """Cancel the row of a command (empty: the oldest running one) and return its command."""
    if not pod.history.rows:
        raise OperationError("empty command list")
    row = pod.history.to_kill(command)
    if row is None:
        raise OperationError(f"command `{command}` not found")
    pod.cancel(row, f"canceled from API {endpoint}")
    if pod.version.since(2, 7, 0):
        await _wait_for_end(pod, row)
    drop_pid_file(pod, row.command.rpartition(" ")[2])
    return row.command


async def _wait_for_end(pod: Pod, row: Row) -> None:
    """Wait for the row's work; a kill row has no work of its own and is waited for in vain."""
    timeout = pod.settings.api_cancel_operation_timeout
    timeline = pod.storage.timeline
    if row.job is None:
        await timeline.wait(timeline.start(_sleep(timeout), lambda _: None))
    else:
        await timeline.wait(row.job, timeout=timeout)


def _sleep(seconds: float) -> Steps:
    yield seconds


async def restart(pod: Pod, request: Request) -> Answer:
    """Acknowledge, and a moment later rewrite every row to `cancel`."""
    pod.storage.timeline.start(_restart(pod), lambda _: None, delay=0.02)
    return json_lines(pod.version, [{"status": "acknowledged", "operation": "restart"}], 201)


def _restart(pod: Pod) -> Steps:
    for row in pod.history.rows:
        pod.cancel(row, "canceled via API /restart")
    pod.pids.clear()
    return
    yield
