"""Leader election: of several processes one acts, and never together with the reference's controllers."""

import hashlib
import json
import logging
import math
import random as randomness
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import anyio

from cozydrivers.api.coordination import Lease
from cozydrivers.errors import LeadershipLost
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.backoff import RandomSource
from cozydrivers.runtime.lease import LEASE_DURATION, RENEW_DEADLINE, Claim
from cozydrivers.runtime.reflector import Reflector
from cozydrivers.runtime.store import Key, Store

RETRY_PERIOD = 2.0
"""Seconds between two renewals; between two attempts to become the leader up to 2.2 times as much, at random."""

SUBMISSION_TIMEOUT = LEASE_DURATION - RENEW_DEADLINE
"""Seconds in which what has side effects must have been sent, or given up.

It is sent only while `Elector.leading`, which ends `RENEW_DEADLINE` after a renewal; another leads `LEASE_DURATION`
after it at the earliest. So a submission has come to its end by then, and what still overlaps, such as a request that a
server carries out late, can only collide with the other's on a name.
"""

RELEASE_TIMEOUT = 3.0
"""Seconds that giving up the Leases may hold up the end of the process."""

REFERENCE_LEASES = ("strategy.backups.cozystack.io", "core.backups.cozystack.io")
"""The Leases of Cozystack's own backup controllers, in whatever namespace they are installed."""

REFERENCE_IDENTITY = "cozydrivers"
"""Holder of the reference's Leases while we act. The installations of a cluster hold them together, each renewing."""

_JITTER = 1.2
_log = logging.getLogger(__name__)


def election_name(namespaces: Sequence[str], selector: str) -> str:
    """Name the Lease of an installation by what it works on: `cozydrivers` for everything, else with 8 hex digits."""
    if not namespaces and not selector:
        return "cozydrivers"
    scope = json.dumps([sorted(set(namespaces)), selector])
    return f"cozydrivers-{hashlib.sha256(scope.encode()).hexdigest()[:8]}"


class Elector:
    """Leads while it holds the Lease `name`, and each Lease of the reference that exists.

    `identity` is this process's alone: one with the same identity would be taken for it. `now` is the wall clock, which
    is only written. As client-go's, the loop's clock stands still while a machine is suspended.
    """

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        *,
        now: Callable[[], datetime],
        random: RandomSource = randomness.random,
    ) -> None:
        self._kube = kube
        self._now = now
        self._random = random
        own = self._follow(name, namespace)
        self._reflectors = [own, *(self._follow(theirs) for theirs in REFERENCE_LEASES)]
        self._own = Claim(kube, own.store, Key(namespace, name), identity, now)
        self._claims: dict[Key, Claim] = {self._own.key: self._own}
        self._running = False
        self._changed = anyio.Event()
        self._freed = anyio.Event()
        self._said = ""
        self._lost = ""

    @property
    def name(self) -> str:
        """The name of our own Lease."""
        return self._own.key.name

    @property
    def knows(self) -> bool:
        """Whether the cluster has told which Leases there are."""
        return self._running

    @property
    def leading(self) -> bool:
        """Whether this process may act at this moment; look immediately before each submission."""
        return self._running and all(claim.held for claim in self._claims.values())

    @property
    def state(self) -> str:
        """`leading`, or why not, in words."""
        if not self._running:
            return "the Leases are not known yet"
        return next((self._why(claim) for claim in self._claims.values() if not claim.held), "leading")

    @property
    def annotations(self) -> Mapping[str, str]:
        """Those of our own Lease, as last seen."""
        lease = self._own.lease
        return lease.metadata.annotations if lease is not None else {}

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait until this process leads, then await `lead()`, and release the Leases when it has ended.

        It is cancelled the moment the leadership ends, and LeadershipLost is raised; start the process anew then. When
        this is cancelled, `lead` is first let come to its end.
        """
        try:
            async with anyio.create_task_group() as tasks:
                for reflector in self._reflectors:
                    tasks.start_soon(reflector.run)
                for reflector in self._reflectors:
                    await reflector.synced()
                self._running = True
                tasks.start_soon(self._keep)
                await self._until(leading=True)
                with anyio.CancelScope() as scope:
                    tasks.start_soon(self._cancel_when_lost, scope)
                    await lead()
                tasks.cancel_scope.cancel()
        finally:
            self._running = False
            await self._release()
        if self._lost:
            raise LeadershipLost(f"the leadership is lost: {self._lost}")

    def _follow(self, name: str, namespace: str | None = None) -> Reflector[Lease]:
        def changed(old: Lease | None, new: Lease | None) -> None:
            self._observe(reflector.store, old, new)

        reflector = Reflector(
            self._kube,
            Lease,
            namespace,
            field_selector=f"metadata.name={name}",
            on_change=changed,
            random=self._random,
        )
        return reflector

    def _observe(self, store: Store[Lease], old: Lease | None, new: Lease | None) -> None:
        seen = new or old
        assert seen is not None
        key = Key.of(seen)
        if key not in self._claims:
            self._claims[key] = Claim(self._kube, store, key, REFERENCE_IDENTITY, self._now, shared=True)
        self._claims[key].observe(new)
        if new is None and key != self._own.key:
            del self._claims[key]
        if new is None or not new.spec.holder_identity:
            self._freed.set()
        self._wake()

    async def _keep(self) -> None:
        """Take and renew the Leases, without an end."""
        while True:
            self._freed = anyio.Event()
            await self._attempt()
            self._wake()
            pause = RETRY_PERIOD if self._own.held else RETRY_PERIOD * (1 + _JITTER * self._random())
            with anyio.move_on_after(pause):
                await self._freed.wait()

    async def _attempt(self) -> None:
        """Our own Lease first, so that of our processes only one reaches for the reference's."""
        claims = list(self._claims.values())
        if not self._own.held:
            await self._own.attempt()
            claims.remove(self._own)
        if self._own.held:
            async with anyio.create_task_group() as tasks:
                for claim in claims:
                    tasks.start_soon(claim.attempt)

    async def _until(self, *, leading: bool) -> None:
        while self.leading is not leading:
            changed = self._changed
            ends_at = min(claim.ends_at for claim in self._claims.values()) if self.leading else math.inf
            with anyio.move_on_at(ends_at):
                await changed.wait()

    async def _cancel_when_lost(self, scope: anyio.CancelScope) -> None:
        await self._until(leading=False)
        self._lost = self.state
        scope.cancel()

    async def _release(self) -> None:
        with anyio.move_on_after(RELEASE_TIMEOUT, shield=True):
            async with anyio.create_task_group() as tasks:
                for claim in self._claims.values():
                    tasks.start_soon(claim.release)

    def _wake(self) -> None:
        if self.state != self._said:
            self._said = self.state
            _log.info("%s", self._said)
        self._changed.set()
        self._changed = anyio.Event()

    def _why(self, claim: Claim) -> str:
        if claim is self._own or not claim.other:
            return claim.state
        return f"another controller acts on backups: {claim.state}"
