"""The locks that the deletion of archives holds while it looks and deletes: on the application, and on the storage."""

from collections.abc import Sequence
from datetime import datetime

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.controllers.deletion import ARCHIVE_FINALIZER
from cozydrivers.controllers.ledger import FINALIZER
from cozydrivers.controllers.lock import holder, lock_of
from cozydrivers.controllers.status import ended
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import acquire, lock_name, release

STORAGE_NAMESPACE = "kube-system"
"""Where the locks on storage paths are: applications of several namespaces may share a path."""

Place = tuple[str, str]
"""Namespace and name of a Lease."""


def target_lock(application: KubeObject) -> Place:
    """The lock on an application."""
    return application.metadata.namespace, lock_of(application)


def storage_lock(identity: str) -> Place:
    """The lock on a storage path."""
    return STORAGE_NAMESPACE, lock_name("cozydrivers-storage", identity)


async def take(kube: KubeClient, backup: Backup, places: Sequence[Place], now: datetime) -> bool:
    """Take all of them, or none."""
    for count, (namespace, name) in enumerate(places):
        everywhere = None if namespace == STORAGE_NAMESPACE else namespace

        async def is_finished(other: str, everywhere: str | None = everywhere) -> bool:
            return await _is_finished(kube, everywhere, other)

        if not await acquire(kube, namespace, name, holder(backup), now=now, is_finished=is_finished):
            await give_back(kube, backup, places[:count])
            return False
    return True


async def give_back(kube: KubeClient, backup: Backup, places: Sequence[Place]) -> None:
    """Release those that the Backup holds."""
    for namespace, name in places:
        await release(kube, namespace, name, holder(backup))


async def _is_finished(kube: KubeClient, namespace: str | None, other: str) -> bool:
    kind, _, uid = other.partition("/")
    candidates: Sequence[BackupJob | RestoreJob | Backup]
    if kind == "BackupJob":
        candidates = (await kube.list(BackupJob, namespace)).items
    elif kind == "RestoreJob":
        candidates = (await kube.list(RestoreJob, namespace)).items
    elif kind == "Backup":
        candidates = (await kube.list(Backup, namespace)).items
    else:
        return False
    found = next((candidate for candidate in candidates if candidate.metadata.uid == uid), None)
    return found is None or _has_let_go(found)


def _has_let_go(found: BackupJob | RestoreJob | Backup) -> bool:
    if isinstance(found, Backup):
        return found.metadata.deletion_timestamp is None or ARCHIVE_FINALIZER not in found.metadata.finalizers
    return ended(found.status) and FINALIZER not in found.metadata.finalizers
