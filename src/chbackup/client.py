"""One method per endpoint of a sidecar. Nothing here retries: what is safe to repeat depends on the operation.

The methods stand in `_client_reads`, `_client_acts`, `_client_backups`, `_client_restores` and `_client_starts`.
"""

import copy
import os
import ssl
from datetime import tzinfo
from pathlib import Path
from types import TracebackType
from typing import Self

from ._client_acts import DELETE_TIMEOUT, KILL_TIMEOUT, ClientActs
from ._client_backups import ClientBackups
from ._client_reads import ClientReads
from ._client_restores import ClientRestores
from ._http import Connection, HttpClient, Observer, Timeout, Transport, tls_context
from .errors import InvalidInput

__all__ = ["DELETE_TIMEOUT", "KILL_TIMEOUT", "Client", "Timeout", "tls_context"]


class Client(ClientReads, ClientActs, ClientBackups, ClientRestores):
    """A clickhouse-backup sidecar.

    `timeout` bounds each request: seconds, or a `Timeout`. An `http_client` of yours is used as it is and stays open;
    without one, a client of our own reads no proxy or credentials from the environment. `verify` is True, False or
    an SSL context, such as `tls_context` makes. `transport="aiohttp"` is the faster one, on asyncio, with the extra
    `[aiohttp]`. Redirects are never followed.

    `timezone` is the zone of the server's process, which its answers do not tell: with it, the times of archives and
    rows are aware, without it naive. Lists of servers before 2.6.29 print UTC, and are read so.

    Raises InvalidInput when the URL is not one or holds credentials, or an extra is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        timeout: float | Timeout = 30.0,
        http_client: HttpClient | None = None,
        verify: bool | ssl.SSLContext = True,
        transport: Transport = "httpx",
        timezone: tzinfo | None = None,
    ) -> None:
        connection = Connection(url, username, password, http_client, verify, transport)
        super().__init__(connection, timeout, timezone)

    @classmethod
    def from_env(
        cls,
        *,
        url: str | None = None,
        username: str | None = None,
        password_file: str | None = None,
        timeout: float | Timeout = 30.0,
    ) -> Self:
        """Build a client from CHBACKUP_URL, _USERNAME and _PASSWORD or _PASSWORD_FILE; arguments beat them.

        Raises InvalidInput when no URL is given or the file cannot be read.
        """
        url = url or os.environ.get("CHBACKUP_URL")
        if not url:
            raise InvalidInput("no url: pass one or set CHBACKUP_URL")
        username = username if username is not None else os.environ.get("CHBACKUP_USERNAME")
        return cls(url, username=username, password=read_password(password_file), timeout=timeout)

    def with_options(self, *, timeout: float | Timeout) -> Self:
        """Return a copy with another timeout, over the same connections."""
        other = copy.copy(self)
        other._set_timeout(timeout)  # noqa: SLF001 - it is one of us
        return other

    def __repr__(self) -> str:
        return f"<Client {self.url} username={self._connection.username!r}>"

    @property
    def url(self) -> str:
        """The sidecar's address."""
        return self._connection.url

    @property
    def observers(self) -> list[Observer]:
        """Each is told of every request: its method, and the HTTP status, 0 where there was no answer."""
        return self._connection.observers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; `async with` does it."""
        await self._connection.aclose()


def read_password(path: str | None) -> str | None:
    """Return what CHBACKUP_PASSWORD holds unless a file is named, else the content of the file.

    Raises InvalidInput when it cannot be read.
    """
    if not path and "CHBACKUP_PASSWORD" in os.environ:
        return os.environ["CHBACKUP_PASSWORD"]
    path = path or os.environ.get("CHBACKUP_PASSWORD_FILE")
    try:
        return Path(path).read_text().rstrip("\r\n") if path else None
    except OSError as error:
        raise InvalidInput(f"the password file cannot be read: {error.strerror}") from None
