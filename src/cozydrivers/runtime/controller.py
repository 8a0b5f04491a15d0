"""The loop that works on keys."""

import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

import anyio

from cozydrivers.runtime.describe import describe
from cozydrivers.runtime.queue import WorkQueue
from cozydrivers.runtime.store import Key

Reconcile = Callable[[Key], Awaitable[float | None]]
"""One step for one key: seconds until the next look, or None to be called on a change only."""

_log = logging.getLogger(__name__)


class Controller:
    """Calls `reconcile` for the keys of a queue, several at once but never one key twice at once.

    An exception is logged, once until it changes or the key succeeds, and the key tried again after a back-off.
    """

    def __init__(self, name: str, reconcile: Reconcile, queue: WorkQueue, *, workers: int = 4) -> None:
        self._name = name
        self._reconcile = reconcile
        self._queue = queue
        self._workers = workers
        self._said: dict[Key, str] = {}

    async def run(self) -> None:
        """Work until cancelled; a key whose step is cut off by that goes back into the queue."""
        async with anyio.create_task_group() as tasks:
            for number in range(self._workers):
                tasks.start_soon(self._work, name=f"{self._name} worker {number}")

    async def _work(self) -> NoReturn:
        while True:
            async with self._queue.take() as key:
                await self._step(key)

    async def _step(self, key: Key) -> None:
        try:
            delay = await self._reconcile(key)
        except Exception as error:  # noqa: BLE001 - one key's trouble must not stop the others
            self._say(key, describe(error))
            self._queue.retry(key)
            return
        self._said.pop(key, None)
        self._queue.forget(key)
        if delay is not None:
            self._queue.add_after(key, delay)

    def _say(self, key: Key, message: str) -> None:
        if self._said.get(key) != message:
            self._said[key] = message
            _log.error("%s %s: %s", self._name, key, message)
