"""The check of a restore: every archive is whole, what is in the way is known. Nothing is touched by it.

What can't be is InvalidInput, what may pass is Missing.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio

from chbackup import Archive, Table, parse_archive_name
from chbackup.evidence import bases, chain_problems
from cozydrivers.drivers.base import RestoreRun
from cozydrivers.drivers.clickhouse import objects, replicated, restore
from cozydrivers.drivers.clickhouse.checkpoint import Member, Part
from cozydrivers.drivers.clickhouse.following import Submission
from cozydrivers.drivers.clickhouse.look import Eyes, Sight, Wanted, resting, survey
from cozydrivers.drivers.clickhouse.places import Place, replicas_of, shards_of
from cozydrivers.drivers.clickhouse.record import Recorded
from cozydrivers.drivers.clickhouse.selecting import (
    Asked,
    Choice,
    choose,
    existing,
    fingerprint,
    is_recorded,
    replicated_names,
)
from cozydrivers.drivers.clickhouse.sentences import exists
from cozydrivers.drivers.clickhouse.settings import kept, server_problem
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import InvalidInput

T = TypeVar("T")
R = TypeVar("R")
_EVERYTHING = Wanted(lists=True, live=True, version=True, gauges=True)


@dataclass(frozen=True)
class Share:
    """What one replica gets of one archive; `replaced` are the bytes of the tables there that make way for it."""

    member: Member
    entry: Recorded
    choice: Choice
    replaced: Mapping[str, int]


@dataclass(frozen=True)
class Look:
    """What a check looks at."""

    eyes: Eyes
    run: RestoreRun
    entries: Sequence[Recorded]
    asked: Asked
    seen: Mapping[str, Sight]

    def live(self, shard: int) -> list[Table]:
        """The tables of all replicas of a shard."""
        return [table for sight in self.replicas(shard).values() for table in sight.live or ()]

    def replicas(self, shard: int) -> dict[str, Sight]:
        """What a shard's replicas show, by Pod."""
        return {pod: sight for pod, sight in self.seen.items() if sight.place and sight.place.shard == shard}


async def see(eyes: Eyes) -> dict[str, Sight]:
    """Look at every sidecar; Missing where one can't be asked: it may hold what is in the way."""
    seen = await survey(eyes, _EVERYTHING)
    trouble = next((sight.trouble for sight in seen.values() if sight.trouble), "")
    if trouble:
        raise Missing("SidecarUnreachable", trouble)
    return seen


async def check(look: Look) -> list[Share]:
    """Show that every archive is whole, and find what is in the way of its tables.

    Raises InvalidInput for what can't be restored, Missing for what may pass.
    """
    _check_layout(look)
    for sight in look.seen.values():
        if problem := server_problem(sight, alone=True):
            raise InvalidInput(problem)
    by_shard = [
        [entry for entry in look.entries if entry.shard == shard] for shard in range(shards_of(look.run.application))
    ]
    found = await _side_by_side(lambda entries: _check_shard(look, entries), by_shard)
    shares = [share for shares in found for share in shares]
    if look.asked.options.tables and not any(share.choice.tables for share in shares):
        patterns = ", ".join(look.asked.options.tables)
        raise InvalidInput(f"spec.options.tables: {patterns} matches no table that can be restored from the archives")
    for place in {share.member.pod: look.seen[share.member.pod] for share in shares}.values():
        _check_retention(place, [share for share in shares if place.place and share.member.pod == place.place.pod])
    return shares


async def _side_by_side(work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """What each comes to; of what speaks against them, the first is raised."""

    async def one(item: T) -> R | InvalidInput | Missing:
        try:
            return await work(item)
        except (InvalidInput, Missing) as error:
            return error

    found: list[R] = []
    for result in await anyio.amap(one, items):
        if isinstance(result, InvalidInput | Missing):
            raise result
        found.append(result)
    return found


def _check_layout(look: Look) -> None:
    shards, name = shards_of(look.run.application), look.run.application.metadata.name
    recorded = len({entry.shard for entry in look.entries})
    if recorded != shards:
        raise InvalidInput(f"the Backup has {recorded} shards, ClickHouse {name} has {shards}")


def _check_retention(sight: Sight, shares: Sequence[Share]) -> None:
    """The server counts the safety copy, and deletes the oldest archive: the one that was just downloaded."""
    keeps, needed = kept(sight, "local"), len(sight.local or ()) + len(shares) + 1
    if 0 < keeps < needed and any(share.replaced for share in shares):
        pod = sight.place.pod if sight.place else ""
        raise InvalidInput(
            f"BACKUPS_TO_KEEP_LOCAL is {keeps} in the sidecar of {pod}: the safety copy would cost the downloaded "
            "archive; set it to 0"
        )


async def _check_shard(look: Look, entries: Sequence[Recorded]) -> list[Share]:
    first = _place(look, entries[0])
    archived = await _archived(look, entries[0], first)
    live = look.live(entries[0].shard)
    chosen = choose(entries[0], archived, "whole", look.asked, here=look.seen[first.pod].live or ()).tables
    shared = replicated.may_share(entries[0], chosen, live)
    replicas = [place for place in look.eyes.places if place.shard == first.shard]
    if shared:
        _check_replicated(look, entries[0], chosen, first)
    for entry in entries[1:]:
        _place(look, entry)
    planned = replicated.parts(entries, first, replicas, shared=shared)
    return await _side_by_side(lambda plan: _share(look, plan, planned, archived), planned)


def _check_replicated(look: Look, entry: Recorded, chosen: Sequence[str], first: Place) -> None:
    """A replica that can't be asked counts as one where the table is alive."""
    replicas = [place for place in look.eyes.places if place.shard == entry.shard]
    missing = replicated.replicas_missing(look.run.application, replicas)
    if missing:
        raise Missing("ReplicasMissing", f"shard {entry.shard}: {missing}")
    names = sorted(replicated_names(entry, look.live(entry.shard)) & set(chosen))
    if look.asked.elsewhere and names:
        raise InvalidInput(replicated.joins(first.label, names))
    alive = replicated.alive(entry, chosen, look.live(entry.shard))
    if alive:
        raise InvalidInput(replicated.drop_first(entry.shard, alive))


def _place(look: Look, entry: Recorded) -> Place:
    """The replica that the archive is from; in another application that has no such one, the first of the shard."""
    name = parse_archive_name(entry.archive)
    replica = name.replica if name else entry.replica
    place = look.eyes.place(entry.shard, replica)
    if place is None and look.asked.elsewhere:
        alone = sum(other.shard == entry.shard for other in look.entries) == 1
        if not alone and replica >= replicas_of(look.run.application):
            name_of = look.run.application.metadata.name
            raise InvalidInput(f"shard {entry.shard} was backed up on replica {replica}, ClickHouse {name_of} has none")
        place = next((p for p in look.eyes.places if p.shard == entry.shard), None) if alone else None
    if place is None or not place.ready:
        raise Missing("ShardsMissing", f"the replica that shard {entry.shard} was backed up from is not ready")
    return place


async def _share(
    look: Look, plan: replicated.Plan, planned: Sequence[replicated.Plan], of_first: Sequence[Table]
) -> Share:
    entry, part, place = plan
    if not place.ready:
        raise Missing("ShardsMissing", f"{place.label} is not ready")
    archived = of_first if plan == planned[0] else await _archived(look, entry, place)
    replicas = look.replicas(entry.shard)
    here = look.seen[place.pod].live or ()
    choice = choose(entry, archived, part, look.asked, here=here, others=look.live(entry.shard))
    if choice.tables:
        _ = choice.pattern
    _check_overwrite(look, entry, choice)
    found = {pod: sorted(existing(choice.tables, sight.live or ())) for pod, sight in replicas.items()}
    member = Member(
        shard=entry.shard,
        replica=place.replica,
        pod=place.pod,
        pod_uid=place.pod_uid,
        submission=Submission(verb="download", archive=entry.archive, state="sending", at=look.run.now),
        stage="downloading" if choice.tables or _may_turn_out(entry, part) else "restored",
        source=entry.archive,
        part=part,
        found={pod: fingerprint(names) for pod, names in found.items() if names},
    )
    if any(other[2] == place for other in planned[: planned.index(plan)]):
        member = member.submitted(state="planned")
    return Share(member, entry, choice, existing(choice.tables, here))


def _may_turn_out(entry: Recorded, part: Part) -> bool:
    """Whether it shows only when the first replica has its tables which of them are replicated."""
    return part == "schema" and not is_recorded(entry)


def _check_overwrite(look: Look, entry: Recorded, choice: Choice) -> None:
    if look.asked.options.replaces(elsewhere=look.asked.elsewhere):
        return
    for sight in look.replicas(entry.shard).values():
        found = sorted(existing(choice.tables, sight.live or ()))
        if found and sight.place:
            raise InvalidInput(exists(sight.place.label, found, schema_only=look.asked.options.schema_only))


async def _archived(look: Look, entry: Recorded, place: Place) -> Sequence[Table]:
    """The tables of an archive, as its place reads them, once it is shown to be whole with all its bases."""
    listed = look.seen[place.pod]
    remote = listed.remote_copy(entry.archive)
    if remote is None:
        raise _unlisted(look, place, entry)
    _check_chain(look, listed, remote, place)
    member = Member(
        shard=entry.shard,
        replica=place.replica,
        pod=place.pod,
        pod_uid=place.pod_uid,
        submission=Submission(verb="download", archive=entry.archive, at=look.run.now),
        stage="downloading",
    )
    sight = await resting(look.eyes, member, Wanted(archived=True))
    if sight.trouble:
        raise Missing("SidecarUnreachable", sight.trouble)
    tables = sight.archived or ()
    unread = restore.unread(entry, remote, tables)
    if unread:
        raise Missing("ArchiveNotReadable", f"{place.label}: {unread}")
    problems = restore.whole(entry, remote, tables)
    if problems:
        raise InvalidInput(f"{place.label}: {'; '.join(problems)}")
    await _check_objects(look, listed, remote, place)
    return tables


async def _check_objects(look: Look, listed: Sight, remote: Archive, place: Place) -> None:
    """No list shows that a part is missing; where the object store can be asked, it does."""
    chain = [copy for name in bases(listed.remote or (), remote.name) if (copy := listed.remote_copy(name))]
    for archive in (remote, *chain):
        if problems := await objects.problems(look.eyes, place, archive):
            raise InvalidInput(f"{place.label}: {archive.name} is not whole in the object store: {problems[0]}")


def _check_chain(look: Look, listed: Sight, remote: Archive, place: Place) -> None:
    """An increment needs its bases; beside local copies of them its own measures less than it is."""
    if not remote.required:
        return
    chain = bases(listed.remote or (), remote.name)
    unlisted = next((name for name in chain if listed.remote_copy(name) is None), "")
    if unlisted:
        raise Missing("ArchiveNotListed", f"{place.label} does not list {unlisted} now, which {remote.name} needs")
    problems = chain_problems(listed.remote or (), remote.name)
    if problems:
        raise InvalidInput(f"{place.label}: {'; '.join(problems)}")
    beside = [name for name in chain if listed.local_copy(name) is not None]
    if beside:
        raise InvalidInput(
            f"{place.label}: delete the local copies of {', '.join(beside)} first: beside them the size of a download "
            "does not tell whether it is whole"
        )


def _unlisted(look: Look, place: Place, entry: Recorded) -> Exception:
    """A list can be empty in an outage; one that lists others, of another application, shows another storage."""
    if look.asked.elsewhere and look.seen[place.pod].remote:
        hint = "set the application's backup.s3PathOverride to the path of the Backup's application"
        return InvalidInput(f"{place.label} does not list {entry.archive}: {hint}")
    return Missing("ArchiveNotListed", f"{place.label} does not list {entry.archive} now")
