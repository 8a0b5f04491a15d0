"""The recoverability of applications: what `cozydrivers status` shows."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio

from cozydrivers.admin.inspecting import Census, Remembering, census, inspection
from cozydrivers.api.base import KubeObject
from cozydrivers.drivers.base import Driver, GoodSet, Leftover, Recoverability
from cozydrivers.errors import ApiError
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.describe import describe

AT_ONCE = 16
"""Applications that are looked at side by side."""


@dataclass(frozen=True)
class ApplicationStatus:
    """What one application can be restored from, as it was looked up at `now`."""

    namespace: str
    kind: str
    name: str
    found: Recoverability
    now: datetime

    @property
    def age(self) -> float | None:
        """Seconds since the last good backup was taken, None where there is none."""
        return (self.now - self.found.last.taken_at).total_seconds() if self.found.last else None

    def document(self) -> Mapping[str, Any]:
        """As JSON has it: times in UTC, sizes in bytes, ages in seconds; `lastGood` and `window` may be null."""
        found, window = self.found, self.found.window
        return {
            "namespace": self.namespace,
            "kind": self.kind,
            "name": self.name,
            "sound": found.is_sound,
            "lastGood": {**_good(found.last), "ageSeconds": self.age} if found.last else None,
            "window": {"oldest": _time(window[0]), "newest": _time(window[1])} if window else None,
            "good": [_good(each) for each in found.good],
            "broken": _leftovers(found.broken),
            "suspicious": _leftovers(found.suspicious),
            "orphans": _leftovers(found.orphans),
            "safetyCopies": _leftovers(found.safety_copies),
            "debris": _leftovers(found.debris),
            "replays": _leftovers(found.replays),
            "problems": list(found.problems),
            "lostNow": list(found.lost_now),
        }


def _good(each: GoodSet) -> dict[str, Any]:
    return {
        "backup": each.backup,
        "set": each.name,
        "takenAt": _time(each.taken_at),
        "sizeBytes": each.size,
        "chain": each.chain,
        "verified": each.verified,
    }


def _leftovers(found: Sequence[Leftover]) -> list[dict[str, Any]]:
    return [{"name": each.name, "reason": each.reason, "sizeBytes": each.size} for each in found]


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def recoverability(
    kube: KubeClient,
    drivers: Sequence[Driver],
    *,
    namespace: str | None = None,
    names: Sequence[str] = (),
    now: datetime,
) -> list[ApplicationStatus]:
    """Look at applications: those of a namespace or of all, some or every one that has a driver.

    What can't be read of one is among its problems. Raises InvalidInput for a name of which there is no application,
    and ApiError where the cluster itself can't be asked.
    """
    known, reader = await census(kube, drivers, namespace, names), Remembering(kube)
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def look(each: tuple[Driver, KubeObject]) -> ApplicationStatus:
        async with limiter:
            return await _look(kube, reader, known, *each, now)

    async with AsyncExitStack() as stack:
        for driver in drivers:
            await stack.enter_async_context(driver)
        found = await anyio.amap(look, known.applications)
    return sorted(found, key=lambda each: (each.namespace, each.kind, each.name))


async def _look(
    kube: KubeClient, reader: Remembering, known: Census, driver: Driver, application: KubeObject, now: datetime
) -> ApplicationStatus:
    try:
        found = await driver.recoverability(await inspection(kube, reader, known, driver, application, now))
    except ApiError as error:
        found = Recoverability(problems=[describe(error)])
    metadata = application.metadata
    return ApplicationStatus(metadata.namespace, driver.application.resource.kind, metadata.name, found, now)
