"""One Lease of an election, as client-go claims, renews and releases it.

A record of somebody else counts until it has not changed for its duration by our clock; the times in it are never
compared with ours. Every write carries the resourceVersion of what was seen. Two things are stricter than in client-go
0.33: our own claim counts from when a renewal was sent, not from its answer, and it ends at once when another holder is
seen.
"""

import logging
import math
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

import anyio

from cozydrivers.api.coordination import Lease, LeaseSpec
from cozydrivers.errors import AlreadyExists, ApiError, Conflict, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.locks import micro_time
from cozydrivers.runtime.store import Key, Store

LEASE_DURATION = 15.0
"""Seconds without a change after which others may take a Lease over."""

RENEW_DEADLINE = 10.0
"""Seconds after the last renewal in which its holder acts."""

ATTEMPT_TIMEOUT = RENEW_DEADLINE / 2
"""Seconds that one attempt to take or renew may take, so that a second one fits in before the deadline."""

_REMEMBERED = 8
_log = logging.getLogger(__name__)


class Claim:
    """What this process knows of one Lease, kept in `store`, and until when it holds it.

    A `shared` Lease is never created, and others may hold it under the same identity, each renewing it.
    """

    def __init__(
        self,
        kube: KubeClient,
        store: Store[Lease],
        key: Key,
        identity: str,
        now: Callable[[], datetime],
        *,
        shared: bool = False,
    ) -> None:
        self.key = key
        self._kube = kube
        self._store = store
        self._identity = identity
        self._now = now
        self._shared = shared
        self._spec: LeaseSpec | None = None
        self._seen_at = -math.inf
        self._renewed_at: float | None = None
        self._sent: deque[datetime] = deque(maxlen=_REMEMBERED)
        self._sibling_at = -math.inf
        self._trouble = ""

    @property
    def lease(self) -> Lease | None:
        """The Lease as it was last seen; None where there is none."""
        return self._store.get(self.key)

    @property
    def ends_at(self) -> float:
        """When by the loop's clock the claim ends if it is not renewed."""
        return -math.inf if self._renewed_at is None else self._renewed_at + RENEW_DEADLINE

    @property
    def held(self) -> bool:
        """Whether it is ours at this moment, by the clock."""
        return anyio.current_time() < self.ends_at

    @property
    def other(self) -> str:
        """Who else holds it, by a record that still counts; else empty."""
        if self._spec is None or self._spec.holder_identity == self._identity:
            return ""
        lasts = self._spec.lease_duration_seconds or LEASE_DURATION
        return self._spec.holder_identity if anyio.current_time() < self._seen_at + lasts else ""

    @property
    def state(self) -> str:
        """How it stands, as words that stay the same while it does."""
        if self.held:
            return f"Lease {self.key} is held"
        if self.other:
            return f"Lease {self.key} is held by {self.other}"
        why = f": {self._trouble}" if self._trouble else ""
        if self._renewed_at is not None:
            return f"Lease {self.key} was not renewed for {RENEW_DEADLINE:.0f} s{why}"
        return f"Lease {self.key} is not held{why}"

    def observe(self, lease: Lease | None) -> None:
        """Take in what the Lease is now."""
        spec = lease.spec if lease is not None else None
        if spec == self._spec:
            return
        self._spec, self._seen_at = spec, anyio.current_time()
        if not self._is_ours():
            self._renewed_at = None
        elif spec is not None and spec.renew_time not in self._sent:
            self._sibling_at = self._seen_at

    async def attempt(self) -> None:
        """Try once to take or renew it; what comes of it shows in `held`, `other` and `state`."""
        try:
            with anyio.fail_after(ATTEMPT_TIMEOUT):
                await self._attempt()
            self._trouble = ""
        except TimeoutError:
            self._trouble = "no answer in time"
        except ApiError as error:
            self._trouble = str(error)

    async def release(self) -> None:
        """Give it up, if it is ours and of no sibling, so that the next one need not wait."""
        for _ in range(2):
            lease = self.lease
            if lease is None or not self._is_ours() or self._has_sibling():
                return
            now = micro_time(self._now())
            spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": now, "renewTime": now}
            try:
                self._store.put(await self._patch(lease, spec))
            except Conflict:
                await self._look()
            except ApiError as error:
                _log.warning("Lease %s could not be released: %s", self.key, error)
                return

    def _is_ours(self) -> bool:
        return self._spec is not None and self._spec.holder_identity == self._identity

    def _has_sibling(self) -> bool:
        return self._shared and anyio.current_time() < self._sibling_at + LEASE_DURATION

    async def _attempt(self) -> None:
        for _ in range(2):
            if self.other or (self._shared and self.lease is None):
                return
            try:
                await self._write()
                return
            except (AlreadyExists, Conflict, NotFound):
                await self._look()

    async def _write(self) -> None:
        """Create, take or renew it; it is ours from when that was sent."""
        sent, now, lease = anyio.current_time(), self._now(), self.lease
        self._sent.append(now)
        if lease is None:
            spec = self._record(now, acquired=now, transitions=0)
            body = {"metadata": {"name": self.key.name}, "spec": spec}
            answer = await self._kube.create(Lease, body, self.key.namespace)
        elif self._is_ours():
            old = lease.spec
            spec = self._record(now, acquired=old.acquire_time or now, transitions=old.lease_transitions)
            answer = await self._patch(lease, spec)
        else:
            spec = self._record(now, acquired=now, transitions=lease.spec.lease_transitions + 1)
            answer = await self._patch(lease, spec)
        self._store.put(answer)
        if self._is_ours():
            self._renewed_at = sent

    def _record(self, now: datetime, *, acquired: datetime, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(LEASE_DURATION),
            "acquireTime": micro_time(acquired),
            "renewTime": micro_time(now),
            "leaseTransitions": transitions,
        }

    async def _patch(self, lease: Lease, spec: dict[str, Any]) -> Lease:
        body = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        return await self._kube.merge_patch(Lease, self.key.name, body, self.key.namespace)

    async def _look(self) -> None:
        try:
            self._store.put(await self._kube.get(Lease, self.key.name, self.key.namespace))
        except NotFound:
            if self.lease is not None:
                self._store.remove(self.lease)
