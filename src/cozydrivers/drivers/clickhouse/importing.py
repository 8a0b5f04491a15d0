"""Backups rebuilt from the store alone: from names and sizes in the sidecars' lists, and the tables of each archive.

What a name says is believed only of this application: its name must be the application's, and every archive must be
listed by the sidecars of its own shard, which have the storage path and the credentials that a restore would use. The
namespace in a name may be another one, as it is when the cluster is gone. That alone is no right to restore it: two
tenants may share a bucket. The right is an annotation on the Namespace, which no tenant may change (I12); see
`record.read`. Reads only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from chbackup import Archive, Client, Table, parse_archive_name
from chbackup.evidence import remote_problems
from cozydrivers.api.base import Condition
from cozydrivers.drivers.base import Artifact, Candidate, Importable, Inspection
from cozydrivers.drivers.clickhouse import record
from cozydrivers.drivers.clickhouse.engines import replicated, schema_only
from cozydrivers.drivers.clickhouse.look import Eyes, Sight
from cozydrivers.drivers.clickhouse.places import Place, layout_problem
from cozydrivers.drivers.clickhouse.record import Recorded, Tables, is_of, tables_hash
from cozydrivers.drivers.clickhouse.sets import Found, Listed, find_sets, hash_of, merged, named_by
from cozydrivers.drivers.owned import hex_of

ELSEWHERE = "unknown"
"""The cluster of an imported set: nobody knows it, so no deletion policy ever takes its archives."""


@dataclass(frozen=True)
class Stock:
    """What the sidecars show: everything that is listed, and by shard what its own ones list."""

    remote: Sequence[Archive] = ()
    by_shard: Mapping[int, Sequence[Archive]] = field(default_factory=dict)
    troubles: Sequence[str] = ()
    live: Sequence[Table] = ()


# Decide. Pure and total


def judge(found: Found, stock: Stock, run: Inspection) -> str:
    """Why no Backup can be made of a set, before its tables are read; empty where nothing speaks against it."""
    holders = named_by(run.backups)
    held = next((holders[each.archive.name] for each in found.archives if each.archive.name in holders), "")
    if held:
        return f"Backup {held} records it already"
    if found.name.uid in {hex_of(uid, 12) for uid in run.busy}:
        return "its job is not over"
    if found.gap:
        return found.gap
    for each in found.members:
        own = stock.by_shard.get(each.name.shard, stock.remote)
        if not any(archive.name == each.archive.name for archive in own):
            return f"{each.archive.name} is not listed by a sidecar of its shard"
    return ""


def strangers(stock: Stock, application: str) -> list[Candidate]:
    """What is listed and no set of this application."""
    found = []
    for archive in stock.remote:
        name = parse_archive_name(archive.name)
        if name is None:
            found.append(Candidate(archive.name, reason="its name is not one that a BackupJob gives"))
        elif not is_of(name, application):
            found.append(Candidate(archive.name, reason=f"it is an archive of the application {name.app}"))
    return sorted(found, key=lambda each: each.name)


def candidate(
    found: Found, tables: Mapping[str, Sequence[Table] | None], stock: Stock, run: Inspection, storage: str
) -> Candidate:
    """What becomes of a set whose tables were read, by archive; None stands for what could not be."""
    name, origin = found.name.set_name, found.name.namespace_hash
    origin = "" if origin == hash_of(run.namespace_uid) else origin
    for each in found.members:
        read = tables.get(each.archive.name)
        problems = ["its tables can't be read now"] if read is None else remote_problems(each.archive, read)
        if problems:
            return Candidate(name, reason=f"{each.archive.name}: {problems[0]}", origin=origin)
    entries = [_entry(each, tables[each.archive.name] or (), stock.live) for each in found.members]
    return Candidate(name, _artifact(found, entries, run, storage, _empty(tables)), origin=origin)


def _entry(each: Listed, tables: Sequence[Table], live: Sequence[Table]) -> Recorded:
    names = [table.full_name for table in tables]
    return Recorded(
        shard=each.name.shard,
        replica=each.name.replica,
        archive=each.archive.name,
        data_size=each.archive.data_size,
        required=each.archive.required,
        tables=Tables(
            count=len(names),
            hash=tables_hash(names),
            bytes=sum(table.total_bytes for table in tables),
            replicated=replicated(live, names),
            schema_only=schema_only(live, names),
        ),
    )


def _empty(tables: Mapping[str, Sequence[Table] | None]) -> list[str]:
    return sorted({table.full_name for read in tables.values() for table in read or () if not table.total_bytes})


def _artifact(found: Found, entries: Sequence[Recorded], run: Inspection, storage: str, empty: list[str]) -> Artifact:
    without = f"; without rows in them: {', '.join(empty)}" if empty else ""
    told = Condition(
        type="Verified",
        status="False",
        reason="Imported",
        message="rebuilt from the names and sizes in the store; whether they were ever proven is not known" + without,
    )
    return Artifact(
        uri=f"clickhouse-backup://{run.namespace}/{run.application.metadata.name}/{found.name.set_name}",
        size_bytes=sum(each.archive.size for each in found.members),
        taken_at=found.name.taken,
        driver_metadata={
            **record.write(entries, versions=ELSEWHERE, storage=storage, cluster=ELSEWHERE),
            record.IMPORTED: "true",
        },
        conditions=[told],
    )


# Observe


async def find(eyes: Eyes, run: Inspection) -> Importable:
    """Look at all that is listed; the tables of an archive are read only where nothing else speaks against its set."""
    application = run.application.metadata.name
    stock = await _stock(eyes)
    sets = []
    for found in find_sets(stock.remote, application):
        reason = judge(found, stock, run)
        if reason:
            origin = "" if found.name.namespace_hash == hash_of(run.namespace_uid) else found.name.namespace_hash
            sets.append(Candidate(found.name.set_name, reason=reason, origin=origin))
        else:
            tables = {each.archive.name: await _tables(eyes, each) for each in found.members}
            sets.append(candidate(found, tables, stock, run, eyes.places[0].storage))
    layout = layout_problem(run.application, eyes.places)
    return Importable([*sets, *strangers(stock, application)], [*filter(None, [layout]), *stock.troubles])


async def _stock(eyes: Eyes) -> Stock:
    sights = await anyio.amap(lambda place: _look(eyes, place), eyes.places)
    by_shard: dict[int, Sequence[Archive]] = {}
    for shard in {place.shard for place in eyes.places}:
        own = [sight for sight in sights if sight.place and sight.place.shard == shard]
        by_shard[shard] = merged(sight.remote or () for sight in own)
    live = [table for sight in sights for table in sight.live or ()]
    troubles = list(dict.fromkeys(sight.trouble for sight in sights if sight.trouble))
    return Stock(merged(sight.remote or () for sight in sights), by_shard, troubles, live)


async def _look(eyes: Eyes, place: Place) -> Sight:
    """The remote list, and the live tables for themselves: they only tell engines."""

    async def remote(client: Client) -> Sight:
        return Sight(remote=await client.list_remote())

    async def live(client: Client) -> Sight:
        return Sight(live=await client.tables())

    return replace(await eyes.read(place, remote), live=(await eyes.read(place, live)).live)


async def _tables(eyes: Eyes, each: Listed) -> Sequence[Table] | None:
    """The tables of an archive, as a sidecar of its shard reads them; None where it can't."""

    async def work(client: Client) -> Sight:
        return Sight(archived=await client.tables(remote_backup=each.archive.name))

    place = next((place for place in eyes.places if place.shard == each.name.shard), eyes.places[0])
    return (await eyes.read(place, work)).archived
