"""The whole thread: a backup, a loss, a restore of the older of two Backups."""

import pytest
from tests.cozydrivers.stage import Stage, condition, recorded

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stage():
    stage = Stage()
    await stage.set_up()
    for shard in (0, 1):
        stage.app.sidecar(shard).tables.add_table("shop.orders", 100 + shard)
    return stage


async def test_a_backup_of_two_shards_is_recorded_and_leaves_no_local_copy(stage):
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    backup = await stage.made(job.status.backup_ref.name)
    assert backup.status.phase == "Ready"
    assert recorded(backup) == stage.archives()
    assert len(stage.archives()) == 2
    assert stage.local_copies() == set()
    assert condition(job, "Verified").status == "True"


async def test_a_restore_brings_back_the_backup_that_it_names(stage):
    async with stage.managed():
        await stage.end_of(await stage.backup("older"))
        for shard in (0, 1):
            stage.app.sidecar(shard).tables.insert("shop.orders", 50)
        await stage.end_of(await stage.backup("newer"))
        for shard in (0, 1):
            stage.app.sidecar(shard).tables.drop("shop.orders")
        job = await stage.end_of(await stage.restore("back", "older"))
    assert job.status.phase == "Succeeded", job.status.message
    assert [stage.app.sidecar(shard).tables.count("shop.orders") for shard in (0, 1)] == [100, 101]
    assert stage.local_copies() == set()
    assert len(stage.archives()) == 4
