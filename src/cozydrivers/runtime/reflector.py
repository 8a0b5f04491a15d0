"""Keeps a store the same as the cluster: list, then watch."""

import logging
import random as randomness
from collections.abc import Mapping
from contextlib import aclosing
from typing import Generic, NoReturn, TypeVar

import anyio

from cozydrivers.api.base import KubeObject
from cozydrivers.errors import ApiError, Gone, NotFound
from cozydrivers.kube import KubeClient, WatchEvent
from cozydrivers.runtime.backoff import RandomSource, backoff
from cozydrivers.runtime.store import Indexer, Listener, Store

T = TypeVar("T", bound=KubeObject)

FIRST_PAUSE = 0.8
LONGEST_PAUSE = 30.0
MISSING_PAUSE = 60.0
"""Seconds between two looks for a kind that the server does not serve."""

SHORTEST_WATCH = 1.0
"""Seconds; a watch that ends earlier counts as a failure, so that a server that hangs up at once is not stormed."""

_log = logging.getLogger(__name__)


class Reflector(Generic[T]):
    """Follows one kind in a namespace, or in all of them, into `store`.

    A kind that the server does not serve makes `served` False and is looked for again each minute. The objects known
    then are kept: a server that is starting up may not serve everything yet.
    """

    def __init__(
        self,
        kube: KubeClient,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        on_change: Listener[T],
        indexers: Mapping[str, Indexer[T]] | None = None,
        random: RandomSource = randomness.random,
    ) -> None:
        self.store: Store[T] = Store(on_change, indexers)
        self.served: bool = True
        self._kube = kube
        self._kind = kind
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._random = random
        self._answered = anyio.Event()
        self._listed = False
        self._failures = 0
        self._said = ""

    @property
    def is_synced(self) -> bool:
        """Whether the server has answered once."""
        return self._answered.is_set()

    async def synced(self) -> None:
        """Wait until the store shows the cluster, or the server has said that it does not serve this kind."""
        await self._answered.wait()

    async def run(self) -> NoReturn:
        """Follow the cluster until cancelled."""
        while True:
            pause = await self._turn()
            await anyio.sleep(pause)

    async def _turn(self) -> float:
        """List if need be and watch until that ends; return the seconds until the next turn."""
        try:
            if not self._listed:
                await self._list()
            if await self._watch() >= SHORTEST_WATCH:
                self._failures, self._said = 0, ""
                return 0
        except NotFound:
            self._missing()
            return MISSING_PAUSE
        except Gone:
            self._listed = False
        except ApiError as error:
            self._say(str(error))
        self._failures += 1
        return backoff(self._failures, FIRST_PAUSE, LONGEST_PAUSE, self._random)

    async def _list(self) -> None:
        found = await self._kube.list(
            self._kind, self._namespace, label_selector=self._label_selector, field_selector=self._field_selector
        )
        self.store.replace(found.items, found.resource_version)
        self.served = self._listed = True
        self._answered.set()

    async def _watch(self) -> float:
        started = anyio.current_time()
        events = self._kube.watch(
            self._kind,
            self._namespace,
            resource_version=self.store.version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        async with aclosing(events):
            async for event in events:
                self._take(event)
        return anyio.current_time() - started

    def _take(self, event: WatchEvent[T]) -> None:
        if event.type == "DELETED":
            self.store.remove(event.object)
        elif event.type != "BOOKMARK":
            self.store.put(event.object)
        self.store.version = event.object.metadata.resource_version
        self._failures = 0
        self._said = ""

    def _missing(self) -> None:
        self.served = self._listed = False
        self._say("the server does not serve it")
        self._answered.set()

    def _say(self, message: str) -> None:
        """Log a trouble once, until another one or an event comes."""
        if message != self._said:
            _log.warning("watch of %s: %s", self._kind.resource.plural, message)
            self._said = message
