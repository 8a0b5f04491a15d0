"""The command `purge`: retention over one or many sidecars, shown as a plan before anything is deleted."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import anyio
import typer

from ._cli_command import Common, command, signals_by_default
from ._cli_errors import INTERRUPTED
from ._cli_output import Output, console, show_table, show_text, show_value, size, tell
from .errors import ChbackupError, InvalidInput, Refused
from .fleet import Fleet, PurgeResult, PurgeRun
from .retention import Decision, PurgePlan, Retention

_TIMEOUT = 300.0
_PLAN_COLUMNS = ("STORAGE", "NAME", "CREATED", "SIZE", "DECISION", "REASON")
_PROBLEM_COLUMNS = ("STORAGE", "NAME", "OUTCOME", "REASON")
_SPANS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Span = Annotated[str | None, typer.Option("--older-than", metavar="SPAN", help="Keep what is younger: 30d, 12h, 1w3d.")]
Shard = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Only the storages that fall to process I of N, from 0.")
]


def keep(flag: str, what: str) -> Any:
    """Make an option of a number of sets to keep."""
    return typer.Option(flag, metavar="N", min=0, show_default=False, help=what)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = "chbackup purge --targets sidecars.yaml --keep-last 7 --keep-weekly 4 --dry-run"
    command(app, "purge", example=example, timeout=_TIMEOUT)(purge)


async def purge(
    common: Common,
    keep_last: Annotated[int, keep("--keep-last", "Keep the newest sets of each series.")] = 0,
    keep_hourly: Annotated[int, keep("--keep-hourly", "Keep the newest set of each of the newest hours (UTC).")] = 0,
    keep_daily: Annotated[int, keep("--keep-daily", "The same by days.")] = 0,
    keep_weekly: Annotated[int, keep("--keep-weekly", "The same by ISO weeks.")] = 0,
    keep_monthly: Annotated[int, keep("--keep-monthly", "The same by months.")] = 0,
    keep_yearly: Annotated[int, keep("--keep-yearly", "The same by years.")] = 0,
    older_than: Span = None,
    match: Annotated[
        str | None, typer.Option("--match", metavar="GLOB", help="Delete only archives of such names.")
    ] = None,
    protect: Annotated[
        list[str] | None, typer.Option("--protect", metavar="GLOB", help="Never delete such names; may be repeated.")
    ] = None,
    broken: Annotated[bool, typer.Option("--broken", help="Delete broken archives and incomplete sets, too.")] = False,
    targets: Annotated[
        str | None,
        typer.Option("--targets", metavar="FILE", help="The sidecars, in YAML or JSON; - is stdin. Else --url."),
    ] = None,
    shard: Shard = None,
    journal: Annotated[
        str | None,
        typer.Option("--journal", metavar="FILE", help="Where to write what is done, to go on after a crash."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete what no rule keeps: show the plan, ask, and do it.

    A set that any rule keeps stays, with all that its archives need, and so does the newest complete set of each
    series. The same command goes on with a run that was stopped.
    """
    retention = retention_of(
        keep_last=keep_last,
        keep_hourly=keep_hourly,
        keep_daily=keep_daily,
        keep_weekly=keep_weekly,
        keep_monthly=keep_monthly,
        keep_yearly=keep_yearly,
        older_than=read_span(older_than) if older_than is not None else None,
        match=match,
        protect=tuple(protect or ()),
    )
    options = {
        "journal": journal,
        "dry_run": dry_run,
        "broken": broken,
        "shard": None if shard is None else read_shard(shard),
        "timeout": common.timeout,
    }
    async with _fleet(common, targets) as fleet:
        await _plan_and_delete(fleet, retention, common.output, yes=yes or dry_run, **options)


async def _plan_and_delete(fleet: Fleet, retention: Retention, output: Output, *, yes: bool, **options: Any) -> None:
    try:
        async with fleet.purge(retention, now=datetime.now(UTC), **options) as run:
            refusal = _agree(run.plan, output, yes=yes)
            results = [] if refusal else await _carry_out(run)
    except (ChbackupError, BrokenPipeError):
        raise
    except OSError as error:
        raise ChbackupError(f"the journal cannot be written, and without it nothing is deleted: {error}") from None
    _show_end(run, results, output)
    if refusal:
        raise refusal
    if not run.summary.ok:
        raise typer.Exit(1)


def read_span(text: str) -> timedelta:
    """Read a span of time such as `30d` or `1w12h`.

    Raises InvalidInput.
    """
    if not re.fullmatch(r"([0-9]+[smhdw])+", text):
        raise InvalidInput(f"--older-than must be a span such as 30d, 12h or 1w3d, not {text!r}")
    return sum((timedelta(**{_SPANS[unit]: int(count)}) for count, unit in re.findall(r"(\d+)(.)", text)), timedelta())


def read_shard(text: str) -> tuple[int, int]:
    """Read `i/n`.

    Raises InvalidInput.
    """
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise InvalidInput(f"--shard must be I/N with 0 <= I < N, not {text!r}")
    return int(found[1]), int(found[2])


def retention_of(**rules: Any) -> Retention:
    """Make rules of the options of the same names. Raises InvalidInput, which names the option."""
    try:
        return Retention(**rules)
    except InvalidInput as error:  # which names fields, not options
        raise InvalidInput(re.sub(r"\b(keep|older)_", r"--\1-", error.message)) from None


def _fleet(common: Common, targets: str | None) -> Fleet:
    if targets is None:
        return Fleet([common.target()])
    if common.url or common.username or common.password_file:
        raise InvalidInput("--targets and --url, --username, --password-file exclude each other")
    return Fleet.from_file(targets)


def _agree(plan: PurgePlan, output: Output, *, yes: bool) -> Exception | None:
    """Show the plan and ask whether to carry it out; return the error that ends the command, None to go on."""
    if output is Output.TABLE:
        _show_plan(plan)
    if yes or not plan.delete:
        return None
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return Refused("nothing was deleted: there is no terminal to ask on; `--yes` goes on without a question")
    if output is not Output.TABLE:
        _show_plan(plan, stderr=True)
    try:
        agreed = says_yes(f"Delete {len(plan.delete)} archives ({size(plan.bytes_freed)})? [y/N]: ")
    except KeyboardInterrupt:
        return typer.Exit(INTERRUPTED)
    return None if agreed else Refused("nothing was deleted")


def says_yes(question: str) -> bool:
    """Ask on the terminal."""
    sys.stderr.write(question)
    sys.stderr.flush()
    with signals_by_default():
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show_plan(plan: PurgePlan, *, stderr: bool = False) -> None:
    show_table(_PLAN_COLUMNS, map(_plan_row, plan.decisions), stderr=stderr)
    words = f"{len(plan.delete)} to delete, {len(plan.keep)} to keep; {size(plan.bytes_freed)} to be freed"
    tell(words) if stderr else show_text(words)


async def _carry_out(run: PurgeRun) -> list[PurgeResult]:
    results: list[PurgeResult] = []
    planned = len(run.plan.delete)
    try:
        with _reporting(planned) as report:
            async for result in run:
                results.append(result)
                report(result)
    except anyio.get_cancelled_exc_class():
        tell(f"stopped after {len(results)} of {planned}; the same command goes on with what is left")
        raise
    return results


@contextmanager
def _reporting(planned: int) -> Iterator[Callable[[PurgeResult], None]]:
    """Show results as they come: a bar on a terminal, else a line for each."""
    screen = console()
    if not screen.is_terminal:
        yield lambda result: tell(_line(result))
        return
    from rich.progress import Progress

    with Progress(console=screen) as bar:
        task = bar.add_task("deleting", total=planned)
        yield lambda result: bar.advance(task, 1 if result.archive else 0)


def _show_end(run: PurgeRun, results: list[PurgeResult], output: Output) -> None:
    summary = run.summary
    problems = summary.problems if results else run.problems
    if output is not Output.TABLE:
        plan = {"decisions": run.plan.decisions, "bytes_freed": run.plan.bytes_freed}
        end = {"results": results, "problems": problems, "bytes_freed": summary.bytes_freed}
        show_value({"plan": plan, **end}, output)
        return
    if results:
        show_text(f"{summary.counts['deleted']} deleted, {size(summary.bytes_freed)} freed")
    if problems:
        cells = [(item.storage, item.archive, item.outcome, item.reason) for item in problems]
        show_table(_PROBLEM_COLUMNS, cells)


def _plan_row(decision: Decision) -> tuple[str, ...]:
    archive = decision.archive
    created = str(archive.created or "")
    verdict = "delete" if decision.delete else "keep"
    return decision.storage, archive.name, created, size(archive.size), verdict, decision.reason


def _line(result: PurgeResult) -> str:
    return f"{result.outcome} {result.archive or 'storage'} in {result.storage}: {result.reason}"
