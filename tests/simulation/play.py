"""One seed, one story: a world, what its users do, what befalls it; then calm, in which all must come to its end."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
from tests.simulation.clock import new_event_loop
from tests.simulation.ground import Ground, Violation
from tests.simulation.story import Story

LOOK = 0.5
"""Virtual seconds between two looks of the observer, beside those after each change."""
TOO_LONG = 3600.0
"""Virtual seconds that users and accidents may take."""

W = TypeVar("W", bound=Ground)


def tell(seed: int, story: Story, simulate: Callable[[Story, random.Random], Awaitable[None]]) -> Story:
    """Tell the story of a seed. Raises Violation, which holds it."""
    random.seed(seed)  # the jitter of the program
    anyio.run(simulate, story, random.Random(seed), backend_options={"loop_factory": new_event_loop})
    return story


async def play(world: Ground, act: Callable[[], Awaitable[None]], heal: Callable[[], Awaitable[None]]) -> None:
    """Let things happen in a world, and then heal it and wait until all is at its end."""
    try:
        async with anyio.create_task_group() as background:
            background.start_soon(world.beside)
            background.start_soon(world.supervise)
            background.start_soon(_watch, world)
            with anyio.fail_after(TOO_LONG):
                await act()
            world.story.tell("calm: no more accidents")
            await heal()
            await world.calm()
            background.cancel_scope.cancel()
    except Exception as error:  # noqa: BLE001 - told with its story
        raise world.observer.violation or Violation(f"the simulation itself: {error!r}\n{world.story}") from None


async def _watch(world: Ground) -> None:
    while True:
        world.observer.look()
        await anyio.sleep(LOOK)


async def happens(
    world: W, accidents: Sequence[Callable[[W, random.Random], Awaitable[None]]], chance: random.Random
) -> None:
    """One accident, some time from now."""
    accident = chance.choice(accidents)
    await anyio.sleep(chance.choice([0.0, chance.uniform(0, 2), chance.uniform(0, 8), chance.uniform(0, 20)]))
    await accident(world, chance)
