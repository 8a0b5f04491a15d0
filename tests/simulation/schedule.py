"""The story of a seed with ClickHouse."""

import random
from functools import partial

import anyio
from tests.simulation.accidents import ACCIDENTS
from tests.simulation.play import happens, play, tell
from tests.simulation.story import Story
from tests.simulation.users import use
from tests.simulation.world import World


def simulate(seed: int) -> Story:
    """Tell the story of a seed. Raises Violation, which holds it."""
    return tell(seed, Story(f"seed {seed}", f"make simulate SEEDS={seed}-{seed}"), _simulate)


async def _simulate(story: Story, chance: random.Random) -> None:
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
    await play(world, partial(_act, world, chance), partial(_heal, world))


def _vary(world: World, chance: random.Random) -> None:
    """How long the engines' work takes, and how much they remember."""
    for sidecar in world.sidecars:
        sidecar.duration.create = chance.choice([0.1, 0.1, 1.0])
        sidecar.duration.upload = chance.choice([0.5, 3.0, chance.uniform(1, 15)])
        sidecar.duration.download = chance.choice([0.5, 3.0, chance.uniform(1, 10)])
        sidecar.duration.restore = chance.choice([0.2, 1.0, 3.0])
        if sidecar._pod.version.since(2, 8, 1) and chance.random() < 0.3:
            sidecar.configure(STATUS_HISTORY_SIZE=str(chance.randint(1, 8)))


async def _heal(world: World) -> None:
    world.cluster.faults.clear()
    world.network.objects.fault = ""
    for sidecar in world.sidecars:
        sidecar.faults.heal()
        world.starts(sidecar)


async def _act(world: World, chance: random.Random) -> None:
    async with anyio.create_task_group() as tasks:
        for app in world.apps:
            tasks.start_soon(use, world, app, random.Random(chance.random()))
        for _ in range(chance.choice([2, 3, 3, 4, 4, 6])):
            tasks.start_soon(happens, world, ACCIDENTS, random.Random(chance.random()))
