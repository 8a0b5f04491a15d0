"""The sidecars of a fleet: how they are asked, how they are read, and what one look at a storage takes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio

from ._purge_steps import Sight
from ._steps import denies
from ._storages import LocalCopy, Reading, difference, fingerprint, local_of, reading_of
from ._waiting import Deadline
from .client import Client
from .errors import ChbackupError, Refused
from .models import Action, Archive

T = TypeVar("T")

_PROBE = "chbackup-probe"  # an archive that nobody has


@dataclass(eq=False)
class Sidecar:
    """One sidecar; requests to it wait for a place among those of its storage (`gate`), and among all (`total`).

    `local` are the copies on its disk, up to date when they were `seen` since it was busy.
    """

    client: Client
    url: str
    storage: str
    total: anyio.Semaphore
    gate: anyio.Semaphore
    local: Mapping[str, LocalCopy] = field(default_factory=dict)
    seen: bool = False

    async def ask(self, call: Callable[[Client], Awaitable[T]]) -> T:
        """Send a request."""
        async with self.gate, self.total:
            return await call(self.client)

    async def list_all(self) -> list[Archive]:
        """Return its list."""
        return await self.ask(lambda client: client.list_all())

    async def list_local(self) -> list[Archive]:
        """Return the local part of its list."""
        return await self.ask(lambda client: client.list_local())

    async def running(self) -> list[Action]:
        """Return what runs on it, lists left out: they hurt nothing, and everybody makes them."""
        rows = await self.ask(lambda client: client.actions(filter="in progress"))
        return [row for row in rows if row.running and row.verb != "list"]

    async def denies(self, name: str) -> bool:
        """Whether its object store itself says that there is no such archive."""
        return await self.ask(lambda client: denies(client, name))


async def read(sidecar: Sidecar, timeout: float) -> Reading:
    """Read a sidecar until two lists in a row agree.

    Raises Refused when they go on differing; WaitTimeout when the remote one stays empty and the object store does
    not say that it is up, or when nobody answers; Unauthorized and other errors that do not pass.
    """
    deadline = Deadline(timeout, f"reading the lists of {sidecar.url}")
    seen = fingerprint(await deadline.read(sidecar.list_all))
    while True:
        archives = await deadline.read(sidecar.list_all)
        before, seen = seen, fingerprint(archives)
        empty = all(archive.location != "remote" for archive in archives)
        if before == seen and (not empty or await deadline.read(partial(sidecar.denies, _PROBE))):
            return reading_of(archives)
        if before != seen and not deadline.left:
            raise Refused(f"{sidecar.url} lists something else each time it is asked")
        deadline.saw = "the remote list is empty, as in an outage of the object store"
        await deadline.pause()


async def read_alike(sidecars: Sequence[Sidecar], readings: Sequence[Reading], timeout: float) -> Sequence[Reading]:
    """Read the sidecars of one storage again until they list the same.

    Raises Refused when they go on differing, and what `read` raises.
    """
    deadline = Deadline(timeout, "reading the storage again")
    while problem := difference(readings):
        if not deadline.left:
            urls = ", ".join(sidecar.url for sidecar in sidecars)
            raise Refused(f"{urls}: {problem}; if they have several storages, name the `storage` of each target")
        await deadline.pause()
        readings = [await read(sidecar, deadline.left) for sidecar in sidecars]
    return readings


async def look(sidecars: Sequence[Sidecar], name: str, *, blind: bool) -> tuple[Sidecar, Sight]:
    """Look at a storage, the rows of all sidecars first; return the sidecar to act through, an idle one if there is.

    Raises ChbackupError when any of them does not answer.
    """
    running = await gather([sidecar.running for sidecar in sidecars])
    busy = [sidecar for sidecar, rows in zip(sidecars, running, strict=True) if rows]
    chosen = next((sidecar for sidecar in sidecars if sidecar not in busy), sidecars[0])
    await _see_local(sidecars, [*busy, chosen])
    archives = await chosen.list_all()
    chosen.local = local_of(archives)
    remote = [archive for archive in archives if archive.location == "remote"]
    absent = all(archive.name != name for archive in remote) and await chosen.denies(name)
    rows = [row for found in running for row in found]
    local = {sidecar.url: sidecar.local for sidecar in sidecars if sidecar.local}
    return chosen, Sight(rows, remote, local, absent, blind)


async def _see_local(sidecars: Sequence[Sidecar], others: Sequence[Sidecar]) -> None:
    """Read the local copies of each sidecar once, and again when it was busy; `others` are left for later."""
    for sidecar in others:
        sidecar.seen = False
    unseen = [sidecar for sidecar in sidecars if not sidecar.seen and sidecar not in others]
    for sidecar, archives in zip(unseen, await gather([one.list_local for one in unseen]), strict=True):
        sidecar.local, sidecar.seen = local_of(archives), True


async def gather(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Make all calls side by side and return their results in order.

    Raises the first error, when all have ended.
    """
    if len(calls) < 2:
        return [await call() for call in calls]
    return all_of(await settle(calls))


def all_of(found: Sequence[T | ChbackupError]) -> list[T]:
    """Return the results in order.

    Raises the first error among them.
    """
    results: list[T] = []
    for one in found:
        if isinstance(one, ChbackupError):
            raise one
        results.append(one)
    return results


async def settle(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T | ChbackupError]:
    """Make all calls side by side and return their results or errors in order."""
    found: dict[int, T | ChbackupError] = {}

    async def one(place: int) -> None:
        try:
            found[place] = await calls[place]()
        except ChbackupError as error:
            found[place] = error

    async with anyio.create_task_group() as tasks:
        for place in range(len(calls)):
            tasks.start_soon(one, place)
    return [found[place] for place in range(len(calls))]
