"""What the sidecars of a fleet show, and which of them share a storage. Pure functions over lists."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .models import Archive

# What pydantic sets beside the fields: those that were set, those that it does not know, private ones.
_HIDDEN = (("__pydantic_fields_set__", set[str]()), ("__pydantic_extra__", None), ("__pydantic_private__", None))


class LocalCopy(NamedTuple):
    """An archive on a sidecar's disk."""

    required: str
    good: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What one sidecar lists: its remote archives by name's order, its local ones by name."""

    remote: tuple[Archive, ...]
    local: Mapping[str, LocalCopy]


def reading_of(archives: Iterable[Archive]) -> Reading:
    """Keep of a list what a purge needs: there may be very many of them."""
    archives = list(archives)
    remote = sorted((_slim(archive) for archive in archives if archive.location == "remote"), key=_by_name)
    return Reading(tuple(remote), local_of(archives))


def local_of(archives: Iterable[Archive]) -> dict[str, LocalCopy]:
    """Return the local copies in a list by name."""
    return {
        archive.name: LocalCopy(archive.required, not archive.broken)
        for archive in archives
        if archive.location == "local"
    }


def fingerprint(archives: Iterable[Archive]) -> int:
    """Return a number that two readings of one sidecar share when they agree, in whatever order."""
    return hash(tuple(sorted(hash((archive.location, archive.created, *_print(archive))) for archive in archives)))


def difference(readings: Sequence[Reading]) -> str:
    """Say how the remote lists of one storage's sidecars differ, "" when they don't. Their zones may."""
    first, *others = [{_print(archive) for archive in reading.remote} for reading in readings]
    for other in others:
        if odd := first ^ other:
            return f"its sidecars list it differently, see {min(odd)[0] or 'the archive without a name'}"
    return ""


def tell_apart(sidecars: Sequence[tuple[str, str, Reading | None]]) -> dict[str, list[int]]:
    """Group sidecars, given as (url, storage's name or "", reading), by storage; the values are their indexes.

    They share one when it is named alike, or when they list a remote archive of the same name and size and are not
    named differently: small archives may be alike by chance.
    """
    parents = list(range(len(sidecars)))
    names = [storage for _, storage, _ in sidecars]
    first: dict[object, int] = {}
    for place, (_, storage, reading) in enumerate(sidecars):
        for mark in _marks(storage, reading):
            mine, other = _root(parents, place), _root(parents, first.setdefault(mark, place))
            if not names[mine] or not names[other] or names[mine] == names[other]:
                parents[mine], names[other] = other, names[other] or names[mine]
    groups: dict[int, list[int]] = {}
    for place in range(len(sidecars)):
        groups.setdefault(_root(parents, place), []).append(place)
    return {names[root] or min(sidecars[place][0] for place in places): places for root, places in groups.items()}


def needed_locally(readings: Iterable[Reading]) -> set[str]:
    """Return the bases of local increments that have no remote copy of their own, which would need them as well."""
    readings = list(readings)
    remote = {archive.name for reading in readings for archive in reading.remote}
    return {
        copy.required
        for reading in readings
        for name, copy in reading.local.items()
        if copy.required and name not in remote
    }


def _slim(archive: Archive) -> Archive:
    """Copy the fields one by one, so that all copies share one table of their names: a third of the memory."""
    slim = Archive.__new__(Archive)
    for key, value in (*_HIDDEN, *vars(archive).items()):
        object.__setattr__(slim, key, sys.intern(value) if key == "desc" else value)
    return slim


def _by_name(archive: Archive) -> str:
    return archive.name


def _print(archive: Archive) -> tuple[str, int, str, bool]:
    return archive.name, archive.size, archive.required, archive.broken is None


def _root(parents: list[int], place: int) -> int:
    while parents[place] != place:
        parents[place] = place = parents[parents[place]]
    return place


def _marks(storage: str, reading: Reading | None) -> list[object]:
    listed = [(archive.name, archive.size) for archive in reading.remote if not archive.broken] if reading else []
    return [storage, *listed] if storage else [*listed]
