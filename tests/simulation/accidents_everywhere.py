"""What can happen to any world. Each accident is over, and healed, when its function returns."""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
from tests.simulation.ground import Ground

Accident = Callable[[Ground, random.Random], Awaitable[None]]


# The API server


async def api_server_loses_replies(world: Ground, chance: random.Random) -> None:
    """Some replies of the API server are lost after the work."""
    method, count = chance.choice(["", "PATCH", "POST", "GET"]), chance.randint(1, 5)
    world.story.tell(f"the API server loses {count} replies to {method or 'anything'}")
    world.cluster.faults.lose_reply(count, method=method)


async def api_server_fails(world: Ground, chance: random.Random) -> None:
    """Some requests are answered with an error."""
    status, count = chance.choice([429, 500, 503]), chance.randint(1, 8)
    method = chance.choice(["", "PATCH", "POST", "GET"])
    world.story.tell(f"the API server answers {count} {method} with {status}")
    world.cluster.faults.fail(count, status=status, method=method, retry_after=1 if status == 429 else None)


async def api_server_is_down(world: Ground, chance: random.Random) -> None:
    """Connections are refused, watches break."""
    seconds = chance.choice([0.5, chance.uniform(1, 8), chance.uniform(8, 90)])
    world.story.tell(f"the API server is down for {seconds:.1f} s")
    world.cluster.faults.outage(seconds)
    await anyio.sleep(seconds)


async def watches_lag(world: Ground, chance: random.Random) -> None:
    """What controllers are told is old."""
    lag = chance.uniform(0.2, 10)
    world.story.tell(f"watches are {lag:.1f} s behind")
    world.cluster.faults.lag = lag
    await anyio.sleep(chance.uniform(1, 30))
    world.cluster.faults.lag = 0.0


async def watches_break(world: Ground, chance: random.Random) -> None:
    """Watches end, some with their past compacted away."""
    world.story.tell("watches break")
    if chance.random() < 0.5:
        world.cluster.compact()
    world.cluster.drop_watches()


async def rival_writes(world: Ground, chance: random.Random) -> None:
    """Somebody else changes objects right before we do."""
    world.story.tell("somebody else changes every object, too")
    world.cluster.faults.rival(chance.randint(2, 4))
    await anyio.sleep(chance.uniform(0.5, 10))
    world.cluster.faults.rival(0)


# Controllers


async def controller_dies(world: Ground, chance: random.Random) -> None:
    """The controller is killed; its supervisor starts another one."""
    for process in [process for process in world.processes if process.alive]:
        world.story.tell(f"{process.name} is killed")
        process.kill()
    await anyio.sleep(chance.uniform(1.5, 10))


async def controller_is_stopped(world: Ground, chance: random.Random) -> None:
    """The controller is asked to end."""
    for process in [process for process in world.processes if process.alive]:
        world.story.tell(f"{process.name} is stopped")
        process.stop()
    await anyio.sleep(chance.uniform(1.5, 10))


async def second_controller(world: Ground, chance: random.Random) -> None:
    """A second controller works beside the first one for a while, and is killed."""
    async with anyio.create_task_group() as tasks:
        process = world.process()
        world.story.tell(f"{process.name} starts beside the other")
        tasks.start_soon(process.run)
        await anyio.sleep(chance.uniform(0.2, 30))
        world.story.tell(f"{process.name} is killed")
        process.kill()


async def clock_jumps(world: Ground, chance: random.Random) -> None:
    """The wall clocks of cluster and controller are set forward."""
    world.story.tell("the clocks are set forward")
    world.cluster.ahead += timedelta(seconds=chance.choice([1, 5, 60]))


API_SERVER: list[Accident] = [
    api_server_loses_replies,
    api_server_fails,
    api_server_is_down,
    watches_lag,
    watches_break,
    rival_writes,
]
CONTROLLERS: list[Accident] = [controller_dies, controller_is_stopped, second_controller, clock_jumps]
