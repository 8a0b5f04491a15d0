"""An object store in process, over the archives of the fake sidecars."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from chbackup.testing import FakeStorage
from cozydrivers.clients.objects import Coordinates, StoredObject, StoreError

ACCESS_KEY = "fake-access-key"
SECRET_KEY = "not-a-real-secret-key"  # noqa: S105 - of a fake


class Opened:
    """What a bucket tells of how it was used.

    `fault` is what every request fails with, empty for none. `requests` are verbs with prefixes or keys, `opened` the
    coordinates that it was opened with.
    """

    def __init__(self) -> None:
        self.fault: str = ""
        self.requests: list[tuple[str, str]] = []
        self.opened: list[Coordinates] = []

    def _asked(self, verb: str, what: str) -> None:
        self.requests.append((verb, what))
        if self.fault:
            raise StoreError(self.fault)


class FakeObjects(Opened):
    """What the sidecars of some storages have stored, all in one bucket. `open` is what a ClickHouseDriver takes."""

    def __init__(self, *storages: FakeStorage) -> None:
        super().__init__()
        self.storages: list[FakeStorage] = list(storages)

    @asynccontextmanager
    async def open(self, coordinates: Coordinates, /) -> AsyncIterator["FakeObjects"]:
        """Open the bucket, with the keys that fake sidecars have."""
        self.opened.append(coordinates)
        if (coordinates.access_key, coordinates.secret_key) != (ACCESS_KEY, SECRET_KEY):
            raise StoreError("the fake object store answers 403 AccessDenied")
        yield self

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """All objects whose key begins with the prefix."""
        self._asked("list", prefix)
        found = {key: size for storage in self.storages for key, size in storage.objects(prefix).items()}
        return [StoredObject(key, size, datetime(2026, 1, 1, tzinfo=UTC)) for key, size in sorted(found.items())]

    async def read(self, key: str, *, limit: int) -> bytes | None:
        """An object's content."""
        self._asked("read", key)
        content = self._content(key)
        if content is not None and len(content) > limit:
            raise StoreError(f"the fake object store answers with more than {limit} bytes for {key}")
        return content

    async def part(self, key: str, start: int, length: int) -> bytes | None:
        """A part of an object."""
        self._asked("part", key)
        content = self._content(key)
        return None if content is None else content[start : start + length]

    async def delete(self, key: str) -> None:
        """Delete an object."""
        self._asked("delete", key)
        storage = self._holder(key)
        if storage is not None:
            storage.remove(key)

    def _content(self, key: str) -> bytes | None:
        storage = self._holder(key)
        return storage.content(key) if storage else None

    def _holder(self, key: str) -> FakeStorage | None:
        return next((storage for storage in self.storages if key in storage.objects(key)), None)
