"""What a restore says: what it replaces and what it does not, how to go back, and what was assumed. Pure.

A restore feeds a dump to the server: what the dump holds is dropped and made anew, and nothing else is touched. Seen on
MariaDB 10.11: the dump of all databases holds the system's tables too, but for the one of the accounts.
"""

from cozydrivers.api.base import Condition
from cozydrivers.drivers.base import Note, Run
from cozydrivers.drivers.mariadb.checkpoint import Evidence, RestoreState
from cozydrivers.drivers.mariadb.deleting import SAFETY_KEPT
from cozydrivers.drivers.mariadb.naming import Name, server_of
from cozydrivers.drivers.mariadb.options import Options
from cozydrivers.drivers.mariadb.record import written
from cozydrivers.drivers.mariadb.restore import Source, may_have_begun
from cozydrivers.drivers.mariadb.storage import SHARED, Place, place_of
from cozydrivers.errors import InvalidInput

_RESTORED = "TablesRestored"
SKIPPED = Condition(
    type="SafetyCopy",
    status="False",
    reason="Skipped",
    message="spec.options.skipSafetyCopy: what is replaced can't be brought back",
)


def target_checked(run: Run, source: Source, options: Options) -> Condition:
    """The check of dump and target: what the dump holds is the job's to replace until it ends."""
    seen = f"is there with {source.recorded.size} bytes" if not source.unread else _assumed(source)
    what = f"MariaDB {server_of(run.application.metadata.name)} is Ready; the dump {source.label} {seen}"
    return Condition(
        type="TargetChecked",
        status="True",
        reason="DumpAssumed" if source.unread else "DumpFound",
        message=f"{what}; {_replaced(source, options)} are replaced",
    )


def _assumed(source: Source) -> str:
    return f"is assumed to be there, because nobody could look from here: {source.unread}"


def _replaced(source: Source, options: Options) -> str:
    databases = (options.database,) if options.database else source.recorded.databases
    return f"the tables that it holds of {', '.join(databases) if databases else 'all databases'}"


def assumed(source: Source) -> list[Note]:
    """The event where nobody could look at the dump."""
    return [Note("DumpAssumed", f"the dump {source.label} {_assumed(source)}", warning=True)] if source.unread else []


def restoring(run: Run, source: Source, options: Options) -> Note:
    """The event before anything is replaced: what a logical restore does, and what it does not."""
    everything = not (options.database or source.recorded.databases)
    privileges = (
        "so do accounts and what they may do everywhere, while their grants on single databases become the dump's"
        if everything
        else "so do accounts and grants"
    )
    return Note(
        "Restoring",
        f"{source.label} of {written(source.second)} is read into MariaDB {server_of(run.application.metadata.name)}: "
        f"{_replaced(source, options)} are dropped and made anew; tables created since then stay, and {privileges}",
    )


def plan_message(run: Run, source: Source, options: Options) -> str:
    """What a dry run has found."""
    what = f"{_dump(source.label, source.recorded.size)} of {written(source.second)}"
    into = f"into MariaDB {server_of(run.application.metadata.name)}"
    first = "without a safety dump" if options.skip_safety_copy else "after a safety dump"
    return f"a dry run, nothing was done: {what} would be restored {into} {first}"


def success_message(run: Run, state: RestoreState) -> str:
    """What was restored."""
    what = f"{_dump(state.chosen.label, state.chosen.size)} of {written(state.chosen.taken_at)}"
    return f"{what} is restored into MariaDB {server_of(run.application.metadata.name)}"


def _dump(label: str, size: int) -> str:
    return f"{label} ({size} bytes)" if size else label


def restored(message: str) -> Condition:
    """What came back."""
    return Condition(type=_RESTORED, status="True", reason="Restored", message=message)


# How to go back


def safety_label(run: Run, place: Place, evidence: Evidence) -> str:
    """How sentences name the safety dump."""
    name = str(Name.of(run, "safety"))
    if place.s3 is not None:
        return place.s3.uri(place.folder(name) + evidence.file)
    return f"PersistentVolumeClaim {evidence.claim}" if evidence.claim else f"{SHARED}, by Backup {name}"


def safety_copy(run: Run, place: Place, evidence: Evidence | None) -> Condition:
    """Which dump is kept of what is replaced, and how to go back."""
    if evidence is None:
        return SKIPPED
    unproven = "" if evidence.condition.status == "True" else f"; {evidence.message}"
    kept = f"; it is kept for {SAFETY_KEPT.days} days at least"
    message = way_back(safety_label(run, place, evidence), evidence) + kept + unproven
    return Condition(type="SafetyCopy", status="True", reason="Kept", message=message)


def way_back(label: str, evidence: Evidence) -> str:
    """How to undo a restore."""
    how = (
        "`cozydrivers import` makes a Backup of it, and a RestoreJob of that one brings it back"
        if evidence.file
        else "a Restore of k8s.mariadb.com from there brings it back"
    )
    return f"{label} of {written(evidence.taken_at)} holds what was there before: {how}"


def half_restored(run: Run, state: RestoreState) -> str:
    """What a restore that has not come to its end may have done, and how to go back; empty where it has not begun."""
    if not may_have_begun(state) or state.over:
        return ""
    back = _way_back_now(run, state.safety) if state.safety else "there is no safety dump; restore once more"
    return f"MariaDB {server_of(run.application.metadata.name)} may be half restored from {state.chosen.label}: {back}"


def _way_back_now(run: Run, evidence: Evidence) -> str:
    """By the strategy as it is now, which may be gone by a clean-up."""
    try:
        label = safety_label(run, place_of(run.strategy), evidence)
    except InvalidInput:
        label = f"{evidence.file or evidence.claim or 'the dump'} of {Name.of(run, 'safety')}"
    return way_back(label, evidence)


def half(message: str) -> list[Condition]:
    """The same as a condition."""
    return [Condition(type=_RESTORED, status="False", reason="HalfRestored", message=message)] if message else []
