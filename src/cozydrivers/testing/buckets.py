"""Buckets in process: what an S3 server does, as far as drivers and the Jobs of operators see it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from cozydrivers.clients.objects import Coordinates, OpenStore, StoredObject, StoreError
from cozydrivers.testing.objects import ACCESS_KEY, SECRET_KEY, Opened

__all__ = ["ACCESS_KEY", "FORBIDDEN", "SECRET_KEY", "UNREACHABLE", "FakeBucket", "open_among"]

UNREACHABLE = "the fake object store can't be reached: ConnectionRefusedError"
"""What fails a request where nobody answers."""

FORBIDDEN = "the fake object store answers 403 AccessDenied"
"""What fails a request that the keys don't allow."""


@dataclass(frozen=True)
class _Stored:
    content: bytes
    at: datetime


class FakeBucket(Opened):
    """A bucket of its own, empty at first. `open` is what a driver takes.

    `endpoint` is a host, with its port where it has one; empty is any. `outside` is what the requests of those fail
    with who have opened it, while Pods go on. `hidden` are keys that a list leaves out, though they are there.
    """

    def __init__(
        self, name: str = "backups", *, endpoint: str = "", access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY
    ) -> None:
        super().__init__()
        self.name = name
        self.endpoint = endpoint
        self.access_key = access_key
        self.secret_key = secret_key
        self.outside: str = ""
        self.hidden: set[str] = set()
        self._stored: dict[str, _Stored] = {}

    @asynccontextmanager
    async def open(self, coordinates: Coordinates, /) -> AsyncIterator["FakeBucket"]:
        """Open the bucket. Raises StoreError for another bucket's name or keys, as S3 answers them."""
        self.opened.append(coordinates)
        self.check(coordinates.bucket, coordinates.access_key, coordinates.secret_key)
        if self.endpoint not in ("", urlsplit(coordinates.url).netloc):
            raise StoreError(UNREACHABLE)
        yield self

    def check(self, bucket: str, access_key: str, secret_key: str) -> None:
        """Raise StoreError unless this is the bucket, and these are its keys."""
        if access_key != self.access_key:
            raise StoreError("the fake object store answers 403 InvalidAccessKeyId")
        if secret_key != self.secret_key:
            raise StoreError("the fake object store answers 403 SignatureDoesNotMatch")
        if bucket != self.name:
            raise StoreError("the fake object store answers 404 NoSuchBucket")

    def put(self, key: str, content: bytes, at: datetime) -> None:
        """Store an object, in place of one of that key. Raises StoreError while a fault says so."""
        self._asked("put", key)
        self._stored[key] = _Stored(content, at)

    @property
    def keys(self) -> list[str]:
        """The keys of all objects, in order."""
        return sorted(self._stored)

    def content(self, key: str) -> bytes:
        """An object's content; KeyError where there is none."""
        return self._stored[key].content

    def under(self, prefix: str) -> list[str]:
        """The keys that begin with a prefix, as a Pod lists them. Raises StoreError while a fault says so."""
        self._asked("list", prefix)
        return [key for key in self.keys if key.startswith(prefix)]

    def fetched(self, key: str) -> bytes:
        """An object's content, as a Pod downloads it. Raises StoreError while a fault says so."""
        self._asked("get", key)
        return self.content(key)

    def remove(self, key: str) -> None:
        """Take an object away; no request, and no fault hits it."""
        self._stored.pop(key, None)

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """All objects whose key begins with the prefix."""
        self._answered("list", prefix)
        shown = (key for key in self.keys if key.startswith(prefix) and key not in self.hidden)
        return [StoredObject(key, len(self._stored[key].content), self._stored[key].at) for key in shown]

    async def read(self, key: str, *, limit: int) -> bytes | None:
        """An object's content."""
        self._answered("read", key)
        if key not in self._stored:
            return None
        content = self._stored[key].content
        if len(content) > limit:
            raise StoreError(f"the fake object store answers with more than {limit} bytes for {key}")
        return content

    async def part(self, key: str, start: int, length: int) -> bytes | None:
        """A part of an object."""
        self._answered("part", key)
        return self._stored[key].content[start : start + length] if key in self._stored else None

    async def delete(self, key: str) -> None:
        """Delete an object."""
        self._answered("delete", key)
        self._stored.pop(key, None)

    def _answered(self, verb: str, what: str) -> None:
        self._asked(verb, what)
        if self.outside:
            raise StoreError(self.outside)


def open_among(*buckets: FakeBucket) -> OpenStore:
    """Give what opens one of these buckets, whichever has the endpoint and the name asked for."""

    def open_(coordinates: Coordinates, /) -> AbstractAsyncContextManager[FakeBucket]:
        host = urlsplit(coordinates.url).netloc
        there = [bucket for bucket in buckets if bucket.endpoint in ("", host)]
        named = [bucket for bucket in there if bucket.name == coordinates.bucket]
        if not there:
            raise StoreError(UNREACHABLE)
        return (named or there)[0].open(coordinates)

    return open_
