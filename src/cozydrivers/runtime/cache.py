"""What a process knows of the cluster: one cache per kind, shared by its controllers, read without waiting."""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Generic, Self, TypeVar

import anyio

from cozydrivers.api.base import KubeObject
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.reflector import Reflector
from cozydrivers.runtime.store import Indexer, Key, Listener, Store

T = TypeVar("T", bound=KubeObject)

OWNER = "owner"
LABEL = "label"


class Cache(Generic[T]):
    """The objects of one kind in the namespaces that are watched, with the answers of our own writes.

    `label` restricts it to objects that have that label, `selector` is a label selector. Subscribe and add indexers
    before it runs.
    """

    def __init__(self, kube: KubeClient, kind: type[T], namespaces: Sequence[str], selector: str, label: str) -> None:
        self.kind = kind
        self._kube = kube
        self._selector = ",".join(filter(None, (selector, label)))
        self._listeners: list[Listener[T]] = []
        self._indexers: dict[str, Indexer[T]] = {OWNER: _owners}
        if label:
            self._indexers[LABEL] = lambda obj: (obj.metadata.labels.get(label, ""),)
        places: Sequence[str | None] = namespaces if kind.resource.namespaced and namespaces else [None]
        self._reflectors: dict[str | None, Reflector[T]] = {
            namespace: Reflector(
                kube,
                kind,
                namespace,
                label_selector=self._selector,
                on_change=self._changed,
                indexers=self._indexers,
            )
            for namespace in places
        }

    @property
    def served(self) -> bool:
        """Whether the API server serves this kind, as far as it has answered."""
        return all(reflector.served for reflector in self._reflectors.values())

    @property
    def is_synced(self) -> bool:
        """Whether the cluster has told what there is, everywhere."""
        return all(reflector.is_synced for reflector in self._reflectors.values())

    def subscribe(self, listener: Listener[T]) -> None:
        """Have each change told."""
        self._listeners.append(listener)

    def add_index(self, name: str, indexer: Indexer[T]) -> None:
        """Let `by` find objects under a name."""
        self._indexers[name] = indexer

    def knows(self, namespace: str) -> bool:
        """Whether the cluster has told what there is in a namespace."""
        reflector = self._reflectors.get(namespace) or self._reflectors.get(None)
        return reflector is not None and reflector.served and reflector.is_synced

    def get(self, key: Key) -> T | None:
        """Return the object, None if there is none here."""
        store = self._store(key.namespace)
        return store.get(key) if store else None

    async def catch_up(self, key: Key, uid: str = "") -> None:
        """Read an object from the server that somebody has seen and the watch has not shown yet; ApiError.

        It is read by a list of one, which leaves out what the selector does, and needs no right beyond the watch's.
        """
        store = self._store(key.namespace)
        known = store.get(key) if store else None
        if store is None or (known is not None and uid in ("", known.metadata.uid)):
            return
        place, only = key.namespace or None, f"metadata.name={key.name}"
        with suppress(NotFound):
            found = await self._kube.list(self.kind, place, label_selector=self._selector, field_selector=only)
            for obj in found.items:
                store.put(obj)

    def list(self, namespace: str | None = None) -> list[T]:
        """Return the objects of a namespace, or all."""
        if namespace is not None:
            store = self._store(namespace)
            return store.list(namespace) if store else []
        return [obj for reflector in self._reflectors.values() for obj in reflector.store]

    def by(self, index: str, value: str) -> Sequence[T]:
        """Return the objects for which an index has the value."""
        return [obj for reflector in self._reflectors.values() for obj in reflector.store.by(index, value)]

    def owned_by(self, uid: str) -> Sequence[T]:
        """Return the objects that have an owner of that UID."""
        return self.by(OWNER, uid)

    def put(self, obj: T) -> None:
        """Take in what one of our own writes was answered."""
        store = self._store(obj.metadata.namespace)
        if store:
            store.put(obj)

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        async with anyio.create_task_group() as tasks:
            for reflector in self._reflectors.values():
                tasks.start_soon(reflector.run)

    async def synced(self) -> None:
        """Wait until the cluster has told what there is."""
        for reflector in self._reflectors.values():
            await reflector.synced()

    def _store(self, namespace: str) -> Store[T] | None:
        reflector = self._reflectors.get(namespace or None) or self._reflectors.get(None)
        return reflector.store if reflector else None

    def _changed(self, old: T | None, new: T | None) -> None:
        for listener in self._listeners:
            listener(old, new)


class Caches:
    """The caches of a process over the named namespaces, or all. `selector` restricts the kinds that ask for it.

    `async with` runs those that were declared with `of` before, and waits until all are synced.
    """

    def __init__(self, kube: KubeClient, namespaces: Sequence[str] = (), selector: str = "") -> None:
        self._kube = kube
        self._namespaces = namespaces
        self._selector = selector
        self._caches: dict[tuple[type[KubeObject], str], Cache[Any]] = {}
        self._stack = AsyncExitStack()

    def of(self, kind: type[T], *, label: str = "", selected: bool = False) -> Cache[T]:
        """The cache of a kind; with `label` only of the objects that have that label."""
        if (kind, label) not in self._caches:
            selector = self._selector if selected else ""
            self._caches[kind, label] = Cache(self._kube, kind, self._namespaces, selector, label)
        return self._caches[kind, label]

    def unsynced(self) -> Iterable[str]:
        """The kinds, by their plural, of which the cluster has not told yet what there is."""
        return (kind.resource.plural for (kind, _), cache in self._caches.items() if not cache.is_synced)

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        """Read an object from its cache; what is not there, or not cached, from the server.

        So an absence is never a stale one. Raises ApiError, NotFound among it.
        """
        cache: Cache[T] | None = self._caches.get((kind, ""))
        found = cache.get(Key(namespace or "", name)) if cache else None
        return found if found is not None else await self._kube.get(kind, name, namespace)

    def serves(self, kind: type[KubeObject]) -> bool:
        """Whether the API server serves a kind; True of one that is not cached."""
        cache = self._caches.get((kind, ""))
        return cache is None or cache.served

    async def labelled(self, kind: type[T], namespace: str, label: str, value: str) -> Sequence[T]:
        """The objects of a namespace whose label has a value: from the cache with that label, else from the server."""
        cache: Cache[T] | None = self._caches.get((kind, label))
        if cache is None or not cache.knows(namespace):
            return (await self._kube.list(kind, namespace, label_selector=f"{label}={value}")).items
        return [obj for obj in cache.by(LABEL, value) if obj.metadata.namespace == namespace]

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            for cache in self._caches.values():
                tasks.start_soon(cache.run)
            for cache in self._caches.values():
                await cache.synced()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()  # without the block's error, which so stays itself, and is no group of errors


def _owners(obj: KubeObject) -> list[str]:
    return [owner.uid for owner in obj.metadata.owner_references]
