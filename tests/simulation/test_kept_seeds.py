"""What the simulation has found: the seeds, and each defect as a story of its own."""

import anyio
import pytest
from tests.simulation.kept import KEPT
from tests.simulation.schedule import simulate
from tests.simulation.story import Story
from tests.simulation.world import World

from cozydrivers.api.backups import BackupJob


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_went_wrong(seed):
    simulate(seed)


@pytest.mark.anyio
async def test_of_two_pods_that_show_one_address_none_is_asked():
    """The address of a Pod is given to another one, before the status of the first one tells its new one."""
    world = World(Story("two Pods with one address"))
    await world.set_up()
    first, second = world.app.sidecar(0), world.app.sidecar(1)
    address = world.address(first)
    world.network.detach(first)
    world.recreates_pod(world.app, 1, address)
    world.backs_up("nightly")
    async with anyio.create_task_group() as tasks:
        process = world.process()
        tasks.start_soon(process.run)
        await anyio.sleep(60)
        assert not second.remote
        world.recreates_pod(world.app, 0)
        await world.calm()
        process.kill()
    assert world.succeeded(BackupJob, "nightly")


@pytest.mark.anyio
async def test_an_empty_replica_is_no_backup_of_a_shard_whose_other_one_is_silent():
    """Its tables can't be seen: that the other one has none proves nothing."""
    world = World(Story("a silent replica"), replicas=2)
    await world.set_up()
    world.app.sidecar(1).faults.refuse = True
    world.backs_up("nightly")
    async with anyio.create_task_group() as tasks:
        process = world.process()
        tasks.start_soon(process.run)
        await anyio.sleep(60)
        assert not world.archives()
        world.app.sidecar(1).faults.refuse = False
        await world.calm()
        process.kill()
    assert world.succeeded(BackupJob, "nightly")
