"""`POST /backup/actions`: command lines, and the inputs that end the process."""

import json
import re
import shlex
from typing import Any

from ._answers import LOCKED, Answer, Refusal, Request, json_lines
from ._commands import COMMANDS, read_arguments
from ._housekeeping import delete_by_command
from ._listing import list_archives
from ._pod import Pod
from ._timeline import OperationError, ProcessExit, Steps
from ._watch import watch_by_command
from ._writes import CLEANERS, WORK, finish, kill_row, with_refresh

SECRETS = (
    "PASSWORD|SECRET|TOKEN|CREDENTIAL|SAS|CONNECTION_STRING|(?:ACCESS|ACCOUNT|PRIVATE|SSE|CUSTOMER|ENCRYPTION)_KEY"
)
SECRET_ENV = re.compile(rf"(--?env(?:ironment-override)?[= ]\w*(?:{SECRETS})\w*=)[^\s'\"]+", re.IGNORECASE)
RUN_LATER = {*COMMANDS, "list"}


async def post_actions(pod: Pod, request: Request) -> Answer:
    """Run one command per line, in order; the first that fails is the whole answer, though earlier ones ran."""
    if not request.body:
        raise Refusal(400, "", "empty request")
    results: list[dict[str, str]] = []
    for line in request.body.decode(errors="replace").split("\n"):
        if line:
            status, command = await _run_line(pod, line)
            results.append({"status": status, "operation": command})
    return json_lines(pod.version, results)


async def _run_line(pod: Pod, line: str) -> tuple[str, str]:
    command = _command(line)
    try:
        arguments = shlex.split(command, comments=True)
    except ValueError:
        raise Refusal(400, "", "EOF found when expecting closing quote") from None
    if not arguments:
        raise ConnectionResetError("the handler panicked")
    verb, *rest = arguments
    command = _masked(command) if pod.version.since(2, 7, 3) else command
    if verb in RUN_LATER and (verb in pod_commands(pod)):
        _run_later(pod, command, verb, rest)
        return "acknowledged", command
    if verb == "watch":
        watch_by_command(pod, command, rest)
        return "acknowledged", command
    await _run_now(pod, command, verb, rest)
    return "success", command


def _masked(command: str) -> str:
    """Hide the values of `--env` whose names sound like secrets."""
    return SECRET_ENV.sub(r"\1[MASKED]", command)


def pod_commands(pod: Pod) -> set[str]:
    """Return the asynchronous commands that this version knows."""
    return RUN_LATER if pod.version.since(2, 8, 0) else RUN_LATER - {"rebase", "rebalance"}


def _command(line: str) -> str:
    try:
        document: Any = json.loads(line)
    except json.JSONDecodeError as bad:
        raise Refusal(400, line, _json_error(line, bad)) from None
    if document is None:
        return ""
    if not isinstance(document, dict):
        kind = "array" if isinstance(document, list) else "string" if isinstance(document, str) else "number"
        error = f"json: cannot unmarshal {kind} into Go value of type status.ActionRow"
        raise Refusal(400, line, error)
    return str(document.get("command", ""))


def _json_error(line: str, error: json.JSONDecodeError) -> str:
    """Say in Go's words what is wrong with a line."""
    if error.msg == "Extra data":
        return f"invalid character '{line[error.pos]}' after top-level value"
    if line.strip() and error.pos == 0:
        return f"invalid character '{line[0]}' looking for beginning of value"
    return "unexpected end of JSON input"


def _refuse_when_locked(pod: Pod, command: str) -> None:
    if pod.locked:
        raise Refusal(500, command, LOCKED)


def _run_later(pod: Pod, command: str, verb: str, arguments: list[str]) -> None:
    _refuse_when_locked(pod, command)
    steps = _work(pod, verb, arguments)
    if pod.skips(verb):
        pod.storage.timeline.start(steps, lambda error: pod.die() if isinstance(error, ProcessExit) else None)
    else:
        deaf = pod.version.since(2, 1, 0) and not pod.version.since(2, 8, 1)
        pod.run(pod.new_row(command), steps, deaf=deaf)


def _work(pod: Pod, verb: str, arguments: list[str]) -> Steps:
    if verb == "list":
        yield from list_archives(pod, arguments[0] if arguments else "")
        return
    if any(_spoils_config(item) for item in arguments):
        yield 0.01
        raise ProcessExit
    options = read_arguments(verb, arguments)
    if options.help:
        return
    if verb in {"rebase", "rebalance"} and not options.name:
        raise ProcessExit
    if not options.name and verb.startswith("create"):
        options = read_arguments(verb, [*arguments, pod.local_now.strftime("%Y-%m-%dT%H-%M-%S")])
    yield from with_refresh(pod, verb, WORK[verb](pod, options))


def _spoils_config(argument: str) -> bool:
    """Whether an argument sets a number to what is none, which the server does not survive."""
    return re.fullmatch(r"--env=\w+_(?:PORT|SIZE|CONCURRENCY)=\D*", argument) is not None


async def _run_now(pod: Pod, command: str, verb: str, arguments: list[str]) -> None:
    if verb == "kill":
        await _kill(pod, command, arguments)
    elif verb == "delete":
        await _delete(pod, command, arguments)
    elif verb in CLEANERS:
        _refuse_when_locked(pod, command)
        await finish(pod, pod.new_row(command), CLEANERS[verb](pod), command)
    else:
        raise Refusal(400, command, "unknown command")


async def _kill(pod: Pod, command: str, arguments: list[str]) -> None:
    row = pod.new_row(command)
    try:
        await kill_row(pod, arguments[0] if arguments else "", "/backup/actions")
    except OperationError as error:
        pod.close(row, error)
        raise Refusal(500, command, str(error)) from None
    pod.close(row, None)


async def _delete(pod: Pod, command: str, arguments: list[str]) -> None:
    """Delete by command line; without a place and a name the program prints its help and exits."""
    _refuse_when_locked(pod, command)
    rest = [item for item in arguments if not item.startswith("--force")]
    force = rest != arguments and pod.version.since(2, 8, 1)
    row = pod.new_row(command)
    steps = (
        _exit()
        if len(rest) < 2 or rest[0] not in {"local", "remote"}
        else delete_by_command(pod, rest[0], rest[1], force=force)
    )
    await finish(pod, row, steps, command)


def _exit() -> Steps:
    raise ProcessExit
    yield
