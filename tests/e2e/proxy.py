"""A wire that can be cut: it passes connections on, and at a chosen request loses the answer."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import anyio
from anyio.abc import ByteStream, SocketStream


@dataclass
class _Wire:
    server: tuple[str, int]
    mark: bytes
    act: Callable[[], Awaitable[None]]
    cut: bool = False

    async def carry(self, client: SocketStream) -> None:
        async with client, await anyio.connect_tcp(*self.server) as server, anyio.create_task_group() as tasks:
            awaited = anyio.Event()
            tasks.start_soon(self._requests, client, server, awaited)
            await self._answers(server, client, awaited)
            tasks.cancel_scope.cancel()

    async def _requests(self, client: ByteStream, server: ByteStream, awaited: anyio.Event) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                chunk = await client.receive()
                if chunk.startswith(self.mark):
                    awaited.set()
                await server.send(chunk)
        await server.aclose()

    async def _answers(self, server: ByteStream, client: ByteStream, awaited: anyio.Event) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                chunk = await server.receive()
                if awaited.is_set() and not self.cut:
                    self.cut = True
                    await self.act()
                    return
                await client.send(chunk)


@contextlib.asynccontextmanager
async def lost_answer(
    address: str, server: tuple[str, int], mark: bytes, act: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Pass everything between an address, at the server's port, and the server.

    The answer to the first request that begins with `mark` is not delivered: once the server has given it, `act` runs.
    """
    wire = _Wire(server, mark, act)
    listener = await anyio.create_tcp_listener(local_host=address, local_port=server[1])
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, wire.carry)
        yield
        tasks.cancel_scope.cancel()
