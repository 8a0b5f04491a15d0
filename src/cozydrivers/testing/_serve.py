"""How a client reaches a fake cluster: in process, or over a port."""

import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl

import anyio

from cozydrivers.errors import ClusterUnreachable
from cozydrivers.kube.transport import Response, Stream
from cozydrivers.testing._request import Broken, Headers, Unreachable

Body = bytes | AsyncGenerator[bytes, None]
Handler = Callable[[str, str, Mapping[str, str], Mapping[str, str], bytes], Awaitable[tuple[int, Headers, Body]]]


class InProcess:
    """The transport that calls the handler."""

    def __init__(self, handler: Handler, token: str) -> None:
        self._handler = handler
        self._token = token

    async def request(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any, timeout: float
    ) -> Response:
        """Send a request and read the whole answer."""
        content = b"" if body is None else json.dumps(body).encode()
        status, answered, answer = await self._handle(method, path, query, headers, content, timeout)
        assert isinstance(answer, bytes)
        return Response(status, _lower(answered), answer)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], timeout: float
    ) -> AsyncGenerator[Stream, None]:
        """Open a watch; `timeout` is for all of it."""
        deadline = anyio.current_time() + timeout
        status, answered, answer = await self._handle(method, path, query, headers, b"", timeout)
        async with (
            aclosing(_once(answer) if isinstance(answer, bytes) else answer) as lines,
            aclosing(_in_time(lines, deadline, f"{method} {path}")) as lines_in_time,
        ):
            yield Stream(status, _lower(answered), lines_in_time)

    async def _handle(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes, timeout: float
    ) -> tuple[int, Headers, Body]:
        headers = {"Authorization": f"Bearer {self._token}", **headers}
        try:
            with anyio.fail_after(timeout):
                return await self._handler(method, path, query, headers, body)
        except (Unreachable, TimeoutError) as error:
            raise ClusterUnreachable(f"{method} {path}: {str(error) or 'no answer in time'}") from None


async def _in_time(lines: AsyncGenerator[bytes, None], deadline: float, what: str) -> AsyncGenerator[bytes, None]:
    """Pass lines on until they end, break off, or the time is up."""
    while True:
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                line = await anext(lines)
        except StopAsyncIteration:
            return
        except (Unreachable, TimeoutError) as error:
            raise ClusterUnreachable(f"{what}: {str(error) or 'no answer in time'}") from None
        yield line


def _lower(headers: Headers) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def kubeconfig_text(url: str, token: str) -> str:
    """Write a kubeconfig, as JSON, which is YAML too."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": url}}],
        "users": [{"name": "fake", "user": {"token": token}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
    }
    return json.dumps(config, indent=2) + "\n"


@asynccontextmanager
async def serve(handler: Handler, host: str, port: int) -> AsyncIterator[str]:
    """Serve the handler over HTTP until the block ends; yields the URL."""
    try:
        import uvicorn
    except ImportError:
        raise ImportError("serving a fake cluster needs uvicorn: install chbackup[testing]") from None
    config = uvicorn.Config(
        _app(handler), log_level="critical", lifespan="off", timeout_graceful_shutdown=1, date_header=False
    )
    server = uvicorn.Server(config)
    with socket.create_server((host, port)) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            try:
                yield f"http://{host}:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True


def _app(handler: Handler) -> Callable[..., Awaitable[None]]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        try:
            status, answered, answer = await handler(scope["method"], scope["path"], query, headers, body)
        except Broken:
            # An answer that stays unfinished breaks the connection.
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            return
        except Unreachable:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        encoded = [(name.lower().encode(), value.encode()) for name, value in answered]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        if isinstance(answer, bytes):
            await send({"type": "http.response.body", "body": answer})
            return
        with suppress(Broken):
            await _send_lines(answer, receive, send)

    return app


async def _send_lines(lines: AsyncGenerator[bytes, None], receive: Any, send: Any) -> None:
    """Send a watch line by line until it ends or the client goes away."""

    async def leave_with_client() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave_with_client)
        async with aclosing(lines):
            async for line in lines:
                await send({"type": "http.response.body", "body": line + b"\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        tasks.cancel_scope.cancel()
