"""The commands that change something on one sidecar: backup, restore, delete; and wait, cancel by token."""

from typing import Annotated, Any

import typer

from ._cli_command import Common, command
from ._cli_follow import Hints, following
from ._cli_output import Output, show, show_text, show_value, size, tell
from ._cli_reads import show_action, show_archive
from ._flow_backup import start_backup
from .errors import NotVerified, Refused
from .flows import DeleteReport, RestoreReport, verified_backup, verified_delete, verified_restore

_CANCEL_TIMEOUT = 60.0

Name = Annotated[str, typer.Argument(metavar="NAME", help="The archive.")]
Tables = Annotated[str | None, typer.Option("--tables", help="The server's pattern, such as shop.*")]
Token = Annotated[str, typer.Argument(metavar="TOKEN", help="What `backup --detach` or an interrupt printed.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "backup", example="chbackup backup shop-20261124 --tables 'shop.*'")(backup)
    command(app, "restore", example="chbackup restore shop-20261124 --overwrite")(restore)
    command(app, "delete", example="chbackup delete shop-20261124")(delete)
    command(app, "wait", example="chbackup wait chb1:create_remote:shop-20261124:…:0 --timeout 7200")(wait)
    command(app, "cancel", example="chbackup cancel chb1:create_remote:shop-20261124:…:0", timeout=_CANCEL_TIMEOUT)(
        cancel
    )


async def backup(
    common: Common,
    name: Name,
    tables: Tables = None,
    diff_from_remote: Annotated[
        str | None, typer.Option("--diff-from-remote", metavar="BASE", help="Make an increment on this archive.")
    ] = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Go on with a backup of this name, and prove it.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print a token for `wait`, and end.")] = False,
) -> None:
    """Make a remote archive, prove it, and delete its local copy.

    A name that is in use is refused. Ctrl-C leaves the server to it, and says how to come back.
    """
    if adopt and detach:
        raise typer.BadParameter("--adopt and --detach exclude each other")
    chosen: dict[str, Any] = {"tables": tables, "diff_from_remote": diff_from_remote, "timeout": common.timeout}
    again = ["backup", name, *_given("--tables", tables), *_given("--diff-from-remote", diff_from_remote), "--adopt"]
    hints: Hints = {
        Refused: "take a name that was never used, on a base that is whole; `--adopt` goes on with an earlier backup",
        NotVerified: f"do not rely on it: `{common.again('delete', name)}` removes it; then take another name",
    }
    async with common.client() as client:
        with following(common, f"backup {name}", again=again, then="follows and proves it", hints=hints) as on_progress:
            if detach:
                token = (await start_backup(client, name, **chosen)).token
            else:
                archive = await verified_backup(client, name, adopt=adopt, on_progress=on_progress, **chosen)
    if detach:
        _show_token(token, common.output)
    else:
        show_archive(archive, common.output)


async def restore(
    common: Common,
    name: Name,
    tables: Tables = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="DROP tables of the archive that exist.")] = False,
) -> None:
    """Restore the tables of a remote archive, and report what is there afterwards.

    Refused while a table of the archive exists, unless `--overwrite` replaces it.
    """
    again = ["restore", name, *_given("--tables", tables), *(["--overwrite"] if overwrite else [])]
    hints: Hints = {
        Refused: "`--overwrite` drops tables that exist and makes them anew; an archive that is not whole stays refused"
    }
    async with common.client() as client:
        with following(
            common, f"restore {name}", again=again, then="restores, once nothing runs", hints=hints
        ) as on_progress:
            report = await verified_restore(
                client, name, tables=tables, overwrite=overwrite, timeout=common.timeout, on_progress=on_progress
            )
    _show_restored(report, common.output)


async def delete(
    common: Common,
    name: Name,
    broken: Annotated[bool, typer.Option("--broken", help="Delete it although it is broken.")] = False,
) -> None:
    """Delete an archive locally and remotely, unless an increment needs it. None at all is as good."""
    again = ["delete", name, *(["--broken"] if broken else [])]
    hints: Hints = {
        Refused: "`--broken` deletes a broken archive: make sure that no other sidecar of the storage is uploading it"
    }
    async with common.client() as client:
        with following(common, f"delete {name}", again=again, then="goes on", hints=hints) as on_progress:
            report = await verified_delete(client, name, broken=broken, timeout=common.timeout, on_progress=on_progress)
    _show_deleted(report, common.output)


async def wait(common: Common, token: Token) -> None:
    """Wait for the end of an operation; its outcome is the exit code.

    A success is the server's word. `chbackup backup NAME --adopt` waits for a backup, too, and proves it.
    """
    async with common.client() as client:
        operation = client.operation(token)
        what = f"{operation.verb} {operation.name}"
        with following(common, what, again=["wait", token], then="follows it", operation=operation):
            row = await operation.wait(common.timeout)
    show_action(row, common.output)


async def cancel(common: Common, token: Token) -> None:
    """Kill an operation, wait for its end, and say what it left behind."""
    async with common.client() as client:
        operation = client.operation(token)
        what = f"cancelling {operation.verb} {operation.name}"
        with following(common, what, again=["cancel", token], then="asks again"):
            report = await operation.cancel(common.timeout)
    if common.output is Output.TABLE:
        show_text(report.message)
    else:
        show_value(report, common.output)
    left = [archive for archive in (report.local, report.remote) if archive]
    if left and report.row.status != "success":
        broken = ["--broken"] if any(archive.broken for archive in left) else []
        tell(f"`{common.again('delete', operation.name, *broken)}` removes what is left")


def _given(flag: str, value: str | None) -> list[str]:
    return [] if value is None else [flag, value]


def _show_token(token: str, output: Output) -> None:
    if output is Output.TABLE:
        show_text(token)
    else:
        show_value({"token": token}, output)


def _show_restored(report: RestoreReport, output: Output) -> None:
    rows = [
        (table.name, table.engine, size(table.archived_bytes), "replaced" if table.replaced else "created")
        for table in report.tables
    ]
    rows += [(name, "", "", "left as it was: its rows are in no archive") for name in report.left_out]
    show(report, output, ("TABLE", "ENGINE", "SIZE", "RESULT"), rows)


def _show_deleted(report: DeleteReport, output: Output) -> None:
    removed = [archive for archive in (report.local, report.remote) if archive]
    if output is not Output.TABLE:
        show_value({"name": report.name, "deleted": removed}, output)
        return
    places = " and ".join({"local": "locally", "remote": "remotely"}[archive.location] for archive in removed)
    show_text(f"{report.name}: deleted {places}" if removed else f"{report.name}: there was none")
