"""The command `cozydrivers import`: Backups rebuilt from what is in the store."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Annotated

import typer

from cozydrivers._cli_common import (
    DONE,
    FAILED,
    Context,
    Kubeconfig,
    Output,
    OutputOption,
    SidecarCa,
    all_drivers,
    carry_out,
    says_yes,
    show_table,
    show_value,
    size,
    tell,
)
from cozydrivers.admin import importing
from cozydrivers.admin.importing import Imported, ImportPlan, plan_import, planned
from cozydrivers.kube import KubeClient

COLUMNS = ("SET", "TAKEN", "SIZE", "FORMER NAMESPACE", "ACTION", "REASON")


def import_(
    application: Annotated[str, typer.Argument(metavar="[KIND/]APP", help="The application, as it was called before.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Its namespace.")],
    class_name: Annotated[
        str, typer.Option("--class", help="BackupClass that the Backups are restored by; needed where several fit.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be imported.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Go on without a question.")] = False,
    output: OutputOption = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    sidecar_ca_file: SidecarCa = "",
) -> None:
    """Make Backups of the sets in an application's store, from nothing but what is listed there.

    For the day when the cluster is gone: the application exists again, with the storage that it had. Done a second
    time it makes nothing twice. Ends with 1 when something could not be read or written.
    """

    async def job(kube: KubeClient) -> int:
        async with AsyncExitStack() as stack:
            drivers = [await stack.enter_async_context(driver) for driver in all_drivers(sidecar_ca_file)]
            now = datetime.now(UTC)
            plan = await plan_import(kube, drivers, namespace, application, class_name=class_name, now=now)
        for problem in plan.problems:
            tell(f"cozydrivers: {problem}", style="red")
        if dry_run or not plan.wanted:
            show(planned(plan), output)
            return FAILED if plan.problems else DONE
        if not yes:
            show(planned(plan), Output.TABLE)
            if not says_yes(_question(plan)):
                return DONE
        done = await importing.carry_out(kube, plan)
        show(done, output)
        return FAILED if plan.problems or any(each.action == "failed" for each in done) else DONE

    carry_out(job, kubeconfig=kubeconfig, context=context)


def _question(plan: ImportPlan) -> str:
    name, origins = plan.namespace.metadata.name, ", ".join(plan.origins)
    former = f" and let the namespace {name} restore what was made in {origins}" if origins else ""
    return f"Make {len(plan.wanted)} Backups{former}?"


def show(found: Sequence[Imported], output: Output) -> None:
    """Print what has become, or would become, of each set."""
    if output is Output.TABLE:
        show_table(COLUMNS, map(_row, found))
    else:
        show_value([each.document() for each in found], output)


def _row(each: Imported) -> Sequence[str]:
    document = each.document()
    taken, count = document["takenAt"] or "", document["sizeBytes"]
    return each.set, taken, "" if count is None else size(count), each.origin, each.action, each.reason
