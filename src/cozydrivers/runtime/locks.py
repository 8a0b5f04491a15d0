"""Locks on what must have one user at a time, as Leases.

A lock is its holder's until released, or until its holder is known to have ended. A holder is written
`<Kind>/<namespace>/<name>/<uid>`, so that it is found with one request wherever it is; an older form is `<Kind>/<uid>`.
Each Lease carries the label `cozydrivers.cozystack.io/lock`.

Only a holder that is no object of the cluster, such as a command, has a lock that runs out: its Lease says how long it
lasts, and is free when it has not changed for that long by the clock of who wants it. The times in it are never
compared.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import anyio

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
_LASTING = {"leaseDurationSeconds": None, "renewTime": None}


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
        self._unchanged: dict[Lock, tuple[str, float]] = {}

    async def acquire(self, lock: Lock, holder: Holder, now: datetime, *, lasts: int = 0) -> bool:
        """Take a lock, or keep it; False if another holds it who has not ended, or was faster.

        One that `lasts` so many seconds must be renewed before they have passed.
        """
        known = self._taken.get(lock)
        if known is not None and known[0].is_same(holder):
            return True
        body = _spec(holder, now, lasts)
        seen = await self._pass_on(lock, holder, body) if known else await self._create(lock, body)
        seen = seen or await self._take_over(lock, holder, body)
        if seen is not None:
            self._taken[lock] = holder, seen
        return seen is not None

    async def renew(self, lock: Lock, holder: Holder, now: datetime, *, lasts: int) -> bool:
        """Keep a lock for so many seconds more; False if it is not the holder's any more, or changes right now."""
        known = self._taken.pop(lock, None)
        body = {key: value for key, value in _spec(holder, now, lasts).items() if key != "acquireTime"}
        seen = await self._write(lock, known[1], body) if known and known[0].is_same(holder) else None
        if seen is None:  # it was changed since: by whom?
            lease = await self._look(lock)
            if lease is not None and Holder.parse(lease).is_same(holder):
                seen = await self._write(lock, lease, body)
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

    async def _pass_on(self, lock: Lock, holder: Holder, spec: dict[str, Any]) -> Lease | None:
        """Take over what one of our own has left, as it was when that one took it."""
        former, lease = self._taken[lock]
        free = former == NOBODY or await self._is_finished(former)
        return await self._write(lock, lease, spec) if free else None

    async def _look(self, lock: Lock) -> Lease | None:
        try:
            return await self._kube.get(Lease, lock.name, lock.namespace)
        except NotFound:
            return None

    async def _create(self, lock: Lock, spec: dict[str, Any]) -> Lease | None:
        told = {key: value for key, value in spec.items() if value is not None}
        body = {
            "metadata": {"name": lock.name, "labels": {LABEL: lock.purpose}},
            "spec": {**told, "leaseTransitions": 0},
        }
        try:
            return await self._kube.create(Lease, body, lock.namespace)
        except AlreadyExists:
            return None

    async def _take_over(self, lock: Lock, holder: Holder, spec: dict[str, Any]) -> Lease | None:
        lease = await self._look(lock)
        if lease is None or not await self._is_free(lock, lease, holder):
            return None
        if Holder.parse(lease).is_same(holder):
            return lease
        return await self._write(lock, lease, spec)

    async def _write(self, lock: Lock, lease: Lease, spec: dict[str, Any]) -> Lease | None:
        passes = lease.spec.holder_identity != spec["holderIdentity"]
        body = {
            "metadata": {"labels": {LABEL: lock.purpose}, "resourceVersion": lease.metadata.resource_version},
            "spec": {**spec, "leaseTransitions": lease.spec.lease_transitions + passes},
        }
        try:
            return await self._kube.merge_patch(Lease, lock.name, body, lock.namespace)
        except (Conflict, NotFound):
            return None

    async def _is_free(self, lock: Lock, lease: Lease, holder: Holder) -> bool:
        """Whether a Lease is nobody's, or the holder's own, or one's that has ended, or has run out."""
        other = Holder.parse(lease)
        if not lease.spec.holder_identity or other.is_same(holder) or self._has_run_out(lock, lease):
            return True
        return await self._is_finished(other)

    def _has_run_out(self, lock: Lock, lease: Lease) -> bool:
        """Whether it has not changed for as long as it lasts, since it was seen first."""
        lasts, version, now = lease.spec.lease_duration_seconds, lease.metadata.resource_version, anyio.current_time()
        seen, since = self._unchanged.get(lock, ("", now))
        if not lasts or seen != version:
            self._unchanged[lock] = version, now
            return False
        return now - since >= lasts

    async def _free(self, lock: Lock, lease: Lease) -> None:
        version = {"resourceVersion": lease.metadata.resource_version}
        patch = {"metadata": version, "spec": {"holderIdentity": "", **_LASTING}}
        try:
            freed = await self._kube.merge_patch(Lease, lock.name, patch, lock.namespace)
        except NotFound:
            return
        self._taken[lock] = NOBODY, freed


def _spec(holder: Holder, now: datetime, lasts: int) -> dict[str, Any]:
    at = micro_time(now)
    lasting = {"leaseDurationSeconds": lasts, "renewTime": at} if lasts else _LASTING
    return {"holderIdentity": str(holder), "acquireTime": at, **lasting}
