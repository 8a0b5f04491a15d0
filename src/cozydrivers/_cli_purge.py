"""The command `cozydrivers purge`: retention over the archives of applications, shown as a plan before it is done."""

import getpass
import platform
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import typer

import chbackup
from chbackup._cli_output import console
from chbackup._cli_purge import keep, read_span, retention_of
from chbackup._purge_results import PurgeResult
from cozydrivers._cli_common import (
    DONE,
    FAILED,
    INTERRUPTED,
    AllNamespaces,
    Context,
    Kubeconfig,
    Namespace,
    Output,
    OutputOption,
    Selector,
    SidecarCa,
    carry_out,
    connect_by,
    place,
    says_yes,
    show_table,
    show_text,
    show_value,
    size,
    tell,
)
from cozydrivers.admin.purge import Purge, Request, open_purge
from cozydrivers.admin.purge_facts import NO_SIDECARS, Scope, with_dumps
from cozydrivers.admin.purge_plan import Row, Rules
from cozydrivers.drivers.clickhouse.access import Connect
from cozydrivers.errors import ApiError, InvalidInput
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.audit import open_audit_log

_PLAN = ("NAMESPACE", "APPLICATION", "SET", "TAKEN", "SIZE", "DECISION", "REASON")
_REFUSED = ("NAMESPACE", "APPLICATION", "REFUSED")
_PROBLEMS = ("ARCHIVE", "OUTCOME", "REASON")

Span = Annotated[str | None, typer.Option("--older-than", metavar="SPAN", help="Keep what is younger: 30d, 12h, 1w3d.")]


@dataclass(frozen=True)
class Manner:
    """How the command goes about it. `ask` answers a question by the user."""

    output: Output = Output.TABLE
    dry_run: bool = False
    yes: bool = False
    ask: Callable[[str], bool] = says_yes


def purge(
    applications: Annotated[list[str] | None, typer.Argument(metavar="[APP]...", help="Only these.")] = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    selector: Selector = "",
    keep_last: Annotated[int, keep("--keep-last", "Keep the newest sets of each application.")] = 0,
    keep_hourly: Annotated[int, keep("--keep-hourly", "Keep the newest set of each of the newest hours.")] = 0,
    keep_daily: Annotated[int, keep("--keep-daily", "The same by days.")] = 0,
    keep_weekly: Annotated[int, keep("--keep-weekly", "The same by ISO weeks.")] = 0,
    keep_monthly: Annotated[int, keep("--keep-monthly", "The same by months.")] = 0,
    keep_yearly: Annotated[int, keep("--keep-yearly", "The same by years.")] = 0,
    older_than: Span = None,
    orphans: Annotated[bool, typer.Option("--orphans", help="Delete sets that no Backup records.")] = False,
    delete_backups: Annotated[
        bool, typer.Option("--delete-backups", help="Delete Backups together with their archives.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: OutputOption = Output.TABLE,
    audit_log: Annotated[
        str, typer.Option("--audit-log", help="File for the audit log of deletes; by default stderr.")
    ] = "",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    sidecar_ca_file: SidecarCa = "",
) -> None:
    """Delete archives of ClickHouse applications that no rule keeps: show the plan, ask, and do it.

    What a Backup records stays unless --delete-backups lets both go, and what none records unless --orphans.

    The newest good set of an application always stays, and so does all that a kept set needs. MariaDB applications have
    no sidecars: their dumps go with their Backups.
    """
    where = place(namespace, all_namespaces)
    try:
        retention = retention_of(
            keep_last=keep_last,
            keep_hourly=keep_hourly,
            keep_daily=keep_daily,
            keep_weekly=keep_weekly,
            keep_monthly=keep_monthly,
            keep_yearly=keep_yearly,
            older_than=read_span(older_than) if older_than is not None else None,
        )
        open_audit_log(audit_log)
    except (chbackup.InvalidInput, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    request = Request(
        Scope(where, selector, tuple(applications or ())),
        Rules(retention, orphans, delete_backups),
        actor=_actor(),
        uid=str(uuid.uuid4()),
        now=lambda: datetime.now(UTC),
    )
    manner = Manner(output, dry_run, yes)
    job = partial(run_purge, request=request, manner=manner, connect=connect_by(sidecar_ca_file))
    carry_out(job, kubeconfig=kubeconfig, context=context)


async def run_purge(kube: KubeClient, *, request: Request, manner: Manner, connect: Connect) -> int:
    """Show the plan, ask, carry it out and show what has come of it; the exit code.

    Raises InvalidInput where nobody can be asked or the answer is no.
    """
    async with open_purge(kube, request, connect=connect) as purge:
        if manner.output is Output.TABLE:
            _show_plan(purge)
        if not (request.rules.orphans or request.rules.delete_backups):
            tell("nothing is deleted without --orphans or --delete-backups")
        await _tell_of_others(kube, request)
        if manner.dry_run or not purge.plan.delete:
            _show_end(purge, [], manner)
            return DONE if manner.dry_run or not purge.refused else FAILED
        if not manner.yes and (ended := _ask(purge, manner)) is not None:
            return ended
        results = await _carry_out(purge)
        _show_end(purge, results, manner)
    return DONE if purge.run.summary.ok and not purge.refused else FAILED


async def _tell_of_others(kube: KubeClient, request: Request) -> None:
    """Say of which applications nothing is purged; what can't be read is none of this command's."""
    with suppress(ApiError):
        for namespace, name in [] if request.scope.names else await with_dumps(kube, request.scope):
            tell(f"MariaDB {namespace}/{name}: {NO_SIDECARS}")


def _ask(purge: Purge, manner: Manner) -> int | None:
    """The exit code of what ends here, None where it goes on."""
    goes = [row for row in purge.rows if row.delete]
    if manner.output is not Output.TABLE:
        _show_plan(purge, stderr=True)
    try:
        agreed = manner.ask(f"Delete {len(goes)} sets ({size(purge.plan.bytes_freed)})?")
    except KeyboardInterrupt:
        return INTERRUPTED
    if not agreed:
        raise InvalidInput("nothing was deleted")
    return None


async def _carry_out(purge: Purge) -> list[PurgeResult]:
    results: list[PurgeResult] = []
    with _reporting(len(purge.plan.delete)) as report:
        async for result in purge.run:
            results.append(result)
            report(result)
    return results


@contextmanager
def _reporting(planned: int) -> Iterator[Callable[[PurgeResult], None]]:
    """Show results as they come: a bar on a terminal, else a line for each."""
    screen = console()
    if not screen.is_terminal:
        yield lambda result: tell(f"{result.outcome} {result.archive}: {result.reason}")
        return
    from rich.progress import Progress

    with Progress(console=screen) as bar:
        task = bar.add_task("deleting", total=planned)
        yield lambda result: bar.advance(task)


def _show_plan(purge: Purge, *, stderr: bool = False) -> None:
    show_table(_PLAN, map(_cells, purge.rows), stderr=stderr)
    goes = sum(row.delete for row in purge.rows)
    words = f"{goes} to delete, {len(purge.rows) - goes} to keep; {size(purge.plan.bytes_freed)} to be freed"
    tell(words) if stderr else show_text(words)
    if purge.refused:
        show_table(_REFUSED, [(app.namespace, app.name, why) for app, why in purge.refused], stderr=stderr)


def _cells(row: Row) -> tuple[str, ...]:
    taken = row.taken.isoformat(sep=" ", timespec="seconds") if row.taken else ""
    verdict = "delete" if row.delete else "keep"
    return row.namespace, row.application, row.set, taken, size(row.size), verdict, row.reason


def _show_end(purge: Purge, results: list[PurgeResult], manner: Manner) -> None:
    summary = purge.run.summary
    if manner.output is not Output.TABLE:
        show_value(_document(purge, results), manner.output)
        return
    if results:
        show_text(f"{summary.counts['deleted']} archives deleted, {size(summary.bytes_freed)} freed")
    if summary.problems:
        show_table(_PROBLEMS, [(each.archive, each.outcome, each.reason) for each in summary.problems])


def _document(purge: Purge, results: list[PurgeResult]) -> dict[str, Any]:
    refused = [{"namespace": app.namespace, "application": app.name, "reason": why} for app, why in purge.refused]
    return {
        "plan": {"sets": purge.rows, "refused": refused, "bytes_freed": purge.plan.bytes_freed},
        "results": results,
        "problems": purge.run.summary.problems,
        "bytes_freed": purge.run.summary.bytes_freed,
    }


def _actor() -> str:
    """Who asks: the user and the machine, as far as they are known."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = "unknown"
    return f"{user}@{platform.node()}"
