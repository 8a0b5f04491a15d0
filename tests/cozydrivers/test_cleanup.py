"""All shards or none (I7): what a run that failed or was deleted leaves behind is nothing, and nothing else goes."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest
from tests.cozydrivers.checks import (
    assert_one_sentence,
    backed_up,
    drop,
    forget,
    gone,
    held_locks,
    reason_of,
    rows,
    slow,
    staged,
    without,
    without_pod,
)
from tests.cozydrivers.stage import APP, TENANT, condition, recorded

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import BackupJob, RestoreJob
from cozydrivers.api.core import Namespace
from cozydrivers.api.events import Event
from cozydrivers.controllers.ledger import FINALIZER
from cozydrivers.drivers.base import BackupRun, Running, Succeeded
from cozydrivers.drivers.clickhouse.checkpoint import archive_name
from cozydrivers.runtime.cache import Caches

pytestmark = pytest.mark.anyio


def running(stage):
    return [
        row.command for sidecar in stage.app.sidecars.values() for row in sidecar._look().history.rows if row.running
    ]


async def reasons_of_events(stage):
    return {event.reason for event in (await stage.kube.list(Event, TENANT)).items}


# A job that is deleted


async def test_each_remote_archive_that_a_clean_up_deletes_is_in_the_audit_log_before_and_after(caplog):
    stage = await staged()
    slow(stage, 5)
    stage.app.sidecar(0).duration.upload = 60
    caplog.set_level("INFO", "cozydrivers.audit")
    async with stage.managed():
        await stage.backup("nightly")
        await anyio.sleep(20)
        made = stage.archives()
        await without(BackupJob, "nightly", TENANT)(stage)
        await gone(stage, BackupJob, "nightly")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "cozydrivers.audit"]
    assert {(line["outcome"], line["archive"]) for line in lines} == {
        (outcome, name) for name in made for outcome in ("about to", "done")
    }
    assert {line["actor"] for line in lines} == {f"BackupJob {TENANT}/nightly"}


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.5, 3.0, 6.0], ids=str)
async def test_the_deletion_of_a_running_backup_removes_what_is_its_own_on_both_shards(moment):
    stage = await staged()
    async with stage.managed():
        await stage.end_of(await stage.backup("older"))
        kept = stage.archives()
        slow(stage, 5)
        stage.app.sidecar(0).duration.upload = 10
        await stage.backup("nightly")
        await anyio.sleep(moment)
        await without(BackupJob, "nightly", TENANT)(stage)
        await gone(stage, BackupJob, "nightly")
    assert stage.archives() == kept == recorded(await stage.made("older"))
    assert (stage.local_copies(), running(stage)) == (set(), [])


async def test_the_lock_of_a_job_that_is_gone_is_taken_over():
    stage = await staged()
    stage.app.sidecar(1).faults.refuse = True
    async with stage.managed():
        await stage.stands(await stage.backup("nightly"), "SidecarUnreachable")
        await without(BackupJob, "nightly", TENANT)(stage)
        stage.app.sidecar(1).faults.refuse = False
        job = await stage.end_of(await stage.backup("other"))
    assert job.status.phase == "Succeeded", job.status.message
    assert await held_locks(stage) == []


async def test_the_deletion_of_a_job_whose_backup_exists_removes_nothing():
    stage = await staged()
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
        await without(BackupJob, "nightly", TENANT)(stage)
        await anyio.sleep(60)
    assert recorded(await stage.made("nightly")) == stage.archives()
    assert len(stage.archives()) == 2


async def test_nor_when_it_is_deleted_between_its_backup_and_its_end():
    stage = await staged()
    slow(stage, 5)
    async with stage.managed():
        await stage.stands(await stage.backup("nightly"), "InProgress")
        stage.cluster.faults.fail(1000, status=500, method="PATCH", path="nightly/status")
        await anyio.sleep(60)
        assert recorded(await stage.made("nightly")) == stage.archives()
        await without(BackupJob, "nightly", TENANT)(stage)
        stage.cluster.faults.clear()
        await gone(stage, BackupJob, "nightly")
    assert recorded(await stage.made("nightly")) == stage.archives()
    assert len(stage.archives()) == 2


async def test_the_deletion_of_a_running_restore_deletes_nothing_remote():
    stage = await backed_up()
    kept = stage.archives()
    slow(stage, 5)
    async with stage.managed():
        await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        await without(RestoreJob, "undo", TENANT)(stage)
        await gone(stage, RestoreJob, "undo")
    assert stage.archives() == kept
    assert (stage.local_copies(), running(stage), await held_locks(stage)) == (set(), [], [])


# A shard that fails


async def with_a_shard_that_fails(stage):
    """Shard 1 has no table, which its sidecar refuses to back up."""
    stage.app.sidecar(1).tables.drop("shop.orders")
    stage.app.sidecar(1).configure(ALLOW_EMPTY_BACKUPS="false")


async def test_a_failed_shard_leaves_no_half_set_and_the_engine_s_words():
    stage = await staged()
    slow(stage, 5)
    await with_a_shard_that_fails(stage)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert reason_of(job) == ("Failed", "EngineFailed")
    assert_one_sentence(job.status.message, "shard 1 replica 0", "no tables for backup")
    assert (stage.archives(), stage.local_copies(), running(stage), await held_locks(stage)) == (set(), set(), [], [])
    assert "EngineFailed" in await reasons_of_events(stage)


async def test_a_shard_that_somebody_kills_leaves_no_half_set():
    stage = await staged()
    slow(stage, 5)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        async with stage.app.sidecar(1).client() as client:
            await client.kill(None)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Cancelled")
    assert_one_sentence(job.status.message, "shard 1 replica 0", "killed")
    assert (stage.archives(), stage.local_copies()) == (set(), set())


async def test_a_finished_shard_goes_with_one_that_fails_later():
    stage = await staged()
    stage.app.sidecar(1).duration.upload = 600
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(30)
        assert [archive.good for archive in stage.app.sidecar(0).remote.values()] == [True]
        async with stage.app.sidecar(1).client() as client:
            await client.kill(None)
        await stage.end_of(job)
    assert (stage.archives(), stage.local_copies()) == (set(), set())


# What is out of reach meanwhile


async def waits_for_cleanup(stage, job):
    now = await stage.kube.get(type(job), job.metadata.name, TENANT)
    assert now.metadata.finalizers == [FINALIZER]
    progressing = condition(now, "Progressing")
    assert (progressing.status, progressing.reason) == ("True", "CleanupPending")
    assert progressing.message
    return now


async def test_a_pod_that_is_away_is_followed_when_it_returns():
    stage = await staged()
    slow(stage, 60)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await without_pod(stage)
        await without(BackupJob, "nightly", TENANT)(stage)
        await anyio.sleep(30)
        waiting = await waits_for_cleanup(stage, job)
        assert "shard 1 replica 0" in condition(waiting, "Progressing").message
        assert all("-s1of2-" in name for name in stage.archives())
        await stage.app.start_pod(stage.kube, 1)
        await gone(stage, BackupJob, "nightly")
    assert (stage.archives(), stage.local_copies(), running(stage)) == (set(), set(), [])


async def test_a_pod_that_never_returns_is_given_up_after_half_an_hour_with_a_warning():
    stage = await staged()
    slow(stage, 60)
    async with stage.managed():
        await stage.stands(await stage.backup("nightly"), "InProgress")
        await without_pod(stage)
        await without(BackupJob, "nightly", TENANT)(stage)
        await anyio.sleep(30)
        stage.later = timedelta(minutes=31)
        await gone(stage, BackupJob, "nightly")
    assert "CleanupAbandoned" in await reasons_of_events(stage)


async def test_a_job_that_has_failed_says_what_its_clean_up_waits_for():
    stage = await staged()
    slow(stage, 60)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        stage.app.sidecar(0).faults.refuse = True
        async with stage.app.sidecar(1).client() as client:
            await client.kill(None)
        await stage.stands(job, "Cancelled")
        await anyio.sleep(60)
        waiting = await waits_for_cleanup(stage, job)
        assert "shard 0 replica 0" in condition(waiting, "Progressing").message
        stage.app.sidecar(0).faults.refuse = False
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Cancelled")
    assert (condition(job, "Progressing").status, condition(job, "Progressing").reason) == ("False", "Cancelled")
    assert (stage.archives(), stage.local_copies()) == (set(), set())


async def test_nothing_is_deleted_while_the_store_shows_an_empty_list():
    stage = await staged()
    slow(stage, 60)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(20)
        archives, copies = stage.archives(), stage.local_copies()
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.s3 = "denied"
        await without(BackupJob, "nightly", TENANT)(stage)
        await anyio.sleep(30)
        await waits_for_cleanup(stage, job)
        assert (stage.archives(), stage.local_copies()) == (archives, copies)
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.s3 = None
        await gone(stage, BackupJob, "nightly")
    assert (stage.archives(), stage.local_copies()) == (set(), set())


# A restore that fails


async def test_a_failed_restore_leaves_no_local_copies_and_deletes_nothing_remote():
    stage = await backed_up()
    kept = stage.archives()
    slow(stage, 5)
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        await anyio.sleep(7)
        async with stage.app.sidecar(1).client() as client:
            await client.kill(None)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Cancelled")
    assert_one_sentence(job.status.message, "shard 1 replica 0", "drop the tables")
    assert stage.archives() == kept
    assert (stage.local_copies(), running(stage), await held_locks(stage)) == (set(), [], [])


async def test_the_last_copy_of_a_restore_is_kept_while_the_store_is_away():
    stage = await backed_up()
    slow(stage, 60)
    stage.app.sidecar(0).duration.download = 1
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        await anyio.sleep(5)
        copies = {name for name, archive in stage.app.sidecar(0).local.items() if archive.good}
        assert len(copies) == 1
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.s3 = "denied"
        await without(RestoreJob, "undo", TENANT)(stage)
        await anyio.sleep(30)
        assert copies <= stage.local_copies()
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.s3 = None
        await gone(stage, RestoreJob, "undo")
    assert stage.local_copies() == set()
    assert len(stage.archives()) == 2
    assert job.metadata.uid


async def test_a_restore_that_fails_before_anything_was_made_can_be_done_again():
    stage = await backed_up()
    slow(stage, 5)
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        async with stage.app.sidecar(1).client() as client:
            await client.kill(None)
        await stage.end_of(job)
        drop(stage)
        forget(stage)
        job = await stage.end_of(await stage.restore("again", "nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]


async def test_what_was_given_up_is_gone_when_neither_copy_is_listed_whatever_was_seen_before():
    """A local copy with resume state uploads itself again: a remote copy that was gone once may be there now."""
    stage = await staged()
    job = await stage.backup("nightly")
    namespace = await stage.kube.get(Namespace, TENANT)
    run = BackupRun(
        kube=stage.kube,
        reader=Caches(stage.kube),
        namespace=TENANT,
        namespace_uid=namespace.metadata.uid,
        cluster_uid="",
        application=await stage.kube.get(ClickHouse, APP, TENANT),
        strategy={},
        name="nightly",
        uid=job.metadata.uid,
        created=job.metadata.creation_timestamp or stage.now(),
        now=stage.now(),
    )
    name = archive_name(run, attempt=1, shard=0, shards=2, replica=0)
    async with stage.app.sidecar(0).client() as sidecar:
        await (await sidecar.create_remote(name)).wait()
    debris = {"shard": 0, "replica": 0, "archive": name, "remoteGone": True}
    checkpoint: Any = {"version": 1, "kind": "backup", "shards": 2, "members": [], "debris": [debris]}
    async with stage.driver() as driver:
        while isinstance(outcome := await driver.abort(replace(run, checkpoint=checkpoint)), Running):
            checkpoint = outcome.checkpoint
    assert isinstance(outcome, Succeeded)
    assert (stage.archives(), stage.local_copies()) == (set(), set())
