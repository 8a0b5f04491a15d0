"""Keys that wait to be worked on."""

import heapq
import random as randomness
from collections import deque
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager

import anyio

from cozydrivers.metrics import Metrics
from cozydrivers.runtime.backoff import RandomSource, backoff
from cozydrivers.runtime.store import Key

FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0
"""Seconds; see `backoff`."""

_SLACK = 64


class WorkQueue:
    """Gives each key to one worker at a time, the namespaces in turn.

    A key is waiting, due at some time, or being worked on. Adding one that waits changes nothing; adding one that is
    worked on makes it wait again afterwards; of several due times the earliest wins. `name` is the one in `metrics`.
    """

    def __init__(
        self, random: RandomSource = randomness.random, *, name: str = "", metrics: Metrics | None = None
    ) -> None:
        self._random = random
        self._waiting: dict[str, deque[Key]] = {}
        self._queued: dict[Key, float] = {}
        self._working: dict[Key, float] = {}
        self._again: dict[Key, float] = {}
        self._due: dict[Key, float] = {}
        self._agenda: list[tuple[float, Key]] = []
        self._failures: dict[Key, int] = {}
        self._barred: dict[Key, float] = {}
        self._changed = anyio.Event()
        self._door = anyio.Lock()
        self._metrics = (metrics or Metrics()).queue(name, self)

    def __len__(self) -> int:
        """Count the keys that wait for their turn, without those that are due later."""
        return len(self._queued) + len(self._again)

    def ages(self) -> Collection[float]:
        """List the seconds for which each key in work has been worked on."""
        now = anyio.current_time()
        return [now - since for since in self._working.values()]

    def add(self, key: Key) -> None:
        """Have a key worked on as soon as its turn comes."""
        if key in self._queued or key in self._again:
            return
        self._metrics.adds.inc()
        if key in self._working:
            self._again[key] = anyio.current_time()
        else:
            self._line_up(key, anyio.current_time())

    def add_after(self, key: Key, delay: float) -> None:
        """Have a key worked on in `delay` seconds, unless it is to be earlier anyway."""
        self._metrics.retries.inc()
        self._schedule(key, anyio.current_time() + delay)

    def retry(self, key: Key, *, not_before: float = 0.0) -> None:
        """Have a key worked on again after a failure, later with each one in a row.

        For `not_before` seconds nothing makes it be worked on, not even a change: the server has asked for that time.
        """
        self._failures[key] = self._failures.get(key, 0) + 1
        self._barred[key] = anyio.current_time() + not_before
        self.add_after(key, backoff(self._failures[key], FIRST_RETRY, LONGEST_RETRY, self._random))

    def forget(self, key: Key) -> None:
        """Forget a key's failures."""
        self._failures.pop(key, None)
        self._barred.pop(key, None)

    @asynccontextmanager
    async def take(self) -> AsyncGenerator[Key, None]:
        """Wait for a key and hold it for the length of the context; left by an exception, the key waits again."""
        key = await self._next()
        try:
            yield key
        except BaseException:
            self._again.setdefault(key, anyio.current_time())
            raise
        finally:
            self._done(key)

    async def _next(self) -> Key:
        async with self._door:  # one waits for a key, and the others for that one: a change wakes no more than needed
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
        self._working[key] = now = anyio.current_time()
        self._metrics.waited.observe(now - self._queued.pop(key))
        return key

    def _done(self, key: Key) -> None:
        self._metrics.worked.observe(anyio.current_time() - self._working.pop(key))
        since = self._again.pop(key, None)
        if since is not None:
            self._line_up(key, since)

    def _line_up(self, key: Key, since: float) -> None:
        """Have a key take its turn, or as long as it may not: be due when it may."""
        if self._barred.get(key, 0.0) > anyio.current_time():
            self._schedule(key, since)
            return
        self._due.pop(key, None)
        self._queued[key] = since
        self._waiting.setdefault(key.namespace, deque()).append(key)
        self._wake()

    def _schedule(self, key: Key, due: float) -> None:
        due = max(due, self._barred.get(key, due))
        if key in self._queued or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._agenda, (due, key))
        self._tidy()
        self._wake()

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
