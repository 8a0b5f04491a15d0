"""What the simulation with MariaDB has found, each as a story of its own."""

from contextlib import asynccontextmanager

import anyio
import pytest
from tests.cozydrivers.mariadb_stage import APP
from tests.simulation.mariadb.world import World
from tests.simulation.story import Story

from cozydrivers.api.backups import BackupJob, RestoreJob

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def at_work(title):
    """A world with a controller."""
    world = World(Story(title))
    await world.set_up()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.beside)
        tasks.start_soon(world.process().run)
        yield world
        tasks.cancel_scope.cancel()


async def until(holds):
    with anyio.fail_after(600):
        while not holds():  # noqa: ASYNC110 - the world tells nobody
            await anyio.sleep(0.1)


async def test_a_dump_that_a_list_leaves_out_is_removed_with_its_run():
    """Its name is known: it was proven, and the job was deleted before its Backup was written."""
    async with at_work("a list that leaves out a dump") as world:
        world.backs_up("nightly")
        await until(lambda: "DumpComplete" in str(world.find(BackupJob, "nightly")))
        world.bucket.hidden = set(world.bucket.keys)
        world.deletes(BackupJob, "nightly")
        await until(lambda: world.find(BackupJob, "nightly") is None)
        assert not world.bucket.keys


async def test_a_restore_waits_while_a_list_leaves_out_its_dump():
    """The store, asked for the dump itself, has it."""
    async with at_work("a list that leaves out a dump") as world:
        world.backs_up("nightly")
        await until(lambda: world.succeeded(BackupJob, "nightly"))
        world.bucket.hidden = set(world.bucket.keys)
        world.writes(APP, 7)
        world.restores("undo", "nightly")
        await until(lambda: "DumpNotListed" in str(world.find(RestoreJob, "undo")))
        world.bucket.hidden = set()
        await until(lambda: world.succeeded(RestoreJob, "undo"))


async def test_a_restore_that_is_given_up_stops_its_safety_dump():
    """It does not wait for the end of what it has to stop."""
    async with at_work("a long safety dump") as world:
        world.backs_up("nightly")
        await until(lambda: world.succeeded(BackupJob, "nightly"))
        world.pods.dump_seconds = 7200.0
        world.restores("undo", "nightly")
        await anyio.sleep(5)
        world.deletes(RestoreJob, "undo")
        with anyio.fail_after(60):
            await until(lambda: world.find(RestoreJob, "undo") is None)
        world.observer.look()
