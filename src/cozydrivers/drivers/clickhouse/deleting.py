"""Deleting the archives of a Backup: look at every sidecar, decide, delete, look again.

Nothing is begun before every archive of the set may go. An archive is gone when no list shows it and the object store
itself denies it: an empty list may be an outage. Local copies go first, because one with resume state uploads itself
again when its sidecar starts.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import anyio

from chbackup import (
    Action,
    Archive,
    Busy,
    ChbackupError,
    Client,
    ConnectionFailed,
    NotFound,
    RequiredByOthers,
)
from chbackup.evidence import bases, dependents, in_the_way
from cozydrivers.api.backups import Backup
from cozydrivers.drivers.base import DeleteRun, Failed, Intent, Outcome, Patience, Running, Succeeded
from cozydrivers.drivers.clickhouse import record
from cozydrivers.drivers.clickhouse.access import sentence, still_there
from cozydrivers.drivers.clickhouse.backing_up import absent
from cozydrivers.drivers.clickhouse.look import Eyes, Sight, Wanted, denies, survey
from cozydrivers.drivers.clickhouse.places import Place, layout_problem
from cozydrivers.drivers.clickhouse.record import Claims, Recorded
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import NotFound as ObjectNotFound

_DELETE_TIMEOUT = 60.0
_AGAIN = 5.0


@dataclass(frozen=True)
class Look:
    """All sidecars of the application, with their lists; `denied` are archives of which the store has none."""

    sights: Sequence[Sight] = ()
    denied: Collection[str] = ()

    @property
    def remote(self) -> list[Archive]:
        """All that any of them lists remotely."""
        return [archive for sight in self.sights for archive in sight.remote or ()]

    @property
    def local(self) -> list[Archive]:
        """All that any of them lists locally."""
        return [archive for sight in self.sights for archive in sight.local or ()]

    @property
    def running(self) -> list[Action]:
        """What runs on any of them, but lists."""
        rows = [row for sight in self.sights for row in sight.rows.all or ()]
        return [row for row in rows if row.running and row.verb != "list"]


@dataclass(frozen=True)
class Step:
    """What to do next with one archive: `keep` ends the run, `wait` says what for; deletions go through `place`."""

    do: Literal["keep", "wait", "delete local", "delete remote", "gone"]
    archive: str
    reason: str = ""
    message: str = ""
    patience: Patience = Patience.ABSENT
    place: Place | None = None
    size: int = 0


# Decide. Pure and total: the first of these that has something to say about an archive.


def decide(entry: Recorded, look: Look, claims: Claims) -> Step:
    """What to do next with an archive that is to be deleted."""
    return (
        _not_seen(entry, look, claims)
        or _kept(entry, look, claims)
        or _needed(entry, look, claims)
        or _in_use(entry, look)
        or _next(entry, look)
    )


def _not_seen(entry: Recorded, look: Look, claims: Claims) -> Step | None:
    trouble = next((sight.trouble for sight in look.sights if sight.trouble), "")
    unread = [sight for sight in look.sights if None in (sight.rows.all, sight.local, sight.remote)]
    if trouble or unread or not look.sights:
        return Step("wait", entry.archive, "SidecarUnreachable", trouble or "not every sidecar has been asked")
    if any(not archive.name for archive in (*look.remote, *look.local)):
        message = "a list holds an archive without a name, so what is needed can't be told"
        return Step("wait", entry.archive, "ListNotTrusted", message)
    if claims.newer:
        message = f"what Backup {claims.newer} needs can't be told: a newer version has written it"
        return Step("wait", entry.archive, "RecordNotReadable", message)
    return None


def _kept(entry: Recorded, look: Look, claims: Claims) -> Step | None:
    if holder := claims.holders.get(entry.archive):
        return Step("keep", entry.archive, message=f"Backup {holder} records {entry.archive} as well")
    listed = next((archive for archive in look.remote if archive.name == entry.archive and not archive.broken), None)
    if listed and listed.required == entry.required and listed.data_size != entry.data_size:
        message = f"{entry.archive} holds {listed.data_size} bytes of data, recorded are {entry.data_size}"
        return Step("keep", entry.archive, message=message)
    return None


def _needed(entry: Recorded, look: Look, claims: Claims) -> Step | None:
    """Chains stay whole (I8): by what is listed, and by what other Backups record."""
    known = [*claims.archives, *look.local, *look.remote]  # of one name, the last one tells what it requires now
    if needing := dependents(known, entry.archive):
        message = f"{entry.archive} is required by {', '.join(needing)}"
        return Step("wait", entry.archive, "RequiredByOthers", message, Patience.BUSY)
    names = {archive.name for archive in known}
    for increment in claims.archives:
        if unknown := set(bases(known, increment.name)) - names:
            message = f"what {increment.name} requires can't be told: {min(unknown)} is not listed"
            return Step("wait", entry.archive, "ChainNotListed", message)
    return None


def _in_use(entry: Recorded, look: Look) -> Step | None:
    listed = [archive for archive in look.remote if archive.name == entry.archive]
    shown = next((archive for archive in listed if archive.broken), None) or next(iter(listed), None)
    unlisted = Archive(name=entry.archive, location="remote", desc="regular")
    row = in_the_way(shown or unlisted, look.remote, look.running)
    if row is None:
        return None
    return Step("wait", entry.archive, "SidecarBusy", f"{entry.archive}: `{row.command}` is running", Patience.BUSY)


def _next(entry: Recorded, look: Look) -> Step:
    name = entry.archive
    here = next((sight for sight in look.sights if sight.local_copy(name)), None)
    there = [sight for sight in look.sights if sight.remote_copy(name)]
    there.sort(key=lambda sight: sight.place is None or sight.place.shard != entry.shard)
    if not there and name not in look.denied:
        return Step("wait", name, "ArchiveNotListed", f"{name} is not listed, and the store does not say it is gone")
    size = max((copy.size for sight in there if (copy := sight.remote_copy(name))), default=0)
    if here:
        return Step("delete local", name, place=here.place, size=size)
    return Step("delete remote", name, place=there[0].place, size=size) if there else Step("gone", name)


# Observe and act


async def step(eyes: Eyes, run: DeleteRun) -> Outcome:
    """One step of deleting the archives of a Backup."""
    own = replace(run, former_namespaces=())  # what was made before this namespace is kept, whatever is recorded
    recorded = record.read(run.backup.spec.driver_metadata, own, run.application.metadata.name)
    storages = sorted({place.storage for place in eyes.places} - {""})
    if elsewhere := _elsewhere(run, storages):
        return Failed("Refused", elsewhere)
    if problem := layout_problem(run.application, eyes.places):
        return absent("ShardsMissing", problem)
    look = await _observe(eyes, recorded)
    claims = record.claims(run.kept)
    steps = [decide(entry, look, claims) for entry in recorded]
    for hindered in sorted((step for step in steps if step.do in ("keep", "wait")), key=lambda step: step.do):
        if hindered.do == "keep":
            return Failed("Refused", hindered.message)
        return Running(hindered.reason, hindered.message, _AGAIN, patience=hindered.patience)
    steps = [step for step in steps if step.do != "gone"]
    if not steps:
        return Succeeded("no list shows them, and the store says that they are not there")
    if not run.fresh:
        sizes = {step.archive: step.size for step in steps}
        return Intent({"archives": sizes}, "listed as recorded, required by none, in no row that runs", storages)
    return await _act(eyes, run, steps)


def _elsewhere(run: DeleteRun, storages: Sequence[str]) -> str:
    storage = run.backup.spec.driver_metadata.get(record.STORAGE, "")
    if not storage or not storages or storage in storages:
        return ""
    return f"its archives are in storage {storage}, the application's sidecars use {', '.join(storages)}"


async def _observe(eyes: Eyes, recorded: Sequence[Recorded]) -> Look:
    look = Look(tuple((await survey(eyes, Wanted(lists=True))).values()))
    listed = {archive.name for archive in look.remote}
    unlisted = [entry for entry in recorded if entry.archive not in listed]
    denied = await anyio.amap(lambda entry: _denied(eyes, entry), unlisted)
    return Look(look.sights, [entry.archive for entry, so in zip(unlisted, denied, strict=True) if so])


async def _denied(eyes: Eyes, entry: Recorded) -> bool:
    """Whether every sidecar of its shard, or where there is none every sidecar, hears that the store has none."""
    own = [place for place in eyes.places if place.shard == entry.shard] or eyes.places
    for place in own:
        try:
            if not await denies(await eyes.client(place), entry.archive):
                return False
        except (ChbackupError, Missing):
            return False
    return True


async def _act(eyes: Eyes, run: DeleteRun, steps: Sequence[Step]) -> Outcome:
    """Send one deletion for each archive, if the Backup is, read uncached, still the one that was decided on."""
    if not await _is_unchanged(run):
        return Running("Deleting", "the Backup was changed meanwhile", 1.0)
    troubles = [trouble for trouble in await anyio.amap(lambda step: _delete(eyes, step), steps) if trouble]
    return troubles[0] if troubles else Running("Deleting", f"{len(steps)} archives are being deleted", 1.0)


async def _is_unchanged(run: DeleteRun) -> bool:
    try:
        now = await run.kube.get(Backup, run.name, run.namespace)
    except ObjectNotFound:
        return False
    is_same = (now.metadata.uid, now.metadata.resource_version) == (run.uid, run.backup.metadata.resource_version)
    return is_same and now.metadata.deletion_timestamp is not None


async def _delete(eyes: Eyes, step: Step) -> Running | None:
    """Send it; answers what went wrong. A reply that is lost is no trouble: the next look shows what it did."""
    place = step.place
    if place is None or not await still_there(eyes.run, place):
        return Running("SidecarUnreachable", f"{step.archive}: its Pod was replaced", _AGAIN, patience=Patience.ABSENT)
    try:
        await _send(await eyes.client(place), step)
    except (NotFound, ConnectionFailed):
        return None
    except RequiredByOthers as error:
        return Running("RequiredByOthers", sentence(place, error), _AGAIN, patience=Patience.BUSY)
    except Busy as error:
        return Running("SidecarBusy", sentence(place, error), _AGAIN, patience=Patience.BUSY)
    except (ChbackupError, Missing) as error:
        return Running("SidecarUnreachable", f"{place.label}: {error}", _AGAIN, patience=Patience.ABSENT)
    return None


async def _send(client: Client, step: Step) -> None:
    if step.do == "delete local":
        await client.delete_local(step.archive, timeout=_DELETE_TIMEOUT)
    else:
        await client.delete_remote(step.archive, timeout=_DELETE_TIMEOUT)
