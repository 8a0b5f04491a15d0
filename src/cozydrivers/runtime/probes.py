"""`/metrics`, `/healthz` and `/readyz` over HTTP: as much of a server as these need."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import anyio
import anyio.abc

from cozydrivers.errors import InvalidInput
from cozydrivers.metrics import Metrics
from cozydrivers.runtime.describe import describe

LARGEST_REQUEST = 8192
"""Bytes of a request's head; a body is not read."""

PATIENCE = 5.0
"""Seconds for a request to come, and for its answer to go."""

MOST_CONNECTIONS = 32
"""Connections at once; those beyond are closed unanswered."""

Check = Callable[[], str]
"""Says what is wrong, in a sentence; nothing if all is well."""

_TEXT = "text/plain; charset=utf-8"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What is answered to a request."""

    status: HTTPStatus
    content_type: str
    body: bytes

    @classmethod
    def text(cls, status: HTTPStatus, text: str = "") -> "Answer":
        """A line of text, by default the status's own words."""
        return cls(status, _TEXT, f"{text or status.phrase}\n".encode())


@dataclass(frozen=True)
class Request:
    """The head of a request; the names of its headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)


class Probes:
    """The server: `healthy` is asked whether the process must be restarted, `ready` whether it works.

    A POST is a callback: `called` is given its path, and says whether that is known.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        healthy: Check = lambda: "",
        ready: Check = lambda: "",
        called: Callable[[str], bool] | None = None,
    ) -> None:
        self._metrics = metrics
        self._called = called
        self._healthy = healthy
        self._ready = ready
        self._open = 0

    async def serve(self, address: str, *, task_status: anyio.abc.TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen on `host:port` until cancelled; an empty host is all, port 0 a free one.

        Started by `tasks.start`, that gives the address with the port. Raises InvalidInput where it can't listen.
        """
        host, port = _host_and_port(address)
        try:
            listener = await anyio.create_tcp_listener(local_host=host or None, local_port=port)
        except OSError as error:
            raise InvalidInput(f"can't listen on {address!r}: {error.strerror or error}") from None
        async with listener:
            bound = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
            task_status.started(f"{address.rpartition(':')[0]}:{bound}")
            await listener.serve(self._handle)

    async def _handle(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            if self._open >= MOST_CONNECTIONS:
                return
            self._open += 1
            try:
                await self._converse(stream)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, TimeoutError):
                return
            finally:
                self._open -= 1

    async def _converse(self, stream: anyio.abc.SocketStream) -> None:
        """One request, one answer, and the end."""
        with anyio.move_on_after(PATIENCE) as patience:
            request = await _read(stream)
        if patience.cancelled_caught:
            request = Answer.text(HTTPStatus.REQUEST_TIMEOUT)
        answer = request if isinstance(request, Answer) else self._answer(request)
        without_body = isinstance(request, Request) and request.method == "HEAD"
        with anyio.fail_after(PATIENCE):
            await stream.send(_head(answer) + (b"" if without_body else answer.body))

    def _answer(self, request: Request) -> Answer:
        if request.method == "POST" and self._called is not None:
            return Answer.text(HTTPStatus.OK if self._called(request.path) else HTTPStatus.NOT_FOUND)
        if request.method not in ("GET", "HEAD"):
            return Answer.text(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return self._page(request)
        except Exception as error:  # noqa: BLE001 - a probe that can't be answered must not end the controller
            _log.error("%s: %s", request.path, describe(error))
            return Answer.text(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _page(self, request: Request) -> Answer:
        match request.path:
            case "/metrics":
                body, content_type = self._metrics.exposition(request.headers.get("accept", ""))
                return Answer(HTTPStatus.OK, content_type, body)
            case "/healthz":
                return _checked(self._healthy())
            case "/readyz":
                return _checked(self._ready())
        return Answer.text(HTTPStatus.NOT_FOUND)


def _checked(problem: str) -> Answer:
    return Answer.text(HTTPStatus.SERVICE_UNAVAILABLE, problem) if problem else Answer.text(HTTPStatus.OK, "ok")


def _host_and_port(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidInput(f"{address!r} is not an address: give host:port, or :port for all interfaces")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def _read(stream: anyio.abc.SocketStream) -> Request | Answer:
    """Read the head of a request; the answer is to one that is none."""
    received = b""
    while b"\r\n\r\n" not in received:
        if len(received) > LARGEST_REQUEST:
            return Answer.text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        received += await stream.receive()
    return _parse(received.partition(b"\r\n\r\n")[0].decode("latin-1"))


def _parse(head: str) -> Request | Answer:
    first, *lines = head.split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return Answer.text(HTTPStatus.BAD_REQUEST)
    headers = (line.partition(":") for line in lines)
    named = {name.strip().lower(): value.strip() for name, _, value in headers}
    return Request(words[0], words[1].partition("?")[0], named)


def _head(answer: Answer) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        *["Allow: GET, HEAD"] * (answer.status is HTTPStatus.METHOD_NOT_ALLOWED),
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
