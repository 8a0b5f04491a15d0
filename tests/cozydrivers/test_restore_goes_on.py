"""A restore that has begun goes on, whatever becomes of the Backup that it names: a half restore is the worst end."""

import anyio
import pytest
from tests.cozydrivers.checks import gone, reason_of, rows
from tests.cozydrivers.mariadb_restores import backed_up, change, until_restoring
from tests.cozydrivers.mariadb_restores import rows as rows_of_mariadb
from tests.cozydrivers.restores import in_use, notes
from tests.cozydrivers.stage import TENANT

from cozydrivers.api.backups import Backup

pytestmark = pytest.mark.anyio

SLOW = 30.0
LATE = 45.0
"""Longer than a RestoreJob that has not begun waits for its Backup."""


async def half_way(stage):
    for sidecar in stage.app.sidecars.values():
        sidecar.duration.restore = SLOW
    return await stage.restore("undo", "nightly")


async def deleted(stage):
    backup = await stage.made("nightly")
    await stage.kube.delete(Backup, "nightly", TENANT, uid=backup.metadata.uid)
    await gone(stage, Backup, "nightly")
    return backup


def written(backup):
    return {
        part: getattr(backup, part).model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for part in ("spec", "status")
    }


async def test_its_backup_is_deleted():
    stage = await in_use()
    async with stage.managed():
        job = await half_way(stage)
        await anyio.sleep(10)
        await deleted(stage)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]


async def test_another_backup_gets_its_name():
    stage = await in_use()
    async with stage.managed():
        job = await half_way(stage)
        await anyio.sleep(10)
        old = await deleted(stage)
        spec = {**written(old)["spec"], "driverMetadata": {}}
        await stage.kube.create(Backup, {"metadata": {"name": "nightly"}, "spec": spec}, TENANT)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]


async def test_its_backup_turns_failed():
    stage = await in_use()
    async with stage.managed():
        job = await half_way(stage)
        await anyio.sleep(10)
        await stage.kube.merge_patch(Backup, "nightly", {"status": {"phase": "Failed"}}, TENANT)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_controller_that_never_saw_the_backup_waits_for_it_to_be_applied_again():
    stage = await in_use()
    async with stage.managed():
        job = await half_way(stage)
        await anyio.sleep(10)
        old = await deleted(stage)
    async with stage.managed():
        await anyio.sleep(LATE)
        assert (await stage.restore_job("undo")).status.phase == "Running"
        await stage.kube.create(Backup, {"metadata": {"name": "nightly"}, **written(old)}, TENANT)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]


async def test_one_that_is_gone_for_good_ends_it():
    stage = await in_use()
    async with stage.managed():
        job = await half_way(stage)
        await anyio.sleep(10)
        await deleted(stage)
    async with stage.managed():
        job = await stage.end_of(job, within=4 * 3600)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert "nightly does not exist" in job.status.message
    assert await notes(stage, "TimedOut")


async def test_the_same_with_mariadb():
    async with backed_up() as stage:
        change(stage)
        job = await stage.restore("undo", "nightly")
        await until_restoring(stage)
        backup = await stage.made("nightly")
        await stage.kube.delete(Backup, "nightly", TENANT, uid=backup.metadata.uid)
        job = await stage.end_of(job)
        assert job.status.phase == "Succeeded", job.status.message
        assert rows_of_mariadb(stage) != []
