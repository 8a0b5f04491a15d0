"""Which archives stay, and why."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ._retention_rules import Retention, kept_times
from ._retention_sets import Member, Set


@dataclass(frozen=True)
class Case:
    """What a plan is made for.

    `begun` names the sets that an earlier run has begun to delete, `held` those to let be, with the reason. `blind`
    says that there are storages whose lists are not known or not trusted.
    """

    retention: Retention
    now: datetime
    broken: bool
    begun: Collection[str]
    held: Mapping[str, str]
    blind: bool


def keep(sets: Sequence[Set], case: Case) -> dict[Member, str]:
    """Say which archives stay: those that something keeps, what they need, and the rest of the sets of all these."""
    series: dict[tuple[str, str], list[Set]] = {}
    for unit in sets:
        series.setdefault(unit.series, []).append(unit)
    kept = {member: reason for units in series.values() for member, reason in _kept_in_series(units, case)}
    _add_needed(kept)
    return kept


def _kept_in_series(units: Sequence[Set], case: Case) -> Iterator[tuple[Member, str]]:
    times = sorted((unit.time for unit in units if unit.time and _counts(unit, case)), reverse=True)
    ruled = kept_times(times, case.retention, case.now.tzinfo)
    newest = times[0] if times else None
    for unit in units:
        whole = _kept_whole(unit, ruled, newest, case)
        leave = _may_go(unit, newest, case)
        for member in unit.members:
            if reason := whole or _spared(member, case) or (None if leave else _unfinished(member, case)):
                yield member, reason


def _counts(unit: Set, case: Case) -> bool:
    """Whether the rules count a set: a whole backup of known time that nobody has begun to delete."""
    known = all(member.time or member.archive.broken for member in unit.members)
    return known and not unit.gap and unit.name not in case.begun


def _kept_whole(unit: Set, ruled: Mapping[datetime, str], newest: datetime | None, case: Case) -> str | None:
    counts = unit.time and _counts(unit, case)
    if unit.time and counts and unit.time in ruled:
        return ruled[unit.time]
    if unit.time and (young := case.retention.younger(unit.time, case.now)):
        return young
    if counts and unit.time == newest and not case.retention.allow_none:
        return f"newest complete set of {unit.series[1]}"
    return case.held.get(unit.name)


def _spared(member: Member, case: Case) -> str | None:
    if not member.time and not member.archive.broken:
        return "time unknown"
    return case.retention.spares(member.archive.name)


def _may_go(unit: Set, newest: datetime | None, case: Case) -> bool:
    """Whether nothing is unfinished about a set that would keep it; `newest` is the time of its series' newest.

    One that is incomplete or half deleted makes way for a newer one only. Broken archives mostly have no time.
    """
    begun = unit.name in case.begun
    if not begun and not unit.gap:
        return case.broken or not any(member.trouble for member in unit.members)
    if not (begun or case.broken) or (unit.unlisted and case.blind):
        return False
    return case.retention.allow_none or (newest is not None and (unit.time is None or unit.time < newest))


def _unfinished(member: Member, case: Case) -> str | None:
    if member.trouble:
        return member.trouble
    if member.home.gap:
        return f"incomplete: {member.home.gap}"
    return "its deletion has begun, but no newer set is complete" if member.home.name in case.begun else None


def _add_needed(kept: dict[Member, str]) -> None:
    queue = deque(kept)
    whole: set[Set] = set()
    while queue:
        member = queue.popleft()
        needed = [(member.base, f"base of {member.archive.name}")] if member.base else []
        if member.home not in whole:
            whole.add(member.home)
            needed += [(mate, f"same set as {member.archive.name}") for mate in member.home.members]
        for other, reason in needed:
            if other not in kept:
                kept[other] = reason
                queue.append(other)
