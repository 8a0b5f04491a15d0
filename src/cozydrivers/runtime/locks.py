"""Locks on what must have one user at a time, as Leases.

A lock has no expiry: it is its holder's until released, or until its holder is known to have ended. A holder is
written `<Kind>/<uid>`.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from cozydrivers.api.coordination import Lease
from cozydrivers.errors import AlreadyExists, Conflict, NotFound
from cozydrivers.kube import KubeClient

IsFinished = Callable[[str], Awaitable[bool]]
"""Says of a holder whether it has ended or is gone."""

_LONGEST_KIND = 40
_HASH_DIGITS = 20


def lock_name(kind: str, *parts: str) -> str:
    """Name the lock of what `parts` tell apart, such as endpoint, bucket and path; a DNS-1123 label."""
    digest = hashlib.sha256(json.dumps([kind, *parts]).encode()).hexdigest()[:_HASH_DIGITS]
    readable = re.sub("[^a-z0-9]+", "-", kind.lower())[:_LONGEST_KIND].strip("-")
    return f"{readable}-{digest}" if readable else digest


def micro_time(at: datetime) -> str:
    """Write an aware time as the API server wants it in a Lease: in UTC, with six digits of a second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def acquire(
    kube: KubeClient, namespace: str, name: str, holder: str, *, now: datetime, is_finished: IsFinished
) -> bool:
    """Take a lock, or keep it; False if another holds it or was faster.

    It is taken over from a holder that `is_finished` says has ended.
    """
    try:
        lease = await kube.get(Lease, name, namespace)
    except NotFound:
        return await _create(kube, namespace, name, holder, now)
    other = lease.spec.holder_identity
    if other == holder:
        return True
    if other and not await is_finished(other):
        return False
    return await _take_over(kube, lease, holder, now)


async def release(kube: KubeClient, namespace: str, name: str, holder: str) -> None:
    """Give a lock back; nothing happens if `holder` does not hold it.

    Raises Conflict when the Lease changes at the same moment: try again.
    """
    try:
        lease = await kube.get(Lease, name, namespace)
        if lease.spec.holder_identity == holder:
            seen = lease.metadata
            await kube.delete(Lease, name, namespace, uid=seen.uid, resource_version=seen.resource_version)
    except NotFound:
        return


async def _create(kube: KubeClient, namespace: str, name: str, holder: str, now: datetime) -> bool:
    try:
        await kube.create(Lease, {"metadata": {"name": name}, "spec": _spec(holder, now, 0)}, namespace)
    except AlreadyExists:
        return False
    return True


async def _take_over(kube: KubeClient, lease: Lease, holder: str, now: datetime) -> bool:
    seen = lease.metadata
    patch = {
        "metadata": {"resourceVersion": seen.resource_version},
        "spec": _spec(holder, now, lease.spec.lease_transitions + 1),
    }
    try:
        await kube.merge_patch(Lease, seen.name, patch, seen.namespace)
    except (Conflict, NotFound):
        return False
    return True


def _spec(holder: str, now: datetime, transitions: int) -> dict[str, Any]:
    return {"holderIdentity": holder, "acquireTime": micro_time(now), "leaseTransitions": transitions}
