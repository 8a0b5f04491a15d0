"""How requests reach an API server: the seam below `KubeClient`, and its real end.

kubernetes-asyncio brings configuration, authentication and the pool of connections. The requests are our own: its REST
layer (36.1) does not look at the status on its raw path, and looks for a proxy and into a .netrc for each, in threads.
"""

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import anyio

from cozydrivers.errors import ClusterUnreachable, InvalidInput
from cozydrivers.kube.library import (
    ApiClient,
    ConfigException,
    Configuration,
    load_incluster_config,
    load_kube_config,
)

_DEFAULT_KUBECONFIG = "~/.kube/config"
_READ_BUFFER = 2**21  # an object, which is a line of a watch, has 1.5 MiB at most


@dataclass(frozen=True)
class Response:
    """A whole answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Stream:
    """An answer that is still coming, line by line."""

    status: int
    headers: Mapping[str, str]
    lines: AsyncIterator[bytes]


class Transport(Protocol):
    """Sends one request; raises ClusterUnreachable when there is no answer within `timeout` seconds."""

    async def request(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any, timeout: float
    ) -> Response:
        """Send `body` as JSON (None sends nothing) and read the whole answer."""
        ...

    def stream(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], timeout: float
    ) -> AbstractAsyncContextManager[Stream]:
        """Open an answer that is read by line; `timeout` is for all of it."""
        ...


Observer = Callable[[str, int, Mapping[str, str], float], None]
"""Told of each answer: method, status, headers in lower case, and the seconds from request to answer.

Where there was no answer the status is 0 and there are no headers. A watch is told of when it opens.
"""


class Observing:
    """A transport that tells `observers` of what comes through another one."""

    def __init__(self, inner: Transport, observers: Sequence[Observer]) -> None:
        self._inner = inner
        self._observers = observers

    async def request(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any, timeout: float
    ) -> Response:
        """Send `body` as JSON (None sends nothing) and read the whole answer."""
        started = anyio.current_time()
        try:
            answer = await self._inner.request(method, path, query, headers, body, timeout)
        except ClusterUnreachable:
            self._tell(method, 0, {}, started)
            raise
        self._tell(method, answer.status, answer.headers, started)
        return answer

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], timeout: float
    ) -> AsyncGenerator[Stream, None]:
        """Open an answer that is read by line; `timeout` is for all of it."""
        started, opened = anyio.current_time(), False
        try:
            async with self._inner.stream(method, path, query, headers, timeout) as stream:
                opened = True
                self._tell(method, stream.status, stream.headers, started)
                yield stream
        except ClusterUnreachable:
            if not opened:
                self._tell(method, 0, {}, started)
            raise

    def _tell(self, method: str, status: int, headers: Mapping[str, str], started: float) -> None:
        for observer in self._observers:
            observer(method, status, headers, anyio.current_time() - started)


class RestTransport:
    """The transport over aiohttp, to the server and with the credentials that kubernetes-asyncio has found."""

    def __init__(self, api: ApiClient, session: aiohttp.ClientSession) -> None:
        self._api = api
        self._session = session
        self._proxy = _proxy(api.configuration)

    @property
    def host(self) -> str:
        """The API server's `host:port`."""
        url = urlsplit(str(self._api.configuration.host))
        return f"{url.hostname}:{url.port or (80 if url.scheme == 'http' else 443)}"

    async def request(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any, timeout: float
    ) -> Response:
        """Send `body` as JSON (None sends nothing) and read the whole answer."""
        with _translated_errors(method, path):
            async with await self._send(method, path, query, headers, body, timeout) as answer:
                return Response(answer.status, _lower(answer.headers), await answer.read())

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], timeout: float
    ) -> AsyncGenerator[Stream, None]:
        """Open an answer that is read by line; `timeout` is for all of it."""
        with _translated_errors(method, path):
            answer = await self._send(method, path, query, headers, None, timeout)
        try:
            async with aclosing(_lines(answer, method, path)) as lines:
                yield Stream(answer.status, _lower(answer.headers), lines)
        finally:
            answer.close()

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any, timeout: float
    ) -> aiohttp.ClientResponse:
        sent = dict(headers)
        await self._api.update_params_for_auth(sent, [], ["BearerToken"])
        return await self._session.request(
            method,
            f"{self._api.configuration.host}{path}{'?' * bool(query)}{urlencode(query)}",
            headers=sent,
            data=None if body is None else json.dumps(body),
            timeout=aiohttp.ClientTimeout(total=timeout),
            allow_redirects=False,
            server_hostname=self._api.configuration.tls_server_name,
            proxy=self._proxy,
            proxy_headers=self._api.configuration.proxy_headers,
        )


class _translated_errors:  # noqa: N801 - a context manager, used like a function
    """Turns the errors of aiohttp into ClusterUnreachable, which never quotes a header or a body."""

    def __init__(self, method: str, path: str) -> None:
        self._what = f"{method} {path}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise ClusterUnreachable(f"{self._what}: no answer in time") from None
        if isinstance(error, (aiohttp.ClientError, OSError)):
            raise ClusterUnreachable(f"{self._what}: {type(error).__name__}") from None


async def _lines(answer: aiohttp.ClientResponse, method: str, path: str) -> AsyncGenerator[bytes, None]:
    with _translated_errors(method, path):
        rest = b""
        async for chunk in answer.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line
        if rest:
            yield rest


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@asynccontextmanager
async def connect(kubeconfig: str | None, context: str | None) -> AsyncGenerator[RestTransport, None]:
    """Open a transport: an explicit kubeconfig, else $KUBECONFIG, else in-cluster, else ~/.kube/config."""
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0  # no limit: each open watch holds a connection
    try:
        await _configure(configuration, kubeconfig, context)
    except (ConfigException, OSError) as error:
        raise InvalidInput(f"no usable cluster configuration: {error}") from None
    async with ApiClient(configuration) as api:
        connector = api.rest_client.pool_manager.connector
        async with aiohttp.ClientSession(
            connector=connector, connector_owner=False, read_bufsize=_READ_BUFFER
        ) as session:
            yield RestTransport(api, session)


def _proxy(configuration: Configuration) -> str | None:
    """The proxy of the kubeconfig, else that of the environment."""
    server = urlsplit(str(configuration.host))
    if configuration.proxy or proxy_bypass(server.hostname or ""):
        return configuration.proxy
    return getproxies().get(server.scheme)


async def _configure(configuration: Configuration, kubeconfig: str | None, context: str | None) -> None:
    path = kubeconfig or os.environ.get("KUBECONFIG") or None
    if path is None and "KUBERNETES_SERVICE_HOST" in os.environ and context is None:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return
    path = path or _DEFAULT_KUBECONFIG
    if not _any_file(path):
        raise InvalidInput(f"no kubeconfig at {path}, and not running in a cluster")
    loader = await load_kube_config(config_file=path, context=context, client_configuration=configuration)

    async def refresh(current: Configuration) -> None:
        """Ask an exec plugin for a new token when its old one has expired; kubernetes-asyncio 36.1 asks only once."""
        if hasattr(loader, "exec_plugin_expiry"):
            await loader.load_from_exec_plugin()
            current.api_key["BearerToken"] = loader.token

    configuration.refresh_api_key_hook = refresh


def _any_file(paths: str) -> bool:
    return any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path)
