"""A copy of one kind's objects, as far as the cluster has told."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, Self, TypeVar

from cozydrivers.api.base import KubeObject

T = TypeVar("T", bound=KubeObject)
Listener = Callable[[T | None, T | None], None]
"""Told of a change: the object before, and after; None where there is none."""

Indexer = Callable[[T], Iterable[str]]
"""Gives the values under which an index finds an object."""


class Key(NamedTuple):
    """An object's place within its kind; `namespace` is empty for cluster-wide objects."""

    namespace: str
    name: str

    @classmethod
    def of(cls, obj: KubeObject) -> Self:
        """Key of an object."""
        return cls(obj.metadata.namespace, obj.metadata.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Store(Generic[T]):
    """Objects by key, fed by a watch and by the answers of our own writes; never goes back to an older version.

    Each change is told to `on_change` once, whoever brings it first. `version` is the one up to which the watch has
    told everything. Each of the `indexers` finds objects by values of its own, with `by`.
    """

    def __init__(self, on_change: Listener[T], indexers: Mapping[str, Indexer[T]] | None = None) -> None:
        self.version: str = ""
        self._on_change = on_change
        self._objects: dict[str, dict[str, T]] = {}
        self._indexers: Mapping[str, Indexer[T]] = {} if indexers is None else indexers
        self._found: dict[tuple[str, str], dict[Key, T]] = {}

    def __iter__(self) -> Iterator[T]:
        for objects in list(self._objects.values()):
            yield from list(objects.values())

    def get(self, key: Key) -> T | None:
        """Return the object, None if there is none."""
        return self._objects.get(key.namespace, {}).get(key.name)

    def put(self, obj: T) -> None:
        """Take in an object that a watch showed or a write answered.

        Ignored if the watch is past its version: it may have been changed or deleted since.
        """
        old = self.get(Key.of(obj))
        version = obj.metadata.resource_version
        if not _newer(version, self.version) or (
            old is not None and not _newer(version, old.metadata.resource_version)
        ):
            return
        self._objects.setdefault(obj.metadata.namespace, {})[obj.metadata.name] = obj
        self._index(old, obj)
        self._on_change(old, obj)

    def remove(self, obj: T) -> None:
        """Drop an object whose deletion was seen; one that was created anew since then stays."""
        old = self.get(Key.of(obj))
        if old is not None and not _newer(old.metadata.resource_version, obj.metadata.resource_version):
            self._drop(old)

    def replace(self, objects: Iterable[T], version: str) -> None:
        """Take in a complete list; what we wrote after its version stays."""
        listed = {Key.of(obj): obj for obj in objects}
        for old in self:
            if Key.of(old) not in listed and not _newer(old.metadata.resource_version, version):
                self._drop(old)
        self.version = ""
        for obj in listed.values():
            self.put(obj)
        self.version = version

    def _drop(self, obj: T) -> None:
        namespace, name = Key.of(obj)
        del self._objects[namespace][name]
        if not self._objects[namespace]:
            del self._objects[namespace]
        self._index(obj, None)
        self._on_change(obj, None)

    def _index(self, old: T | None, new: T | None) -> None:
        for name, values_of in self._indexers.items():
            if old is not None:
                self._unindex(name, values_of(old), Key.of(old))
            if new is not None:
                for value in values_of(new):
                    self._found.setdefault((name, value), {})[Key.of(new)] = new

    def _unindex(self, name: str, values: Iterable[str], key: Key) -> None:
        for value in values:
            found = self._found.get((name, value), {})
            found.pop(key, None)
            if not found:
                self._found.pop((name, value), None)

    def list(self, namespace: str | None = None) -> list[T]:
        """Return the objects of a namespace, or all."""
        return list(self) if namespace is None else list(self._objects.get(namespace, {}).values())

    def by(self, index: str, value: str) -> Sequence[T]:
        """Return the objects for which an indexer gives a value."""
        return list(self._found.get((index, value), {}).values())


def _newer(version: str, than: str) -> bool:
    """Compare resourceVersions; those that are not numbers can't be compared, and count as newer."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return True
