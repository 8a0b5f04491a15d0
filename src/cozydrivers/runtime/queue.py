"""Keys that wait to be worked on."""

import heapq
import random as randomness
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from cozydrivers.runtime.backoff import RandomSource, backoff
from cozydrivers.runtime.store import Key

FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0
"""Seconds; see `backoff`."""

_SLACK = 64


class WorkQueue:
    """Gives each key to one worker at a time, the namespaces in turn.

    A key is waiting, due at some time, or being worked on. Adding one that waits changes nothing; adding one that is
    worked on makes it wait again afterwards; of several due times the earliest wins.
    """

    def __init__(self, random: RandomSource = randomness.random) -> None:
        self._random = random
        self._waiting: dict[str, deque[Key]] = {}
        self._queued: set[Key] = set()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._agenda: list[tuple[float, Key]] = []
        self._failures: dict[Key, int] = {}
        self._changed = anyio.Event()

    def add(self, key: Key) -> None:
        """Have a key worked on as soon as its turn comes."""
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._waiting.setdefault(key.namespace, deque()).append(key)
            self._wake()

    def add_after(self, key: Key, delay: float) -> None:
        """Have a key worked on in `delay` seconds, unless it is to be earlier anyway."""
        due = anyio.current_time() + delay
        if key in self._queued or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._agenda, (due, key))
        self._tidy()
        self._wake()

    def retry(self, key: Key) -> None:
        """Have a key worked on again after a failure, later with each one in a row."""
        self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, backoff(self._failures[key], FIRST_RETRY, LONGEST_RETRY, self._random))

    def forget(self, key: Key) -> None:
        """Forget a key's failures."""
        self._failures.pop(key, None)

    @asynccontextmanager
    async def take(self) -> AsyncGenerator[Key, None]:
        """Wait for a key and hold it for the length of the context; left by an exception, the key waits again."""
        key = await self._next()
        try:
            yield key
        except BaseException:
            self._again.add(key)
            raise
        finally:
            self._done(key)

    async def _next(self) -> Key:
        await anyio.lowlevel.checkpoint()
        while True:
            self._collect_due()
            if self._waiting:
                return self._pop()
            changed = self._changed
            with anyio.move_on_after(self._until_due()):
                await changed.wait()

    def _pop(self) -> Key:
        """Take the first key of the first namespace, which then goes behind the others."""
        namespace, keys = next(iter(self._waiting.items()))
        key = keys.popleft()
        del self._waiting[namespace]
        if keys:
            self._waiting[namespace] = keys
        self._queued.remove(key)
        self._working.add(key)
        return key

    def _done(self, key: Key) -> None:
        self._working.remove(key)
        if key in self._again:
            self._again.remove(key)
            self.add(key)

    def _collect_due(self) -> None:
        now = anyio.current_time()
        while self._agenda and self._agenda[0][0] <= now:
            due, key = heapq.heappop(self._agenda)
            if self._due.get(key) == due:
                self.add(key)

    def _until_due(self) -> float | None:
        return self._agenda[0][0] - anyio.current_time() if self._agenda else None

    def _tidy(self) -> None:
        """Drop times that no longer hold once they are the larger part of the agenda."""
        if len(self._agenda) > 2 * len(self._due) + _SLACK:
            self._agenda = [(due, key) for key, due in self._due.items()]
            heapq.heapify(self._agenda)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
