"""A process's connection to the API server, which can be cut, slow or blind."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
from anyio import current_time

from cozydrivers.errors import ClusterUnreachable
from cozydrivers.kube.transport import Response, Stream, Transport


class Wire:
    """A process's connection: cut while `until` has not come; `before` and `after` delay a request and its answer.

    The watches of a `blind` one tell nothing, from then to their end.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.until = -1.0
        self.before = self.after = 0.0
        self.blind = False
        self.written: list[str] = []

    def cut(self, seconds: float = float("inf")) -> None:
        self.until = current_time() + seconds

    def check(self) -> None:
        if current_time() < self.until:
            raise ClusterUnreachable("cut")

    async def request(self, *request: Any) -> Response:
        self.check()
        await anyio.sleep(self.before)
        self.check()
        if request[0] != "GET":
            self.written.append(request[1])
        answer = await self._inner.request(*request)
        await anyio.sleep(self.after)
        return answer

    @asynccontextmanager
    async def stream(self, *request: Any) -> AsyncGenerator[Stream, None]:
        self.check()
        async with self._inner.stream(*request) as stream, aclosing(self._lines(stream)) as lines:
            yield Stream(stream.status, stream.headers, lines)

    async def _lines(self, stream: Stream) -> AsyncGenerator[bytes, None]:
        blind = False
        async for line in stream.lines:
            self.check()
            blind = blind or self.blind
            if not blind:
                yield line
