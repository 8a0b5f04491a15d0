"""What a run does not take for granted: that the store answers, that a set has tables, that its checkpoint stays."""

import anyio
import pytest
from tests.cozydrivers.checks import TABLE, backed_up, drop, reason_of, rows, staged
from tests.cozydrivers.stage import TENANT, condition

from cozydrivers.api.backups import BackupJob
from cozydrivers.controllers.ledger import CHECKPOINT

pytestmark = pytest.mark.anyio


async def test_a_set_with_an_empty_shard_comes_back():
    stage = await staged()
    stage.app.sidecar(1).tables.drop(TABLE)
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
        drop(stage)
        job = await stage.end_of(await stage.restore("undo", "nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 0]
    assert stage.local_copies() == set()


async def test_tables_whose_rows_no_archive_holds_are_left_out_of_a_restore():
    stage = await staged()
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.add_table("shop.log", 4, engine="Log")
    stage.app.sidecar(1).tables.drop(TABLE)
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
        for sidecar in stage.app.sidecars.values():
            sidecar.tables.drop("shop.log")
        drop(stage)
        job = await stage.end_of(await stage.restore("undo", "nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 0]
    assert all("shop.log" not in sidecar.tables for sidecar in stage.app.sidecars.values())


@pytest.mark.parametrize("moment", [0.0, 0.2, 0.45, 0.52, 0.6, 0.72, 0.8])
async def test_an_outage_of_the_store_hides_no_table_from_a_restore(moment):
    """During one the archive's tables look like none; nothing that exists may be dropped because of that."""
    stage = await backed_up()
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        await anyio.sleep(moment)
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.s3 = "denied"
        await anyio.sleep(60)
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.s3 = None
        job = await stage.end_of(job)
    if job.status.phase == "Failed":  # the engine's own decision, after its retries
        assert "download failed" in job.status.message
    assert rows(stage) == ([0, 0] if job.status.phase == "Failed" else [100, 101])
    assert stage.local_copies() == set()


async def test_a_table_that_appears_during_the_download_is_not_dropped():
    stage = await backed_up()
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        await anyio.sleep(0.3)
        stage.app.sidecar(1).tables.add_table(TABLE, 7)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Refused")
    assert TABLE in job.status.message
    assert rows(stage)[1] == 7
    assert stage.local_copies() == set()


@pytest.mark.parametrize("moment", [0.05, 0.4, 0.62])
async def test_a_checkpoint_that_is_taken_away_ends_the_job_and_leaves_nothing(moment):
    stage = await staged()
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(moment)
        removal = {"metadata": {"annotations": {CHECKPOINT: None}}}
        await stage.kube.merge_patch(BackupJob, "nightly", removal, TENANT)
        job = await stage.end_of(job, within=4000)
    assert reason_of(job) == ("Failed", "Refused")
    assert CHECKPOINT in job.status.message
    assert stage.archives() == set()
    assert stage.local_copies() == set()


async def test_what_the_api_server_forbids_is_waited_for_without_haste():
    stage = await staged()
    stage.cluster.faults.fail(10_000, status=403, method="GET", path="/secrets/")
    async with stage.managed():
        await stage.backup("nightly")
        await anyio.sleep(60)
        job = await stage.backup_job("nightly")
        assert condition(job, "Ready").status == "False"
        writes = [request for request in stage.cluster.requests if request[0] == "PATCH"]
        assert len(writes) < 60
        stage.cluster.faults.clear()
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_shard_that_comes_later_does_not_wait_for_the_others():
    stage = await staged()
    stage.app.sidecar(0).duration.upload = 600
    stage.app.sidecar(1).faults.lose_reply(after_work=False, path="create_remote")
    async with stage.managed():
        await stage.backup("nightly")
        await anyio.sleep(120)
        assert any("-a2-s1of2-" in name for name in stage.archives())
        job = await stage.end_of(await stage.backup_job("nightly"), within=1200)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_table_that_appears_beside_an_empty_shard_is_not_dropped():
    stage = await staged()
    stage.app.sidecar(1).tables.drop(TABLE)
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
        drop(stage)
        job = await stage.restore("undo", "nightly")
        await anyio.sleep(0.3)
        stage.app.sidecar(0).tables.add_table(TABLE, 7)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Refused")
    assert rows(stage) == [7, 0]
