"""The locks of a job: on the application that it works on, and on the storage paths that it writes to.

A restore takes both. A backup takes those of its storage paths, which a restore of the same application takes too; the
application's only where the paths are not known. They are not given back at the end: a lock passes on as soon as its
holder is gone, or at its end with our finalizer off.
"""

from collections.abc import Sequence
from datetime import datetime

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.controllers.deletion import ARCHIVE_FINALIZER
from cozydrivers.controllers.ledger import FINALIZER
from cozydrivers.controllers.status import ended
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.cache import Caches
from cozydrivers.runtime.locks import Holder, Lock, Locks, storage_lock, target_lock

_Kind = type[BackupJob] | type[RestoreJob] | type[Backup]
_KINDS: Sequence[_Kind] = (BackupJob, RestoreJob, Backup)


def locks_of(kube: KubeClient, caches: Caches) -> Locks:
    """New locks, which pass on from what is gone, from a job at its end and cleaned up, from a Backup that stays."""

    async def finished(holder: Holder) -> bool:
        return await _is_finished(kube, caches, holder)

    return Locks(kube, finished)


def wanted(obj: KubeObject, application: KubeObject, storages: Sequence[str]) -> list[Lock]:
    """The locks that a job takes, or a Backup that is deleted; always in the same order."""
    paths = [storage_lock(storage) for storage in sorted(set(storages))]
    return paths if paths and isinstance(obj, BackupJob) else [target_of(application), *paths]


def target_of(application: KubeObject) -> Lock:
    """The lock of an application."""
    metadata = application.metadata
    return target_lock(application.resource.kind, metadata.namespace, metadata.name)


async def lock(locks: Locks, obj: KubeObject, taken: Sequence[Lock], now: datetime) -> bool:
    """Take all locks, or none."""
    for number, each in enumerate(taken):
        if not await locks.acquire(each, Holder.of(obj), now):
            await unlock(locks, obj, taken[:number])
            return False
    return True


async def unlock(locks: Locks, obj: KubeObject, taken: Sequence[Lock]) -> None:
    """Give locks back, of what does not begin after all."""
    for each in taken:
        await locks.release(each, Holder.of(obj))


async def _is_finished(kube: KubeClient, caches: Caches, holder: Holder) -> bool:
    """Whether a holder has ended; one of another kind is not ours to judge."""
    kind = next((kind for kind in _KINDS if kind.resource.kind == holder.kind), None)
    if kind is None:
        return False
    found = await _find(kube, caches, kind, holder)
    if found is None:
        return True
    if isinstance(found, Backup):
        return found.metadata.deletion_timestamp is None or ARCHIVE_FINALIZER not in found.metadata.finalizers
    return ended(found.status) and FINALIZER not in found.metadata.finalizers


async def _find(
    kube: KubeClient, caches: Caches, kind: _Kind, holder: Holder
) -> BackupJob | RestoreJob | Backup | None:
    """The object of that UID; where its name is not known, among all of its namespace.

    A job may come from the cache: once at its end it stays there. A Backup is let go and may be taken up again.
    """
    candidates: Sequence[BackupJob | RestoreJob | Backup]
    if holder.name:
        try:
            get = kube.get if kind is Backup else caches.get
            candidates = [await get(kind, holder.name, holder.namespace)]
        except NotFound:
            return None
    else:
        candidates = (await kube.list(kind, holder.namespace)).items
    return next((obj for obj in candidates if obj.metadata.uid == holder.uid), None)
