"""The loop that works on keys."""

import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

import anyio

from cozydrivers.errors import ApiError
from cozydrivers.metrics import Metrics, Result
from cozydrivers.runtime.describe import describe
from cozydrivers.runtime.logs import log_context
from cozydrivers.runtime.queue import WorkQueue
from cozydrivers.runtime.store import Key

Reconcile = Callable[[Key], Awaitable[float | None]]
"""One step for one key: seconds until the next look, or None to be called on a change only."""

_log = logging.getLogger(__name__)


class Controller:
    """Calls `reconcile` for the keys of a queue, several at once but never one key twice at once.

    An exception is logged, once until it changes or the key succeeds, and the key tried again after a back-off; not
    before the time that the API server asks for with Retry-After. What is logged in a step holds its key.
    """

    def __init__(
        self, name: str, reconcile: Reconcile, queue: WorkQueue, *, workers: int = 4, metrics: Metrics | None = None
    ) -> None:
        self._name = name
        self._reconcile = reconcile
        self._queue = queue
        self._workers = workers
        self._metrics = metrics or Metrics()
        self._said: dict[Key, str] = {}

    async def run(self) -> None:
        """Work until cancelled; a key whose step is cut off by that goes back into the queue."""
        with self._metrics.workers(self._name, self._workers):
            async with anyio.create_task_group() as tasks:
                for number in range(self._workers):
                    tasks.start_soon(self._work, name=f"{self._name} worker {number}")

    async def _work(self) -> NoReturn:
        while True:
            async with self._queue.take() as key:
                with self._metrics.working(self._name), log_context(**self._fields(key)):
                    await self._step(key)

    async def _step(self, key: Key) -> None:
        started = anyio.current_time()
        result = await self._turn(key)
        self._metrics.reconciled(self._name, result, anyio.current_time() - started)

    async def _turn(self, key: Key) -> Result:
        try:
            delay = await self._reconcile(key)
        except Exception as error:  # noqa: BLE001 - one key's trouble must not stop the others
            self._say(key, describe(error))
            self._queue.retry(key, not_before=_retry_after(error))
            return "error"
        self._said.pop(key, None)
        self._queue.forget(key)
        if delay is None:
            return "success"
        self._queue.add_after(key, delay)
        return "requeue_after" if delay > 0 else "requeue"

    def _say(self, key: Key, message: str) -> None:
        if self._said.get(key) != message:
            self._said[key] = message
            _log.error("%s %s: %s", self._name, key, message)

    def _fields(self, key: Key) -> dict[str, str]:
        """Name the key for the log: a BackupJob or RestoreJob as `job`, a Plan as `plan`."""
        noun = "job" if self._name.endswith("Job") else self._name.lower()
        return {"controller": self._name, "namespace": key.namespace, noun: key.name}


def _retry_after(error: BaseException) -> float:
    """Seconds that the API server asks to wait, in an error or in the worst of a group."""
    if isinstance(error, BaseExceptionGroup):
        return max(_retry_after(child) for child in error.exceptions)
    return (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
