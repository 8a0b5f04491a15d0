"""Auditing: whether the archives that Backups record are still in the store, good, and their chains whole.

One list per storage path serves all Backups of an application; a shard whose archives it lacks is asked itself. What is
not listed is missing only when the object store itself denies it. Where the store can be asked, each archive's
objects are listed and show whether it is hollow.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chbackup import Archive, ChbackupError, Client
from chbackup.evidence import bases, chain_problems
from cozydrivers.api.backups import Backup
from cozydrivers.drivers.base import AuditRun, Finding
from cozydrivers.drivers.clickhouse import objects, record
from cozydrivers.drivers.clickhouse.look import Eyes, denies
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.record import Recorded
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import InvalidInput

WHOLE = Finding()
_PASSING = ("can't open", "can't read")
"""What a list says of a good archive while the store is in trouble."""
_WORST_FIRST = ("ArchiveMissing", "ArchiveBroken", "ChainBroken", "")


@dataclass(frozen=True)
class Listing:
    """What the sidecar of a shard lists; `denied` are archives of which its store has none.

    `hollow` is what the store's own objects say against archives that are listed as good.
    """

    remote: Sequence[Archive] = ()
    denied: Collection[str] = ()
    hollow: Mapping[str, Sequence[str]] = field(default_factory=dict)


# Decide. Pure and total


def judge(recorded: Sequence[Recorded], listings: Mapping[int, Listing]) -> Finding | None:
    """What has become of a set: the worst that is known of its archives. None where nothing can be told."""
    found = [_judge(entry, listings.get(entry.shard)) for entry in recorded]
    known = sorted((finding for finding in found if finding), key=lambda finding: _WORST_FIRST.index(finding.reason))
    if known and (known[0].reason or None not in found):
        return known[0]
    return None


def _judge(entry: Recorded, listing: Listing | None) -> Finding | None:
    if listing is None or any(not archive.name for archive in listing.remote):
        return None
    name = entry.archive
    copy = next((archive for archive in listing.remote if archive.name == name), None)
    if copy is None:
        return Finding("ArchiveMissing", f"{name} is not in the store") if name in listing.denied else None
    if copy.broken:
        return None if _is_passing(copy) else Finding("ArchiveBroken", f"{name} is listed as {copy.broken}")
    if copy.required == entry.required and copy.data_size != entry.data_size:
        held = f"{name} holds {copy.data_size} bytes of data, recorded are {entry.data_size}"
        return Finding("ArchiveBroken", held)
    if name in listing.hollow:
        return Finding("ArchiveBroken", f"{name}: {'; '.join(listing.hollow[name])}")
    return _judge_chain(name, listing)


def _judge_chain(name: str, listing: Listing) -> Finding | None:
    problems = chain_problems(listing.remote, name)
    if not problems:
        return WHOLE
    chain = {archive.name: archive for archive in listing.remote if archive.name in bases(listing.remote, name)}
    unlisted = set(bases(listing.remote, name)) - set(chain)
    if not unlisted.issubset(listing.denied) or any(_is_passing(archive) for archive in chain.values()):
        return None
    return Finding("ChainBroken", problems[0])


def _is_passing(archive: Archive) -> bool:
    return any(words in (archive.broken or "") for words in _PASSING)


def unlisted(remote: Sequence[Archive], names: Iterable[str]) -> set[str]:
    """Those among the archives and what they need that are not listed."""
    listed = {archive.name for archive in remote}
    return {needed for name in names for needed in (name, *bases(remote, name))} - listed


# Observe


async def audit(eyes: Eyes, run: AuditRun) -> dict[str, Finding]:
    """Look up the Backups of an application, by UID."""
    recorded = {backup.metadata.uid: entries for backup in run.backups if (entries := _read(backup, run, eyes.places))}
    wanted: dict[int, set[str]] = {}
    for entry in (entry for entries in recorded.values() for entry in entries):
        wanted.setdefault(entry.shard, set()).add(entry.archive)
    listings = await _observe(eyes, wanted)
    found = {uid: judge(entries, listings) for uid, entries in recorded.items()}
    return {uid: finding for uid, finding in found.items() if finding is not None}


def _read(backup: Backup, run: AuditRun, places: Sequence[Place]) -> list[Recorded] | None:
    """What a Backup records; None where it can't be read, or was stored where these sidecars do not look."""
    storage = backup.spec.driver_metadata.get(record.STORAGE, "")
    storages = {place.storage for place in places}
    if storage and "" not in storages and storage not in storages:
        return None
    try:
        return record.read(backup.spec.driver_metadata, run, run.application.metadata.name)
    except InvalidInput:
        return None


async def _observe(eyes: Eyes, wanted: Mapping[int, Collection[str]]) -> dict[int, Listing]:
    """The listings by shard; a shard that can't be asked has none."""
    lists: dict[str, Sequence[Archive]] = {}
    found: dict[int, Listing] = {}
    for shard, names in wanted.items():
        place = next((place for place in eyes.places if place.shard == shard), eyes.places[0])
        try:
            client = await eyes.client(place)
            remote = lists.get(place.storage)
            if remote is None or unlisted(remote, names):
                remote = await client.list_remote()
            good = [archive for archive in remote if archive.name in names and not archive.broken]
            found[shard] = await _listing(client, remote, names, await objects.hollow(eyes, place, good))
        except (ChbackupError, Missing):
            continue
        if place.storage:
            lists.setdefault(place.storage, remote)
    return found


async def _listing(
    client: Client, remote: Sequence[Archive], names: Collection[str], hollow: Mapping[str, Sequence[str]]
) -> Listing:
    denied = [name for name in sorted(unlisted(remote, names)) if await denies(client, name)]
    return Listing(remote, denied, hollow)
