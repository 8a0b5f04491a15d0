"""The command line: `chbackup list`, `backup`, `restore`, `delete`, `wait`.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 the operation failed, 2 usage, or refused,
3 not reachable or not allowed, 4 timed out, 5 outcome unknown, 130 interrupted.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Annotated, TypeVar

import anyio

from ._flow_backup import start_backup
from ._waiting import DAY
from .client import Client
from .errors import (
    Busy,
    ChbackupError,
    ConnectionFailed,
    InvalidInput,
    NotFound,
    OperationLost,
    Refused,
    Unauthorized,
    Unsupported,
    WaitTimeout,
)
from .flows import Progress, verified_backup, verified_delete, verified_restore

try:
    import typer

    from ._cli_output import Output, show_archives, show_deleted, show_error, show_restored, show_row, show_text, status
except ModuleNotFoundError as _error:
    sys.stderr.write(f"{_error.name} is missing: pip install 'chbackup[cli]'\n")
    raise SystemExit(2) from None

T = TypeVar("T")

_INTERRUPTED = 130

_EXIT_CODES: tuple[tuple[tuple[type[ChbackupError], ...], int], ...] = (
    ((InvalidInput, Refused, Unsupported, NotFound, Busy), 2),
    ((ConnectionFailed, Unauthorized), 3),
    ((WaitTimeout,), 4),
    ((OperationLost,), 5),
)

app: typer.Typer = typer.Typer(
    name="chbackup",
    help="Back up, restore and delete ClickHouse archives through a clickhouse-backup sidecar.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class Where(StrEnum):
    """Which list."""

    LOCAL = "local"
    REMOTE = "remote"


Url = Annotated[str | None, typer.Option("--url", help="The sidecar, http://HOST:7171 [CHBACKUP_URL].")]
Username = Annotated[str | None, typer.Option("--username", help="[CHBACKUP_USERNAME]")]
PasswordFile = Annotated[
    str | None, typer.Option("--password-file", help="[CHBACKUP_PASSWORD_FILE, or CHBACKUP_PASSWORD itself]")
]
Timeout = Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds to wait for the end.")]
Format = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The archive.")]
Tables = Annotated[str | None, typer.Option("--tables", help="A pattern, such as shop.*")]


@app.command("list")
def list_command(
    where: Annotated[Where | None, typer.Argument(help="Which list; both without it.")] = None,
    url: Url = None,
    username: Username = None,
    password_file: PasswordFile = None,
    timeout: Timeout = 30.0,
    output: Format = Output.TABLE,
) -> None:
    """List archives."""

    async def job(client: Client) -> None:
        calls = {None: client.list_all, Where.LOCAL: client.list_local, Where.REMOTE: client.list_remote}
        show_archives(await calls[where](), output)

    _run(Client.from_env(url=url, username=username, password_file=password_file, timeout=timeout), job)


@app.command()
def backup(
    name: Name,
    tables: Tables = None,
    diff_from_remote: Annotated[
        str | None, typer.Option("--diff-from-remote", metavar="BASE", help="Make an increment on this archive.")
    ] = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Go on with a backup of this name, and prove it.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print a token for `wait`, and end.")] = False,
    url: Url = None,
    username: Username = None,
    password_file: PasswordFile = None,
    timeout: Timeout = DAY,
    output: Format = Output.TABLE,
) -> None:
    """Make a remote archive, prove it, and delete its local copy."""
    if adopt and detach:
        raise typer.BadParameter("--adopt and --detach exclude each other")

    async def job(client: Client) -> None:
        if detach:
            operation = await start_backup(
                client, name, tables=tables, diff_from_remote=diff_from_remote, timeout=timeout
            )
            show_text(operation.token)
            return
        with status(f"backup {name}") as tell:
            archive = await verified_backup(
                client,
                name,
                tables=tables,
                diff_from_remote=diff_from_remote,
                adopt=adopt,
                timeout=timeout,
                on_progress=_teller(tell),
            )
        show_archives([archive], output)

    _run(Client.from_env(url=url, username=username, password_file=password_file), job)


@app.command()
def restore(
    name: Name,
    tables: Tables = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop tables of the archive that exist.")] = False,
    url: Url = None,
    username: Username = None,
    password_file: PasswordFile = None,
    timeout: Timeout = DAY,
    output: Format = Output.TABLE,
) -> None:
    """Restore the tables of a remote archive."""

    async def job(client: Client) -> None:
        with status(f"restore {name}") as tell:
            report = await verified_restore(
                client, name, tables=tables, overwrite=overwrite, timeout=timeout, on_progress=_teller(tell)
            )
        show_restored(report, output)

    _run(Client.from_env(url=url, username=username, password_file=password_file), job)


@app.command()
def delete(
    name: Name,
    broken: Annotated[bool, typer.Option("--broken", help="Delete it although it is broken.")] = False,
    url: Url = None,
    username: Username = None,
    password_file: PasswordFile = None,
    timeout: Timeout = DAY,
    output: Format = Output.TABLE,
) -> None:
    """Delete an archive locally and remotely, unless an increment needs it."""

    async def job(client: Client) -> None:
        with status(f"delete {name}") as tell:
            report = await verified_delete(client, name, broken=broken, timeout=timeout, on_progress=_teller(tell))
        show_deleted(report, output)

    _run(Client.from_env(url=url, username=username, password_file=password_file), job)


@app.command()
def wait(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="What `backup --detach` printed.")],
    url: Url = None,
    username: Username = None,
    password_file: PasswordFile = None,
    timeout: Timeout = DAY,
    output: Format = Output.TABLE,
) -> None:
    """Wait for the end of an operation. `backup NAME --adopt` proves a backup, too."""

    async def job(client: Client) -> None:
        operation = client.operation(token)
        with status(f"{operation.verb} {operation.name}"):
            row = await operation.wait(timeout)
        show_row(row, output)

    _run(Client.from_env(url=url, username=username, password_file=password_file), job)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        app(args=arguments, standalone_mode=True)
    except ChbackupError as error:
        show_error(error.message)
        return exit_code(error)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            show_error("interrupted; what was started on the server goes on")
        return end.code if isinstance(end.code, int) else 0
    return 0


def exit_code(error: ChbackupError) -> int:
    """Return the exit code that stands for an error."""
    return next((code for kinds, code in _EXIT_CODES if isinstance(error, kinds)), 1)


def _run(client: Client, job: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with client:
            return await job(client)

    return anyio.run(run)


def _teller(tell: Callable[[str], None]) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        row = progress.action
        tell(f"{progress.archive}: {progress.step}" + (f" `{row.command}`: {row.status}" if row else ""))

    return on_progress


if __name__ == "__main__":
    sys.exit(main())
