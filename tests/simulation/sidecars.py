"""The sidecars of ClickHouse as one controller reaches them."""

from typing import Any

import httpx
from tests.simulation.process import LostReply, Meet

from chbackup import Client
from chbackup.testing._transport import FakeTransport, Handler, client_over
from cozydrivers.testing.operators import Network


class Sidecars:
    """Makes clients, as a ClickHouseDriver wants them; their requests pass through `meet`."""

    def __init__(self, network: Network, meet: Meet) -> None:
        self._network = network
        self._meet = meet

    def connect(self, url: str, /, *, username: str, password: str, timeout: float) -> Client:
        """A client for whoever has the address at the moment of each request."""
        host = httpx.URL(url).host

        async def handle(method: str, path: str, query: str, headers: Any, body: bytes) -> Any:
            asked = f"{path}?{query}" if query else path
            try:
                return await self._meet(method, asked, lambda: self._at(host)(method, path, query, headers, body))
            except LostReply:
                raise ConnectionResetError("lost") from None

        http_client = client_over(FakeTransport(handle))
        return Client(url, username=username, password=password, timeout=timeout, http_client=http_client)

    def _at(self, host: str) -> Handler:
        sidecar = self._network._sidecars.get(host)
        return sidecar.handle if sidecar is not None else _nobody


async def _nobody(*request: Any) -> tuple[int, dict[str, str], bytes]:
    raise ConnectionRefusedError("nobody listens there")
