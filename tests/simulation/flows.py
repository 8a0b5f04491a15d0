"""The jobs with ClickHouse whose requests are enumerated."""

import anyio
from tests.simulation.enumeration import Flow, nothing, visit
from tests.simulation.process import Asked, Point
from tests.simulation.story import Story
from tests.simulation.world import TABLES, World

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob


async def with_backup(world: World, *names: str) -> None:
    """A Backup, or those with the names, and other rows since."""
    async with anyio.create_task_group() as tasks:
        process = world.process()
        tasks.start_soon(process.run)
        for name in names or ("nightly",):
            world.backs_up(name)
            await world.calm()
        process.stop()
    world.inserts(world.app, 2)


async def with_two_backups(world: World) -> None:
    """The Backup to be deleted, and one that stays."""
    await with_backup(world, "older", "nightly")


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


def _is_deleted(world: World) -> bool:
    """The other Backup is left, with all that it records: the observer looks at that."""
    return len(world.archives()) == 2 and world.backups_of(world.app.name) == ["older"]


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
    "delete": Flow(with_two_backups, _deletes, _is_deleted),
}


async def clean_run(name: str) -> list[Asked]:
    """The requests of a flow that nothing befalls."""
    return await run(name, None)


async def run(name: str, point: Point | None) -> list[Asked]:
    """One run of a flow in a world of its own; see `visit`."""
    world = World(Story(f"{name}: the controller {point}" if point else name))
    await world.set_up()
    return await visit(FLOWS[name], world, point)
