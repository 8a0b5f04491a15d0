"""The command `cozydrivers status`: what each application can be restored from."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from cozydrivers._cli_common import (
    DONE,
    FAILED,
    AllNamespaces,
    Context,
    Kubeconfig,
    Namespace,
    Output,
    OutputOption,
    SidecarCa,
    all_drivers,
    carry_out,
    place,
    show_table,
    show_text,
    show_value,
    size,
    tell,
)
from cozydrivers.admin.recoverability import ApplicationStatus, recoverability
from cozydrivers.drivers.base import Leftover
from cozydrivers.kube import KubeClient

COLUMNS = ("NAMESPACE", "KIND", "APPLICATION", "LAST GOOD", "AGE", "SIZE", "SETS", "CHAIN", "PROBLEMS")
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))

Applications = Annotated[
    list[str] | None, typer.Argument(metavar="[[KIND/]APP]...", help="Only these; each is then told in full.")
]


def status(
    applications: Applications = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    output: OutputOption = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    sidecar_ca_file: SidecarCa = "",
) -> None:
    """Show what each application can be restored from: last good backup, what is failing, what would be lost now.

    Reads only. Ends with 0 when each application has a good backup, none is broken and all could be read; else with 1.
    """
    where = place(namespace, all_namespaces)

    async def job(kube: KubeClient) -> int:
        names, drivers = applications or (), all_drivers(sidecar_ca_file)
        found = await recoverability(kube, drivers, namespace=where, names=names, now=datetime.now(UTC))
        show(found, output, in_full=bool(names))
        return DONE if all(each.found.is_sound for each in found) else FAILED

    carry_out(job, kubeconfig=kubeconfig, context=context)


def show(found: Sequence[ApplicationStatus], output: Output, *, in_full: bool) -> None:
    """Print it; `in_full` says everything of each application below the table."""
    if output is not Output.TABLE:
        show_value([each.document() for each in found], output)
        return
    if not found:
        tell("no application with a driver was found")
        return
    show_table(COLUMNS, map(_row, found))
    for each in found if in_full else ():
        show_text("")
        show_text(f"{each.kind} {each.namespace}/{each.name}")
        for line in _lines(each):
            show_text(f"  {line}")


def _row(each: ApplicationStatus) -> Sequence[str]:
    found, last = each.found, each.found.last
    told = ("none", "", "", "0", "")
    if last is not None:
        told = (last.backup, age(each.age or 0), size(last.size), str(len(found.good)), str(last.chain))
    return (each.namespace, each.kind, each.name, *told, _summary(each))


def _summary(each: ApplicationStatus) -> str:
    """The first problem in full, else how many of what."""
    found = each.found
    counts = {
        "broken": found.broken,
        "suspicious": found.suspicious,
        "orphans": found.orphans,
        "debris": found.debris,
        "replays": found.replays,
    }
    told = [f"{len(several)} {name}" for name, several in counts.items() if several]
    if found.problems:
        more = len(found.problems) - 1
        told.append(found.problems[0] + (f" and {more} more" if more else ""))
    return "; ".join(told)


def _lines(each: ApplicationStatus) -> Iterable[str]:
    found = each.found
    for good in found.good:
        when = f"{age((each.now - good.taken_at).total_seconds())} ago"
        chain = f", a chain of {good.chain}" if good.chain > 1 else ""
        doubt = "" if good.verified else ", never verified"
        yield f"good: {good.backup}, {when}, {size(good.size)}{chain}{doubt}"
    named: tuple[tuple[str, Sequence[Leftover]], ...] = (
        ("broken", found.broken),
        ("suspicious", found.suspicious),
        ("orphan", found.orphans),
        ("safety copy", found.safety_copies),
        ("debris", found.debris),
        ("replay in waiting", found.replays),
    )
    for kind, several in named:
        for one in several:
            yield f"{kind}: {one.name}{f' ({size(one.size)})' if one.size else ''}{one.reason and f': {one.reason}'}"
    for text in found.problems:
        yield f"problem: {text}"
    for text in found.lost_now:
        yield f"would be lost now: {text}"


def age(seconds: float) -> str:
    """A time for people, in its two greatest units: `3d4h`, `5m10s`."""
    left, parts = max(0, int(seconds)), list[str]()
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return "".join(parts[:2]) or "0s"
