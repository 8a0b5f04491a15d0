"""What is stored, and everything that ever changed in it: one sequence of versions, as in etcd."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import anyio

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace (empty for cluster-wide objects) and name."""

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True)
class Change:
    """One write: the object after it (of a deletion: before it, with the deletion's version), and before it.

    `at` is its time by the event loop's clock.
    """

    version: int
    storage: str
    type: ChangeType
    object: Object
    previous: Object | None
    at: float


class Store:
    """Objects by kind and name; a stored object is never changed, only replaced."""

    def __init__(self) -> None:
        self.version: int = 0
        self.compacted: int = 0
        self._objects: dict[str, dict[Key, Object]] = {}
        self._latest: dict[str, int] = {}
        self._changes: list[Change] = []
        self._changed: dict[str, anyio.Event] = {}

    def get(self, storage: str, namespace: str, name: str) -> Object | None:
        """Look up an object."""
        return self._objects.get(storage, {}).get((namespace, name))

    def all(self, storage: str, version: int | None = None) -> list[Object]:
        """List objects in the order of their keys, as they are or as they were at a version."""
        objects = dict(self._objects.get(storage, {}))
        if version is not None:
            for change in self._newest_first(storage, version):
                key = _key(change.object)
                if change.previous is None:
                    objects.pop(key, None)
                else:
                    objects[key] = change.previous
        return [obj for _, obj in sorted(objects.items(), key=lambda item: "/".join(item[0]))]

    def put(self, storage: str, obj: Object) -> Object:
        """Store an object under a new version, which it carries."""
        previous = self.get(storage, *_key(obj))
        stored = self._next(obj)
        self._objects.setdefault(storage, {})[_key(obj)] = stored
        self._record(storage, "MODIFIED" if previous else "ADDED", stored, previous)
        return stored

    def remove(self, storage: str, obj: Object) -> int:
        """Delete an object; returns the version of its deletion."""
        previous = self._objects[storage].pop(_key(obj))
        deleted = self._next(previous)
        self._record(storage, "DELETED", deleted, previous)
        return self.version

    def since(self, storage: str, version: int) -> list[Change]:
        """List the changes of a kind after a version, oldest first."""
        return list(self._newest_first(storage, version))[::-1]

    def version_before(self, seconds: float) -> int:
        """Return the version that was the current one so many seconds ago."""
        now = anyio.current_time()
        young = [change.version for change in self._changes if change.at + seconds > now] if seconds else []
        return young[0] - 1 if young else self.version

    def compact(self) -> None:
        """Make all versions before the current one too old; open watches still get what they have not seen."""
        self._changes = [change for change in self._changes if change.version > self.compacted]
        self.compacted = self.version

    def latest(self, storage: str) -> int:
        """Return the version of the last change of a kind."""
        return self._latest.get(storage, 0)

    async def wait(self, storage: str) -> None:
        """Wait for the next change of a kind, or for `wake`."""
        await self._changed.setdefault(storage, anyio.Event()).wait()

    def wake(self, *storages: str) -> None:
        """Wake those who wait for changes of these kinds, or of any."""
        for storage in storages or list(self._changed):
            self._changed.pop(storage, anyio.Event()).set()

    def _newest_first(self, storage: str, version: int) -> Iterator[Change]:
        for change in reversed(self._changes):
            if change.version <= version:
                return
            if change.storage == storage:
                yield change

    def _next(self, obj: Object) -> Object:
        self.version += 1
        return with_metadata(obj, resourceVersion=str(self.version))

    def _record(self, storage: str, kind: ChangeType, obj: Object, previous: Object | None) -> None:
        self._changes.append(Change(self.version, storage, kind, obj, previous, anyio.current_time()))
        self._latest[storage] = self.version
        self.wake(storage)


def with_metadata(obj: Object, **values: Any) -> Object:
    """Copy an object with other values in its metadata; None takes a value out."""
    metadata = {**obj.get("metadata", {}), **values}
    return {**obj, "metadata": {key: value for key, value in metadata.items() if value is not None}}


def _key(obj: Mapping[str, Any]) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
