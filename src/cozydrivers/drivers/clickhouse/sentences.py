"""Sentences that a restore says in more than one place. Pure."""

from collections.abc import Sequence

from cozydrivers.drivers.clickhouse.checkpoint import Member

BEGUN = ("restoring", "restored", "done")
"""Stages in which a restore may have changed its tables."""
NAMED = 5
"""Tables that a sentence names; of the others it says how many."""


def named(tables: Sequence[str], most: int = NAMED) -> str:
    """Tables by name, the first of many."""
    return ", ".join(tables[:most]) + (f" and {len(tables) - most} more" if len(tables) > most else "")


def left(member: Member) -> str:
    """What a restore that has begun leaves behind, and the way back."""
    if member.stage not in BEGUN:
        return ""
    if not member.safety:
        return "; drop the tables that it has made, or let another restore replace them"
    return f"; its tables may be half restored: {way_back(member)}"


def way_back(member: Member) -> str:
    """How to undo a restore on one replica."""
    return (
        f"POST /backup/restore/{member.safety} to the sidecar of Pod {member.pod} brings back the MergeTree tables "
        "that it has replaced"
    )


def changed(label: str, pod: str, found: Sequence[str]) -> str:
    """Why a restore is given up whose target has changed since the check."""
    now = f"{named(found)} exists" if found else "none of them exists"
    return (
        f"{label}: of the archive's tables {now} on Pod {pod} now, which is not what the check has found "
        "(condition TargetChecked); restore again"
    )


def exists(label: str, found: Sequence[str], *, schema_only: bool) -> str:
    """Why a restore is refused where tables exist, with what to do."""
    if schema_only:
        advice = "the bare schema does not replace it (spec.options.schemaOnly): drop it first"
    else:
        advice = "drop it first, or set spec.options.overwrite to true to have it replaced"
    return f"{label}: {named(found)} exists; {advice}"
