"""One seed, one story: a world, what its users do, what befalls it; then calm, in which all must come to its end."""

import random

import anyio
from tests.simulation.accidents import ACCIDENTS
from tests.simulation.clock import new_event_loop
from tests.simulation.observer import Violation
from tests.simulation.story import Story
from tests.simulation.users import use
from tests.simulation.world import World

LOOK = 0.5
"""Virtual seconds between two looks of the observer, beside those after each change."""
TOO_LONG = 3600.0
"""Virtual seconds that users and accidents may take."""


def simulate(seed: int) -> Story:
    """Tell the story of a seed. Raises Violation, which holds it."""
    random.seed(seed)  # the jitter of the program
    story = Story(f"seed {seed}", f"make simulate SEEDS={seed}-{seed}")
    anyio.run(_simulate, seed, story, backend_options={"loop_factory": new_event_loop})
    return story


async def _simulate(seed: int, story: Story) -> None:
    chance = random.Random(seed)
    world = World(
        story,
        apps=2 if chance.random() < 0.15 else 1,
        version=chance.choice(["2.7.4", "2.8.1-dev"]),
        parameters={} if chance.random() < 0.8 else {"deletionPolicy": "Retain"},
        elected=chance.random() < 0.05,
        replicas=2 if chance.random() < 0.15 else 1,
    )
    await world.set_up()
    _vary(world, chance)
    try:
        async with anyio.create_task_group() as background:
            background.start_soon(world.supervise)
            background.start_soon(_watch, world)
            with anyio.fail_after(TOO_LONG):
                await _act(world, chance)
            story.tell("calm: no more accidents")
            _heal(world)
            await world.calm()
            background.cancel_scope.cancel()
    except Exception as error:  # noqa: BLE001 - told with its story
        raise world.observer.violation or Violation(f"the simulation itself: {error!r}\n{story}") from None


def _vary(world: World, chance: random.Random) -> None:
    """How long the engines' work takes, and how much they remember."""
    for sidecar in world.sidecars:
        sidecar.duration.create = chance.choice([0.1, 0.1, 1.0])
        sidecar.duration.upload = chance.choice([0.5, 3.0, chance.uniform(1, 15)])
        sidecar.duration.download = chance.choice([0.5, 3.0, chance.uniform(1, 10)])
        sidecar.duration.restore = chance.choice([0.2, 1.0, 3.0])
        if sidecar._pod.version.since(2, 8, 1) and chance.random() < 0.3:
            sidecar.configure(STATUS_HISTORY_SIZE=str(chance.randint(1, 8)))


def _heal(world: World) -> None:
    world.cluster.faults.clear()
    world.network.objects.fault = ""
    for sidecar in world.sidecars:
        sidecar.faults.heal()
        world.starts(sidecar)


async def _watch(world: World) -> None:
    while True:
        world.observer.look()
        await anyio.sleep(LOOK)


async def _act(world: World, chance: random.Random) -> None:
    async with anyio.create_task_group() as tasks:
        for app in world.apps:
            tasks.start_soon(use, world, app, random.Random(chance.random()))
        for _ in range(chance.choice([2, 3, 3, 4, 4, 6])):
            tasks.start_soon(_happens, world, random.Random(chance.random()))


async def _happens(world: World, chance: random.Random) -> None:
    accident = chance.choice(ACCIDENTS)
    await anyio.sleep(chance.choice([0.0, chance.uniform(0, 2), chance.uniform(0, 8), chance.uniform(0, 20)]))
    await accident(world, chance)
