"""The jobs with MariaDB whose requests are enumerated."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
from tests.cozydrivers.mariadb_stage import APP
from tests.simulation.enumeration import Flow, nothing, visit
from tests.simulation.mariadb.saved import Saved, resume, save
from tests.simulation.mariadb.world import World
from tests.simulation.process import Asked, Point
from tests.simulation.story import Story

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob


async def with_backup(world: World) -> None:
    """A Backup, and other rows since."""
    async with anyio.create_task_group() as tasks:
        process = world.process()
        tasks.start_soon(process.run)
        world.backs_up("nightly")
        await world.calm()
        process.stop()
    world.writes(APP, 7)


async def _backs_up(world: World) -> None:
    world.backs_up("weekly")


async def _restores(world: World) -> None:
    world.restores("undo", "nightly")


async def _restores_at_once(world: World) -> None:
    world.restores("undo", "nightly", skipSafetyCopy=True)


async def _stops_a_backup(world: World) -> None:
    world.backs_up("weekly")
    await anyio.sleep(2.2)
    world.deletes(BackupJob, "weekly")


async def _stops_a_restore(world: World) -> None:
    world.restores("undo", "nightly", skipSafetyCopy=True)
    await anyio.sleep(3.2)
    world.deletes(RestoreJob, "undo")


async def _stops_a_safety_dump(world: World) -> None:
    world.pods.dump_seconds = 7200.0
    world.restores("undo", "nightly")
    await anyio.sleep(1.2)
    world.deletes(RestoreJob, "undo")


async def _deletes(world: World) -> None:
    world.deletes(Backup, "nightly")


def _is_restored(world: World) -> bool:
    rows = world.database(APP).rows("shop", "orders")
    return world.succeeded(RestoreJob, "undo") and rows == [(0, "shop's"), (2, "b")]


FLOWS: dict[str, Flow[World]] = {
    "backup": Flow(nothing, _backs_up, lambda world: world.succeeded(BackupJob, "weekly")),
    "restore": Flow(with_backup, _restores, _is_restored),
    "restore without a safety dump": Flow(with_backup, _restores_at_once, _is_restored),
    "abort of a backup": Flow(
        nothing, _stops_a_backup, lambda world: world.find(BackupJob, "weekly") is None and not world.bucket.keys
    ),
    "abort of a restore": Flow(
        with_backup,
        _stops_a_restore,
        lambda world: world.find(RestoreJob, "undo") is None and len(world.bucket.keys) == 1,
    ),
    "abort of a safety dump": Flow(
        with_backup,
        _stops_a_safety_dump,
        lambda world: world.find(RestoreJob, "undo") is None and len(world.bucket.keys) == 1,
    ),
    "delete": Flow(with_backup, _deletes, lambda world: not world.bucket.keys and world.backups_of(APP) == []),
}


_SAVED: dict[object, Saved] = {}


async def run(name: str, point: Point | None) -> list[Asked]:
    """One run of a flow in a world of its own; see `visit`."""
    world = await world_of(name, f"{name}: the controller {point}" if point else name)
    random.seed(0)
    return await visit(replace(FLOWS[name], before=nothing), world, point)


async def world_of(name: str, title: str) -> World:
    """A world as it is before a flow; what comes before is done once in a process."""
    before = FLOWS[name].before
    if before not in _SAVED:
        _SAVED[before] = await _saved(before)
    world = World(Story(title))
    resume(world, _SAVED[before])
    _is_quick(world)
    return world


async def _saved(before: Callable[[World], Awaitable[None]]) -> Saved:
    world = World(Story("what comes before"))
    await world.set_up()
    _is_quick(world)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.beside)
        await before(world)
        tasks.cancel_scope.cancel()
    return save(world)


def _is_quick(world: World) -> None:
    world.pods.dump_seconds = world.pods.push_seconds = world.pods.pull_seconds = 1.0
    world.pods.load_seconds = 2.0
