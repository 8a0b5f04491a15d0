"""The fake behind httpx, in process."""

from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import anyio
import httpx

from chbackup._http import _BareClient

from ._faults import ReplyCutError

Handler = Callable[[str, str, str, Mapping[str, str], bytes], Awaitable[tuple[int, dict[str, str], bytes]]]


class FakeTransport(httpx.AsyncBaseTransport):
    """Calls the handler, obeys the read timeout, and fails as a connection does."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        body = await request.aread()
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers.raw}
        try:
            with anyio.fail_after(request.extensions.get("timeout", {}).get("read")):
                status, answered, content = await self._handle(request.method, path, query, headers, body)
        except TimeoutError:
            raise httpx.ReadTimeout("no answer in time", request=request) from None
        except ConnectionRefusedError as error:
            raise httpx.ConnectError(str(error), request=request) from None
        except ReplyCutError as error:
            raise httpx.RemoteProtocolError(str(error), request=request) from None
        except ConnectionResetError as error:
            raise httpx.ReadError(str(error), request=request) from None
        return httpx.Response(status, headers=answered, content=content, request=request)


def client_over(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    """Return what a chbackup client makes for itself, over another transport: httpx's own takes twice the CPU."""
    return cast("httpx.AsyncClient", _BareClient(transport))
