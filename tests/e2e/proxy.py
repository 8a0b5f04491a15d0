"""Wires that can be cut: one loses the answer to a chosen request, one refuses connections for a while."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import anyio
from anyio.abc import ByteStream, Listener, SocketStream, TaskGroup


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


class Gate:
    """Passes connections on to a server on 127.0.0.1 while it is open, and refuses them while it is shut."""

    def __init__(self, server: tuple[str, int], tasks: TaskGroup) -> None:
        self._server = server
        self._tasks = tasks
        self._port = 0
        self._scope = anyio.CancelScope()

    @property
    def url(self) -> str:
        """Its address, the same whenever it is open."""
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Take connections."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self._port)
        self._port = listener.extra(anyio.abc.SocketAttribute.local_port)
        self._scope = anyio.CancelScope()
        self._tasks.start_soon(self._serve, listener)

    def shut(self) -> None:
        """End the connections that there are, and refuse others."""
        self._scope.cancel()

    async def _serve(self, listener: Listener[SocketStream]) -> None:
        with self._scope:
            async with listener:
                await listener.serve(self._carry)

    async def _carry(self, client: SocketStream) -> None:
        async with client, await anyio.connect_tcp(*self._server) as server, anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_on, client, server)
            await _pass_on(server, client)
            tasks.cancel_scope.cancel()


async def _pass_on(source: ByteStream, target: ByteStream) -> None:
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await target.send(await source.receive())


@contextlib.asynccontextmanager
async def gate(server: tuple[str, int]) -> AsyncIterator[Gate]:
    """An open gate before a server."""
    async with anyio.create_task_group() as tasks:
        made = Gate(server, tasks)
        await made.open()
        yield made
        tasks.cancel_scope.cancel()
