"""Auditing: whether the dumps that Backups record are still in the store, of the size that they had.

Each Backup's own folder is listed, so a bucket that others use as well is not read through. A dump that no list shows
is missing only when the store itself says that it has no such object: an empty list may be an outage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio

from cozydrivers.api.backups import Backup
from cozydrivers.api.core import PersistentVolumeClaim
from cozydrivers.clients.objects import ObjectStore, StoredObject, StoreError
from cozydrivers.drivers.base import AuditRun, Finding, Run
from cozydrivers.drivers.mariadb import record
from cozydrivers.drivers.mariadb.dumps import dumps_under
from cozydrivers.drivers.mariadb.record import Recorded
from cozydrivers.drivers.mariadb.storage import Place, place_of
from cozydrivers.drivers.mariadb.store import Access, opened
from cozydrivers.errors import InvalidInput, NotFound

WHOLE = Finding()
AT_ONCE = 8
"""Folders that are listed side by side."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one dump.

    `objects` are all in its folder; `denied` whether the store says that it has no object of its key. `claim` is the
    UID that its claim has now, empty where there is none.
    """

    objects: Sequence[StoredObject] = ()
    denied: bool = False
    claim: str = ""


# Decide. Pure and total


def judge(recorded: Recorded, seen: Seen) -> Finding | None:
    """What has become of a dump; None where nothing can be told.

    One that nobody could look at when it was made is told by what is in its folder.
    """
    if not recorded.prefix:
        return _judge_claim(recorded, seen)
    if not recorded.file:
        dumps = [dump for dump in dumps_under(recorded.prefix, seen.objects) if dump.size]
        return WHOLE if len(dumps) == 1 else None
    there = next((each for each in seen.objects if each.key == recorded.key), None)
    if there is None:
        return Finding("ArchiveMissing", f"{recorded.key} is not in the store") if seen.denied else None
    if not there.size or there.size != (recorded.size or there.size):
        held = f"{recorded.key} has {there.size} bytes, recorded are {recorded.size}"
        return Finding("ArchiveBroken", held)
    return WHOLE


def _judge_claim(recorded: Recorded, seen: Seen) -> Finding | None:
    """A claim that is there is all that can be seen of a dump on it; of a volume that others use nothing is."""
    if not recorded.claim:
        return None
    if not seen.claim:
        return Finding("ArchiveMissing", f"PersistentVolumeClaim {recorded.claim} is gone")
    if recorded.claim_uid and seen.claim != recorded.claim_uid:
        return Finding("ArchiveMissing", f"PersistentVolumeClaim {recorded.claim} is another one than the recorded one")
    return WHOLE


# Observe


async def audit(run: AuditRun, access: Access) -> Mapping[str, Finding]:
    """Look up the Backups of an application, by UID. Raises ApiError."""
    try:
        place = place_of(run.strategy)
        if place.s3 is None:
            return await _all(run, place, None)
        async with opened(run, access, place) as store:
            return await _all(run, place, store)
    except (InvalidInput, StoreError):
        return {}


async def _all(run: AuditRun, place: Place, store: ObjectStore | None) -> dict[str, Finding]:
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def one(backup: Backup) -> Finding | None:
        async with limiter:
            return await _one(backup, run, place, store)

    found = zip(run.backups, await anyio.amap(one, run.backups), strict=True)
    return {backup.metadata.uid: finding for backup, finding in found if finding is not None}


async def _one(backup: Backup, run: AuditRun, place: Place, store: ObjectStore | None) -> Finding | None:
    try:
        recorded = record.checked(backup.spec.driver_metadata, run, place)
        return judge(recorded, await see(run, store, recorded))
    except (InvalidInput, StoreError):
        return None


async def see(run: Run, store: ObjectStore | None, recorded: Recorded) -> Seen:
    """Look at one dump, in its folder or on its claim. Raises StoreError and ApiError."""
    if store is None:
        return Seen(claim=await claim_uid(run, recorded.claim))
    objects = await store.list(recorded.prefix)
    listed = any(each.key == recorded.key for each in objects)
    return Seen(objects, denied=not listed and bool(recorded.file) and await is_absent(store, recorded.key))


async def is_absent(store: ObjectStore, key: str) -> bool:
    """Whether the store, asked for the object itself, says that there is none. Raises StoreError."""
    return await store.part(key, 0, 1) is None


async def claim_uid(run: Run, name: str) -> str:
    """The UID of a claim, empty where there is none of the name. Raises ApiError."""
    try:
        return (await run.kube.get(PersistentVolumeClaim, name, run.namespace)).metadata.uid if name else ""
    except NotFound:
        return ""
