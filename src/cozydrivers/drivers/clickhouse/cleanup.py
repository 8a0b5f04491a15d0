"""Cleaning up: kill what still runs under a name that was given up, delete its local and its remote copy, look again.

A local copy with resume state uploads itself again when its sidecar starts, so a name is followed until neither copy is
listed. An empty remote list may be an outage: then only the store's own "is not found" proves absence. What a restore
downloaded is deleted locally only: the remote archive belongs to a Backup.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import anyio

from chbackup import Action, Archive, ChbackupError, Client, ConnectionFailed, Feature, NotFound
from chbackup.evidence import dependents
from cozydrivers.api.backups import Backup
from cozydrivers.drivers.base import Outcome, Patience, RestoreRun, Run, Running, Succeeded
from cozydrivers.drivers.clickhouse.access import Missing, sentence
from cozydrivers.drivers.clickhouse.checkpoint import Debris, Member, State, archive_name
from cozydrivers.drivers.clickhouse.following import LOOK, deaf
from cozydrivers.drivers.clickhouse.look import Eyes
from cozydrivers.drivers.clickhouse.places import CLUSTER, Place, shards_of
from cozydrivers.drivers.clickhouse.record import ARCHIVE
from cozydrivers.drivers.clickhouse.steps import MAX_ATTEMPTS
from cozydrivers.errors import InvalidInput

_KILL_TIMEOUT = 10.0
_DELETE_TIMEOUT = 60.0


def presumed(run: Run, places: Sequence[Place]) -> State:
    """What a run may have left whose checkpoint is lost: every name that it can have used, on every replica."""
    if isinstance(run, RestoreRun):
        names = _downloads(run.backup) if run.backup else set()
        debris = [Debris(shard=p.shard, replica=p.replica, archive=name) for p in places for name in sorted(names)]
        return State(kind="restore", shards=1, members=(), debris=tuple(debris))
    shards = shards_of(run.application)
    debris = [
        Debris(
            shard=place.shard,
            replica=place.replica,
            archive=archive_name(run, attempt=attempt, shard=place.shard, shards=shards, replica=place.replica),
        )
        for place in places
        if place.cluster == CLUSTER
        for attempt in range(1, MAX_ATTEMPTS + 1)
    ]
    return State(kind="backup", shards=shards, members=(), debris=tuple(debris))


def _downloads(backup: Backup) -> set[str]:
    return {value for key, value in backup.spec.driver_metadata.items() if key.startswith(ARCHIVE)}


def _named(state: State) -> set[str]:
    return {member.submission.archive for member in state.members} | {debris.archive for debris in state.debris}


def all_debris(state: State, now: datetime) -> State | None:
    """The run given up: every archive of it is debris. None while one may still arrive."""
    if any(_may_arrive(member, now) for member in state.members):
        return None
    debris = [*state.debris, *(_given_up(member) for member in state.members)]
    return state.model_copy(update={"members": (), "debris": tuple(debris)})


def _may_arrive(member: Member, now: datetime) -> bool:
    return member.submission.state in ("sending", "sought") and now - member.submission.at < LOOK


def _given_up(member: Member) -> Debris:
    return Debris(shard=member.shard, replica=member.replica, archive=member.submission.archive)


async def sweep(eyes: Eyes, state: State) -> tuple[State, str]:
    """One round over the debris; the second part says what is in the way, empty while it goes on."""
    clean = _clean_download if state.kind == "restore" else partial(_clean_both, eyes.run)
    rounds = await anyio.amap(lambda debris: _round(eyes, debris, clean), state.debris)
    left = tuple(debris for debris, done in zip(state.debris, rounds, strict=True) if not done.gone)
    return state.model_copy(update={"debris": left}), next((done.said for done in rounds if done.said), "")


@dataclass(frozen=True)
class _Round:
    """What one look at an archive has come to: neither copy is listed, or what is in the way of deleting them."""

    gone: bool = False
    said: str = ""


_Clean = Callable[[Client, str, bool, Sequence[Archive]], Awaitable[_Round]]


async def _round(eyes: Eyes, debris: Debris, clean: _Clean) -> _Round:
    place = eyes.place(debris.shard, debris.replica)
    if place is None:
        said = f"{debris.archive}: no Pod serves shard {debris.shard} replica {debris.replica} now"
        return _Round(said=said)
    try:
        return await _look(await eyes.client(place), debris.archive, await eyes.version(place), clean)
    except Missing as missing:
        return _Round(said=missing.message)
    except ChbackupError as error:
        return _Round(said=sentence(place, error))


async def _look(client: Client, archive: str, version: str, clean: _Clean) -> _Round:
    rows = await client.actions()
    running = [row for row in rows if row.running]
    if running:
        return _Round(said=await _stop(client, archive, running))
    local, remote = await client.list_local(), await client.list_remote()
    here, there = (next((each for each in listed if each.name == archive), None) for listed in (local, remote))
    going_on = next((row for row in rows if row.archive == archive and deaf(row, version)), None)
    if going_on is not None and _unfinished(going_on, here, there):
        return _Round(said=f"waiting for the end of {going_on.command}, which a kill has not stopped")
    return await clean(client, archive, here is not None, remote)


def _unfinished(row: Action, here: Archive | None, there: Archive | None) -> bool:
    """Whether what a row makes is not whole yet; once it is, or was deleted, the row's work has ended."""
    made = here if row.verb == "download" else there
    return bool(made.broken) if made is not None else row.verb != "download" and here is not None


async def _stop(client: Client, archive: str, running: Sequence[Action]) -> str:
    own = next((row for row in running if row.archive == archive), None)
    if own is None:
        return f"{archive}: the sidecar is busy with: {running[0].command}"
    if not own.operation_id and await client.supports(Feature.KILL_OF_ACTIONS) is False:
        return f"waiting for the end of {own.command}, which can't be stopped before clickhouse-backup 2.8.1"
    with suppress(NotFound, ConnectionFailed):  # it has ended meanwhile, or takes its time: the next round sees
        await client.kill(own.command, timeout=_KILL_TIMEOUT)
    return f"stopping {own.command}"


async def _clean_download(client: Client, archive: str, here: bool, remote: Sequence[Archive]) -> _Round:
    """Delete what a restore has downloaded, unless it is the last copy."""
    there = any(listed.name == archive and not listed.broken for listed in remote)
    if here and not remote:
        return _Round(said=f"{archive}: the remote list is empty, so its local copy stays for now")
    await _delete_local(client, archive, here and there)
    return _Round(gone=not (here and there))


async def _clean_both(run: Run, client: Client, archive: str, here: bool, remote: Sequence[Archive]) -> _Round:
    there = next((listed for listed in remote if listed.name == archive), None)
    needed_by = dependents(remote, archive)
    if needed_by:
        return _Round(said=f"{archive} is required by {', '.join(needed_by)}")
    absent = there is None and (bool(remote) or await _store_says_absent(client, archive))
    if there is not None or absent:
        await _delete_local(client, archive, here)
    if there is not None:
        run.audit("about to", archive, there.size)
        await client.delete_remote(archive, timeout=_DELETE_TIMEOUT)
        run.audit("done", archive, there.size)
    return _Round(gone=absent and not here)


async def _delete_local(client: Client, archive: str, here: bool) -> None:
    if here:
        await client.delete_local(archive, timeout=_DELETE_TIMEOUT)


async def _store_says_absent(client: Client, archive: str) -> bool:
    """Ask to delete what is not listed: a store that is down answers otherwise than one that does not have it."""
    try:
        await client.delete_remote(archive, timeout=_DELETE_TIMEOUT)
    except NotFound:
        return True
    return False


async def abort(eyes: Eyes, run: Run) -> Outcome:
    """One step of giving a run up: `Succeeded` when nothing of it is left."""
    try:
        state = State.read(run.checkpoint or {}, run)
        if isinstance(run, RestoreRun) and run.backup and not _downloads(run.backup).issuperset(_named(state)):
            raise InvalidInput("the checkpoint names what the Backup does not")
    except InvalidInput:
        state = presumed(run, eyes.places)
    given_up = all_debris(state, eyes.run.now)
    if given_up is None:
        return Running("CleanupPending", "waiting for what was sent and may still arrive", 5.0, state.save())
    swept, trouble = await sweep(eyes, given_up)
    if not swept.debris:
        return Succeeded("nothing of the run is left")
    said, pause = (trouble, 5.0) if trouble else (f"deleting {swept.debris[0].archive}", 1.0)
    return Running("CleanupPending", said, pause, swept.save(), Patience.ABSENT)
