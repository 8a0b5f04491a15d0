"""Lists as sets of archives, with what is wrong with them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from ._retention_groups import Group
from ._retention_rules import shift
from .errors import Refused
from .models import Archive


@dataclass(slots=True, eq=False)
class Member:
    """An archive in its set.

    `trouble` says why nothing can be restored from it, "" when that may be possible. `time` is in UTC, without a zone
    when that isn't known.
    """

    storage: str
    archive: Archive
    group: Group
    home: "Set"
    base: "Member | None"
    depth: int
    trouble: str
    time: datetime | None


@dataclass(slots=True, eq=False)
class Set:
    """Archives that stay or go together. `series` tells those that compete; `gap` says why it is no whole backup."""

    name: str
    series: tuple[str, str]
    members: list[Member] = field(default_factory=list)
    gap: str = ""
    unlisted: bool = False
    time: datetime | None = None


def read_sets(lists: Mapping[str, Sequence[Archive]], group_by: Callable[[str], Group]) -> list[Set]:
    """Group the archives of storages whose lists are sound, in an order that doesn't depend on theirs.

    The sets are not judged yet.
    """
    sets: dict[tuple[str, str, str], Set] = {}
    for storage in sorted(lists):
        members: dict[str, Member] = {}
        for depth, archive in _bases_first(lists[storage]):
            group = group_by(archive.name)
            where = "" if group.shards else storage
            home = sets.get(key := (where, group.series, group.set))
            if home is None:
                home = sets[key] = Set(f"{where}:{group.set}" if where else group.set, (where, group.series))
            base = members.get(archive.required)
            time = archive.created and shift(archive.created, UTC)
            member = Member(storage, archive, group, home, base, depth, _trouble(archive, base), time)
            members[archive.name] = member
            home.members.append(member)
    return list(sets.values())


def check_list(archives: Sequence[Archive]) -> None:
    """Refuse a storage's list that can't be right.

    Raises Refused.
    """
    required = {archive.name: archive.required for archive in archives}
    if "" in required:
        raise Refused("the list holds an archive without a name, so it cannot be trusted")
    if len(required) < len(archives):
        names = sorted(archive.name for archive in archives)
        raise Refused(f"{next(one for one, other in pairwise(names) if one == other)} is listed twice")
    for name, base in sorted(required.items()):
        if base and base not in required:
            raise Refused(f"{name} requires {base}, which is not in the list")
    _depths(required)


def mixed_zones(sets: Iterable[Set]) -> dict[str, str]:
    """Say which storages hold a series of which some times have a zone and some have none."""
    zones: dict[tuple[str, str], set[bool]] = {}
    for unit in sets:
        kinds = zones.setdefault(unit.series, set())
        kinds.update(member.time.tzinfo is not None for member in unit.members if member.time)
    return {
        member.storage: f"some times of {unit.series[1]} have a zone and some have none"
        for unit in sets
        if len(zones[unit.series]) > 1
        for member in unit.members
    }


def judge(unit: Set) -> None:
    """Find out when a set was made, and what it lacks; all of its times must have a zone, or none."""
    unit.time = max((member.time for member in unit.members if member.time), default=None)
    shards = range(max(member.group.shards for member in unit.members))
    listed = {member.group.shard for member in unit.members}
    sound = {member.group.shard for member in unit.members if not member.trouble}
    unit.unlisted = not listed.issuperset(shards)
    for shard in shards:
        if shard not in sound:
            unit.gap = f"shard {shard} of {len(shards)} is {'broken' if shard in listed else 'not listed'}"
            return
    if not shards:
        unit.gap = next((f"{member.archive.name} is broken" for member in unit.members if member.trouble), "")


def _bases_first(archives: Sequence[Archive]) -> list[tuple[int, Archive]]:
    depths = _depths({archive.name: archive.required for archive in archives})
    return sorted(((depths[archive.name], archive) for archive in archives), key=lambda pair: (pair[0], pair[1].name))


def _depths(required: Mapping[str, str]) -> dict[str, int]:
    """How many bases each archive has. Raises Refused when one needs itself."""
    depths = {"": -1}
    for name in sorted(required):
        path: list[str] = []
        base = name
        while base not in depths:
            path.append(base)
            if len(path) > len(required):
                raise Refused(f"the bases of {name} form a circle")
            base = required[base]
        for above, member in enumerate(reversed(path), 1):
            depths[member] = depths[base] + above
    return depths


def _trouble(archive: Archive, base: Member | None) -> str:
    if words := archive.broken:
        return words if words.startswith("broken") else f"broken: {words}"
    if base is None or not base.trouble:
        return ""
    return f"incomplete: its base {base.archive.name} is broken" if base.archive.broken else base.trouble
