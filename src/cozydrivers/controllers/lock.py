"""The target's lock: a Lease that the one job holds that works on an application."""

from collections.abc import Sequence
from datetime import datetime

from cozydrivers.api.backups import BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.coordination import Lease
from cozydrivers.controllers.ledger import FINALIZER
from cozydrivers.controllers.status import ended
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import acquire, lock_name, release


def lock_of(application: KubeObject) -> str:
    """Name of an application's Lease, in the application's namespace."""
    metadata = application.metadata
    return lock_name("cozydrivers-target", application.resource.kind, metadata.namespace, metadata.name)


def holder(job: KubeObject) -> str:
    """How a job signs its Lease."""
    return f"{job.resource.kind}/{job.metadata.uid}"


async def is_taken(kube: KubeClient, job: KubeObject, application: KubeObject) -> bool:
    """Whether another job holds the lock."""
    namespace = job.metadata.namespace
    try:
        other = (await kube.get(Lease, lock_of(application), namespace)).spec.holder_identity
    except NotFound:
        return False
    return other not in ("", holder(job)) and not await _is_finished(kube, namespace, other)


async def lock(kube: KubeClient, job: KubeObject, application: KubeObject, now: datetime) -> bool:
    """Take the lock, or keep it; it passes on only from a job that is gone, or at its end and cleaned up."""
    namespace = job.metadata.namespace

    async def is_finished(other: str) -> bool:
        return await _is_finished(kube, namespace, other)

    return await acquire(kube, namespace, lock_of(application), holder(job), now=now, is_finished=is_finished)


async def unlock(kube: KubeClient, job: KubeObject, application: KubeObject) -> None:
    """Give the lock back."""
    await release(kube, job.metadata.namespace, lock_of(application), holder(job))


async def _is_finished(kube: KubeClient, namespace: str, other: str) -> bool:
    kind, _, uid = other.partition("/")
    jobs: Sequence[BackupJob | RestoreJob]
    if kind == "BackupJob":
        jobs = (await kube.list(BackupJob, namespace)).items
    elif kind == "RestoreJob":
        jobs = (await kube.list(RestoreJob, namespace)).items
    else:
        return False
    found = next((job for job in jobs if job.metadata.uid == uid), None)
    return found is None or (ended(found.status) and FINALIZER not in found.metadata.finalizers)
