"""An object store over S3, by the extra `chbackup[s3]`; asyncio only."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree as ET

import anyio

from cozydrivers.clients.objects import REQUEST_TIMEOUT, Coordinates, StoredObject, StoreError

try:
    from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
    from aiohttp_s3_client import S3Client
except ImportError as _error:
    raise ImportError(f"S3 needs {_error.name}: pip install 'chbackup[s3]'") from None

_PAGE = 16 * 1024 * 1024
"""Bytes that a page of a thousand keys never has."""
_ERROR = 1024 * 1024
_GOOD = (HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.PARTIAL_CONTENT)
_MOST_OBJECTS = 1_000_000
_CONNECT_TIMEOUT = 10.0


@asynccontextmanager
async def open_bucket(coordinates: Coordinates) -> AsyncIterator["S3Bucket"]:
    """Open a bucket; nothing is sent before it is asked for something. Raises StoreError."""
    url = coordinates.url
    connector = TCPConnector(ssl=_tls(coordinates) if url.startswith("https:") else False)
    timeout = ClientTimeout(total=REQUEST_TIMEOUT, sock_connect=_CONNECT_TIMEOUT)
    async with ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        client = S3Client(
            session,
            url,
            access_key_id=coordinates.access_key,
            secret_access_key=coordinates.secret_key,
            region=coordinates.region,
        )
        yield S3Bucket(client, f"the object store {url}")


def _tls(coordinates: Coordinates) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        if coordinates.ca:
            context.load_verify_locations(cadata=coordinates.ca)
    except (ssl.SSLError, ValueError):
        raise StoreError("the certificates for the object store can't be read") from None
    if not coordinates.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    range: str


class S3Bucket:
    """A bucket; `label` is how messages name it."""

    def __init__(self, client: S3Client, label: str) -> None:
        self._client = client
        self._label = label

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """All objects whose key begins with the prefix."""
        found: list[StoredObject] = []
        query = {"list-type": "2", "prefix": prefix}
        while True:
            page = self._page(await self._send("GET", "/", query, limit=_PAGE))
            found += _objects(page)
            token = _text(page, "NextContinuationToken")
            if _text(page, "IsTruncated") != "true":
                return found
            if not token or token == query.get("continuation-token") or len(found) > _MOST_OBJECTS:
                raise StoreError(f"{self._label} lists {prefix} without an end")
            query["continuation-token"] = token

    async def read(self, key: str, *, limit: int) -> bytes | None:
        """An object's content; see the protocol."""
        answer = await self._send("GET", self._path(key), {}, limit=limit)
        return None if _is_absent(answer) else self._good(answer).body

    async def part(self, key: str, start: int, length: int) -> bytes | None:
        """A part of an object; see the protocol. Raises StoreError also where the store does not know ranges."""
        span = f"bytes={start}-{start + length - 1}"
        answer = await self._send("GET", self._path(key), {}, limit=length, span=span)
        if _is_absent(answer):
            return None
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return b""
        if self._good(answer).status != HTTPStatus.PARTIAL_CONTENT or not answer.range.startswith(f"bytes {start}-"):
            raise StoreError(f"{self._label} answers with another part of {key} than the one asked for")
        return answer.body

    async def delete(self, key: str) -> None:
        """Delete an object; see the protocol."""
        self._good(await self._send("DELETE", self._path(key), {}, limit=_ERROR))

    def _path(self, key: str) -> str:
        if key.startswith("/"):  # the client takes it for the same key without
            raise StoreError(f"{self._label} can't be asked for {key}")
        return key

    async def _send(self, method: str, path: str, query: dict[str, str], *, limit: int, span: str = "") -> _Answer:
        """Ask; a `span` of bytes is taken as it lies there, also where it is said to be compressed for the way."""
        ranged: dict[str, Any] = {"headers": {"range": span}, "auto_decompress": False} if span else {}
        try:
            with anyio.fail_after(REQUEST_TIMEOUT):
                async with self._client.request(
                    method, path, params=query, allow_redirects=False, **ranged
                ) as response:
                    bound = limit if response.status in _GOOD else _ERROR
                    body = bytearray()
                    async for chunk in response.content.iter_chunked(65536):
                        body += chunk
                        if len(body) > bound:
                            raise StoreError(f"{self._label} answers with more than {bound} bytes for {path}")
                    return _Answer(response.status, bytes(body), response.headers.get("content-range", ""))
        except TimeoutError:
            raise StoreError(f"{self._label} did not answer in {REQUEST_TIMEOUT:g} s") from None
        except (ClientError, OSError, ValueError) as error:
            raise StoreError(f"{self._label} can't be reached: {_words(error)}") from None

    def _good(self, answer: _Answer) -> _Answer:
        if answer.status in _GOOD:
            return answer
        raise StoreError(f"{self._label} answers {answer.status} {_code(answer.body)}".rstrip())

    def _page(self, answer: _Answer) -> ET.Element:
        try:
            return ET.fromstring(self._good(answer).body)  # noqa: S314 - expat refuses what grows without bounds
        except ET.ParseError:
            raise StoreError(f"{self._label} answers with something else than a list") from None


def _objects(page: ET.Element) -> Sequence[StoredObject]:
    """The objects of one page, none left out: StoreError where one has no key, size or time."""
    try:
        return [
            StoredObject(
                _text(each, "Key"), int(_text(each, "Size")), datetime.fromisoformat(_text(each, "LastModified"))
            )
            for each in page.iterfind("{*}Contents")
        ]
    except ValueError:
        raise StoreError("the object store lists an object without size or time") from None


def _is_absent(answer: _Answer) -> bool:
    return answer.status == HTTPStatus.NOT_FOUND and _code(answer.body) == "NoSuchKey"


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def _code(body: bytes) -> str:
    """The word for an error, such as AccessDenied; what else an answer says may quote what was signed."""
    try:
        return _text(ET.fromstring(body), "Code")[:64]  # noqa: S314 - as above
    except ET.ParseError:
        return ""


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
