"""What all commands have in common: options for one sidecar and for the output, an example, an end by signals."""

import asyncio
import inspect
import os
import shlex
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

import anyio
import typer

from ._cli_errors import INTERRUPTED
from ._cli_output import Output, tell
from ._targets import Target
from ._waiting import DAY
from .client import Client, read_password
from .errors import InvalidInput

Job = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Common:
    """The options that every command takes, None where the environment decides."""

    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="The sidecar, http://HOST:7171 [CHBACKUP_URL].")
    ]
    username: Annotated[str | None, typer.Option("--username", metavar="NAME", help="[CHBACKUP_USERNAME]")]
    password_file: Annotated[
        str | None,
        typer.Option("--password-file", metavar="FILE", help="[CHBACKUP_PASSWORD_FILE, or CHBACKUP_PASSWORD itself]"),
    ]
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="When to give up waiting.")]
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]

    def client(self, **options: Any) -> Client:
        """Return a client for the sidecar."""
        return Client.from_env(url=self.url, username=self.username, password_file=self.password_file, **options)

    def target(self) -> Target:
        """Return the sidecar as a fleet has it.

        Raises InvalidInput when no URL is given or the password's file cannot be read.
        """
        url = self.url or os.environ.get("CHBACKUP_URL")
        if not url:
            raise InvalidInput("no url: pass --url or --targets, or set CHBACKUP_URL")
        username = self.username if self.username is not None else os.environ.get("CHBACKUP_USERNAME")
        return Target(url, username, read_password(self.password_file))

    def again(self, *words: str) -> str:
        """Return a command for the same sidecar, as it has to be typed."""
        given = {"--url": self.url, "--username": self.username, "--password-file": self.password_file}
        options = [word for flag, value in given.items() if value is not None for word in (flag, value)]
        return shlex.join(["chbackup", *words, *options])


Body = Callable[..., Awaitable[None]]  # its first parameter is a Common


def command(app: typer.Typer, name: str, *, example: str, timeout: float = DAY) -> Callable[[Body], Body]:
    """Make an async function a command: its first argument are the common options, the others its own."""

    def register(body: Body) -> Body:
        def run(**values: Any) -> None:
            common = Common(**{field.name: values.pop(field.name) for field in fields(Common)})
            run_job(lambda: body(common, **values))

        parameters = [*list(inspect.signature(body).parameters.values())[1:], *_common_parameters(timeout)]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.command(name, help=_help(body), epilog=f"Example: {example}")(run)
        return body

    return register


def run_job(job: Job, *, program: str = "chbackup") -> None:
    """Run until the end, or until Ctrl-C or SIGTERM: the first stops in good order, a second leaves at once."""
    heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if _is_heeded(number)]
    before = {number: signal.getsignal(number) for number in heeded}
    try:
        ended = anyio.run(_until_signal, job, heeded)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not ended:
        tell(f"{program}: interrupted")
        raise typer.Exit(INTERRUPTED)


@contextmanager
def signals_by_default() -> Iterator[None]:
    """Let signals end what blocks the event loop, such as a question."""
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if _is_heeded(number)}
    try:
        for number in held:
            signal.signal(number, signal.default_int_handler)
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


async def _until_signal(job: Job, heeded: Sequence[signal.Signals]) -> bool:
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def stop() -> None:
            scope.cancel()
            for number in heeded:
                signal.signal(number, _leave)

        for number in heeded:
            loop.add_signal_handler(number, stop)
        await job()
        return True
    return False


def _is_heeded(number: signal.Signals) -> bool:
    """Whether a signal is ours to handle: what a parent process ignores stays ignored."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_main_thread and signal.getsignal(number) is not signal.SIG_IGN


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)


def _help(body: Body) -> str:
    """Return the docstring with each paragraph on one line, as help is wrapped to the terminal."""
    paragraphs = (inspect.getdoc(body) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _common_parameters(timeout: float) -> list[inspect.Parameter]:
    defaults = {"timeout": timeout, "output": Output.TABLE}
    hints = get_type_hints(Common, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(field.name), annotation=hints[field.name]
        )
        for field in fields(Common)
    ]
