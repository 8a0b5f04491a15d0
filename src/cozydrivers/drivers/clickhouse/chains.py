"""Incremental sets: what the class's parameters ask for, and which archives a new set may be an increment on. Pure.

The server takes any base, also a broken one or one whose chain has a gap, and says `success` (seen on 2.7.4 and
2.8.1-dev). So the whole chain of each base must be seen good first, by the sidecar that is to make the increment.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chbackup import Archive, Feature, parse_archive_name, parse_version
from chbackup.evidence import bases, chain_problems
from chbackup.versions import supports
from cozydrivers.api.backups import Backup
from cozydrivers.drivers.clickhouse import record
from cozydrivers.drivers.clickhouse.earlier import Earlier
from cozydrivers.drivers.clickhouse.look import Sight
from cozydrivers.drivers.clickhouse.record import Recorded
from cozydrivers.durations import seconds
from cozydrivers.errors import InvalidInput

FULL_EVERY, MAX_CHAIN = "fullEvery", "maxChain"


@dataclass(frozen=True)
class Terms:
    """How long a chain may be: its full one's age at most, and its increments at most; None for no limit."""

    full_every: timedelta | None = None
    longest: int | None = None


def terms(parameters: Mapping[str, str]) -> Terms | None:
    """What the class asks for; None where every set is to be full. InvalidInput names the parameter."""
    every, longest = parameters.get(FULL_EVERY), parameters.get(MAX_CHAIN)
    if every is None and longest is None:
        return None
    return Terms(_duration(every) if every is not None else None, _count(longest) if longest is not None else None)


def _duration(text: str) -> timedelta:
    try:
        length = timedelta(seconds=seconds(text))
    except InvalidInput as error:
        raise InvalidInput(f"parameters.{FULL_EVERY} of the BackupClass: {error}") from None
    if not length:
        raise InvalidInput(f"parameters.{FULL_EVERY} of the BackupClass is {text!r}; it must be longer than nothing")
    return length


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        raise InvalidInput(f"parameters.{MAX_CHAIN} of the BackupClass is {text[:20]!r}, not a number from 1 to 999")
    return int(text)


@dataclass(frozen=True)
class Bases:
    """The base of each archive of a new set by its replica's Pod; none for a full set, and why.

    `lost` says that an increment was due and can't be made.
    """

    by_pod: Mapping[str, str] = field(default_factory=dict)
    why_full: str = ""
    lost: bool = False


@dataclass(frozen=True)
class Case:
    """What the bases of a new set are decided on: `members` are the sights of its replicas, `backups` all earlier."""

    terms: Terms
    good: Earlier | None
    members: Sequence[Sight]
    now: datetime
    restored: datetime | None = None
    backups: Sequence[Backup] = ()


def choose(case: Case) -> Bases:
    """The bases, of one earlier set for all archives, or why the set is to be full."""
    good = case.good
    if good is None:
        return Bases(why_full="there is no good set to begin with")
    if why := _set_is_over(case, good):
        return Bases(why_full=why)
    if why := _set_is_unfit(case, good):
        return Bases(why_full=why, lost=True)
    found: dict[str, str] = {}
    for sight in case.members:
        base = next(each for each in good.members if sight.place and _spot(sight) == (each.shard, each.replica))
        if why := _chain_is_broken(base, sight.remote or ()):
            return Bases(why_full=why, lost=True)
        if why := _chain_is_over(case, base.archive, sight.remote or ()):
            return Bases(why_full=why)
        found[sight.place.pod if sight.place else ""] = base.archive
    return Bases(found)


def _spot(sight: Sight) -> tuple[int, int]:
    return (sight.place.shard, sight.place.replica) if sight.place else (-1, -1)


def _set_is_over(case: Case, good: Earlier) -> str:
    """Why the next set is a full one anyway."""
    name = good.backup.metadata.name
    if {_spot(sight) for sight in case.members} != good.spots:
        return f"Backup {name} is of other replicas"
    if case.restored is not None and case.restored >= good.taken:
        return f"the application was restored after Backup {name}"
    if good.backup.metadata.deletion_timestamp is not None:
        return f"Backup {name} is being deleted"
    return ""


def _set_is_unfit(case: Case, good: Earlier) -> str:
    """Why the last good set can't be a base, though one is due."""
    name, metadata = good.backup.metadata.name, good.backup.spec.driver_metadata
    storage = metadata.get(record.STORAGE, "")
    if not storage or any(sight.place is None or sight.place.storage != storage for sight in case.members):
        return f"Backup {name} is not known to be on the storage path that is used now"
    versions = [*metadata.get(record.VERSIONS, "").split(","), *(sight.version for sight in case.members)]
    old = next((text for text in versions if not supports(parse_version(text), Feature.TABLES_ARE_MEASURED)), None)
    return "" if old is None else f"clickhouse-backup {old or 'of no known version'} is not known to prove increments"


def _chain_is_broken(base: Recorded, remote: Sequence[Archive]) -> str:
    if problems := chain_problems(remote, base.archive):
        return problems[0]
    listed = next(archive for archive in remote if archive.name == base.archive)
    if (listed.data_size, listed.required) != (base.data_size, base.required):
        return f"{base.archive} is not listed as it was recorded"
    return ""


def _chain_is_over(case: Case, base: str, remote: Sequence[Archive]) -> str:
    chain = [base, *bases(remote, base)]
    full = parse_archive_name(chain[-1])
    if full is None:
        return f"{chain[-1]} is no archive of a set"
    if case.terms.longest is not None and len(chain) > case.terms.longest:
        return f"{len(chain) - 1} increments stand on {chain[-1]}"
    if case.terms.full_every is not None and case.now - full.taken >= case.terms.full_every:
        return f"{chain[-1]} is of {full.taken:%FT%TZ}"
    going = record.going(case.backups)
    leaving = next((archive for archive in chain if archive in going), None)
    return f"{leaving} is needed by a Backup that is being deleted" if leaving else ""
