"""What another version of this program has written: an older one's is read, a newer one's is left untouched."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.cozydrivers.checks import backed_up, many, rows, slow, staged, submitted
from tests.cozydrivers.stage import TENANT, Job, Stage

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.events import Event
from cozydrivers.controllers.ledger import CHECKPOINT, FINALIZER

pytestmark = pytest.mark.anyio

Ledger = dict[str, Any]
Rewrite = Callable[[Ledger], Ledger]


async def begun(stage: Stage, kind: str = "BackupJob", rewrite: Rewrite = dict) -> Any:
    """A job that runs, without a controller, its ledger rewritten as another version would have it."""
    slow(stage, 10)
    job: Any = await (stage.backup("nightly") if kind == "BackupJob" else stage.restore("nightly", "nightly"))
    async with stage.managed():
        await stage.stands(job, "InProgress")
        await anyio.sleep(2)
    job = await stage.kube.get(type(job), "nightly", TENANT)
    written = json.dumps(rewrite(json.loads(job.metadata.annotations[CHECKPOINT])))
    return await stage.kube.merge_patch(
        type(job), "nightly", {"metadata": {"annotations": {CHECKPOINT: written}}}, TENANT
    )


def of_0_1(ledger: Ledger) -> Ledger:
    """As version 0.1 wrote it: without a version of its own."""
    assert ledger.pop("version") == 1
    return ledger


@pytest.mark.parametrize("kind", ["BackupJob", "RestoreJob"])
async def test_a_job_that_version_0_1_has_begun_goes_on(kind: str):
    stage = await (staged() if kind == "BackupJob" else backed_up())
    before = submitted([stage.app])
    job = await begun(stage, kind, of_0_1)
    async with stage.managed():
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert set((submitted([stage.app]) - before).values()) <= {1}
    assert rows(stage) == [100, 101]


def of_a_newer_ledger(ledger: Ledger) -> Ledger:
    return {**ledger, "version": 2}


def of_a_newer_ledger_of_another_form(ledger: Ledger) -> Ledger:
    return {"version": 3, "runs": [{"job": ledger["uid"]}]}


def of_a_newer_driver(ledger: Ledger) -> Ledger:
    return {**ledger, "driver": {**ledger["driver"], "version": 2}}


def of_a_newer_driver_of_another_form(ledger: Ledger) -> Ledger:
    return {**ledger, "driver": {"version": 2, "members": "elsewhere"}}


NEWER: list[Rewrite] = [
    of_a_newer_ledger,
    of_a_newer_ledger_of_another_form,
    of_a_newer_driver,
    of_a_newer_driver_of_another_form,
]


async def events(stage: Stage) -> list[tuple[str, str]]:
    found = (await stage.kube.list(Event, TENANT)).items
    return [(event.regarding.name, event.note) for event in found if event.reason == "NewerVersion"]


async def assert_untouched(stage: Stage, job: Job) -> None:
    """Nothing is written on it, nor sent for it, and that is said."""
    asked = stage.touched()
    async with stage.managed():
        await anyio.sleep(900)
    now = await stage.kube.get(type(job), job.metadata.name, TENANT)
    assert now.metadata.resource_version == job.metadata.resource_version
    assert stage.touched() == asked
    assert set(await events(stage)) == {
        ("nightly", "it was begun by a newer version of cozydrivers; it is left untouched")
    }


@pytest.mark.parametrize("rewrite", NEWER, ids=lambda rewrite: rewrite.__name__)
@pytest.mark.parametrize("kind", ["BackupJob", "RestoreJob"])
async def test_a_job_that_a_newer_version_has_begun_is_left_untouched(kind: str, rewrite: Rewrite):
    stage = await (staged() if kind == "BackupJob" else backed_up())
    await assert_untouched(stage, await begun(stage, kind, rewrite))


@pytest.mark.parametrize("rewrite", NEWER, ids=lambda rewrite: rewrite.__name__)
async def test_nor_is_one_that_is_deleted(rewrite: Rewrite):
    stage = await staged()
    job = await begun(stage, "BackupJob", rewrite)
    await stage.kube.delete(BackupJob, "nightly", TENANT, uid=job.metadata.uid)
    job = await stage.backup_job("nightly")
    assert FINALIZER in job.metadata.finalizers
    await assert_untouched(stage, job)


@pytest.mark.parametrize("rewrite", NEWER, ids=lambda rewrite: rewrite.__name__)
async def test_another_job_of_its_application_waits_for_it_and_is_not_taken_for_it(rewrite: Rewrite):
    stage = await staged()
    await begun(stage, "BackupJob", rewrite)
    async with stage.managed():
        await stage.stands(await stage.backup("another"), "TargetLocked")
        await anyio.sleep(60)
    assert {name for name, _ in await events(stage)} == {"nightly"}


async def test_jobs_of_other_applications_go_on_beside_it():
    stage = await staged(shards=1)
    await begun(stage, "BackupJob", of_a_newer_ledger)
    await many(stage, 2)
    async with stage.managed():
        await anyio.sleep(60)
    phases = {job.metadata.name: job.status.phase for job in (await stage.kube.list(BackupJob)).items}
    assert phases == {"nightly": "Running", "of-app-0": "Succeeded", "of-app-1": "Succeeded"}
