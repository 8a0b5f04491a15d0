"""Events on objects, for those who read `kubectl describe`."""

import logging
import platform
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import anyio

from cozydrivers.api.base import KubeObject
from cozydrivers.api.events import Event
from cozydrivers.errors import ApiError, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.describe import describe
from cozydrivers.runtime.locks import micro_time

LONGEST_NOTE = 1024
LONGEST_INSTANCE = 128
"""Bytes, the limits of `events.k8s.io`."""

SERIES_END = 360.0
"""Seconds after which the same is a new event again, as in client-go."""

SERIES_PAUSE = 60.0
"""Seconds between two writes of one series."""

MOST_KNOWN = 4096
"""Events that are remembered."""

PATIENCE = 5.0
"""Seconds that writing an event may hold up its caller."""

_log = logging.getLogger(__name__)


class _Kind(NamedTuple):
    """What makes two events the same; the note is no part of it, as in client-go."""

    uid: str
    type: str
    reason: str
    action: str


@dataclass
class _Known:
    """An event that this process wrote; without a name it is being written. Times are the loop's."""

    seen: float
    name: str = ""
    count: int = 1
    told: float = float("-inf")


class EventRecorder:
    """Writes events in the name of `component`, as well as it can: a failure is logged and no more.

    The same on the same object within six minutes of the last is no new Event: the first one's `series` counts it, at
    once for the first repeat and then not more often than once a minute. Its note is not written.
    """

    def __init__(self, kube: KubeClient, component: str) -> None:
        self._kube = kube
        self._component = component
        self._instance = f"{component}-{platform.node()}"[:LONGEST_INSTANCE]
        self._known: dict[_Kind, _Known] = {}

    async def record(
        self, obj: KubeObject, reason: str, message: str, *, warning: bool = False, action: str = "", now: datetime
    ) -> None:
        """Write an event on an object; `action` is what was done, by default the same as `reason`."""
        kind = _Kind(obj.metadata.uid, "Warning" if warning else "Normal", reason, action or reason)
        try:
            with anyio.fail_after(PATIENCE):
                await self._write(kind, obj, message, now)
        except (ApiError, TimeoutError) as error:
            _log.warning("event %s on %s %s: %s", reason, obj.resource.kind, obj.metadata.name, describe(error))

    async def _write(self, kind: _Kind, obj: KubeObject, message: str, now: datetime) -> None:
        namespace = obj.metadata.namespace or "default"
        known = self._recall(kind)
        if known is not None:
            try:
                await self._continue(known, namespace, now)
            except NotFound:
                self._known.pop(kind, None)
            else:
                return
        await self._begin(kind, self._body(kind, obj, message, now), namespace)

    def _recall(self, kind: _Kind) -> _Known | None:
        """Look up an event that was written lately, and forget those that were not."""
        now = anyio.current_time()
        while self._known and self._is_past(oldest := next(iter(self._known)), now):
            del self._known[oldest]
        known = self._known.pop(kind, None)
        if known is not None:
            known.seen, known.count = now, known.count + 1
            self._known[kind] = known  # the one seen last is the last
        return known

    def _is_past(self, kind: _Kind, now: float) -> bool:
        return now - self._known[kind].seen >= SERIES_END or len(self._known) > MOST_KNOWN

    async def _begin(self, kind: _Kind, body: dict[str, Any], namespace: str) -> None:
        known = self._known[kind] = _Known(anyio.current_time())
        try:
            known.name = (await self._kube.create(Event, body, namespace)).metadata.name
        finally:
            if not known.name:
                self._known.pop(kind, None)

    async def _continue(self, known: _Known, namespace: str, now: datetime) -> None:
        if not known.name or known.seen - known.told < SERIES_PAUSE:
            return
        known.told = known.seen
        series = {"count": known.count, "lastObservedTime": micro_time(now)}
        await self._kube.merge_patch(Event, known.name, {"series": series}, namespace)

    def _body(self, kind: _Kind, obj: KubeObject, message: str, now: datetime) -> dict[str, Any]:
        return {
            "metadata": {"generateName": f"{obj.metadata.name}-"},  # with a dot it would be refused
            "eventTime": micro_time(now),
            "reportingController": self._component,
            "reportingInstance": self._instance,
            "regarding": _reference(obj),
            "type": kind.type,
            "reason": kind.reason,
            "action": kind.action,
            "note": message.encode()[:LONGEST_NOTE].decode(errors="ignore"),
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
