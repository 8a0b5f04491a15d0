"""Locks on what must have one user at a time, as Leases.

A lock has no expiry: it is its holder's until released, or until its holder is known to have ended. A holder is
written `<Kind>/<namespace>/<name>/<uid>`, so that it is found with one request wherever it is; an older form is
`<Kind>/<uid>`. Each Lease carries the label `cozydrivers.cozystack.io/lock`.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from cozydrivers.api.base import KubeObject
from cozydrivers.api.coordination import Lease
from cozydrivers.errors import AlreadyExists, Conflict, NotFound
from cozydrivers.kube import KubeClient

LABEL = "cozydrivers.cozystack.io/lock"
"""The label of a lock's Lease: what it is for, `target` or `storage`."""

STORAGE_NAMESPACE = "kube-system"
"""Where the locks of storage paths are. Applications of several namespaces may share a path, so its lock must be in one
place that every controller agrees on, whatever namespace it is installed in; this one always exists.
"""

_LONGEST_KIND = 40
_HASH_DIGITS = 20


class Lock(NamedTuple):
    """A lock's Lease, and what it is for."""

    purpose: Literal["target", "storage"]
    namespace: str
    name: str


class Holder(NamedTuple):
    """An object that holds locks; `name` is empty where an older version wrote it."""

    kind: str
    uid: str
    namespace: str
    name: str

    @classmethod
    def of(cls, obj: KubeObject) -> "Holder":
        """The object itself as a holder."""
        metadata = obj.metadata
        return cls(obj.resource.kind, metadata.uid, metadata.namespace, metadata.name)

    @classmethod
    def parse(cls, lease: Lease) -> "Holder":
        """The holder that a Lease names, in either form; the older one is in the Lease's namespace."""
        text, namespace = lease.spec.holder_identity, lease.metadata.namespace
        match text.split("/"):
            case [kind, uid]:
                return cls(kind, uid, namespace, "")
            case [kind, namespace, name, uid]:
                return cls(kind, uid, namespace, name)
        return cls(text, "", namespace, "")

    def is_same(self, other: "Holder") -> bool:
        """Whether both are one object."""
        return bool(self.uid) and (self.kind, self.uid) == (other.kind, other.uid)

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}/{self.uid}"


NOBODY = Holder("", "", "", "")

IsFinished = Callable[[Holder], Awaitable[bool]]
"""Says of a holder whether it has ended or is gone."""


def lock_name(kind: str, *parts: str) -> str:
    """Name the lock of what `parts` tell apart, such as endpoint, bucket and path; a DNS-1123 label."""
    digest = hashlib.sha256(json.dumps([kind, *parts]).encode()).hexdigest()[:_HASH_DIGITS]
    readable = re.sub("[^a-z0-9]+", "-", kind.lower())[:_LONGEST_KIND].strip("-")
    return f"{readable}-{digest}" if readable else digest


def target_lock(kind: str, namespace: str, name: str) -> Lock:
    """The lock of an application, in its namespace."""
    return Lock("target", namespace, lock_name("cozydrivers-target", kind, namespace, name))


def storage_lock(storage_id: str) -> Lock:
    """The lock of a storage path."""
    return Lock("storage", STORAGE_NAMESPACE, storage_lock_name(storage_id))


def storage_lock_name(storage_id: str) -> str:
    """Name the Lease of a storage path's lock, in `STORAGE_NAMESPACE`."""
    return lock_name("cozydrivers-storage", storage_id)


def micro_time(at: datetime) -> str:
    """Write an aware time as the API server wants it in a Lease: in UTC, with six digits of a second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Locks:
    """The locks of one process, which remembers what it has taken and does not ask again.

    Valid for as long as the process may act: one that has lost the leadership starts with new ones, and nobody deletes
    Leases by hand meanwhile.
    """

    def __init__(self, kube: KubeClient, is_finished: IsFinished) -> None:
        self._kube = kube
        self._is_finished = is_finished
        self._taken: dict[Lock, tuple[Holder, Lease]] = {}

    async def acquire(self, lock: Lock, holder: Holder, now: datetime) -> bool:
        """Take a lock, or keep it; False if another holds it who has not ended, or was faster."""
        known = self._taken.get(lock)
        if known is not None and known[0].is_same(holder):
            return True
        seen = await self._pass_on(lock, holder, now) if known else await self._create(lock, holder, now)
        seen = seen or await self._take_over(lock, holder, now)
        if seen is not None:
            self._taken[lock] = holder, seen
        return seen is not None

    async def release(self, lock: Lock, holder: Holder) -> None:
        """Give a lock back; nothing happens if `holder` does not hold it. The Lease stays, and what is told in it.

        Raises Conflict when the Lease changes at the same moment: try again.
        """
        known = self._taken.get(lock)
        if known is not None and known[0].is_same(holder):
            del self._taken[lock]
            with suppress(Conflict):  # it was changed since: by whom?
                await self._free(lock, known[1])
                return
        lease = await self._look(lock)
        if lease is not None and Holder.parse(lease).is_same(holder):
            await self._free(lock, lease)

    async def _pass_on(self, lock: Lock, holder: Holder, now: datetime) -> Lease | None:
        """Take over what one of our own has left, as it was when that one took it."""
        former, lease = self._taken[lock]
        free = former == NOBODY or await self._is_finished(former)
        return await self._write(lock, lease, holder, now) if free else None

    async def _look(self, lock: Lock) -> Lease | None:
        try:
            return await self._kube.get(Lease, lock.name, lock.namespace)
        except NotFound:
            return None

    async def _create(self, lock: Lock, holder: Holder, now: datetime) -> Lease | None:
        body = _body(lock, holder, now, 0)
        body["metadata"]["name"] = lock.name
        try:
            return await self._kube.create(Lease, body, lock.namespace)
        except AlreadyExists:
            return None

    async def _take_over(self, lock: Lock, holder: Holder, now: datetime) -> Lease | None:
        lease = await self._look(lock)
        if lease is None or not await self._is_free(lease, holder):
            return None
        if Holder.parse(lease).is_same(holder):
            return lease
        return await self._write(lock, lease, holder, now)

    async def _write(self, lock: Lock, lease: Lease, holder: Holder, now: datetime) -> Lease | None:
        body = _body(lock, holder, now, lease.spec.lease_transitions + 1)
        body["metadata"]["resourceVersion"] = lease.metadata.resource_version
        try:
            return await self._kube.merge_patch(Lease, lock.name, body, lock.namespace)
        except (Conflict, NotFound):
            return None

    async def _is_free(self, lease: Lease, holder: Holder) -> bool:
        """Whether a Lease is nobody's, or the holder's own, or one's that has ended."""
        other = Holder.parse(lease)
        return not lease.spec.holder_identity or other.is_same(holder) or await self._is_finished(other)

    async def _free(self, lock: Lock, lease: Lease) -> None:
        version = {"resourceVersion": lease.metadata.resource_version}
        patch = {"metadata": version, "spec": {"holderIdentity": ""}}
        try:
            freed = await self._kube.merge_patch(Lease, lock.name, patch, lock.namespace)
        except NotFound:
            return
        self._taken[lock] = NOBODY, freed


def _body(lock: Lock, holder: Holder, now: datetime, transitions: int) -> dict[str, Any]:
    spec = {"holderIdentity": str(holder), "acquireTime": micro_time(now), "leaseTransitions": transitions}
    return {"metadata": {"labels": {LABEL: lock.purpose}}, "spec": spec}
