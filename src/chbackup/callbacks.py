"""Callbacks of sidecars, as an ASGI application: a callback means "poll now", and proves nothing.

A sidecar that was given a `callback` address sends one POST there when the operation ends. It carries no signature, is
never repeated and may get lost, so its content is not looked at: it wakes whoever waits, who then asks the sidecar.
"""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import anyio

from .errors import InvalidInput

__all__ = ["Callback", "CallbackReceiver"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_OK, _NOT_FOUND, _METHOD_NOT_ALLOWED = 200, 404, 405  # the server takes nothing but 200 for a success


class Callback:
    """One operation's address, and the wake-up that a request to it causes.

    Whoever knows `url` can cause wake-ups, nothing more. It is known for as long as this object is in use.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._poked = anyio.Event()

    def poke(self) -> None:
        """Wake whoever waits, or the next to wait; several before that count as one.

        Call it in the event loop of the one who waits.
        """
        self._poked.set()

    async def poked(self) -> None:
        """Return at once if there was a poke since the last return, else wait for one."""
        await self._poked.wait()
        self._poked = anyio.Event()


class CallbackReceiver:
    """The ASGI application that sidecars call; serve it in the event loop of those who wait.

    `base_url` is the address under which sidecars reach it. Only the last segment of a path is looked at, so it may
    be mounted anywhere. It answers 200 to an address that is in use, 404 to others, 405 to what is no POST, and reads
    no bodies. An address is forgotten with its `Callback`.

    Raises InvalidInput when `base_url` is not an address, or holds credentials.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = check_base_url(base_url)
        self._callbacks: WeakValueDictionary[str, Callback] = WeakValueDictionary()

    def callback(self) -> Callback:
        """Return a new callback with an address that nobody can guess."""
        # Of unreserved characters only: the server decodes the address twice.
        key = secrets.token_urlsafe(32)
        callback = self._callbacks[key] = Callback(f"{self._base_url}/{key}")
        return callback

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            status = self._heed(scope["method"], scope["path"])
            headers = [(b"content-length", b"0")] + ([(b"allow", b"POST")] if status == _METHOD_NOT_ALLOWED else [])
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body"})

    def _heed(self, method: str, path: str) -> int:
        if method != "POST":
            return _METHOD_NOT_ALLOWED
        callback = self._callbacks.get(path.rpartition("/")[2])
        if callback is None:
            return _NOT_FOUND
        callback.poke()
        return _OK


async def _live(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


def check_base_url(url: str) -> str:
    """Return the address that others call without its last slash; InvalidInput where it is none, or has credentials."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("base_url must not hold credentials: sidecars would store and log them")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or not url.isprintable():
        raise InvalidInput("base_url must be http://HOST:PORT or https://HOST:PORT, with or without a path")
    return url.rstrip("/")
