"""Deleting the dump of a Backup, and the safety dumps that nobody needs any more.

Only a run's own folder is emptied, and only when everything in it was announced. A dump is gone when no list shows it
and the store itself says that it has no such object: an empty list may be an outage. A claim that a run has made is
deleted by its UID. On a volume that others write to as well nothing is deleted: there one dump can't be told from
another.
"""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import anyio

from cozydrivers.api.backups import Backup
from cozydrivers.api.core import PersistentVolumeClaim
from cozydrivers.clients.objects import ObjectStore, StoredObject, StoreError
from cozydrivers.drivers.base import DeleteRun, Failed, Intent, Outcome, Patience, Run, Running, Succeeded
from cozydrivers.drivers.mariadb import record
from cozydrivers.drivers.mariadb.auditing import Seen, is_absent, see
from cozydrivers.drivers.mariadb.folders import Folder, folders_of, is_own, named_by
from cozydrivers.drivers.mariadb.naming import Name
from cozydrivers.drivers.mariadb.record import Recorded
from cozydrivers.drivers.mariadb.storage import Place, place_of
from cozydrivers.drivers.mariadb.store import TIMEOUT, Access, opened
from cozydrivers.errors import ApiError, NotFound

SAFETY_KEPT = timedelta(days=30)
"""How long the dump of what a restore has replaced is kept at least."""
_EXPIRED = f"a safety dump is kept for {SAFETY_KEPT.days} days, until the next restore that succeeds"
_AGAIN = 5.0
_ON_VOLUME = "its dump is on a volume that others write to as well, where nobody can delete one dump alone"

_log = logging.getLogger(__name__)


# Decide. Pure and total


def decide(recorded: Recorded, seen: Seen, others: Iterable[Backup]) -> Outcome:
    """What becomes of a dump in a bucket; an Intent names all that is in its folder. `others` are all other Backups."""
    if kept := _kept(recorded, others):
        return kept
    objects = [each for each in seen.objects if each.key.startswith(recorded.prefix)]
    there = next((each for each in objects if each.key == recorded.key), None)
    if there is not None and recorded.size not in (0, there.size):
        return Failed("Refused", f"{recorded.key} has {there.size} bytes, recorded are {recorded.size}")
    if there is None and not seen.denied and (recorded.file or not objects):
        what = recorded.key or f"a dump under {recorded.prefix}"
        message = f"{what} is not listed, and the store does not say it is gone"
        return Running("ArchiveNotListed", message, _AGAIN, patience=Patience.ABSENT)
    if not objects:
        return Succeeded("no list shows it, and the store says that it is not there")
    return _intent(recorded, objects)


def _intent(recorded: Recorded, objects: Sequence[StoredObject]) -> Intent:
    sizes = {each.key: each.size for each in objects}
    return Intent({"archives": sizes}, "listed as recorded, and named by no other Backup", [recorded.storage])


def decide_claim(recorded: Recorded, claim: PersistentVolumeClaim | None, others: Iterable[Backup]) -> Outcome:
    """What becomes of a dump on a claim that its run has made."""
    if kept := _kept(recorded, others):
        return kept
    if not recorded.claim_uid:
        return Failed("Refused", f"the UID of PersistentVolumeClaim {recorded.claim} is not recorded")
    if claim is None or claim.metadata.uid != recorded.claim_uid:
        return Succeeded(f"PersistentVolumeClaim {recorded.claim} of UID {recorded.claim_uid} does not exist")
    if claim.metadata.deletion_timestamp is not None:
        message = f"waiting until PersistentVolumeClaim {recorded.claim} is gone"
        return Running("Deleting", message, _AGAIN, patience=Patience.BUSY)
    return Intent({"archives": {recorded.claim: recorded.size}}, "the run's own claim", [recorded.storage])


def _kept(recorded: Recorded, others: Iterable[Backup]) -> Failed | Running | None:
    """Whatever another Backup names stays; one that is being deleted itself holds nothing."""
    holding = [each for each in others if each.metadata.deletion_timestamp is None]
    if holder := named_by(holding).get(recorded.name):
        return Failed("Refused", f"Backup {holder} records {recorded.name} as well")
    newer = next((each.metadata.name for each in holding if record.is_newer(each.spec.driver_metadata)), "")
    if newer:
        message = f"what Backup {newer} needs can't be told: a newer version has written it"
        return Running("RecordNotReadable", message, _AGAIN, patience=Patience.ABSENT)
    return None


# Observe and act


async def step(run: DeleteRun, access: Access) -> Outcome:
    """One step of deleting what a Backup stands for."""
    own = replace(run, former_namespaces=())  # what was made before this namespace is kept, whatever is recorded
    place = place_of(run.strategy)
    recorded = record.checked(run.backup.spec.driver_metadata, own, place)
    if place.s3 is None:
        return await _on_claim(run, recorded)
    if place.closed:
        return Failed("Refused", f"nobody can look at its dump from here: {place.closed}")
    try:
        async with opened(run, access, place) as store:
            return await _in_bucket(run, recorded, store)
    except StoreError as error:
        return Running("StoreNotReadable", str(error), _AGAIN, patience=Patience.ABSENT)


async def _in_bucket(run: DeleteRun, recorded: Recorded, store: ObjectStore) -> Outcome:
    seen, backups = await see(run, store, recorded), await _backups(run)
    outcome = decide(recorded, seen, _others(run, backups))
    if not run.fresh or not isinstance(outcome, Intent):
        return outcome
    if outcome.checkpoint != run.checkpoint or not _is_unchanged(run, backups):
        return Running("Deleting", "the Backup or its folder was changed meanwhile", 1.0)
    keys = list(outcome.checkpoint["archives"])
    for key in keys:
        await store.delete(key)
    if await store.list(recorded.prefix) or not all([await is_absent(store, key) for key in keys]):
        return Running("Deleting", f"{', '.join(keys)} is being deleted", 1.0)
    return Succeeded("no list shows it, and the store says that it is not there")


async def _on_claim(run: DeleteRun, recorded: Recorded) -> Outcome:
    if not recorded.claim:
        return Failed("Refused", _ON_VOLUME)
    backups = await _backups(run)
    outcome = decide_claim(recorded, await _claim(run, recorded), _others(run, backups))
    if not run.fresh or not isinstance(outcome, Intent):
        return outcome
    if not _is_unchanged(run, backups):
        return Running("Deleting", "the Backup was changed meanwhile", 1.0)
    with suppress(NotFound):
        await run.kube.delete(PersistentVolumeClaim, recorded.claim, run.namespace, uid=recorded.claim_uid)
    after = decide_claim(recorded, await _claim(run, recorded), ())
    return Running("Deleting", "the claim is being deleted", 1.0) if isinstance(after, Intent) else after


async def _claim(run: Run, recorded: Recorded) -> PersistentVolumeClaim | None:
    try:
        return await run.kube.get(PersistentVolumeClaim, recorded.claim, run.namespace)
    except NotFound:
        return None


async def _backups(run: Run) -> Sequence[Backup]:
    """All of the namespace, uncached: applications may share a prefix, and their dumps' names don't tell them apart."""
    return (await run.kube.list(Backup, run.namespace)).items


def _others(run: DeleteRun, backups: Iterable[Backup]) -> list[Backup]:
    return [*run.kept, *(each for each in backups if each.metadata.uid != run.uid)]


def _is_unchanged(run: DeleteRun, backups: Iterable[Backup]) -> bool:
    """Whether the Backup is still the one that was decided on, and is being deleted."""
    now = next((each.metadata for each in backups if each.metadata.uid == run.uid), None)
    seen = run.backup.metadata.resource_version
    return now is not None and now.resource_version == seen and now.deletion_timestamp is not None


# Safety dumps


def expired(place: Place, objects: Iterable[StoredObject], backups: Iterable[Backup], run: Run) -> list[Folder]:
    """The safety dumps of this namespace that have been kept for long enough, and that no Backup records."""
    named = named_by(backups)
    return [
        each
        for each in folders_of(place, objects)
        if each.name.purpose == "safety" and is_own(each.name, run) and str(each.name) not in named
        if each.dumps and all(run.now - dump.taken_at > SAFETY_KEPT for dump in each.dumps)
    ]


def expired_claims(
    claims: Iterable[PersistentVolumeClaim], backups: Iterable[Backup], run: Run
) -> list[PersistentVolumeClaim]:
    """The claims of such safety dumps."""
    named = named_by(backups)
    return [
        each
        for each in claims
        if (name := Name.parse(each.metadata.name)) and name.purpose == "safety" and is_own(name, run)
        if str(name) not in named and each.metadata.deletion_timestamp is None
        if (made := each.metadata.creation_timestamp) is not None and run.now - made > SAFETY_KEPT
    ]


async def expire(run: Run, access: Access, place: Place) -> None:
    """Delete the expired safety dumps of a place, as well as it can be done; a restore that has succeeded does so.

    Each has its lines in the audit log. What is left is tried again by the next restore. On a volume that others write
    to nothing is deleted.
    """
    try:
        with anyio.fail_after(TIMEOUT):
            if place.kind == "persistentVolumeClaim":
                await _expire_claims(run)
            elif place.s3 is not None:
                async with opened(run, access, place) as store:
                    await _expire_folders(run, store, place)
    except (StoreError, ApiError, OSError) as error:  # TimeoutError among the last
        _log.warning("expired safety dumps of %s stay: %s", run.application.metadata.name, error)


async def _expire_folders(run: Run, store: ObjectStore, place: Place) -> None:
    for folder in expired(place, await store.list(place.prefix), await _backups(run), run):
        for each in folder.objects:
            run.audit("about to", each.key, each.size, rule=_EXPIRED)
            await store.delete(each.key)
            run.audit("done", each.key, each.size, rule=_EXPIRED)


async def _expire_claims(run: Run) -> None:
    claims = (await run.kube.list(PersistentVolumeClaim, run.namespace)).items
    for each in expired_claims(claims, await _backups(run), run):
        name = each.metadata.name
        run.audit("about to", name, 0, rule=_EXPIRED)
        await run.kube.delete(PersistentVolumeClaim, name, run.namespace, uid=each.metadata.uid)
        run.audit("done", name, 0, rule=_EXPIRED)
