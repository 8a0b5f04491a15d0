"""The locks of a job: Leases on the application that it works on, and on the storage paths that it writes to.

A restore takes both. A backup takes those of its storage paths, which a restore of the same application takes too; the
application's only where the paths are not known. They are not given back: a lock is free as soon as its holder is gone,
or at its end with our finalizer off.
"""

from collections.abc import Sequence

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.controllers.ledger import FINALIZER
from cozydrivers.controllers.services import Services
from cozydrivers.controllers.status import ended
from cozydrivers.errors import NotFound
from cozydrivers.runtime import Key, acquire, lock_name, release

STORAGE_NAMESPACE = "kube-system"
"""Where the locks on storage paths are: applications of several namespaces may share a path."""

Place = tuple[str, str]
"""Namespace and name of a Lease."""


def places(job: KubeObject, application: KubeObject, storages: Sequence[str]) -> list[Place]:
    """The Leases that a job takes, always in the same order."""
    paths = [(STORAGE_NAMESPACE, lock_name("cozydrivers-storage", storage)) for storage in sorted(set(storages))]
    return paths if paths and isinstance(job, BackupJob) else [target_place(application), *paths]


def target_place(application: KubeObject) -> Place:
    """The Lease that locks an application."""
    metadata = application.metadata
    name = lock_name("cozydrivers-target", application.resource.kind, metadata.namespace, metadata.name)
    return metadata.namespace, name


def holder(obj: KubeObject) -> str:
    """How an object signs its Leases."""
    metadata = obj.metadata
    return f"{obj.resource.kind}/{metadata.namespace}/{metadata.name}/{metadata.uid}"


async def lock(services: Services, job: KubeObject, application: KubeObject, storages: Sequence[str]) -> bool:
    """Take all locks, or none."""
    wanted = places(job, application, storages)
    for number, (namespace, name) in enumerate(wanted):
        if not await _acquire(services, namespace, name, holder(job)):
            await _release(services, wanted[:number], holder(job))
            return False
    return True


async def unlock(services: Services, job: KubeObject, application: KubeObject, storages: Sequence[str]) -> None:
    """Give the locks back, of a job that does not begin after all."""
    await _release(services, places(job, application, storages), holder(job))


async def _acquire(services: Services, namespace: str, name: str, signature: str) -> bool:
    async def is_finished(other: str) -> bool:
        return await _is_finished(services, namespace, other)

    return await acquire(services.kube, namespace, name, signature, now=services.now(), is_finished=is_finished)


async def _release(services: Services, taken: Sequence[Place], signature: str) -> None:
    for namespace, name in taken:
        await release(services.kube, namespace, name, signature)


_KINDS: dict[str, type[BackupJob | RestoreJob | Backup]] = {
    kind.resource.kind: kind for kind in (BackupJob, RestoreJob, Backup)
}


async def _is_finished(services: Services, lease_namespace: str, other: str) -> bool:
    """Whether a holder has ended. One of an unknown kind never has, as far as we can know."""
    kind_name, *place, uid = other.split("/")
    kind = _KINDS.get(kind_name)
    if kind is None:
        return False
    found = await _found(services, kind, lease_namespace, place, uid)
    if found is None or found.metadata.uid != uid:
        return True
    at_its_end = isinstance(found, Backup) or ended(found.status)
    return at_its_end and FINALIZER not in found.metadata.finalizers


async def _found(
    services: Services, kind: type[BackupJob | RestoreJob | Backup], namespace: str, place: Sequence[str], uid: str
) -> BackupJob | RestoreJob | Backup | None:
    """The holder. Earlier versions signed with kind and UID alone, in the holder's own namespace."""
    if len(place) != len(Key._fields):
        listed = (await services.kube.list(kind, namespace)).items
        return next((obj for obj in listed if obj.metadata.uid == uid), None)
    try:
        return await services.caches.get(kind, place[1], place[0])
    except NotFound:
        return None
