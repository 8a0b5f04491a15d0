"""The fake on a real port, by uvicorn."""

from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from ._answers import Answer
from ._faults import ReplyCutError
from ._transport import Handler

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def application(handle: Handler) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """Wrap a handler as an ASGI application; a connection that is to be lost ends in the middle of its answer."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path, query = scope["raw_path"].decode("ascii"), scope["query_string"].decode("ascii")
        try:
            status, answered, content = await handle(scope["method"], path, query, headers, body)
        except ReplyCutError as lost:
            await _answer(send, lost.answer, complete=False)
        except ConnectionError:
            await _answer(send, Answer(502, {"Content-Length": "1"}, b""), complete=False)
        else:
            await _answer(send, Answer(status, answered, content), complete=True)

    return app


async def _answer(send: Send, answer: Answer, *, complete: bool) -> None:
    """Send an answer; uvicorn closes the connection of one that is not complete."""
    pairs = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    if complete or answer.body:
        await send({"type": "http.response.body", "body": answer.body, "more_body": not complete})


async def _body(receive: Receive) -> bytes:
    chunks, more = [], True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


@asynccontextmanager
async def serving(handle: Handler, host: str, port: int) -> AsyncGenerator[str, None]:
    """Serve a handler until the block ends; port 0 takes a free one. Yields the address."""
    try:
        import uvicorn
    except ImportError:
        raise ImportError("serving the fake needs uvicorn: pip install 'chbackup[testing]'") from None
    config = uvicorn.Config(application(handle), host=host, port=port, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._serve)  # noqa: SLF001 - serve() itself takes over the signal handlers
        while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
            await anyio.sleep(0.01)
        address, bound = server.servers[0].sockets[0].getsockname()[:2]
        try:
            yield f"http://{address}:{bound}"
        finally:
            server.should_exit = True
