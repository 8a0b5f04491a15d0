"""A flow whose requests are enumerated: what comes before, what is asked for, and how it must end."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
from tests.simulation.ground import Ground
from tests.simulation.process import Asked, Point, Process

W = TypeVar("W", bound=Ground)


@dataclass(frozen=True)
class Flow(Generic[W]):
    """`before` is done by a controller that nothing befalls; `during` goes on while the one with a fate works."""

    before: Callable[[W], Awaitable[None]]
    during: Callable[[W], Awaitable[None]]
    ends_well: Callable[[W], bool]


async def nothing(world: Ground) -> None:
    """There is nothing before."""


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


async def visit(flow: Flow[W], world: W, point: Point | None) -> list[Asked]:
    """One run of a flow, to its end, with what befalls its controller at that point; returns that one's requests.

    A controller that dies has a successor at once. Raises Violation, and where the point was not visited.
    """
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.beside)
        await flow.before(world)
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


async def _with_successor(world: Ground, process: Process) -> None:
    await process.run()
    if not process.alive:
        world.story.tell(f"{process.name} is dead after {process.trace[-1].request}")
        await world.process().run()
