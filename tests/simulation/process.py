"""Accidents around one chosen request of a controller: it dies right before or after it, or the reply is lost."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

import anyio

from cozydrivers import KubeClient, Manager
from cozydrivers.drivers.base import Driver
from cozydrivers.errors import LeadershipLost
from cozydrivers.runtime.elector import Elector
from cozydrivers.testing import ADMIN_TOKEN, FakeCluster
from cozydrivers.testing._faults import Unreachable
from cozydrivers.testing._serve import InProcess

Moment = Literal["dies before", "dies after", "reply lost"]
Meet = Callable[[str, str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Carries a request of a process out: method, path, and the work. Raises LostReply."""


@dataclass(frozen=True)
class Point:
    """A moment of one request of a process; requests are counted from 0, through both transports together."""

    number: int
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} #{self.number}"


class Asked(NamedTuple):
    """A request of a process, and when it was sent, by the loop's clock."""

    request: str
    at: float

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return changes(self.request)


class Place(Protocol):
    """Where a process works: `drivers` are given what carries their requests to engines out."""

    @property
    def cluster(self) -> FakeCluster:
        """The cluster."""

    def now(self) -> datetime:
        """The wall clock."""

    def drivers(self, meet: Meet) -> Sequence[Driver]:
        """The drivers of a process."""


class Process:
    """A process with a controller and connections of its own: `alive` until it is killed, or strikes its `fate`.

    `trace` are its requests in order. `seen` is told each that was carried out, with what came of it.
    """

    def __init__(
        self,
        place: Place,
        fate: Point | None = None,
        *,
        name: str = "controller",
        elected: bool = False,
        seen: Callable[[str, str, object], None] = lambda who, request, answer: None,
    ) -> None:
        self.name = name
        self.trace: list[Asked] = []
        self.alive = True
        self.struck = anyio.Event()
        self._fate = fate
        self._cluster = place.cluster
        self._seen = seen
        self._scope = anyio.CancelScope()
        kube = KubeClient(InProcess(self._ask_cluster, ADMIN_TOKEN))
        elector = Elector(kube, "default", "cozydrivers", name, now=place.now) if elected else None
        self._manager = Manager(kube, drivers=place.drivers(self.meet), elector=elector, now=place.now)

    async def run(self) -> None:
        """Live until killed; one that no longer leads ends by itself."""
        with self._scope:
            try:
                await self._manager.run()
            except* LeadershipLost:
                self.alive = False

    def kill(self) -> None:
        """As SIGKILL does: nothing more is sent, whatever would be cleaned up."""
        self.alive = False
        self._scope.cancel()

    def stop(self) -> None:
        """As SIGTERM does."""
        self._scope.cancel()

    async def _ask_cluster(self, method: str, path: str, query: Any, headers: Any, body: bytes) -> Any:
        work = self._cluster.handle
        try:
            return await self.meet(method, path, lambda: work(method, path, query, headers, body))
        except LostReply:
            raise Unreachable("lost") from None

    async def meet(self, method: str, path: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Carry a request out, unless the process is dead, or fate has it otherwise."""
        if not self.alive:
            await anyio.sleep_forever()
        request = f"{method} {path}"
        number = len(self.trace)
        self.trace.append(Asked(request, anyio.current_time()))
        moment = self._fate.moment if self._fate is not None and self._fate.number == number else None
        if moment == "dies before":
            await self._strike()
        answer = await self._carry_out(request, work)
        if moment == "dies after":
            await self._strike()
        if moment == "reply lost":
            self.struck.set()
            raise LostReply
        return answer

    async def _carry_out(self, request: str, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            answer = await work()
        except Exception as error:
            self._seen(self.name, request, error)
            raise
        self._seen(self.name, request, answer)
        return answer

    async def _strike(self) -> None:
        self.struck.set()
        self.kill()
        await anyio.sleep_forever()


class LostReply(Exception):
    """No answer."""


def changes(request: str) -> bool:
    """Whether a request of a trace changes anything."""
    return not request.startswith(("GET ", "HEAD ")) or request.startswith(("GET /backup/kill", "GET /restart"))
