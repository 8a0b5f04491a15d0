"""What the controllers of a process share."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.ledger import PAUSE
from cozydrivers.controllers.lock import locks_of
from cozydrivers.drivers.base import Driver
from cozydrivers.kube import KubeClient
from cozydrivers.metrics import Metrics
from cozydrivers.runtime import Key
from cozydrivers.runtime.admission import Admission
from cozydrivers.runtime.cache import Caches
from cozydrivers.runtime.guard import Guard
from cozydrivers.runtime.locks import Locks


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


async def open_all(stack: AsyncExitStack, drivers: Sequence[Driver], caches: Caches) -> None:
    """Open the drivers and fill the caches, for as long as the stack."""
    for driver in drivers:
        await stack.enter_async_context(driver)
    await stack.enter_async_context(caches)


@dataclass
class Services:
    """The cluster, what is known of it, and who may act.

    `now` is the wall clock. Without `admission` every job may start. `leading` is asked right before anything is sent.
    `on_hold` says why nothing new may begin anywhere, empty where it may.
    """

    kube: KubeClient
    caches: Caches
    now: Callable[[], datetime] = utc_now
    metrics: Metrics = field(default_factory=Metrics)
    guard: Guard = field(default_factory=Guard)
    admission: Admission | None = None
    leading: Callable[[], bool] = lambda: True
    on_hold: Callable[[], str] = str
    locks: Locks = field(init=False)

    def __post_init__(self) -> None:
        self.locks = locks_of(self.kube, self.caches)

    def paused(self, namespace: str, kind: type[KubeObject] | None, application: str) -> str:
        """Why nothing new may begin for an application, as a sentence; empty where it may.

        The annotation `cozydrivers.cozystack.io/pause` on the namespace, the application or this installation's Lease
        says so, and what is wrong with all of them.
        """
        if problem := self.on_hold():
            return problem
        holder = self._pausing(Namespace, "", namespace) or (kind and self._pausing(kind, namespace, application))
        return f"paused by the annotation {PAUSE} of {holder}" if holder else ""

    def _pausing(self, kind: type[KubeObject], namespace: str, name: str) -> str:
        found = self.caches.of(kind).get(Key(namespace, name))
        return f"{kind.resource.kind} {name}" if found and is_paused(found.metadata.annotations) else ""


def is_paused(annotations: Mapping[str, str]) -> bool:
    """Whether an object's annotations pause it; any value but `false` does."""
    return annotations.get(PAUSE, "false").lower() != "false"
