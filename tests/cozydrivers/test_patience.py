"""Every wait ends (I5): with the engine, with what is in use, with a Backup that is not there yet."""

from datetime import timedelta

import anyio
import pytest
from tests.cozydrivers.checks import (
    STRATEGY,
    Change,
    assert_one_sentence,
    assert_refused,
    backed_up,
    drop,
    forget,
    patched,
    pod_name,
    reason_of,
    slow,
    staged,
)
from tests.cozydrivers.stage import APP, TENANT

from cozydrivers.api.backups import Backup
from cozydrivers.api.coordination import Lease
from cozydrivers.api.strategy import Altinity
from cozydrivers.drivers.clickhouse.places import storage_id
from cozydrivers.runtime import lock_name
from cozydrivers.runtime.locks import STORAGE_NAMESPACE

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


def annotated(name, value) -> Change:
    key = f"cozydrivers.cozystack.io/{name}"
    return patched(Altinity, STRATEGY, {"metadata": {"annotations": {key: value}}})


# The Backup that a RestoreJob names


async def test_a_backup_that_is_absent_is_waited_for_for_half_a_minute():
    stage = await staged()
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "BackupNotFound")
        assert_one_sentence(job.status.message, f"Backup {TENANT}/nightly does not exist", "spec.backupRef.name")
        await anyio.sleep(25)
        assert (await stage.restore_job("undo")).status.phase == "Pending"
        job = await stage.end_of(job, within=20)
    assert_refused(stage, job, f"Backup {TENANT}/nightly does not exist", "spec.backupRef.name")


async def test_a_backup_that_comes_in_time_is_restored():
    stage = await staged()
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "BackupNotFound")
        await stage.end_of(await stage.backup("nightly"))
        drop(stage)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_backup_that_is_not_ready_is_waited_for():
    stage = await backed_up()
    await patched(Backup, "nightly", {"status": {"phase": "Pending"}}, TENANT)(stage)
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "BackupNotReady")
        assert_one_sentence(job.status.message, "Backup nightly is not Ready", "Pending")
        await patched(Backup, "nightly", {"status": {"phase": "Ready"}}, TENANT)(stage)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


# What is in use is waited for


async def busy_by_hand(stage, seconds):
    sidecar = stage.app.sidecar(1)
    sidecar.duration.create = seconds
    async with sidecar.client() as client:
        await client.create("by-hand")
    forget(stage)
    sidecar.duration.create = 0.1


async def test_a_busy_sidecar_is_waited_for_until_it_is_idle():
    stage = await staged()
    await busy_by_hand(stage, 60)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "SidecarBusy")
        assert_one_sentence(job.status.message, pod_name(1), "create by-hand")
        assert stage.touched() == []
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_sidecar_that_stays_busy_ends_the_job_after_a_day():
    stage = await staged()
    await busy_by_hand(stage, 100_000)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "SidecarBusy")
        stage.later = timedelta(hours=23)
        await anyio.sleep(11)
        assert (await stage.backup_job("nightly")).status.phase == "Pending"
        stage.later = timedelta(hours=25)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert_one_sentence(job.status.message, pod_name(1), "create by-hand")
    assert stage.touched() == []


async def test_a_running_job_whose_sidecar_stays_away_ends_after_half_an_hour():
    stage = await staged()
    slow(stage, 1_000)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        stage.app.sidecar(1).faults.refuse = True
        await stage.stands(job, "SidecarUnreachable")
        begun = anyio.current_time()
        await anyio.sleep(1690)  # to look each 0.1 s costs more than all that is looked for
        job = await stage.stands(job, "TimedOut", within=300)
        assert 1700 < anyio.current_time() - begun < 1900
        stage.app.sidecar(1).faults.refuse = False
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")


async def test_two_jobs_of_one_application_take_turns():
    stage = await staged()
    slow(stage, 3)
    async with stage.managed():
        first = await stage.stands(await stage.backup("first"), "InProgress")
        second = await stage.stands(await stage.backup("second"), "TargetLocked")
        assert_one_sentence(second.status.message, "another job works on ClickHouse my-clickhouse")
        assert second.status.phase == "Pending"
        ends = [await stage.end_of(job) for job in (first, second)]
    assert [job.status.phase for job in ends] == ["Succeeded", "Succeeded"]
    assert ends[0].status.completed_at
    assert ends[1].status.started_at
    assert ends[0].status.completed_at <= ends[1].status.started_at


async def test_a_target_that_stays_locked_ends_the_job_after_a_day():
    stage = await staged()
    environment = {"S3_ENDPOINT": "http://s3.invalid", "S3_BUCKET": "backups", "S3_PATH": APP}
    name = lock_name("cozydrivers-storage", storage_id(environment))
    body = {"metadata": {"name": name}, "spec": {"holderIdentity": "Purge/1-a"}}
    await stage.kube.create(Lease, body, STORAGE_NAMESPACE)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "TargetLocked")
        stage.later = timedelta(hours=25)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert stage.touched() == []
    assert (await stage.kube.get(Lease, name, STORAGE_NAMESPACE)).spec.holder_identity == "Purge/1-a"


@pytest.mark.parametrize(
    ("annotation", "limit"), [("1h30m", timedelta(minutes=90)), (None, timedelta(hours=6))], ids=["strategy", "driver"]
)
async def test_the_engine_has_the_strategy_s_patience_else_the_driver_s(annotation, limit):
    stage = await staged()
    await annotated("timeout", annotation)(stage)
    slow(stage, 1_000_000)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        stage.later = limit - MINUTE
        await anyio.sleep(11)
        assert (await stage.backup_job("nightly")).status.phase == "Running"
        stage.later = limit + MINUTE
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert_one_sentence(job.status.message, str(limit), "create_remote is in progress")
    assert (stage.archives(), stage.local_copies()) == (set(), set())
