"""`/backup/watch`: a row that stays, and backs up at intervals."""

import re
from typing import Any
from uuid import UUID

from ._answers import LOCKED, Answer, Refusal, Request, json_lines
from ._backup import create_remote
from ._commands import PARTITIONS, TABLE, Parameter
from ._history import SUCCESS
from ._options import Options
from ._pod import Pod
from ._timeline import OperationError, Steps
from ._writes import refuse_when_locked

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
PARAMETERS = (
    Parameter("watch_interval", "--watch-interval", "text", dashes=True),
    Parameter("full_interval", "--full-interval", "text", dashes=True),
    Parameter("watch_backup_name_template", "--watch-backup-name-template", "text", dashes=True),
    TABLE,
    PARTITIONS,
)
SWITCHES = ("schema", "rbac", "configs", "named-collections")
TRUE = {"1", "t", "T", "true", "TRUE", "True"}


async def watch(pod: Pod, request: Request) -> Answer:
    """Acknowledge with 201; bad intervals show up as an error of the row."""
    refuse_when_locked(pod, "watch")
    query = request.parameters
    given = {parameter.query: values[0] for parameter in PARAMETERS if (values := parameter.find(query))}
    command = "watch" + "".join(parameter.text(parameter.find(query) or []) for parameter in PARAMETERS)
    command += "".join(f" --{name}" for name in SWITCHES if query.get(name, [""])[0] in TRUE)
    start_watch(pod, command, given)
    answer = {"status": "acknowledged", "operation": "watch", "command": command}
    return json_lines(pod.version, [answer], 201)


def start_watch(pod: Pod, command: str, given: dict[str, str]) -> None:
    """Start a watch; the same command text twice is refused even where parallel work is allowed."""
    if any(row.running and row.command == command for row in pod.history.rows):
        raise Refusal(423, "watch", LOCKED)
    pod.run(pod.new_row(command), _watch(pod, given))


def _watch(pod: Pod, given: dict[str, str]) -> Steps:
    interval, full = given.get("watch_interval", "1h"), given.get("full_interval", "24h")
    if seconds(full) <= seconds(interval):
        text = f"fullInterval `{full}` should be more than watchInterval `{interval}`"
        raise OperationError(f"Watch ValidateWatchParams: {text}")
    last_full, base = -seconds(full), ""
    while True:
        begun = pod.storage.timeline.time
        kind = "full" if begun - last_full >= seconds(full) else "increment"
        last_full, base = (begun, "") if kind == "full" else (last_full, base)
        name = _name(pod, given.get("watch_backup_name_template", "{type}-{time:20060102150405}"), kind)
        yield from _iteration(
            pod, Options(name=name, tables=given.get("table", given.get("tables", "")), diff_from_remote=base)
        )
        base = name
        yield max(seconds(interval) - (pod.storage.timeline.time - begun), 1.0)


def _iteration(pod: Pod, options: Options) -> Steps:
    row = pod.new_row(f"create_remote {options.name}", with_id=True) if pod.version.since(2, 8, 1) else None
    if row:
        row.operation_id = str(UUID(row.operation_id.replace("-", ""), version=4))
    yield from create_remote(pod, options)
    if row and row.running:
        row.end(SUCCESS, "", pod.now)


def _name(pod: Pod, template: str, kind: str) -> str:
    layout: dict[str, Any] = {"2006": "%Y", "01": "%m", "02": "%d", "15": "%H", "04": "%M", "05": "%S"}

    def moment(match: re.Match[str]) -> str:
        text = re.sub("2006|01|02|15|04|05", lambda item: layout[item.group()], match.group(1))
        return pod.now.strftime(text)

    return re.sub(r"\{time:([^}]*)\}", moment, template.replace("{type}", kind))


def seconds(text: str) -> float:
    """Read a Go duration as `1h30m`."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|m|s)", text))
