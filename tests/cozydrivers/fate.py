"""Accidents: the controller dies, or a reply is lost, around one chosen request that changes something."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
from tests.cozydrivers.stage import Stage

from chbackup import Client
from chbackup.testing._transport import FakeTransport, client_over
from cozydrivers.kube import KubeClient
from cozydrivers.testing import ADMIN_TOKEN
from cozydrivers.testing._faults import Unreachable
from cozydrivers.testing._serve import InProcess
from cozydrivers.testing.operators import Network


class Fate:
    """Strikes at the `number`-th changing request of a controller, counted from 1, after its work.

    `dies`: the controller stops there for good. Else the reply is lost, and the controller goes on.
    """

    def __init__(self, number: int, *, dies: bool = True) -> None:
        self.number = number
        self.dies = dies
        self.count = 0
        self.struck = anyio.Event()
        self.where = ""

    async def meet(self, method: str, path: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do the work of a request, unless it is the one."""
        if method == "GET" or path.endswith("/events"):
            return await work()
        self.count += 1
        if self.count != self.number:
            return await work()
        self.where = f"{method} {path}"
        await work()
        self.struck.set()
        if self.dies:
            await anyio.sleep_forever()
        raise LostReply


class LostReply(Exception):
    """No answer."""


class FatedNetwork(Network):
    """The sidecars, as one controller reaches them."""

    def __init__(self, real: Network, fate: Fate) -> None:
        super().__init__()
        self._sidecars = real._sidecars
        self._fate = fate

    def connect(self, url: str, /, *, username: str, password: str, timeout: float) -> Client:
        """A client whose requests are at fate's mercy."""
        sidecar = self._sidecars[httpx.URL(url).host]

        async def handle(method: str, path: str, query: str, headers: Any, body: bytes) -> Any:
            try:
                return await self._fate.meet(method, path, lambda: sidecar.handle(method, path, query, headers, body))
            except LostReply:
                raise ConnectionResetError("lost") from None

        http_client = client_over(FakeTransport(handle))
        return Client(url, username=username, password=password, timeout=timeout, http_client=http_client)


def fated_kube(stage: Stage, fate: Fate) -> KubeClient:
    """The API server, as one controller reaches it."""

    async def handle(method: str, path: str, query: Any, headers: Any, body: bytes) -> Any:
        try:
            return await fate.meet(method, path, lambda: stage.cluster.handle(method, path, query, headers, body))
        except LostReply:
            raise Unreachable("lost") from None

    return KubeClient(InProcess(handle, ADMIN_TOKEN))
