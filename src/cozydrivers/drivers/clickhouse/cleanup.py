"""Cleaning up after a run: kill what still runs under its names, delete the local, then the remote copies, look again.

A local copy with resume state uploads itself again when its sidecar starts, so a name is followed until neither copy is
listed. An empty remote list, or one that lacks some, may be an outage: only the store's own "not found" proves absence.
What a restore downloaded is deleted locally only: the remote archive belongs to a Backup.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import anyio

from chbackup import Action, Archive, ChbackupError, Client, ConnectionFailed, Feature, NotFound
from chbackup.evidence import dependents
from cozydrivers.drivers.base import Outcome, Patience, RestoreRun, Run, Running, Succeeded
from cozydrivers.drivers.clickhouse.access import sentence, still_there
from cozydrivers.drivers.clickhouse.checkpoint import Debris, Member, State, archive_name
from cozydrivers.drivers.clickhouse.following import LOOK, deaf
from cozydrivers.drivers.clickhouse.look import Eyes, denies
from cozydrivers.drivers.clickhouse.places import CLUSTER, Place, shards_of
from cozydrivers.drivers.clickhouse.reference import sources
from cozydrivers.drivers.clickhouse.safety import is_of, made_at
from cozydrivers.drivers.clickhouse.steps import MAX_ATTEMPTS
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import InvalidInput

_KILL_TIMEOUT = 10.0
_DELETE_TIMEOUT = 60.0


def presumed(run: Run, places: Sequence[Place]) -> State:
    """What a run may have left whose checkpoint is lost: every name that it can have used, on every replica."""
    if isinstance(run, RestoreRun):
        names = sources(run.backup, run.options)
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


def _is_own(run: RestoreRun, name: str) -> bool:
    return name in sources(run.backup, run.options) or is_of(run, name)


def _named(state: State) -> set[str]:
    members = {name for member in state.members for name in (member.archive, member.submission.archive)}
    return members | {debris.archive for debris in state.debris}


def all_debris(state: State, now: datetime) -> State | None:
    """The run given up: every archive of it is debris. None while one may still arrive."""
    if any(_may_arrive(member, now) for member in state.members):
        return None
    debris = [*state.debris, *(debris for member in state.members for debris in _given_up(member))]
    return state.model_copy(update={"members": (), "debris": tuple(debris)})


def _may_arrive(member: Member, now: datetime) -> bool:
    return member.submission.state in ("sending", "sought") and now - member.submission.at < LOOK


def _given_up(member: Member) -> list[Debris]:
    """Its archive, and a safety copy that is being made; one that was made stays, for the way back."""
    names = {member.archive, member.submission.archive}
    return [Debris(shard=member.shard, replica=member.replica, archive=name) for name in sorted(names)]


@dataclass(frozen=True)
class Swept:
    """What is left after a round over the debris, and what is in the way; `away` on Pods that can't be reached."""

    state: State
    said: str = ""
    away: bool = False


@dataclass(frozen=True)
class Found:
    """What one look at an archive's sidecar shows; `absent` where the store has none of that name."""

    archive: str
    client: Client | None = None
    running: Sequence[Action] = ()
    stoppable: bool = True
    here: bool = False
    remote: Sequence[Archive] = ()
    absent: bool = False
    trouble: str = ""
    away: bool = False

    @property
    def own(self) -> Action | None:
        """What runs under its name."""
        return next((row for row in self.running if row.archive == self.archive), None)

    @property
    def there(self) -> Archive | None:
        """The remote copy, if it is listed."""
        return next((listed for listed in self.remote if listed.name == self.archive), None)


@dataclass(frozen=True)
class Deed:
    """What to do with one archive now; nothing where `do` is empty, `said` is why."""

    do: Literal["", "stop", "delete local", "delete remote", "gone"] = ""
    said: str = ""


# Decide. Pure: one phase for all archives of the run, the next when nothing is left to do in it


def decide(found: Sequence[Found], *, downloads: bool) -> Sequence[Deed]:
    """What to do now: stop what runs, then delete the local copies on every replica, then the remote ones."""
    phases = (_stop, _drop_download) if downloads else (_stop, _drop_local, _drop_remote)
    deeds = [Deed() for _ in found]
    for phase in phases:
        deeds = [_hindered(each) or phase(each) for each in found]
        if any(deed.do for deed in deeds):
            break
    return deeds


def _hindered(found: Found) -> Deed | None:
    if found.trouble:
        return Deed(said=found.trouble)
    if found.own is not None:
        if found.stoppable:
            return Deed("stop", f"stopping {found.own.command}")
        return Deed(
            said=f"waiting for the end of {found.own.command}, which can't be stopped before clickhouse-backup 2.8.1"
        )
    if found.running:
        return Deed(said=f"{found.archive}: the sidecar is busy with: {found.running[0].command}")
    return None


def _stop(found: Found) -> Deed:
    return Deed()


def _drop_download(found: Found) -> Deed:
    """Delete what a restore has downloaded, unless it is the last copy; a safety copy is nowhere else."""
    if made_at(found.archive):
        return Deed("delete local" if found.here else "gone")
    if found.here and found.there is None and not found.absent:
        return Deed(said=f"{found.archive}: the remote list does not show it now, so its local copy stays for now")
    kept = found.there is not None and not found.there.broken
    return Deed("delete local") if found.here and kept else Deed("gone")


def _drop_local(found: Found) -> Deed:
    if needed_by := dependents(found.remote, found.archive):
        return Deed(said=f"{found.archive} is required by {', '.join(needed_by)}")
    known = found.there is not None or found.absent
    return Deed("delete local") if found.here and known else Deed()


def _drop_remote(found: Found) -> Deed:
    kept = _drop_local(found)
    if kept.said or found.here:
        return kept
    if found.there is not None:
        return Deed("delete remote")
    return Deed("gone") if found.absent else Deed()


# Observe and act


async def sweep(eyes: Eyes, state: State) -> Swept:
    """One round over the debris."""
    downloads = state.kind == "restore"
    found = await anyio.amap(lambda debris: _find(eyes, debris, downloads=downloads), state.debris)
    deeds = decide(found, downloads=downloads)
    said = await anyio.amap(lambda pair: _do(eyes.run, *pair), zip(found, deeds, strict=True))
    left = [debris for debris, deed in zip(state.debris, deeds, strict=True) if deed.do != "gone"]
    away = all(each.away for each, deed in zip(found, deeds, strict=True) if deed.do != "gone")
    return Swept(state.model_copy(update={"debris": tuple(left)}), next(filter(None, said), ""), away)


async def _find(eyes: Eyes, debris: Debris, *, downloads: bool) -> Found:
    place = eyes.place(debris.shard, debris.replica)
    if place is None:
        said = f"{debris.archive}: no Pod serves shard {debris.shard} replica {debris.replica} now"
        return Found(debris.archive, trouble=said, away=True)
    try:
        version = await eyes.version(place)
        found = await _look(await eyes.client(place), debris.archive, version, downloads=downloads)
    except Missing as missing:
        return Found(debris.archive, trouble=missing.message, away=not place.url)
    except ChbackupError as error:
        away = isinstance(error, ConnectionFailed) and not error.sent
        return Found(debris.archive, trouble=sentence(place, error), away=away)
    if found.here or found.trouble or await still_there(eyes.run, place):
        return found
    return Found(debris.archive, trouble=f"{debris.archive}: Pod {place.pod} was replaced while it was asked")


async def _look(client: Client, archive: str, version: str, *, downloads: bool) -> Found:
    rows = await client.actions()
    found = Found(archive, client, [row for row in rows if row.running])
    if found.own is not None and not found.own.operation_id:
        return replace(found, stoppable=await client.supports(Feature.KILL_OF_ACTIONS) is not False)
    if found.running:
        return found
    local, remote = await client.list_local(), await client.list_remote()
    here = next((each for each in local if each.name == archive), None)
    found = replace(found, here=here is not None, remote=remote)
    lasting = next((row for row in rows if row.archive == archive and deaf(row, version)), None)
    if lasting is not None and _unfinished(lasting, here, found.there):
        return replace(found, trouble=f"waiting for the end of {lasting.command}, which a kill has not stopped")
    if found.there is not None or (downloads and not found.here):
        return found
    return replace(found, absent=await denies(client, archive))


def _unfinished(row: Action, here: Archive | None, there: Archive | None) -> bool:
    """Whether what a row makes is not whole yet; once it is, or was deleted, the row's work has ended."""
    made = here if row.verb == "download" else there
    return bool(made.broken) if made is not None else row.verb != "download" and here is not None


async def _do(run: Run, found: Found, deed: Deed) -> str:
    """Do it; answers what is in the way."""
    client, archive = found.client, found.archive
    try:
        if deed.do == "stop" and client is not None and found.own is not None:
            with suppress(NotFound, ConnectionFailed):  # it has ended meanwhile, or takes its time: the next round sees
                await client.kill(found.own.command, timeout=_KILL_TIMEOUT)
        if deed.do == "delete local" and client is not None:
            await client.delete_local(archive, timeout=_DELETE_TIMEOUT)
        if deed.do == "delete remote" and client is not None and found.there is not None:
            run.audit("about to", archive, found.there.size)
            await client.delete_remote(archive, timeout=_DELETE_TIMEOUT)
            run.audit("done", archive, found.there.size)
    except ChbackupError as error:
        return f"{archive}: {error}"
    return deed.said


async def abort(eyes: Eyes, run: Run) -> Outcome:
    """One step of giving a run up: `Succeeded` when nothing of it is left."""
    try:
        state = State.read(run.checkpoint or {}, run)
        if isinstance(run, RestoreRun) and run.backup and not all(_is_own(run, name) for name in _named(state)):
            raise InvalidInput("the checkpoint names what the Backup does not")
    except InvalidInput:
        state = presumed(run, eyes.places)
    given_up = all_debris(state, eyes.run.now)
    if given_up is None:
        return Running("CleanupPending", "waiting for what was sent and may still arrive", 5.0, state.save())
    swept = await sweep(eyes, given_up)
    if not swept.state.debris:
        return Succeeded("nothing of the run is left")
    said, pause = (swept.said, 5.0) if swept.said else (f"deleting {swept.state.debris[0].archive}", 1.0)
    return Running("CleanupPending", said, pause, swept.state.save(), Patience.ABSENT)
