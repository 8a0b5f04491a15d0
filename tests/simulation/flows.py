"""The jobs whose requests are enumerated: what comes before, what is asked for, and how it must end."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio
from tests.simulation.process import Asked, Point, Process
from tests.simulation.story import Story
from tests.simulation.world import TABLES, World

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob


@dataclass(frozen=True)
class Flow:
    """`before` is done by a controller that nothing befalls; `during` goes on while the one with a fate works."""

    before: Callable[[World], Awaitable[None]]
    during: Callable[[World], Awaitable[None]]
    ends_well: Callable[[World], bool]


async def nothing(world: World) -> None:
    """There is nothing before."""


async def with_backup(world: World) -> None:
    """A Backup, and other rows since."""
    async with anyio.create_task_group() as tasks:
        process = world.process()
        tasks.start_soon(process.run)
        world.backs_up("nightly")
        await world.calm()
        process.stop()
    world.inserts(world.app, 2)


async def _backs_up(world: World) -> None:
    world.backs_up("weekly")


async def _restores(world: World) -> None:
    world.restores("undo", "nightly")


async def _stops_a_backup(world: World) -> None:
    world.backs_up("weekly")
    await anyio.sleep(0.3)
    world.deletes(BackupJob, "weekly")


async def _stops_a_restore(world: World) -> None:
    world.restores("undo", "nightly")
    await anyio.sleep(0.2)
    world.deletes(RestoreJob, "undo")


async def _deletes(world: World) -> None:
    world.deletes(Backup, "nightly")


def _is_restored(world: World) -> bool:
    tables = [sidecar.tables for sidecar in world.sidecars]
    counts = [[held.count(table) if table in held else 0 for table in TABLES] for held in tables]
    return world.succeeded(RestoreJob, "undo") and counts == [[10, 11], [13, 14]]


FLOWS = {
    "backup": Flow(nothing, _backs_up, lambda world: world.succeeded(BackupJob, "weekly")),
    "restore": Flow(with_backup, _restores, _is_restored),
    "abort of a backup": Flow(
        nothing, _stops_a_backup, lambda world: world.find(BackupJob, "weekly") is None and not world.archives()
    ),
    "abort of a restore": Flow(
        with_backup,
        _stops_a_restore,
        lambda world: world.find(RestoreJob, "undo") is None and len(world.archives()) == 2,
    ),
    "delete": Flow(with_backup, _deletes, lambda world: not world.archives() and world.backups(world.app) == []),
}


async def clean_run(name: str) -> list[Asked]:
    """The requests of a flow that nothing befalls."""
    return await run(name, None)


def points(trace: Sequence[Asked], *, each: bool = False) -> list[Point]:
    """The moments at which something befalls a controller: before and after each request; a lost reply to a change.

    A dead controller leaves nothing but what it has changed. So where the fakes are in a state in which it has died
    already, at that time and after those changes, it need not die again, unless `each` is asked for.
    """
    found: list[Point] = []
    seen: set[tuple[int, float]] = set()
    done = 0
    for number, asked in enumerate(trace):
        for moment in ("dies before", "dies after"):
            if each or (done, asked.at) not in seen:
                found.append(Point(number, moment))
            seen.add((done, asked.at))
            done += asked.changes and moment == "dies before"
        if asked.changes:
            found.append(Point(number, "reply lost"))
    return found


async def run(name: str, point: Point | None) -> list[Asked]:
    """One run of a flow, to its end, with what befalls its controller at that point; returns that one's requests.

    A controller that dies has a successor at once. Raises Violation, and where the point was not visited.
    """
    flow = FLOWS[name]
    world = World(Story(f"{name}: the controller {point}" if point else name))
    await world.set_up()
    await flow.before(world)
    async with anyio.create_task_group() as tasks:
        process = world.process(point)
        tasks.start_soon(_with_successor, world, process)
        await flow.during(world)
        await world.calm()
        tasks.cancel_scope.cancel()
    if point is not None and not process.struck.is_set():
        raise AssertionError(f"{world.story.title}: not visited")
    if not flow.ends_well(world):
        raise AssertionError(f"it does not end well\n{world.story}")
    return process.trace


async def _with_successor(world: World, process: Process) -> None:
    await process.run()
    if not process.alive:
        world.story.tell(f"{process.name} is dead after {process.trace[-1].request}")
        await world.process().run()
