"""The one door to httpx: a request goes out, bytes or ConnectionFailed come back."""

import base64
import math
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal
from urllib.parse import quote, urlencode

import anyio
import httpx

from .errors import ConnectionFailed, InvalidInput

HttpClient = httpx.AsyncClient
Params = Sequence[tuple[str, str]]
Transport = Literal["httpx", "aiohttp"]

_SHORTEST_SECRET = 4  # blanking out a shorter one would blank out half of every sentence
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True)
class Timeout:
    """How long a request may take, in seconds: in `total`, to `connect`, and to `read` with nothing coming.

    By default a connection may take half of the total, at most 10 s, and only the total bounds reading.

    Raises InvalidInput for what is not positive.
    """

    total: float
    connect: float | None = None
    read: float | None = None

    def __post_init__(self) -> None:
        for field, value in vars(self).items():
            if value is not None and (math.isnan(value) or value <= 0):
                raise InvalidInput(f"timeout: {field} must be positive, not {value}")


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    body: bytes


Observer = Callable[[str, int], None]
"""Told of each request: its method, and the HTTP status of its answer, 0 where there was none."""


class Connection:
    """One sidecar's address and credentials over an httpx client that is its own or the caller's."""

    def __init__(
        self,
        url: str,
        username: str | None,
        password: str | None,
        http_client: HttpClient | None,
        verify: bool | ssl.SSLContext,
        transport: Transport,
    ) -> None:
        self.url: str = _check_url(url)
        self.observers: list[Observer] = []
        self.username: str | None = username
        self._auth = _auth(username, password)
        self._secrets = _secrets(username, password)
        self._own = http_client is None
        self._needs_asyncio = self._own and transport == "aiohttp"
        self._client = http_client or _BareClient(_new_transport(verify, transport))

    async def aclose(self) -> None:
        """Close the pool, unless it is the caller's."""
        if self._own:
            await self._client.aclose()

    async def send(
        self, method: str, path: Sequence[str], params: Params, *, timeout: Timeout, body: bytes | None = None
    ) -> Answer:
        """Send one request, never twice. `path` is given in unquoted segments.

        Raises ConnectionFailed, and InvalidInput for what cannot be sent.
        """
        address = self._address(path, params)
        if self._needs_asyncio:
            _check_asyncio()
        try:
            with anyio.fail_after(timeout.total):
                response = await self._client.request(
                    method,
                    address,
                    content=body,
                    auth=self._auth,
                    follow_redirects=False,
                    timeout=_httpx_timeout(timeout),
                )
                self._tell(method, response.status_code)
                return Answer(response.status_code, response.content)
        except (httpx.HTTPError, TimeoutError) as error:
            self._tell(method, 0)
            failure = self._failure(error, f"{method} /{'/'.join(path)}", timeout.total)
        raise failure  # outside of the handler: httpx's exceptions hold the request, and that the password

    def _tell(self, method: str, status: int) -> None:
        for observer in self.observers:
            observer(method, status)

    def without_secrets(self, text: str) -> str:
        """Blank out the credentials in what a server, or something before it, has echoed."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _address(self, path: Sequence[str], params: Params) -> httpx.URL:
        try:
            address = f"{self.url}/{'/'.join([quote(segment, safe='') for segment in path])}"
            return _parsed(f"{address}?{urlencode(params, quote_via=quote, safe='')}" if params else address)
        except UnicodeError:
            problem = "half a character (a lone surrogate) cannot be sent"
        except httpx.InvalidURL:
            problem = "it is too long for an address"
        raise InvalidInput(f"{'/'.join(path)[:100]!r}: {problem}")

    def _failure(self, error: Exception, request: str, timeout: float) -> ConnectionFailed:
        sent = _was_sent(error)
        reason = self.without_secrets(str(error)) or f"no answer within {timeout:g} s"
        outcome = "whether the request was carried out is unknown" if sent else "nothing was sent"
        failure = ConnectionFailed(f"{request} on {self.url}: {reason}; {outcome}", operation=request)
        failure.sent = sent
        return failure


class _BareClient:
    """What a sidecar needs of an httpx client: without cookies, redirects and log lines it takes half the CPU."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def request(
        self,
        method: str,
        url: httpx.URL,
        *,
        content: bytes | None,
        auth: Any,
        follow_redirects: bool,
        timeout: httpx.Timeout,
    ) -> httpx.Response:
        request = httpx.Request(method, url, content=content, extensions={"timeout": timeout.as_dict()})
        if isinstance(auth, httpx.BasicAuth):
            next(auth.auth_flow(request))
        response = await self._transport.handle_async_request(request)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


def tls_context(
    *, ca_file: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Build a context for `verify=`, to be shared by many clients: each of its own costs 20 ms and 0.8 MB.

    `ca_file` replaces the public authorities. `certificate` is ours, for servers that ask for one; `key` is its key
    unless the same file holds it. All are files in PEM format, without a passphrase.

    Raises InvalidInput.
    """
    if key and not certificate:
        raise InvalidInput("key needs certificate")
    try:
        context = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
    except OSError as error:
        raise InvalidInput(f"ca_file: {ca_file} holds no certificates that can be read: {error.strerror}") from None
    try:
        if certificate:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
    except OSError as error:
        raise InvalidInput(f"certificate: {certificate} and its key cannot be read: {error.strerror}") from None
    return context


def _no_passphrase() -> str:
    raise InvalidInput("key: it has a passphrase")


def _was_sent(error: Exception) -> bool:
    # httpx-aiohttp calls a lost reply ConnectTimeout (0.2.0): what aiohttp itself said is the cause.
    cause, aiohttp = error.__cause__, sys.modules.get("aiohttp")
    if aiohttp and isinstance(cause, aiohttp.ClientError):
        return not isinstance(cause, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
    return not isinstance(error, _NOT_SENT)


def _check_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        parsed = httpx.URL()
    if parsed.userinfo:
        raise InvalidInput("url must not hold credentials: pass username= and password=")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise InvalidInput("url must be http://HOST:PORT or https://HOST:PORT")
    return url.rstrip("/")


def _auth(username: str | None, password: str | None) -> Any:
    if username is None and password is None:
        return httpx.USE_CLIENT_DEFAULT
    if ":" in (username or ""):
        raise InvalidInput("username must not hold a colon: a server would take the rest for the password")
    return httpx.BasicAuth(username or "", password or "")


def _secrets(username: str | None, password: str | None) -> tuple[str, ...]:
    if not password:
        return ()
    token = base64.b64encode(f"{username or ''}:{password}".encode()).decode()
    return (token, password) if len(password) >= _SHORTEST_SECRET else (token,)


def _new_transport(verify: bool | ssl.SSLContext, transport: Transport) -> httpx.AsyncBaseTransport:
    context = _shared_context(verify) if isinstance(verify, bool) else verify
    if transport == "httpx":
        return httpx.AsyncHTTPTransport(verify=context, trust_env=False)
    if transport != "aiohttp":
        raise InvalidInput(f"transport must be 'httpx' or 'aiohttp', not {transport!r}")
    try:
        from httpx_aiohttp import AiohttpTransport
    except ImportError:
        raise InvalidInput("transport='aiohttp' needs httpx-aiohttp: pip install 'chbackup[aiohttp]'") from None
    return AiohttpTransport(verify=context, trust_env=False)


def _check_asyncio() -> None:
    import asyncio  # not before it is needed: that takes 17 ms

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise InvalidInput("transport='aiohttp' needs asyncio: take transport='httpx' with trio") from None


@cache
def _shared_context(verify: bool) -> ssl.SSLContext:
    return httpx.create_ssl_context(verify=verify, trust_env=False)


@lru_cache(maxsize=4096)
def _parsed(address: str) -> httpx.URL:
    # The same few of each sidecar are asked again and again, and parsing takes as long as sending.
    return httpx.URL(address)


@lru_cache(maxsize=64)
def _httpx_timeout(timeout: Timeout) -> httpx.Timeout:
    # A connection that cannot be made must fail as such, before the time for all of it is over.
    connect = timeout.connect or min(timeout.total / 2, 10.0)
    return httpx.Timeout(timeout.read or timeout.total, connect=connect, pool=timeout.total)
