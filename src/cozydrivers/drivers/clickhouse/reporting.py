"""What a restore says of tables: what was found, what is replaced, what was left out. Pure, and of bounded length."""

from collections.abc import Iterable, Mapping, Sequence

from cozydrivers.api.base import Condition
from cozydrivers.drivers.base import Note
from cozydrivers.drivers.clickhouse.checking import Share
from cozydrivers.drivers.clickhouse.checkpoint import Member
from cozydrivers.drivers.clickhouse.restore import Case
from cozydrivers.drivers.clickhouse.selecting import Choice
from cozydrivers.drivers.clickhouse.sentences import BEGUN, named, way_back

_MOST_NAMES = 30
_LONGEST = 8000
_LONGEST_NOTE = 900
_PARTS = {"whole": "", "schema": " (as bare tables of what is replicated)", "own": " (what is not replicated)"}


def target_checked(shares: Sequence[Share]) -> Condition:
    """What the check has found, by replica: these tables are the job's to replace until it ends."""
    replaces = any(share.replaced for share in shares)
    return Condition(
        type="TargetChecked",
        status="True",
        reason="TablesToReplace" if replaces else "TablesAbsent",
        message=_bounded([_found(share) for share in shares], _LONGEST),
    )


def found_notes(shares: Sequence[Share]) -> list[Note]:
    """The events of a restore that is about to begin: what will be replaced, and what is left out."""
    replaced = [_replaced(share) for share in shares if share.replaced]
    notes = [Note("TablesToReplace", _bounded(replaced, _LONGEST_NOTE))] if replaced else []
    return notes + left_out_notes((share.member, share.choice) for share in shares)


def left_out_notes(chosen: Iterable[tuple[Member, Choice]]) -> list[Note]:
    """An event for what is not restored though it is in an archive."""
    said = [f"{member.label}: {_why(choice.left_out)}" for member, choice in chosen if choice.left_out]
    return [Note("TablesLeftOut", _bounded(said, _LONGEST_NOTE), warning=True)] if said else []


def plan_message(shares: Sequence[Share]) -> str:
    """What a dry run has found."""
    replaced = sum(len(share.replaced) for share in shares)
    return f"a dry run, nothing was done: {_count(shares)} would be restored, {replaced} of them replaced"


def begun_message(shares: Sequence[Share]) -> str:
    """What is about to be done."""
    shards = len({share.member.shard for share in shares})
    return f"restoring {_count(shares)} on {shards} shards"


def _count(shares: Sequence[Share]) -> str:
    tables = sum(len(share.choice.tables) for share in shares)
    return f"{tables} tables" if tables != 1 else "1 table"


def safety_copies(members: Sequence[Member], *, skipped: bool) -> list[Condition]:
    """Which copies are kept of what is replaced, and how to go back; empty where nothing is."""
    kept = [way_back(member) for member in members if member.safety]
    if kept:
        message = _bounded(kept, _LONGEST) + "; kept for 24 hours"
        return [Condition(type="SafetyCopy", status="True", reason="Kept", message=message)]
    if skipped and any(member.found.get(member.pod) for member in members):
        message = "spec.options.skipSafetyCopy: what is replaced can't be brought back"
        return [Condition(type="SafetyCopy", status="False", reason="Skipped", message=message)]
    return []


def restored(cases: Sequence[Case]) -> Condition:
    """What came back, by replica."""
    said = [_restored(case) for case in cases]
    return Condition(type="TablesRestored", status="True", reason="Restored", message=_bounded(said, _LONGEST))


def half_restored(members: Sequence[Member]) -> list[Condition]:
    """What a restore that failed in the middle has done, and how to go back; empty where it has changed nothing."""
    begun = [member for member in members if member.stage in BEGUN]
    if not any(member.stage == "restoring" for member in begun) and len(begun) in (0, len(members)):
        return []
    said = [f"{member.label}: {_standing(member)}" for member in members]
    return [Condition(type="TablesRestored", status="False", reason="HalfRestored", message=_bounded(said, _LONGEST))]


def _standing(member: Member) -> str:
    what = {"restoring": "begun", "restored": "restored", "done": "restored"}.get(member.stage, "untouched")
    return what + (f"; {way_back(member)}" if member.safety and what != "untouched" else "")


def _found(share: Share) -> str:
    absent = len(share.choice.tables) - len(share.replaced)
    parts = [_replaced(share)] if share.replaced else [share.member.label + ":"]
    said = " ".join(parts) + (f" {absent} of {share.entry.archive} absent" if absent or not share.replaced else "")
    return said + (f"; left out: {_why(share.choice.left_out)}" if share.choice.left_out else "")


def _replaced(share: Share) -> str:
    tables = [f"{name} ({size} bytes)" for name, size in sorted(share.replaced.items())]
    return f"{share.member.label}: to be replaced: {named(tables, _MOST_NAMES)};"


def _restored(case: Case) -> str:
    member, choice = case.member, case.choice
    said = f"{member.label}: {len(choice.tables)} tables of {member.archive}{_PARTS[member.part]}"
    return said + (f"; left out: {_why(choice.left_out)}" if choice.left_out else "")


def _why(left_out: Mapping[str, str]) -> str:
    reasons = sorted(set(left_out.values()))
    by_reason = ((reason, [name for name in sorted(left_out) if left_out[name] == reason]) for reason in reasons)
    return "; ".join(f"{named(names, _MOST_NAMES)}: {reason}" for reason, names in by_reason)


def _bounded(said: Iterable[str], longest: int) -> str:
    text = "; ".join(each.rstrip(";") for each in said)
    return text if len(text) <= longest else text[: longest - 4] + " ..."
