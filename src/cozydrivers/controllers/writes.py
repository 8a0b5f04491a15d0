"""What a controller writes on a job. Each write carries the resourceVersion that was read, and its answer is kept."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

from cozydrivers.api.backups import BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject, TypedReference
from cozydrivers.controllers.ledger import CHECKPOINT, FINALIZER, Ledger, ledger_of
from cozydrivers.controllers.resolve import Target
from cozydrivers.controllers.status import Standing, progress_patch, status_patch
from cozydrivers.drivers.base import Checkpoint, Outcome
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import EventRecorder
from cozydrivers.runtime.cache import Cache

J = TypeVar("J", BackupJob, RestoreJob)
_log = logging.getLogger(__name__)


class Writes(Generic[J]):
    """Writes on jobs of one kind. Raises Conflict where somebody else has written since the job was read."""

    def __init__(self, kube: KubeClient, kind: type[J], store: Cache[J], now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._kind: type[J] = kind
        self._store: Cache[J] = store
        self._now = now
        self._events = EventRecorder(kube, "cozydrivers")

    async def bind(self, job: J, checkpoint: Checkpoint, target: Target) -> J:
        """Save an intent: the checkpoint and our finalizer in one patch."""
        reference = {"kind": target.application.resource.kind, "name": target.application.metadata.name}
        update = {"driver": dict(checkpoint), "application": TypedReference(**reference), "absent_since": None}
        return await self.save(job, ledger_of(job).model_copy(update=update), finalizers=_with_ours(job))

    async def save(self, job: J, ledger: Ledger, **metadata: Any) -> J:
        """Save what is kept on the job."""
        return await self._patch(job, {"annotations": {CHECKPOINT: ledger.annotation()}, **metadata})

    async def release(self, job: J) -> J:
        """Take our finalizer off."""
        kept = [finalizer for finalizer in job.metadata.finalizers if finalizer != FINALIZER]
        return await self._patch(job, {"finalizers": kept})

    async def stand(self, job: J, standing: Standing) -> J:
        """Write where the job stands, as far as its status does not say so already."""
        patch = status_patch(job, standing, self._now())
        if "phase" in patch:
            name = f"{job.resource.kind} {job.metadata.namespace}/{job.metadata.name}"
            _log.info("%s is %s: %s", name, standing.phase, standing.message)
        return await self._patch_status(job, patch)

    async def progress(self, job: J, status: str, reason: str, message: str) -> J:
        """Write the condition Progressing of a job that is at its end."""
        return await self._patch_status(job, progress_patch(job, status, reason, message, self._now()))

    async def tell(self, job: J, outcome: Outcome) -> None:
        """Write an outcome's events."""
        for note in outcome.events:
            await self.event(job, note.reason, note.message, warning=note.warning)

    async def event(self, job: J, reason: str, message: str, *, warning: bool = False) -> None:
        """Write an event, as well as it can be done."""
        await self._events.record(job, reason, message, warning=warning, now=self._now())

    async def _patch(self, job: J, metadata: dict[str, Any]) -> J:
        body = {"metadata": {"resourceVersion": job.metadata.resource_version, **metadata}}
        try:
            patched = await self._kube.merge_patch(self._kind, job.metadata.name, body, job.metadata.namespace)
        except NotFound:
            return job
        self._store.put(patched)
        return patched

    async def _patch_status(self, job: J, patch: dict[str, Any]) -> J:
        if not patch:
            return job
        body = {"metadata": {"resourceVersion": job.metadata.resource_version}, "status": patch}
        name, namespace = job.metadata.name, job.metadata.namespace
        written = await self._kube.merge_patch(self._kind, name, body, namespace, status=True)
        self._store.put(written)
        return written


def _with_ours(job: KubeObject) -> list[str]:
    return [name for name in job.metadata.finalizers if name != FINALIZER] + [FINALIZER]
