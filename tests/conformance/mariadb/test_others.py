"""Backups by a clock, and physical ones: what others have at work on a MariaDB, and how it looks."""

import re

from tests.conformance.mariadb.rig import FOLDER, Backup, Job, PhysicalBackup, Rig, bucket


async def physical_jobs(rig: Rig, name: str) -> list[str]:
    found = (await rig.kube.list(Job, rig.namespace)).items
    return [each.metadata.name for each in found if each.metadata.owner_references[0].name == name]


async def test_a_backup_with_a_schedule_makes_no_job(rig: Rig):
    await rig.mariadb()
    await rig.backup(schedule={"cron": "0 3 * * *"})
    assert await rig.find(Job, "b") is None
    assert await rig.complete(Backup, "b") == ("False", "CronJobScheduled", "Scheduled")


async def test_a_schedule_that_is_added_makes_an_end_undone(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    await rig.end("b")
    await rig.patch(Backup, "b", {"spec": {"schedule": {"cron": "0 3 * * *"}}})
    assert await rig.complete(Backup, "b") == ("False", "CronJobScheduled", "Scheduled")


async def test_a_physical_backup_has_a_job_named_by_its_second(rig: Rig):
    await rig.mariadb()
    await rig.make(PhysicalBackup, "p", storage={"s3": bucket()})
    (job,) = await physical_jobs(rig, "p")
    assert re.fullmatch(r"p-\d{14}", job)
    assert (await rig.complete(PhysicalBackup, "p"))[:2] == ("False", "JobRunning")
    await rig.end(job)
    assert await rig.complete(PhysicalBackup, "p") == ("True", "JobComplete", "Success")


async def test_it_too_is_complete_if_it_has_failed(rig: Rig):
    await rig.mariadb()
    await rig.make(PhysicalBackup, "p", storage={"s3": bucket()})
    (job,) = await physical_jobs(rig, "p")
    await rig.end(job, failed=True)
    assert await rig.complete(PhysicalBackup, "p") == ("True", "JobFailed", "Failed")


async def test_it_too_runs_again_if_its_job_is_deleted(rig: Rig):
    await rig.mariadb()
    await rig.make(PhysicalBackup, "p", storage=FOLDER)
    (job,) = await physical_jobs(rig, "p")
    await rig.end(job)
    before = (await rig.job(job))["metadata"]["uid"]
    await rig.delete(Job, job)
    (again,) = await physical_jobs(rig, "p")
    assert (await rig.job(again))["metadata"]["uid"] != before
