"""Watches: changes after a version, one JSON object per line, until a deadline of the event loop's clock.

Bookmarks come once a minute and shortly before the end, but only when the kind has changed since the watch began.
"""

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import anyio

from cozydrivers.testing._reads import matcher, parse_version, partial, selected, wants_metadata
from cozydrivers.testing._request import Request
from cozydrivers.testing._selectors import Matcher
from cozydrivers.testing._status import FieldError, expired, options_invalid
from cozydrivers.testing._store import Change, Store
from cozydrivers.testing._writes import shown

_BOOKMARK_EVERY = 60.0
_BOOKMARK_BEFORE_END = 2.0
_LONGEST = 3600.0


class Watches:
    """The open watches of a cluster."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dropped = 0

    def drop(self) -> None:
        """Close all open watches, as a server that is restarted does."""
        self._dropped += 1
        self._store.wake()

    def open(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Check a watch request and start it; what is wrong with it is refused at once."""
        if request.query.get("sendInitialEvents"):
            why = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            raise options_invalid("ListOptions", FieldError("Forbidden", "sendInitialEvents", why))
        version = parse_version(request.query.get("resourceVersion"), 500)
        return self._lines(request, version, matcher(request))

    async def _lines(self, request: Request, version: int, matches: Matcher) -> AsyncGenerator[bytes, None]:
        deadline = anyio.current_time() + float(request.query.get("timeoutSeconds") or _LONGEST)
        bookmark_at, dropped = _next_bookmark(deadline), self._dropped
        if 0 < version < self._store.compacted:
            yield _line("ERROR", expired(f"too old resource version: {version} ({self._store.compacted})").body)
            return
        lines, position = self._beginning(request, version)
        start = max(position, self._store.latest(request.kind.storage))
        while dropped == self._dropped:
            for line in lines:
                yield line
            lines, position = self._news(request, matches, position)
            if lines or await self._wait(min(deadline, bookmark_at)):
                continue
            if anyio.current_time() >= deadline:
                return
            bookmark_at = _next_bookmark(deadline)
            lines = self._bookmarks(request, start)

    def _beginning(self, request: Request, version: int) -> tuple[list[bytes], int]:
        """Without a version, start with what is there; returns the lines and the version that they show."""
        if version:
            return [], version
        objects = selected(self._store, request)
        shown_objects = [partial(obj) if wants_metadata(request) else obj for obj in objects]
        return [_line("ADDED", obj) for obj in shown_objects], self._store.version

    def _news(self, request: Request, matches: Matcher, position: int) -> tuple[list[bytes], int]:
        changes = self._store.since(request.kind.storage, position)
        lines = [line for change in changes for line in _event(change, request, matches)]
        return lines, max(position, self._store.version)

    def _bookmarks(self, request: Request, start: int) -> list[bytes]:
        latest = self._store.latest(request.kind.storage)
        if latest <= start or request.query.get("allowWatchBookmarks") not in ("true", "1"):
            return []
        resource = request.kind.resource
        metadata = {"resourceVersion": str(latest), "creationTimestamp": None}
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return [_line("BOOKMARK", obj)]

    async def _wait(self, until: float) -> bool:
        """Wait for a change; returns False when the time is up."""
        with anyio.move_on_at(until):
            await self._store.wait()
            return True
        return False


def _next_bookmark(deadline: float) -> float:
    """Once a minute, and once shortly before the end."""
    now, last = anyio.current_time(), deadline - _BOOKMARK_BEFORE_END
    return min(now + _BOOKMARK_EVERY, last) if now < last else deadline


def _event(change: Change, request: Request, matches: Matcher) -> Iterator[bytes]:
    """Turn a change into what this watch sees: leaving a selector is a deletion, entering it an addition."""
    obj = shown(request.kind, change.object)
    before = shown(request.kind, change.previous) if change.previous else None
    is_in = change.type != "DELETED" and matches(obj)
    was_in = before is not None and matches(before)
    if not is_in and not was_in:
        return
    if not is_in and before is not None:
        metadata = {**before["metadata"], "resourceVersion": str(change.version)}
        obj = {**before, "metadata": metadata}
    event = "DELETED" if not is_in else "MODIFIED" if was_in else "ADDED"
    yield _line(event, partial(obj) if wants_metadata(request) else obj)


def _line(event: str, obj: Any) -> bytes:
    return json.dumps({"type": event, "object": obj}).encode()
