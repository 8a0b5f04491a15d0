"""Counts the requests to the API server, as client-go does."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from cozydrivers.kube.transport import Response, Stream, Transport
from cozydrivers.metrics import Metrics

NO_ANSWER = "<error>"
"""The code of a request that got no answer, in client-go's words."""


class CountedTransport:
    """A transport whose requests are told to `metrics`; `host` is the API server's `host:port`."""

    def __init__(self, transport: Transport, metrics: Metrics, host: str) -> None:
        self._transport = transport
        self._metrics = metrics
        self._host = host

    async def request(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any, timeout: float
    ) -> Response:
        """Send `body` as JSON (None sends nothing) and read the whole answer."""
        code = NO_ANSWER
        try:
            response = await self._transport.request(method, path, query, headers, body, timeout)
            code = str(response.status)
        finally:
            self._metrics.requested(method, code, self._host)
        return response

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], timeout: float
    ) -> AsyncGenerator[Stream, None]:
        """Open an answer that is read by line; one that breaks afterwards was an answer."""
        answered = False
        try:
            async with self._transport.stream(method, path, query, headers, timeout) as stream:
                answered = True
                self._metrics.requested(method, str(stream.status), self._host)
                yield stream
        finally:
            if not answered:
                self._metrics.requested(method, NO_ANSWER, self._host)
