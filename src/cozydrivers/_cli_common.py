"""What the administrator's commands share: where to look, how to print, how to end.

Results go to stdout; progress, questions and errors to stderr, each error in one sentence. Exit codes: 0 done, 1 the
operation failed, 2 wrong usage, or refused, 3 not reachable or not allowed, 4 timed out, 5 outcome unknown, 130
interrupted.
"""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

import typer

import chbackup
from chbackup._cli_command import run_job
from chbackup._cli_errors import exit_code as _code_of_a_sidecar
from chbackup._cli_output import Output, show_table, show_text, show_value, size, tell
from chbackup._cli_purge import says_yes as _asked
from cozydrivers.drivers.base import Driver
from cozydrivers.drivers.clickhouse import ClickHouseDriver
from cozydrivers.drivers.clickhouse.access import Connect
from cozydrivers.drivers.mariadb import MariaDBDriver
from cozydrivers.errors import (
    AlreadyExists,
    Conflict,
    CozydriversError,
    Forbidden,
    Invalid,
    InvalidInput,
    NewerVersion,
    NotFound,
    TemplateError,
    Unauthorized,
    Unavailable,
)
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.describe import describe

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "LOST",
    "NOT_REACHABLE",
    "REFUSED",
    "TIMED_OUT",
    "AllNamespaces",
    "Context",
    "Kubeconfig",
    "Namespace",
    "Output",
    "OutputOption",
    "Selector",
    "SidecarCa",
    "all_drivers",
    "carry_out",
    "connect_by",
    "exit_code",
    "place",
    "says_yes",
    "show_table",
    "show_text",
    "show_value",
    "size",
    "tell",
]

DONE, FAILED, REFUSED, NOT_REACHABLE, TIMED_OUT, LOST = range(6)
INTERRUPTED = 130
"""Exit codes."""

Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Only this namespace.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]
Selector = Annotated[str, typer.Option("--selector", "-l", help="Only applications with these labels.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]
Kubeconfig = Annotated[
    str | None, typer.Option("--kubeconfig", help="Path of a kubeconfig; in a cluster none is needed.")
]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")]

SidecarCa = Annotated[
    str,
    typer.Option(
        "--sidecar-ca-file",
        envvar="COZYDRIVERS_SIDECAR_CA_FILE",
        help="File of the authorities that sidecars with TLS are trusted by, in place of the public ones.",
    ),
]

_CODES: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    ((InvalidInput, TemplateError, NewerVersion, NotFound, AlreadyExists, Conflict, Invalid), REFUSED),
    ((Unauthorized, Forbidden, Unavailable), NOT_REACHABLE),
    ((TimeoutError,), TIMED_OUT),
)


def connect_by(ca_file: str) -> Connect:
    """What makes clients for sidecars: over aiohttp, for half the CPU, of which sidecars take the most."""
    try:
        verify = chbackup.tls_context(ca_file=ca_file) if ca_file else True
    except chbackup.InvalidInput as error:
        raise typer.BadParameter(f"--sidecar-ca-file: {error}") from None
    return partial(chbackup.Client, transport="aiohttp", verify=verify)


def all_drivers(ca_file: str) -> list[Driver]:
    """A driver for each kind of application, none of them opened yet."""
    return [ClickHouseDriver(connect=connect_by(ca_file)), MariaDBDriver()]


def place(namespace: str | None, all_namespaces: bool) -> str | None:
    """The namespace to look in, None for all of them; one of both must be asked for."""
    if bool(namespace) == all_namespaces:
        raise typer.BadParameter("give either --namespace or --all-namespaces")
    return namespace or None


def carry_out(job: Callable[[KubeClient], Awaitable[int]], *, kubeconfig: str | None, context: str | None) -> None:
    """Connect, run `job` and end with the exit code that it answers, or that stands for its error.

    The first SIGINT or SIGTERM stops it in good order, a second one at once.
    """
    ended = FAILED

    async def connected() -> None:
        nonlocal ended
        async with KubeClient.connect(kubeconfig=kubeconfig, context=context) as kube:
            ended = await job(kube)

    try:
        run_job(connected, program="cozydrivers")
    except* (CozydriversError, chbackup.ChbackupError, TimeoutError) as errors:
        tell(f"cozydrivers: {describe(errors)}", style="red")
        ended = exit_code(errors)
    raise typer.Exit(ended)


def exit_code(error: BaseException) -> int:
    """The exit code that stands for an error; of several, for the first."""
    if isinstance(error, BaseExceptionGroup):
        return exit_code(error.exceptions[0])
    if isinstance(error, chbackup.ChbackupError):
        return _code_of_a_sidecar(error)
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), FAILED)


def says_yes(question: str) -> bool:
    """Ask on the terminal. Raises InvalidInput where there is none; KeyboardInterrupt for Ctrl-C."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput("nothing was done: there is no terminal to ask on; --yes goes on without a question")
    return _asked(f"{question} [y/N]: ")
