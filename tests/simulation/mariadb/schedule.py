"""The story of a seed with MariaDB."""

import random
from functools import partial

import anyio
from tests.simulation.mariadb.accidents import ACCIDENTS
from tests.simulation.mariadb.users import use
from tests.simulation.mariadb.world import World
from tests.simulation.play import happens, play, tell
from tests.simulation.story import Story


def simulate(seed: int) -> Story:
    """Tell the story of a seed. Raises Violation, which holds it."""
    again = f"make simulate ENGINE=mariadb SEEDS={seed}-{seed}"
    return tell(seed, Story(f"MariaDB, seed {seed}", again), _simulate)


async def _simulate(story: Story, chance: random.Random) -> None:
    parameters = {"verify": "stream"} if chance.random() < 0.3 else {}
    template = {"compression": chance.choice(["none", "gzip", "gzip", "bzip2"])}
    world = World(
        story,
        version=chance.choice(["25.10.2", "26.6.0"]),
        apps=2 if chance.random() < 0.2 else 1,
        elected=chance.random() < 0.05,
        parameters=parameters if chance.random() < 0.85 else {**parameters, "deletionPolicy": "Retain"},
        template={**template, "maxRetention": "1h"} if chance.random() < 0.3 else template,
    )
    await world.set_up()
    world.pods.dump_seconds = chance.choice([1.0, 5.0, chance.uniform(1, 20)])
    world.pods.push_seconds = chance.choice([0.5, 3.0])
    world.pods.load_seconds = chance.choice([1.0, 6.0, chance.uniform(1, 20)])
    await play(world, partial(_act, world, chance), partial(_heal, world))


async def _heal(world: World) -> None:
    world.cluster.faults.clear()


async def _act(world: World, chance: random.Random) -> None:
    async with anyio.create_task_group() as tasks:
        for app in world.apps:
            tasks.start_soon(use, world, app, random.Random(chance.random()))
        for _ in range(chance.choice([2, 3, 4, 4, 5, 6])):
            tasks.start_soon(happens, world, ACCIDENTS, random.Random(chance.random()))
