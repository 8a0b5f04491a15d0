"""What runs again, and what passes for what it is not: the operator knows its Jobs by name alone."""

import pytest
from tests.conformance.mariadb.rig import FOLDER, Backup, Job, Restore, Rig, after, arguments, bucket

HELD = {"finalizers": ["example.com/held"]}
RUNNING, SUCCESS = ("False", "JobRunning", "Running"), ("True", "JobComplete", "Success")


@pytest.mark.parametrize("failed", [False, True])
async def test_a_backup_whose_job_is_deleted_runs_again(rig: Rig, failed: bool):
    await rig.mariadb()
    await rig.backup()
    await rig.end("b", failed=failed)
    before = (await rig.job())["metadata"]["uid"]
    await rig.delete(Job, "b")
    job = await rig.job()
    assert job["metadata"]["uid"] != before
    assert job.get("status") == {}
    assert await rig.complete(Backup, "b") == RUNNING


async def test_a_restore_whose_job_is_deleted_runs_again(rig: Rig):
    await rig.mariadb()
    await rig.restore(**FOLDER)
    await rig.end("r")
    before = (await rig.job("r"))["metadata"]["uid"]
    await rig.delete(Job, "r")
    assert (await rig.job("r"))["metadata"]["uid"] != before
    assert await rig.complete(Restore, "r") == RUNNING


@pytest.mark.parametrize("kind", [Backup, Restore])
async def test_also_while_it_is_being_deleted(rig: Rig, kind: type[Backup] | type[Restore]):
    """A finalizer of somebody holds it, and its Job goes."""
    await rig.mariadb()
    await rig.make(kind, "x", metadata=HELD, **(FOLDER if kind is Restore else {"storage": FOLDER}))
    await rig.end("x")
    before = (await rig.job("x"))["metadata"]["uid"]
    await rig.delete(kind, "x")
    assert (await rig.job("x"))["metadata"]["uid"] == before
    await rig.delete(Job, "x")
    assert (await rig.job("x"))["metadata"]["uid"] != before
    assert await rig.complete(kind, "x") == RUNNING


async def test_also_while_it_waits_for_its_job_to_go(rig: Rig):
    """Deleted in the foreground, it stays until the garbage collector has deleted its Job, and then makes another."""
    await rig.mariadb()
    made = await rig.backup()
    await rig.end("b")
    before = (await rig.job())["metadata"]["uid"]
    await rig.kube.delete(Backup, "b", rig.namespace, uid=made.metadata.uid, propagation="Foreground")
    await rig.delete(Job, "b")
    assert (await rig.job())["metadata"]["uid"] != before


async def test_a_job_that_is_suspended_and_deleted_comes_back_not_suspended(rig: Rig):
    await rig.mariadb()
    await rig.backup(metadata=HELD)
    await rig.patch(Job, "b", {"spec": {"suspend": True}})
    await rig.delete(Backup, "b")
    await rig.delete(Job, "b")
    assert (await rig.job())["spec"]["suspend"] is False


async def test_one_that_is_being_deleted_starts_if_it_has_not_yet(rig: Rig):
    await rig.mariadb(ready=False)
    await rig.backup(metadata=HELD)
    await rig.delete(Backup, "b")
    assert await rig.find(Job, "b") is None
    await rig.mariadb()
    await rig.patch(Backup, "b", {"metadata": {"annotations": {"touched": "1"}}})
    assert await rig.find(Job, "b")


async def test_once_it_is_gone_nothing_runs_again(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    await rig.delete(Backup, "b")
    assert (await rig.job())["spec"]["suspend"] is False
    await rig.delete(Job, "b")
    assert await rig.find(Job, "b") is None


async def test_the_job_of_one_that_is_gone_is_left_alone(rig: Rig):
    """It goes on, until the garbage collector takes it."""
    await rig.mariadb()
    made = await rig.backup()
    before = (await rig.job())["metadata"]["resourceVersion"]
    await rig.delete(Backup, "b")
    job = await rig.job()
    assert job["metadata"]["resourceVersion"] == before
    assert [owner["uid"] for owner in job["metadata"]["ownerReferences"]] == [made.metadata.uid]


async def test_a_suspended_job_whose_owner_is_being_deleted_stays_suspended(rig: Rig):
    await rig.mariadb()
    await rig.backup(metadata=HELD)
    await rig.patch(Job, "b", {"spec": {"suspend": True}})
    await rig.delete(Backup, "b")
    await rig.patch(Backup, "b", {"metadata": {"finalizers": []}})
    assert await rig.find(Backup, "b") is None
    assert (await rig.job())["spec"]["suspend"] is True


async def test_a_name_that_is_used_again_adopts_the_old_job(rig: Rig):
    await rig.mariadb()
    first = await rig.backup()
    await rig.end("b")
    await rig.delete(Backup, "b")
    second = await rig.backup()
    assert await rig.complete(Backup, "b") == SUCCESS
    (owner,) = (await rig.job())["metadata"]["ownerReferences"]
    assert owner["uid"] == first.metadata.uid != second.metadata.uid
    await rig.delete(Job, "b")
    assert (await rig.job())["metadata"]["ownerReferences"][0]["uid"] == second.metadata.uid
    assert await rig.complete(Backup, "b") == RUNNING


async def test_a_restore_named_as_a_backup_passes_for_done(rig: Rig):
    await rig.mariadb()
    await rig.backup("x")
    await rig.end("x")
    await rig.restore("x", **FOLDER)
    assert await rig.complete(Restore, "x") == SUCCESS
    (owner,) = (await rig.job("x"))["metadata"]["ownerReferences"]
    assert owner["kind"] == "Backup"


async def test_anybodys_job_of_that_name_is_taken_for_its_own(rig: Rig):
    await rig.mariadb()
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1"}]}
    await rig.kube.create(Job, {"metadata": {"name": "b"}, "spec": {"template": {"spec": pod}}}, rig.namespace)
    await rig.end("b")
    await rig.backup(backoffLimit=3)
    assert await rig.complete(Backup, "b") == SUCCESS
    job = await rig.job()
    assert "ownerReferences" not in job["metadata"]
    assert job["spec"]["backoffLimit"] == 3


async def test_two_backups_of_a_mariadb_run_at_once(rig: Rig):
    await rig.mariadb()
    await rig.backup("one", storage={"s3": bucket(prefix="x/")})
    await rig.backup("two", storage={"s3": bucket(prefix="x/")})
    assert await rig.find(Job, "one")
    assert await rig.find(Job, "two")


async def test_a_restore_runs_again_for_a_time_of_its_own(rig: Rig):
    """With a target time the same; without one the time at which its Job is made."""
    await rig.mariadb()
    await rig.restore(**FOLDER, targetRecoveryTime="2026-01-01T00:00:00Z")
    before = after(arguments(await rig.job("r")), "--target-time")
    await rig.delete(Job, "r")
    assert after(arguments(await rig.job("r")), "--target-time") == before == "2026-01-01T00:00:00Z"
