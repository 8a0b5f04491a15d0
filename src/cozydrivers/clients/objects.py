"""An object store as drivers see it: what lies under a prefix, and what is in one object.

`open_store` speaks S3. It needs the extra `chbackup[s3]`, and raises StoreError where that is not installed.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from cozydrivers.errors import CozydriversError

REQUEST_TIMEOUT = 30.0
"""Seconds for one request to an object store."""


class StoreError(CozydriversError):
    """The object store can't be asked, or did not answer what was asked."""


@dataclass(frozen=True)
class Coordinates:
    """Where a bucket is, and the way in.

    `endpoint` is a URL without bucket, empty for AWS itself. `path_style` puts the bucket into the path instead of the
    host name. `ca` are PEM certificates that are trusted beside the system's; without `verify` any is.
    """

    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    endpoint: str = field(default="", repr=False)
    region: str = "us-east-1"
    path_style: bool = True
    ca: str = field(default="", repr=False)
    verify: bool = True

    @property
    def url(self) -> str:
        """The bucket's own URL, without credentials. Raises StoreError for an endpoint that is none."""
        try:
            parts = urlsplit(self.endpoint or f"https://s3.{self.region}.amazonaws.com")
            host = parts.netloc.rpartition("@")[2]
            port = parts.port
        except ValueError:
            host, port = "", None
        if not host or port == 0 or parts.scheme not in ("http", "https"):
            raise StoreError("the object store's endpoint is no http or https URL")
        if self.path_style:
            return urlunsplit((parts.scheme, host, f"{parts.path.rstrip('/')}/{self.bucket}", "", ""))
        return urlunsplit((parts.scheme, f"{self.bucket}.{host}", parts.path.rstrip("/"), "", ""))


@dataclass(frozen=True)
class StoredObject:
    """One object, its size in bytes."""

    key: str
    size: int
    modified: datetime


class ObjectStore(Protocol):
    """A bucket. Every method raises StoreError."""

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """All objects whose key begins with the prefix, as far as it takes."""

    async def read(self, key: str, *, limit: int) -> bytes | None:
        """An object's content, None where there is none; StoreError where it is longer than `limit` bytes."""

    async def part(self, key: str, start: int, length: int) -> bytes | None:
        """At most `length` bytes of an object from `start` on: b"" beyond its end, None where there is no object."""

    async def delete(self, key: str) -> None:
        """Delete an object; one that is not there is deleted already."""


OpenStore = Callable[[Coordinates], AbstractAsyncContextManager[ObjectStore]]
"""What gives a bucket for coordinates, for as long as its block lasts."""


def open_store(coordinates: Coordinates) -> AbstractAsyncContextManager[ObjectStore]:
    """Open a bucket over S3. Raises StoreError where the extra `chbackup[s3]` is not installed."""
    try:
        from cozydrivers.clients.s3 import open_bucket  # what it needs may be absent
    except ImportError as error:
        raise StoreError(str(error)) from None
    return open_bucket(coordinates)
