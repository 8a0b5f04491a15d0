"""What an application can be restored from, and what would be lost now.

Reads only: the lists of every sidecar, its live tables, the tables of the last good set. What can't be read is said,
and never taken for absent (I2): an empty list may be an outage of the store.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import anyio

from chbackup import Archive, ChbackupError, Client, Table, parse_archive_name
from chbackup.evidence import bases, dependents
from cozydrivers.api.backups import Backup
from cozydrivers.drivers.base import Finding, GoodSet, Inspection, Leftover, Recoverability
from cozydrivers.drivers.clickhouse import record
from cozydrivers.drivers.clickhouse.auditing import Listing, judge, unlisted
from cozydrivers.drivers.clickhouse.engines import loses_rows
from cozydrivers.drivers.clickhouse.look import Eyes, Sight, denies
from cozydrivers.drivers.clickhouse.places import Place, layout_problem, shards_of
from cozydrivers.drivers.clickhouse.record import Recorded, tables_hash
from cozydrivers.drivers.clickhouse.safety import made_at
from cozydrivers.drivers.clickhouse.sets import Found, find_sets, hash_of, merged, named_by
from cozydrivers.drivers.owned import hex_of
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import InvalidInput

_NAMED = 5


@dataclass(frozen=True)
class Known:
    """A Backup with what it records; `trouble` says why that can't be read, or not be looked for here."""

    backup: Backup
    recorded: Sequence[Recorded] = ()
    trouble: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.backup.metadata.name


@dataclass(frozen=True)
class View:
    """All that is decided on: a sight of every sidecar, the Backups, and by shard what is listed and what is denied."""

    sights: Sequence[Sight] = ()
    known: Sequence[Known] = ()
    listings: Mapping[int, Listing] = field(default_factory=dict)
    layout: str = ""

    @property
    def remote(self) -> list[Archive]:
        """All that any sidecar lists remotely."""
        return merged(sight.remote for sight in self.sights if sight.remote is not None)

    def live(self, shard: int) -> list[Table] | None:
        """The tables of a shard's replicas; None where one of them was not read, or there is none."""
        replicas = [sight.live for sight in self.sights if sight.place and sight.place.shard == shard]
        if not replicas or None in replicas:
            return None
        return [table for tables in replicas for table in tables or () if not table.skip]


# Decide. Pure and total


def decide(view: View, run: Inspection) -> Recoverability:
    """What there is to restore from; what would be lost is told by `lost`, which needs the last set's tables."""
    known = [each for each in view.known if each.backup.metadata.deletion_timestamp is None]
    findings = {each.name: judge(each.recorded, view.listings) for each in known if not each.trouble}
    whole = [each for each in known if (found := findings.get(each.name)) and not found.reason]
    odd = {each.name: why for each in known if (why := each.trouble or _odd(each.backup))}
    good = [_good(each, view.listings) for each in whole if each.name not in odd]
    problems = [*_unread(view), *(_unknown(name) for name, found in sorted(findings.items()) if found is None)]
    return Recoverability(
        good=sorted(good, key=lambda each: (each.taken_at, each.backup), reverse=True),
        broken=[Leftover(name, found.message) for name, found in sorted(findings.items()) if found and found.reason],
        suspicious=[Leftover(name, why) for name, why in sorted(odd.items()) if not _is_broken(findings.get(name))],
        orphans=_orphans(view, run),
        safety_copies=_local(view, _safety_copy),
        debris=_debris(view, run),
        problems=problems if good else [*problems, *_strange(view, run)],
    )


def _safety_copy(name: str) -> str | None:
    at = made_at(name)
    return f"made at {at:%Y-%m-%dT%H:%M:%SZ}" if at else None


def _is_broken(found: Finding | None) -> bool:
    return found is not None and bool(found.reason)


def _odd(backup: Backup) -> str:
    """Why a Backup that is whole does not count for a good one."""
    if backup.status.phase != "Ready":
        return f"its phase is {backup.status.phase or 'not set'}"
    told = next((told for told in backup.status.conditions if (told.type, told.status) == ("Suspicious", "True")), None)
    return f"{told.reason}: {told.message}" if told else ""


def _good(known: Known, listings: Mapping[int, Listing]) -> GoodSet:
    members = [(entry.archive, listings[entry.shard].remote) for entry in known.recorded]
    name, backup = parse_archive_name(members[0][0]), known.backup
    sizes = [archive.size for wanted, remote in members for archive in remote if archive.name == wanted]
    return GoodSet(
        backup=known.name,
        name=name.set_name if name else members[0][0],
        taken_at=backup.spec.taken_at or backup.metadata.creation_timestamp or datetime.min.replace(tzinfo=UTC),
        size=sum(sizes),
        chain=1 + max(len(bases(remote, archive)) for archive, remote in members),
        verified=backup.says("Verified", "True"),
    )


def _unknown(backup: str) -> str:
    return f"Backup {backup}: whether its archives are in the store can't be told now"


def _unread(view: View) -> list[str]:
    nameless = any(not archive.name for archive in view.remote)
    trust = ["a list holds an archive without a name, so it can't be trusted"] if nameless else []
    layout = [view.layout] if view.layout else []
    return [*layout, *dict.fromkeys(sight.trouble for sight in view.sights if sight.trouble), *trust]


def _orphans(view: View, run: Inspection) -> list[Leftover]:
    """Sets of this application and namespace that no Backup names, and no job is making."""
    remote, named = view.remote, _named(view)
    needed = {base for archive in named for base in bases(remote, archive)}
    orphans = []
    for each in _sets(view, run, own=True):
        archives = {listed.archive.name for listed in each.archives}
        if archives & named or each.name.uid in _busy(run):
            continue
        need = "required by a Backup's archives" if archives & needed else ""
        orphans.append(Leftover(each.name.set_name, each.gap or need or "whole, and no Backup names it", each.size))
    return orphans


def _sets(view: View, run: Inspection, *, own: bool) -> list[Found]:
    """The sets that this application can have made, or those of namespaces that it does not go on with."""
    namespaces = {hash_of(run.namespace_uid), *run.former_namespaces}
    every = find_sets(view.remote, run.application.metadata.name)
    return [each for each in every if (each.name.namespace_hash in namespaces) == own]


def _strange(view: View, run: Inspection) -> list[str]:
    """A hint for the day when the cluster is gone: the sets of the old one are there."""
    count = len(_sets(view, run, own=False))
    return (
        [f"{count} sets of another namespace are listed: `cozydrivers import` makes Backups of them"] if count else []
    )


def _debris(view: View, run: Inspection) -> list[Leftover]:
    """What is left of runs: attempts given up beside a set that is named, and copies on the servers' disks."""
    remote, named = view.remote, _named(view)
    sets = {name.set_name for archive in named if (name := parse_archive_name(archive))}
    given_up = [
        Leftover(archive.name, "an attempt that was given up", archive.size)
        for archive in remote
        if archive.name not in named
        and (name := parse_archive_name(archive.name))
        and name.set_name in sets
        and name.uid not in _busy(run)
        and not set(dependents(remote, archive.name)) & named
    ]
    copies = [] if run.busy else _local(view, lambda name: "on a server's disk" if parse_archive_name(name) else None)
    return [*given_up, *copies]


def _named(view: View) -> set[str]:
    return set(named_by(known.backup for known in view.known))


def _busy(run: Inspection) -> set[str]:
    return {hex_of(uid, 12) for uid in run.busy}


def _local(view: View, reason: Callable[[str], str | None]) -> list[Leftover]:
    """The local copies for which there is a reason, by sidecar."""
    return [
        Leftover(f"{archive.name} on {sight.place.label}", why, archive.data_size)
        for sight in view.sights
        if sight.place is not None
        for archive in sight.local or ()
        if (why := reason(archive.name)) is not None
    ]


def lost(last: GoodSet | None, view: View, archived: Mapping[int, Sequence[Table] | None], shards: int) -> list[str]:
    """What would be lost if the data went now, in sentences; `archived` are the last good set's tables by shard."""
    if last is None:
        return ["there is no good backup: everything would be lost"]
    said = [f"everything written since {last.taken_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"]
    if absent := [str(shard) for shard in range(shards) if shard not in archived]:
        said.append(f"all of shard {', '.join(absent)}, which the last good backup does not have")
    new, bare = set[str](), set[str]()
    for shard, tables in archived.items():
        live = view.live(shard)
        if live is None:
            continue
        bare |= {table.full_name for table in live if loses_rows(table)}
        if tables is not None:
            new |= {table.full_name for table in live} - {table.full_name for table in tables}
    if new:
        said.append(f"tables that the last good backup does not have: {_join(new)}")
    if bare:
        said.append(f"the rows of {_join(bare)}: of tables with their engines only the schema is backed up")
    return said


def not_compared(view: View, archived: Mapping[int, Sequence[Table] | None]) -> list[str]:
    """Shards of which the tables could not be compared with those of the last good set."""
    return [
        f"shard {shard}: its tables can't be compared with the last good backup's now"
        for shard, tables in sorted(archived.items())
        if tables is None or view.live(shard) is None
    ]


def _join(names: Iterable[str]) -> str:
    every = sorted(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


# Observe


async def inspect(eyes: Eyes, run: Inspection) -> Recoverability:
    """Look at all sidecars, and judge."""
    view = await _observe(eyes, run)
    found = decide(view, run)
    archived = await _archived(eyes, view, found.last)
    would_be_lost = lost(found.last, view, archived, shards_of(run.application))
    return replace(found, lost_now=would_be_lost, problems=[*found.problems, *not_compared(view, archived)])


async def _observe(eyes: Eyes, run: Inspection) -> View:
    sights = await anyio.amap(lambda place: _look(eyes, place), eyes.places)
    known = [_read(backup, run, eyes.places) for backup in run.backups]
    layout = layout_problem(run.application, eyes.places)
    return View(sights, known, await _listings(eyes, sights, known), layout)


async def _look(eyes: Eyes, place: Place) -> Sight:
    """The lists, and the live tables for themselves: where ClickHouse is down the lists may still be read."""
    listed = await eyes.read(place, _lists)
    live = await eyes.read(place, _live)
    return replace(listed, live=live.live, trouble=listed.trouble or live.trouble)


async def _lists(client: Client) -> Sight:
    return Sight(local=await client.list_local(), remote=await client.list_remote())


async def _live(client: Client) -> Sight:
    return Sight(live=await client.tables())


def _read(backup: Backup, run: Inspection, places: Sequence[Place]) -> Known:
    metadata = backup.spec.driver_metadata
    storage, storages = metadata.get(record.STORAGE, ""), {place.storage for place in places}
    if storage and "" not in storages and storage not in storages:
        return Known(backup, trouble=f"its archives are in storage {storage}, which these sidecars do not use")
    if metadata.get(record.EXECUTION) == "pod":
        return Known(backup, trouble="a Pod has made it: what its archives hold was never proven")
    try:
        return Known(backup, record.read(metadata, run, run.application.metadata.name))
    except InvalidInput as error:
        return Known(backup, trouble=str(error))


async def _listings(eyes: Eyes, sights: Sequence[Sight], known: Sequence[Known]) -> dict[int, Listing]:
    """By shard, for all that Backups record; a shard that can't be asked has none."""
    wanted: dict[int, set[str]] = {}
    for entry in (entry for each in known for entry in each.recorded):
        wanted.setdefault(entry.shard, set()).add(entry.archive)
    found: dict[int, Listing] = {}
    for shard, names in wanted.items():
        own = [sight for sight in sights if sight.place and sight.place.shard == shard] or sights
        read = [sight for sight in own if sight.remote is not None and sight.place]
        if read:
            remote = merged(sight.remote or () for sight in read)
            found[shard] = Listing(remote, await _denied(eyes, read[0].place, sorted(unlisted(remote, names))))
    return found


async def _denied(eyes: Eyes, place: Place | None, names: Sequence[str]) -> list[str]:
    """Those of which the store itself says that it has none; of what it does not answer nothing is known."""
    try:
        client = await eyes.client(place) if place else None
        return [name for name in names if client and await denies(client, name)]
    except (ChbackupError, Missing):
        return []


async def _archived(eyes: Eyes, view: View, last: GoodSet | None) -> dict[int, Sequence[Table] | None]:
    """The tables of the last good set by shard, None where they are not read as recorded."""
    recorded = next((each.recorded for each in view.known if last and each.name == last.backup), ())
    found: dict[int, Sequence[Table] | None] = {}
    for entry in recorded:
        place = next((place for place in eyes.places if place.shard == entry.shard), None)
        tables = await _tables_of(eyes, place, entry)
        before = found.get(entry.shard, ())
        found[entry.shard] = [*before, *tables] if before is not None and tables is not None else None
    return found


async def _tables_of(eyes: Eyes, place: Place | None, entry: Recorded) -> Sequence[Table] | None:
    async def work(client: Client) -> Sight:
        return Sight(archived=await client.tables(remote_backup=entry.archive))

    tables = (await eyes.read(place, work)).archived
    if tables is None or tables_hash(table.full_name for table in tables) != entry.tables.hash:
        return None
    return tables
