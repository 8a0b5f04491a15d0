"""Events on objects, for those who read `kubectl describe`."""

import logging
from datetime import UTC, datetime
from typing import Any

import anyio

from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Event
from cozydrivers.errors import ApiError
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.describe import describe

LONGEST_MESSAGE = 1024
"""Bytes, the limit of `events.k8s.io`."""

QUIET = 600.0
"""Seconds in which the same event is not written again."""

PATIENCE = 5.0
"""Seconds that writing an event may hold up its caller."""

_log = logging.getLogger(__name__)


class EventRecorder:
    """Writes core/v1 Events in the name of `component`, as well as it can: a failure is logged and no more."""

    def __init__(self, kube: KubeClient, component: str) -> None:
        self._kube = kube
        self._component = component
        self._written: dict[tuple[str, str, str], float] = {}

    async def record(self, obj: KubeObject, reason: str, message: str, *, warning: bool = False, now: datetime) -> None:
        """Write an event on an object; one that this process wrote in the last ten minutes is not repeated."""
        said = (obj.metadata.uid, reason, message)
        if self._is_quiet(said):
            return
        namespace = obj.metadata.namespace or "default"
        try:
            with anyio.fail_after(PATIENCE):
                await self._kube.create(Event, self._body(obj, reason, message, warning, now), namespace)
        except (ApiError, TimeoutError) as error:
            self._written.pop(said, None)
            _log.warning("event %s on %s %s: %s", reason, obj.resource.kind, obj.metadata.name, describe(error))

    def _is_quiet(self, said: tuple[str, str, str]) -> bool:
        """Whether this was said lately; it has been from now on."""
        now = anyio.current_time()
        self._written = {key: at for key, at in self._written.items() if now - at < QUIET}
        quiet = said in self._written
        self._written.setdefault(said, now)
        return quiet

    def _body(self, obj: KubeObject, reason: str, message: str, warning: bool, now: datetime) -> dict[str, Any]:
        at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "metadata": {"generateName": f"{obj.metadata.name}."},
            "involvedObject": _reference(obj),
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "message": message.encode()[:LONGEST_MESSAGE].decode(errors="ignore"),
            "source": {"component": self._component},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }


def _reference(obj: KubeObject) -> dict[str, str]:
    written = {
        "apiVersion": obj.resource.api_version,
        "kind": obj.resource.kind,
        "namespace": obj.metadata.namespace,
        "name": obj.metadata.name,
        "uid": obj.metadata.uid,
    }
    return {field: value for field, value in written.items() if value}
