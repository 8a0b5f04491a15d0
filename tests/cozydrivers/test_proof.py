"""I2: what the server calls a success is not believed before it is proven."""

import anyio
import pytest
from tests.cozydrivers.checks import authorization
from tests.cozydrivers.stage import TENANT, Stage, condition

from cozydrivers.api.backups import Backup

pytestmark = pytest.mark.anyio

TABLE = "shop.orders"


@pytest.fixture
async def stage():
    stage = Stage()
    await stage.set_up()
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.add_table(TABLE, 600, partitions=6)
        sidecar.tables.add_table("shop.items", 10)
    return stage


async def backups(stage):
    return (await stage.kube.list(Backup, TENANT)).items


async def fails_and_leaves_nothing(stage, job, *words):
    job = await stage.end_of(job, within=4000)
    assert job.status.phase == "Failed"
    assert condition(job, "Ready").reason == "EngineFailed"
    for word in words:
        assert word in job.status.message
    assert await backups(stage) == []
    assert stage.archives() == set()
    assert stage.local_copies() == set()


async def test_a_cleaning_of_broken_archives_during_the_upload_is_noticed(stage):
    """The upload ends in success and lists with its full size, and parts of it are gone (seen on 2.7.4)."""
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(0.35)
        handle = stage.app.sidecar(1).handle
        await handle("POST", "/backup/clean/remote_broken", "", authorization(), b"")
        await fails_and_leaves_nothing(stage, job, "clean_remote_broken", "meanwhile")


async def at_success(stage, damage):
    """Do damage to shard 1's archive at the moment when its upload has ended, before anybody has looked."""
    async with stage.managed():
        job = await stage.backup("nightly")
        sidecar = stage.app.sidecar(1)
        while not any("s1of2" in name and archive.good for name, archive in sidecar.remote.items()):  # noqa: ASYNC110
            await anyio.sleep(0.001)
        damage(next(archive for name, archive in sidecar.remote.items() if "s1of2" in name))
        sidecar.forget_cache()
        yield job


async def test_an_archive_that_lost_the_description_of_a_table_is_not_good(stage):
    async for job in at_success(
        stage, lambda archive: archive.remove_object(f"metadata/{TABLE.replace('.', '/')}.json")
    ):
        await fails_and_leaves_nothing(stage, job, "not proven", "shard 1")


async def test_an_archive_with_an_unreadable_description_is_not_good(stage):
    async for job in at_success(stage, lambda archive: archive.spoil_metadata()):
        await fails_and_leaves_nothing(stage, job, "bad metadata.json", "shard 1")


async def test_an_archive_without_a_local_copy_to_compare_with_is_not_proven(stage):
    stage.app.sidecar(1).duration.upload = 5
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(2)
        stage.app.sidecar(1).local.clear()
        await fails_and_leaves_nothing(stage, job, "no local copy", "shard 1")


async def test_a_list_that_is_empty_for_a_while_is_an_outage_not_a_failure(stage):
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(0.62)
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.s3 = "denied"
        await anyio.sleep(120)
        waiting = await stage.backup_job("nightly")
        assert waiting.status.phase == "Running"
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.s3 = None
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_tables_whose_rows_no_archive_holds_are_named(stage):
    stage.app.sidecar(0).tables.add_table("shop.log", 4, engine="Log")
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    assert "shop.log" in condition(job, "Verified").message


async def test_an_empty_set_is_suspicious(stage):
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.drop(TABLE)
        sidecar.tables.drop("shop.items")
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    assert condition(job, "Suspicious").status == "True"


async def test_a_download_that_is_short_is_not_restored(stage):
    """A truncated object downloads with success (seen on 2.7.4 and 2.8.1-dev); a restore of it would lose rows."""
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
        for sidecar in stage.app.sidecars.values():
            sidecar.tables.drop(TABLE)
            sidecar.tables.drop("shop.items")
        archive = next(archive for name, archive in stage.app.sidecar(1).remote.items() if "s1of2" in name)
        archive.truncate_object(next(key for key in archive.parts if "orders" in key))
        stage.network.objects.fault = "it can't be asked"
        job = await stage.end_of(await stage.restore("undo", "nightly"))
    assert job.status.phase == "Failed"
    assert "did not arrive whole" in job.status.message
    assert all(TABLE not in sidecar.tables for sidecar in stage.app.sidecars.values())
    assert len(stage.archives()) == 2
    assert stage.local_copies() == set()
