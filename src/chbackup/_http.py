"""The one door to httpx: a request goes out, bytes or ConnectionFailed come back."""

import base64
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import anyio
import httpx

from .errors import ConnectionFailed, InvalidInput

HttpClient = httpx.AsyncClient
Params = Sequence[tuple[str, str]]

_SHORTEST_SECRET = 4  # blanking out a shorter one would blank out half of every sentence
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    body: bytes


class Connection:
    """One sidecar's address and credentials over an httpx client that is its own or the caller's."""

    def __init__(
        self,
        url: str,
        username: str | None,
        password: str | None,
        http_client: HttpClient | None,
        verify: bool | ssl.SSLContext,
    ) -> None:
        self.url = _check_url(url)
        self.username = username
        self._auth = _auth(username, password)
        self._secrets = _secrets(username, password)
        self._own = http_client is None
        self._client = http_client or _new_client(verify)

    async def aclose(self) -> None:
        """Close the pool, unless it is the caller's."""
        if self._own:
            await self._client.aclose()

    async def send(self, method: str, path: Sequence[str], params: Params, *, timeout: float) -> Answer:
        """Send one request, never twice. `path` is given in unquoted segments; `timeout` bounds all of it.

        Raises ConnectionFailed.
        """
        try:
            with anyio.fail_after(timeout):
                response = await self._client.request(
                    method,
                    self._address(path, params),
                    auth=self._auth,
                    follow_redirects=False,
                    # A connection that cannot be made must fail as such, before the time for all of it is over.
                    timeout=httpx.Timeout(timeout, connect=min(timeout / 2, 10.0)),
                )
                return Answer(response.status_code, response.content)
        except (httpx.HTTPError, TimeoutError) as error:
            failure = self._failure(error, f"{method} /{'/'.join(path)}", timeout)
        raise failure  # outside of the handler: httpx's exceptions hold the request, and that the password

    def without_secrets(self, text: str) -> str:
        """Blank out the credentials in what a server, or something before it, has echoed."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _address(self, path: Sequence[str], params: Params) -> str:
        address = f"{self.url}/{'/'.join(quote(segment, safe='') for segment in path)}"
        return f"{address}?{urlencode(params, quote_via=quote, safe='')}" if params else address

    def _failure(self, error: Exception, request: str, timeout: float) -> ConnectionFailed:
        sent = not isinstance(error, _NOT_SENT)
        reason = self.without_secrets(str(error)) or f"no answer within {timeout:g} s"
        outcome = "whether the request was carried out is unknown" if sent else "nothing was sent"
        failure = ConnectionFailed(f"{request} on {self.url}: {reason}; {outcome}", operation=request)
        failure.sent = sent
        return failure


def _check_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.userinfo:
        raise InvalidInput("url must not hold credentials: pass username= and password=")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise InvalidInput("url must be http://HOST:PORT or https://HOST:PORT")
    return url.rstrip("/")


def _auth(username: str | None, password: str | None) -> Any:
    if username is None and password is None:
        return httpx.USE_CLIENT_DEFAULT
    return httpx.BasicAuth(username or "", password or "")


def _secrets(username: str | None, password: str | None) -> tuple[str, ...]:
    if not password:
        return ()
    token = base64.b64encode(f"{username or ''}:{password}".encode()).decode()
    return (token, password) if len(password) >= _SHORTEST_SECRET else (token,)


def _new_client(verify: bool | ssl.SSLContext) -> HttpClient:
    context = _shared_context(verify) if isinstance(verify, bool) else verify
    return httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False)


@cache
def _shared_context(verify: bool) -> ssl.SSLContext:
    # One for all clients: each costs 20 ms and 0.8 MB.
    return httpx.create_ssl_context(verify=verify, trust_env=False)
