"""`watch`: a row that stays, and backs up at intervals."""

import re
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from ._answers import LOCKED, Answer, Refusal, Request, json_lines
from ._backup import create_remote
from ._commands import PARTITIONS, SCHEMA, TABLE, Parameter
from ._history import Row
from ._options import Options
from ._pod import Pod
from ._timeline import Cancelled, OperationError, Steps
from ._writes import refuse_when_locked

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
LAYOUT = {"2006": "%Y", "01": "%m", "02": "%d", "15": "%H", "04": "%M", "05": "%S"}
TEMPLATE = "shard{shard}-{type}-{time:20060102150405}"
TRUE = {"1", "t", "T", "true", "TRUE", "True"}
SWITCHES = ("schema", "rbac", "configs", "named-collections")
PARAMETERS = (
    Parameter("watch_interval", "--watch-interval", "text", dashes=True),
    Parameter("full_interval", "--full-interval", "text", dashes=True),
    Parameter("watch_backup_name_template", "--watch-backup-name-template", "text", dashes=True),
    *(Parameter("schedule", "--schedule", "list", since=(2, 8, 0)), TABLE, PARTITIONS, SCHEMA),
    *(Parameter("rbac", "--rbac"), Parameter("configs", "--configs")),
    Parameter("named-collections", "--named-collections", dashes=True),
    Parameter("skip_check_parts_columns", "--skip-check-parts-columns", dashes=True),
    Parameter("delete_source", "--delete-source", dashes=True),
    Parameter("skip_projections", "--skip-projections", "text", dashes=True, quoted=False),
)
Given = Mapping[str, Sequence[str]]


async def watch(pod: Pod, request: Request) -> Answer:
    """Acknowledge with 201; bad intervals show up as an error of the row."""
    refuse_when_locked(pod, "watch")
    given, command = _read(pod, lambda parameter: parameter.find(request.parameters))
    if _runs(pod, command):
        raise Refusal(423, "watch", LOCKED)
    pod.run(pod.new_row(command), _watch(pod, given))
    answer = {"status": "acknowledged", "operation": "watch", "command": command}
    return json_lines(pod.version, [answer], 201)


def watch_by_command(pod: Pod, line: str, arguments: Sequence[str]) -> None:
    """Start a watch as `/backup/actions` does; its row has the server's own wording of the command.

    Before 2.8.1 values are shown and not heeded, and one behind `=` ends the request without an answer.
    """
    if pod.locked or _runs(pod, line):
        raise Refusal(500, line, LOCKED)
    if not pod.version.since(2, 8, 1) and any("=" in item for item in arguments):
        raise ConnectionResetError("the handler panicked")
    given, command = _read(pod, lambda parameter: _values(parameter.flag, arguments))
    pod.run(pod.new_row(command), _watch(pod, given if pod.version.since(2, 8, 1) else {}))


def _values(flag: str, arguments: Sequence[str]) -> list[str] | None:
    """Return what stands behind a flag, after `=` or as the next word."""
    found: list[str] = []
    for item, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        if item.startswith(f"{flag}="):
            found.append(item.partition("=")[2])
        elif item == flag:
            found.append("1" if following.startswith("--") else following)
    return found or None


def _read(pod: Pod, find: Callable[[Parameter], list[str] | None]) -> tuple[Given, str]:
    given: dict[str, Sequence[str]] = {}
    for parameter in PARAMETERS:
        values = find(parameter) if pod.version.since(*parameter.since) else None
        if values and (parameter.query not in SWITCHES or values[0] in TRUE):
            given[parameter.query] = values
    return given, "watch" + "".join(each.text(given[each.query]) for each in PARAMETERS if each.query in given)


def _runs(pod: Pod, command: str) -> bool:
    return any(row.running and row.command == command for row in pod.history.rows)


def _watch(pod: Pod, given: Given) -> Steps:
    """Back up in full at one interval and incrementally at a shorter one; a failure ends it."""
    interval, full = _intervals(given)
    last_full, base = -full, ""
    while True:
        begun = pod.storage.timeline.time
        kind = "full" if begun - last_full >= full else "increment"
        last_full, base = (begun, "") if kind == "full" else (last_full, base)
        name = _name(pod, given.get("watch_backup_name_template", [TEMPLATE])[0], kind)
        yield from _iteration(pod, _options(given, name, base), given.get("full_interval", ["24h"])[0])
        base = name
        yield max(interval - (pod.storage.timeline.time - begun), 1.0)


def _intervals(given: Given) -> tuple[float, float]:
    interval, full = given.get("watch_interval", ["1h"])[0], given.get("full_interval", ["24h"])[0]
    error = "Watch ValidateWatchParams: "
    if "schedule" in given:
        raise OperationError(f"{error}invalid schedule `{given['schedule'][0]}`, the fake knows none")
    for text, name in ((interval, "watchInterval"), (full, "fullInterval")):
        if not re.fullmatch(r"(?:[\d.]+(?:h|ms|m|s))+", text):
            raise OperationError(f"{error}{name} `{text}` parsing error: {_go_error(text)}")
    if seconds(full) <= seconds(interval):
        raise OperationError(f"{error}fullInterval `{full}` should be more than watchInterval `{interval}`")
    return seconds(interval), seconds(full)


def _go_error(text: str) -> str:
    unit = re.search(r"[\d.]+([^\d.]+)$", text)
    return f'time: unknown unit "{unit[1]}" in duration "{text}"' if unit else f'time: invalid duration "{text}"'


def _options(given: Given, name: str, base: str) -> Options:
    return Options(
        name=name,
        tables=given.get("table", [""])[0],
        partitions=tuple(given.get("partitions", ())),
        schema="schema" in given,
        delete_source="delete_source" in given,
        diff_from_remote=base,
    )


def _iteration(pod: Pod, options: Options, full_interval: str) -> Steps:
    """Create and upload one archive, then delete its local copy. It has a row of its own from 2.8.1 on."""
    row = _row(pod, options.name) if pod.version.since(2, 8, 1) else None
    try:
        yield from create_remote(pod, options)
    except Cancelled:
        if row:
            pod.close(row, OperationError("context canceled"))
        raise
    except OperationError as error:
        if row:
            pod.close(row, error)
        hint = f"delete local: 0, during watch full_interval: {full_interval}, abort watching"
        raise OperationError(f"too many errors create_remote: 1, {hint}") from None
    pod.local.pop(options.name, None)
    if row:
        pod.close(row, None)


def _row(pod: Pod, name: str) -> Row:
    callbacks = [pod.settings.callback_url] if pod.settings.callback_url else []
    row = pod.new_row(f"create_remote {name}", with_id=True, callbacks=callbacks)
    row.operation_id = str(UUID(row.operation_id.replace("-", ""), version=4))
    return row


def _name(pod: Pod, template: str, kind: str) -> str:
    def moment(match: re.Match[str]) -> str:
        text = re.sub("2006|01|02|15|04|05", lambda item: LAYOUT[item.group()], match.group(1))
        return pod.local_now.strftime(text)

    text = template.replace("{type}", kind)
    for macro, value in pod.macros.items():
        text = text.replace(f"{{{macro}}}", value)
    return re.sub(r"\{time:([^}]*)\}", moment, text)


def seconds(text: str) -> float:
    """Read a Go duration as `1h30m`."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|m|s)", text))
