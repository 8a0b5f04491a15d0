"""What to delete by a rule, and in which order: plans made from lists alone.

Rules count sets, not archives. What a kept archive needs stays, and so does the rest of its set; deletion begins
with what nothing needs.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from ._retention_groups import Group, default_group
from ._retention_keep import Case, keep
from ._retention_rules import Retention
from ._retention_sets import Member, Set, check_list, judge, mixed_zones, read_sets
from .errors import InvalidInput, Refused
from .models import Archive

__all__ = ["Decision", "Group", "PurgePlan", "Retention", "default_group", "plan_fleet", "plan_purge"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of an archive, and the rule or the archive that decides it.

    `set_name` is the same for all members of its set, and for no other archive of any storage.
    """

    storage: str
    archive: Archive
    delete: bool
    reason: str
    set_name: str


@dataclass(frozen=True)
class PurgePlan:
    """A decision for each archive: first those to delete, in the order in which to do it, then those to keep.

    `refused` says why storages were left out; a plan for a single one raises instead.
    """

    decisions: tuple[Decision, ...]
    refused: Mapping[str, str]

    @cached_property
    def delete(self) -> tuple[Decision, ...]:
        """What to delete: an increment before its base, and the members of a set one after the other.

        Only sets that need each other's archives both ways are not deleted one by one.
        """
        return tuple(decision for decision in self.decisions if decision.delete)

    @cached_property
    def keep(self) -> tuple[Decision, ...]:
        """What stays, by storage and series, the newest first."""
        return tuple(decision for decision in self.decisions if not decision.delete)

    @cached_property
    def bytes_freed(self) -> int:
        """How much there is to delete; the server doesn't tell the size of a broken archive."""
        return sum(decision.archive.size for decision in self.delete)


def plan_purge(
    archives: Sequence[Archive],
    retention: Retention,
    now: datetime,
    *,
    again: Sequence[Archive] | None = None,
    broken: bool = False,
) -> PurgePlan:
    """Plan for one storage; archives that are local are ignored.

    `again` is a second reading of the list, which must be equal: one that is partial mostly isn't. `broken` allows to
    delete archives that are broken and sets that lack a shard, where a newer set is complete; make sure that nothing
    runs on the storage, as an unfinished upload looks the same. Hours, days and longer periods are those of `now`'s
    zone.

    Raises InvalidInput when `now` has no zone; Refused when the list holds an archive without a name, one name twice,
    or a base that is missing or needs itself; when both readings differ; when some times have a zone and some none.
    """
    if again is not None and _remote(archives) != _remote(again):
        raise Refused("two readings of the list differ: a part of it is missing, or somebody else is at work")
    plan = plan_fleet({"": archives}, retention, now, broken=broken)
    for reason in plan.refused.values():
        raise Refused(reason)
    return plan


def plan_fleet(
    storages: Mapping[str, Sequence[Archive]],
    retention: Retention,
    now: datetime,
    *,
    broken: bool = False,
    begun: Collection[str] = (),
    refused: Mapping[str, str] | None = None,
) -> PurgePlan:
    """Plan for many storages at once, as sets may have members in several; see `plan_purge`.

    A storage whose list would be refused is left out, with the reason; so are those in `refused`, which may have no
    list. What is or may be a member of a set there stays. `begun` are the `set_name`s that an earlier run has begun
    to delete: no rule counts them, and what is left of them goes, as long as a newer set is complete.

    Raises InvalidInput when `now` has no zone.
    """
    if now.tzinfo is None:
        raise InvalidInput("now must have a time zone")
    lists = {storage: _remote(archives) for storage, archives in storages.items()}
    refused = _problems(lists) | dict(refused or {})
    sets = _sets(lists, refused, retention)
    if mixed := mixed_zones(sets):
        refused |= mixed
        sets = _sets(lists, refused, retention)
    for unit in sets:
        judge(unit)
    case = Case(retention, now, broken, begun, _held(lists, refused, retention), bool(refused))
    kept = keep(sets, case)
    return PurgePlan((*_deletions(sets, kept, case), *_kept(kept)), refused)


def _remote(archives: Iterable[Archive]) -> list[Archive]:
    return sorted((archive for archive in archives if archive.location == "remote"), key=lambda archive: archive.name)


def _problems(lists: Mapping[str, Sequence[Archive]]) -> dict[str, str]:
    problems = {}
    for storage, archives in lists.items():
        try:
            check_list(archives)
        except Refused as error:
            problems[storage] = error.message
    return problems


def _sets(lists: Mapping[str, Sequence[Archive]], refused: Collection[str], retention: Retention) -> list[Set]:
    trusted = {storage: archives for storage, archives in lists.items() if storage not in refused}
    return read_sets(trusted, retention.group_by)


def _held(lists: Mapping[str, Sequence[Archive]], refused: Collection[str], retention: Retention) -> dict[str, str]:
    """The sets that are known to have members in a refused storage."""
    return {
        group.set: f"{archive.name} is in {storage}, which is refused"
        for storage in lists
        if storage in refused
        for archive in lists[storage]
        if archive.name and (group := retention.group_by(archive.name)).shards
    }


def _deletions(sets: Sequence[Set], kept: Mapping[Member, str], case: Case) -> list[Decision]:
    gone = [unit for unit in sets if unit.members[0] not in kept]
    return [_decision(member, True, _why_deleted(member, case)) for member in _children_first(gone)]


def _why_deleted(member: Member, case: Case) -> str:
    if member.home.name in case.begun:
        return "an earlier run has begun to delete its set"
    if member.trouble or not member.home.gap:
        return member.trouble or "no rule keeps it"
    return f"incomplete: {member.home.gap}"


def _children_first(gone: Sequence[Set]) -> list[Member]:
    needed_by: dict[Set, list[Set]] = {unit: [] for unit in gone}
    for unit in gone:
        for member in unit.members:
            if member.base and member.base.home in needed_by and member.base.home is not unit:
                needed_by[member.base.home].append(unit)
    try:
        ordered = [unit.members for unit in _chain_by_chain(TopologicalSorter(needed_by))]
    except CycleError:
        ordered = [[member for unit in gone for member in unit.members]]
    return [member for members in ordered for member in sorted(members, key=lambda member: -member.depth)]


def _chain_by_chain(sorter: TopologicalSorter[Set]) -> Iterator[Set]:
    sorter.prepare()
    ready = [*sorter.get_ready()][::-1]
    while ready:
        yield (unit := ready.pop())
        sorter.done(unit)
        ready.extend(sorter.get_ready())


def _kept(kept: Mapping[Member, str]) -> list[Decision]:
    by_name = sorted(kept, key=lambda member: member.archive.name)
    newest_first = sorted(by_name, key=lambda member: member.time.isoformat() if member.time else "", reverse=True)
    ordered = sorted(newest_first, key=lambda member: (member.storage, member.home.series))
    return [_decision(member, False, kept[member]) for member in ordered]


def _decision(member: Member, delete: bool, reason: str) -> Decision:
    return Decision(member.storage, member.archive, delete, reason, member.home.name)
