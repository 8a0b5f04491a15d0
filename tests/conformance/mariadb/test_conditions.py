"""What the condition Complete says, and what makes it say something else."""

import pytest
from tests.conformance.mariadb.rig import FOLDER, Backup, Job, MariaDB, Restore, Rig

RUNNING = ("False", "JobRunning", "Running")
SUCCESS = ("True", "JobComplete", "Success")
FAILED = ("True", "JobFailed", "Failed")
SUSPENDED = ("False", "JobSuspended", "Suspended")
NOT_READY = ("False", "Failed", "MariaDB not ready")
NOT_FOUND = ("False", "Failed", "MariaDB not found")


async def test_a_backup_runs_as_long_as_its_job(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    assert await rig.complete(Backup, "b") == RUNNING
    await rig.report("b", startTime="2026-01-01T00:00:00Z", active=1)
    assert await rig.complete(Backup, "b") == RUNNING


async def test_a_failed_job_is_complete_too(rig: Rig):
    await rig.mariadb()
    await rig.backup("good")
    await rig.backup("bad")
    await rig.end("good")
    await rig.end("bad", failed=True)
    assert await rig.complete(Backup, "good") == SUCCESS
    assert await rig.complete(Backup, "bad") == FAILED


async def test_a_restore_ends_as_its_job_does(rig: Rig):
    await rig.mariadb()
    await rig.restore("good", **FOLDER)
    await rig.restore("bad", **FOLDER)
    assert await rig.complete(Restore, "good") == RUNNING
    await rig.end("good")
    await rig.end("bad", failed=True)
    assert await rig.complete(Restore, "good") == SUCCESS
    assert await rig.complete(Restore, "bad") == FAILED


async def test_the_condition_tells_no_generation(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    (condition,) = (await rig.get(Backup, "b"))["status"]["conditions"]
    assert "observedGeneration" not in condition


async def test_what_decides_the_end_is_not_yet_the_end(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    await rig.report("b", startTime="2026-01-01T00:00:00Z", conditions=[{"type": "FailureTarget", "status": "True"}])
    assert await rig.complete(Backup, "b") == RUNNING


async def test_a_suspended_job_stays_suspended(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    await rig.patch(Job, "b", {"spec": {"suspend": True}})
    assert await rig.complete(Backup, "b") == RUNNING
    await rig.report("b", conditions=[{"type": "Suspended", "status": "True"}])
    assert await rig.complete(Backup, "b") == SUSPENDED
    await rig.patch(Backup, "b", {"metadata": {"annotations": {"touched": "1"}}})
    assert (await rig.job())["spec"]["suspend"] is True
    assert await rig.complete(Backup, "b") == SUSPENDED


async def test_a_job_that_is_resumed_runs(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    await rig.patch(Job, "b", {"spec": {"suspend": True}})
    await rig.report("b", conditions=[{"type": "Suspended", "status": "True"}])
    await rig.patch(Job, "b", {"spec": {"suspend": False}})
    await rig.report("b", conditions=[{"type": "Suspended", "status": "False"}])
    assert await rig.complete(Backup, "b") == RUNNING


async def test_a_backup_waits_for_a_mariadb_that_is_not_ready(rig: Rig):
    await rig.mariadb(ready=False)
    await rig.backup()
    assert await rig.complete(Backup, "b") == NOT_READY
    assert await rig.find(Job, "b") is None
    assert "compression" not in (await rig.get(Backup, "b"))["spec"]


async def test_a_restore_does_not_wait(rig: Rig):
    await rig.mariadb(ready=False)
    await rig.restore(**FOLDER)
    assert await rig.complete(Restore, "r") == RUNNING
    assert await rig.find(Job, "r")


async def test_a_mariadb_is_waited_for(rig: Rig):
    await rig.backup()
    await rig.restore(**FOLDER)
    assert await rig.complete(Backup, "b") == NOT_FOUND
    assert await rig.complete(Restore, "r") == NOT_FOUND
    assert await rig.find(Job, "b") is None
    assert await rig.find(Job, "r") is None


async def test_a_suspended_mariadb_is_not_ready(rig: Rig):
    await rig.mariadb()
    await rig.patch(MariaDB, "db", {"spec": {"suspend": True}})
    await rig.backup()
    await rig.restore(**FOLDER)
    assert await rig.complete(Backup, "b") == NOT_READY
    assert await rig.complete(Restore, "r") == RUNNING


@pytest.mark.parametrize("failed", [False, True])
async def test_an_end_is_forgotten_while_the_mariadb_is_not_ready(rig: Rig, failed: bool):
    """It says so as soon as it looks at the Backup again, for whatever reason."""
    await rig.mariadb()
    await rig.backup()
    await rig.end("b", failed=failed)
    await rig.mariadb(ready=False)
    await rig.patch(Backup, "b", {"metadata": {"annotations": {"touched": "1"}}})
    assert await rig.complete(Backup, "b") == NOT_READY


async def test_an_end_is_not_told_while_the_mariadb_is_not_ready(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    await rig.mariadb(ready=False)
    await rig.end("b", failed=True)
    assert await rig.complete(Backup, "b") == NOT_READY
