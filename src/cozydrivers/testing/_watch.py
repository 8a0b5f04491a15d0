"""Watches: changes after a version, one JSON object per line, until a deadline of the event loop's clock.

Bookmarks come once a minute and shortly before the end, but only when the kind has changed since the watch began.
"""

import json
import math
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from cozydrivers.testing._reads import matcher, parse_version, partial, selected, wants_metadata
from cozydrivers.testing._request import Broken, Request
from cozydrivers.testing._selectors import Matcher
from cozydrivers.testing._status import FieldError, expired, options_invalid
from cozydrivers.testing._store import Change, Store
from cozydrivers.testing._writes import shown

_BOOKMARK_EVERY = 60.0
_BOOKMARK_BEFORE_END = 2.0
_LONGEST = 3600.0


How = Literal["closed", "broken", "silent"]


@dataclass(frozen=True)
class _End:
    """What happened to all watches up to a number."""

    how: How
    last: int
    storage: str


class Watches:
    """The open watches of a cluster; `lag` is by how many seconds they are late.

    They are served from a cache that begins when the server starts, or when the kind does: what is older than that is
    too old, even where nothing was compacted (kube-apiserver 1.33).
    """

    def __init__(self, store: Store) -> None:
        self.lag: float = 0.0
        self._store = store
        self._opened = 0
        self._ends: list[_End] = []
        self._oldest = 0
        self._oldest_of: dict[str, int] = {}

    def drop(self, storage: str = "") -> None:
        """Close the open watches, of one kind or of all."""
        self._end("closed", storage)

    def silence(self, storage: str = "") -> None:
        """Let the open watches, of one kind or of all, hang for ever."""
        self._end("silent", storage)

    def restart(self) -> None:
        """Break the open watches, and begin with a new cache; a server that starts writes to its own objects first."""
        self._end("broken", "")
        self._store.version += 1 if self._store.version else 0
        self._oldest = self._store.version

    def forget(self, storage: str) -> None:
        """Close the watches of a kind that is served no more, and begin a new cache for it."""
        self._end("closed", storage)
        self._oldest_of[storage] = self._store.version

    def _end(self, how: How, storage: str) -> None:
        self._ends.append(_End(how, self._opened, storage))
        self._store.wake()

    def open(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Check a watch request and start it; what is wrong with it is refused at once."""
        if request.query.get("sendInitialEvents"):
            why = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            raise options_invalid("ListOptions", FieldError("Forbidden", "sendInitialEvents", why))
        version = parse_version(request.query.get("resourceVersion"), 500)
        self._opened += 1
        return self._lines(request, version, matcher(request), self._opened)

    async def _lines(
        self, request: Request, version: int, matches: Matcher, number: int
    ) -> AsyncGenerator[bytes, None]:
        deadline = anyio.current_time() + float(request.query.get("timeoutSeconds") or _LONGEST)
        bookmark_at, storage = _next_bookmark(anyio.current_time(), deadline), request.kind.storage
        oldest = self._oldest_version(request)
        if 0 < version < oldest:
            yield _line("ERROR", expired(f"too old resource version: {version} ({oldest})").body)
            return
        lines, position = self._beginning(request, version)
        start = max(position, self._store.latest(storage))
        while True:
            for line in lines:
                yield line
            has_ended = await self._has_ended(number, storage)
            lines, position = self._news(request, matches, position)
            if lines:
                continue
            if has_ended or anyio.current_time() >= deadline:
                return
            if anyio.current_time() >= bookmark_at:
                bookmark_at = _next_bookmark(anyio.current_time(), deadline)
                lines = self._bookmarks(request, start, position)
            elif self._store.latest(storage) > start:
                await self._wait(storage, min(deadline, bookmark_at, self._next_late(storage, position)))
            else:  # no bookmark has anything to say before the next change
                await self._wait(storage, min(deadline, self._next_late(storage, position)))
                while bookmark_at < anyio.current_time() < deadline:
                    bookmark_at = _next_bookmark(bookmark_at, deadline)

    def _oldest_version(self, request: Request) -> int:
        """Find the version from which a watch can go on; events have no cache, theirs come from etcd."""
        if request.kind.storage == "events":
            return self._store.compacted
        return max(self._store.compacted, self._oldest, self._oldest_of.get(request.kind.storage, 0))

    async def _has_ended(self, number: int, storage: str) -> bool:
        """Whether a watch is over; one that has gone silent never comes back from here."""
        how = next((end.how for end in self._ends if number <= end.last and end.storage in ("", storage)), None)
        if how == "silent":
            await anyio.sleep_forever()
        if how == "broken":
            raise Broken("the connection broke")
        return how == "closed"

    def _beginning(self, request: Request, version: int) -> tuple[list[bytes], int]:
        """Without a version, start with what is there; returns the lines and the version that they show."""
        if version:
            return [], version
        seen = self._store.version_before(self.lag)
        objects = selected(self._store, request, seen)
        shown_objects = [partial(obj) if wants_metadata(request) else obj for obj in objects]
        return [_line("ADDED", obj) for obj in shown_objects], seen

    def _news(self, request: Request, matches: Matcher, position: int) -> tuple[list[bytes], int]:
        seen = self._store.version_before(self.lag)
        changes = [change for change in self._store.since(request.kind.storage, position) if change.version <= seen]
        lines = [line for change in changes for line in _event(change, request, matches)]
        return lines, max(position, seen)

    def _next_late(self, storage: str, position: int) -> float:
        """The time at which the next change that is late comes."""
        late = self._store.since(storage, position) if self.lag else []
        return late[0].at + self.lag if late else math.inf

    def _bookmarks(self, request: Request, start: int, position: int) -> list[bytes]:
        latest = min(self._store.latest(request.kind.storage), position)
        if latest <= start or request.query.get("allowWatchBookmarks") not in ("true", "1"):
            return []
        resource = request.kind.resource
        metadata = {"resourceVersion": str(latest), "creationTimestamp": None}
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return [_line("BOOKMARK", obj)]

    async def _wait(self, storage: str, until: float) -> None:
        """Wait for a change of a kind, or until a time."""
        with anyio.move_on_at(until):
            await self._store.wait(storage)


def _next_bookmark(now: float, deadline: float) -> float:
    """Once a minute, and once shortly before the end."""
    last = deadline - _BOOKMARK_BEFORE_END
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
