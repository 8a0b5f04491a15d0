"""What the controller of Backups writes on them. A Backup has no status subresource: its status is written with it."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from cozydrivers.api.backups import Backup
from cozydrivers.api.base import Condition
from cozydrivers.controllers.status import with_conditions
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import EventRecorder
from cozydrivers.runtime.cache import Cache


class BackupWrites:
    """Writes with the resourceVersion that was read. Raises Conflict where somebody else has written since."""

    def __init__(self, kube: KubeClient, cache: Cache[Backup], now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._cache = cache
        self._now = now
        self._events = EventRecorder(kube, "cozydrivers")

    async def release(self, backup: Backup, finalizers: Collection[str]) -> None:
        """Take finalizers off."""
        kept = [name for name in backup.metadata.finalizers if name not in finalizers]
        await self._patch(backup, {"metadata": {"finalizers": kept}})

    async def stand(self, backup: Backup, kind: str, status: str, reason: str, message: str) -> bool:
        """Write a condition; False where it stands there already."""
        old = condition_of(backup, kind)
        if old is not None and (old.status, old.reason, old.message) == (status, reason, message):
            return False
        new = Condition(type=kind, status=status, reason=reason, message=message)
        written = with_conditions(backup.status.conditions, [new], self._now(), backup.metadata.generation)
        await self._patch(backup, {"status": {"conditions": written}})
        return True

    async def event(self, backup: Backup, reason: str, message: str, *, warning: bool = False) -> None:
        """Write an event, as well as it can be done."""
        await self._events.record(backup, reason, message, warning=warning, now=self._now())

    async def _patch(self, backup: Backup, patch: dict[str, Any]) -> None:
        metadata = {**patch.get("metadata", {}), "resourceVersion": backup.metadata.resource_version}
        name, namespace = backup.metadata.name, backup.metadata.namespace
        try:
            written = await self._kube.merge_patch(Backup, name, {**patch, "metadata": metadata}, namespace)
        except NotFound:
            return
        self._cache.put(written)


def condition_of(backup: Backup, kind: str) -> Condition | None:
    """One of its conditions."""
    return next((condition for condition in backup.status.conditions if condition.type == kind), None)
