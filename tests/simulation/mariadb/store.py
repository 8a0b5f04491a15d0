"""The bucket of the dumps: as the Pods fill it, and as one controller reaches it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from tests.simulation.process import LostReply, Meet

from cozydrivers.clients.objects import Coordinates, StoredObject, StoreError
from cozydrivers.testing.buckets import FakeBucket


class Bucket(FakeBucket):
    """A bucket that counts what has changed in it, and can lose the next replies to controllers, after the work."""

    changes = 0
    losing = 0

    def put(self, key: str, content: bytes, at: datetime) -> None:
        """Store an object."""
        super().put(key, content, at)
        self.changes += 1

    def remove(self, key: str) -> None:
        """Take an object away."""
        super().remove(key)
        self.changes += 1

    async def delete(self, key: str) -> None:
        """Delete an object."""
        await super().delete(key)
        self.changes += 1


class Reached:
    """Opens the bucket for one controller, whose requests pass through `meet`."""

    def __init__(self, bucket: Bucket, meet: Meet) -> None:
        self._bucket = bucket
        self._meet = meet

    @asynccontextmanager
    async def open(self, coordinates: Coordinates, /) -> AsyncIterator["Reached"]:
        """Open it; no request is sent."""
        async with self._bucket.open(coordinates):
            yield self

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """All objects whose key begins with the prefix."""
        found: Sequence[StoredObject] = await self._ask("GET", f"?prefix={prefix}", lambda: self._bucket.list(prefix))
        return found

    async def read(self, key: str, *, limit: int) -> bytes | None:
        """An object's content."""
        content: bytes | None = await self._ask("GET", key, lambda: self._bucket.read(key, limit=limit))
        return content

    async def part(self, key: str, start: int, length: int) -> bytes | None:
        """A part of an object."""
        content: bytes | None = await self._ask("GET", key, lambda: self._bucket.part(key, start, length))
        return content

    async def delete(self, key: str) -> None:
        """Delete an object."""
        await self._ask("DELETE", key, lambda: self._bucket.delete(key))

    async def _ask(self, method: str, what: str, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            answer = await self._meet(method, f"s3://{self._bucket.name}/{what}", work)
        except LostReply:
            raise StoreError("the reply is lost") from None
        if self._bucket.losing:
            self._bucket.losing -= 1
            raise StoreError("the reply is lost")
        return answer
