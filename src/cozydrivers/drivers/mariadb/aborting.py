"""A run given up: its operator's objects are taken away, and so is the dump that came to no Backup."""

from contextlib import suppress

from cozydrivers.api.core import PersistentVolumeClaim
from cozydrivers.api.mariadb import Restore
from cozydrivers.clients.objects import ObjectStore
from cozydrivers.drivers.base import Note, Outcome, Patience, RestoreRun, Run, Running, Succeeded
from cozydrivers.drivers.mariadb import checkpoint, restoring
from cozydrivers.drivers.mariadb.auditing import is_absent
from cozydrivers.drivers.mariadb.checkpoint import BackupState, Evidence, RestoreState
from cozydrivers.drivers.mariadb.dumps import dumps_under, parse
from cozydrivers.drivers.mariadb.evidence import remove_dumps
from cozydrivers.drivers.mariadb.naming import Name, Purpose
from cozydrivers.drivers.mariadb.storage import SHARED, Place, place_of
from cozydrivers.drivers.mariadb.store import Access, Unread, asked
from cozydrivers.drivers.mariadb.work import remove
from cozydrivers.drivers.owned import is_own
from cozydrivers.errors import InvalidInput, NotFound

_NOTHING = Succeeded("nothing of the run is left")


async def step(run: Run, access: Access) -> Outcome:
    """One step of giving a run up: Succeeded when nothing of it is left that should not stay.

    Raises NewerVersion for what a newer version of this program has begun.
    """
    access.streams.forget(run.uid)
    return await (_restore(run) if isinstance(run, RestoreRun) else _backup(run, access))


async def _removed(run: Run, *purposes: Purpose) -> Running | None:
    """Take all of them away side by side: each is waited for together with the Pods of the others."""
    left = {words for purpose in purposes if (words := await remove(run, purpose))}
    return _pending("; ".join(sorted(left))) if left else None


def _pending(message: str, pause: float = 1.0) -> Running:
    return Running("CleanupPending", message, pause, patience=Patience.ABSENT)


# A backup


async def _backup(run: Run, access: Access) -> Outcome:
    """Its Pods have ended before its dump is looked for: nothing arrives after that."""
    state: BackupState | None = None
    with suppress(InvalidInput):
        state = checkpoint.read(BackupState, run)
    removing = await _removed(run, "dump")
    if removing is not None:
        return removing
    try:
        place = place_of(run.strategy)
    except InvalidInput as error:
        return _left(f"its folder {Name.of(run, 'dump')}/", f"the strategy does not tell where it is: {error}")
    if place.kind == "persistentVolumeClaim":
        return await _without_claim(run)
    if place.s3 is None or place.closed:
        return _left(_where(run, place), place.closed)
    return await _without_dump(run, access, place, state.evidence if state else None)


def _left(where: str, why: str) -> Succeeded:
    said = f"a dump may be left in {where}: {why}"
    return Succeeded(said, events=[Note("DumpNotDeleted", said, warning=True)])


def _where(run: Run, place: Place) -> str:
    name = str(Name.of(run, "dump"))
    return place.s3.uri(place.folder(name)) if place.s3 else SHARED


async def _without_dump(run: Run, access: Access, place: Place, shown: Evidence | None) -> Outcome:
    """Delete the dumps of the run's folder, and look once more: only an empty list is an end.

    A list can be partial: the dump that was proven is asked for by its name.
    """
    folder = place.folder(str(Name.of(run, "dump")))
    proven = parse(folder + shown.file, shown.size) if shown else None

    async def work(store: ObjectStore) -> int:
        dumps = dumps_under(folder, await store.list(folder))
        if proven and proven.key not in {dump.key for dump in dumps} and not await is_absent(store, proven.key):
            dumps.append(proven)
        await remove_dumps(run, store, dumps)
        return len(dumps)

    deleted = await asked(run, access, place, work)
    if isinstance(deleted, Unread):
        return _pending(f"a dump may be left in {_where(run, place)}: {deleted.why}", 10.0)
    return _pending(f"deleting {deleted} dumps under {folder}") if deleted else _NOTHING


async def _without_claim(run: Run) -> Outcome:
    """The claim has the object's name, which is this run's alone."""
    name = str(Name.of(run, "dump"))
    try:
        claim = await run.kube.get(PersistentVolumeClaim, name, run.namespace)
        if claim.metadata.deletion_timestamp is None:
            run.audit("about to", name, 0)
            await run.kube.delete(PersistentVolumeClaim, name, run.namespace, uid=claim.metadata.uid)
            run.audit("done", name, 0)
    except NotFound:
        return _NOTHING
    return _pending(f"waiting until PersistentVolumeClaim {name} is gone")


# A restore


async def _restore(run: RestoreRun) -> Outcome:
    """The safety dump stays: it may be the last copy of what was replaced."""
    state = _state(run)
    if state is not None and not state.task.uid and state.task.purpose == "restore":
        uid = await _uid(run)
        if uid:  # kept before it is removed: that it existed is all that tells of what was replaced
            task = state.task.model_copy(update={"uid": uid})
            saved = checkpoint.save(state.model_copy(update={"task": task}))
            return Running("CleanupPending", "the Restore is about to be removed", 0.1, saved, Patience.ABSENT)
    removing = await _removed(run, "restore", "safety")
    if removing is not None:
        return removing
    unknown = [Note("HalfRestored", "its checkpoint is damaged: nobody knows what was replaced", warning=True)]
    return Succeeded(_NOTHING.message, events=unknown if state is None and run.checkpoint else restoring.left(run))


def _state(run: Run) -> RestoreState | None:
    try:
        return checkpoint.read(RestoreState, run)
    except InvalidInput:
        return None


async def _uid(run: Run) -> str:
    try:
        found = await run.kube.get(Restore, str(Name.of(run, "restore")), run.namespace)
    except NotFound:
        return ""
    return found.metadata.uid if is_own(found, run.uid) else ""
