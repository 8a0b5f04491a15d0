"""The annotation `pause` stops what is new, and follows what runs."""

from datetime import timedelta

import anyio
import pytest
from tests.cozydrivers.checks import assert_one_sentence, patched, reason_of, slow, staged
from tests.cozydrivers.stage import APP, TENANT, condition

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.ledger import PAUSE

pytestmark = pytest.mark.anyio


def paused(value):
    return {"metadata": {"annotations": {PAUSE: value}}}


def set_on(kind, value):
    place = (ClickHouse, APP, paused(value), TENANT) if kind is ClickHouse else (Namespace, TENANT, paused(value))
    return patched(*place)


@pytest.mark.parametrize("kind", [ClickHouse, Namespace])
async def test_a_paused_job_waits_until_it_may_begin(kind):
    stage = await staged()
    await set_on(kind, "true")(stage)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "Paused")
        assert job.status.phase == "Pending"
        assert_one_sentence(job.status.message, PAUSE, APP if kind is ClickHouse else TENANT)
        await anyio.sleep(600)
        assert stage.touched() == []
        assert not (await stage.backup_job("nightly")).metadata.finalizers
        await set_on(kind, None)(stage)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_pause_that_says_false_is_none():
    stage = await staged()
    await set_on(ClickHouse, "false")(stage)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded"


async def test_what_runs_is_followed_to_its_end():
    stage = await staged()
    slow(stage, 30)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await set_on(ClickHouse, "true")(stage)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_running_job_begins_nothing_new():
    """A backup whose sidecar lost it would make another attempt."""
    stage = await staged()
    slow(stage, 30)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await set_on(ClickHouse, "true")(stage)
        await anyio.sleep(1)
        sidecar = stage.app.sidecar(1)
        sidecar.kill_process()
        for name in list(sidecar.local):
            del sidecar.local[name]
        sidecar.start_process()
        asked = len(stage.touched())
        job = await stage.stands(job, "Paused", within=300)
        assert job.status.phase == "Running"
        assert not [each for each in stage.touched()[asked:] if "create" in each]
        await set_on(ClickHouse, None)(stage)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_pause_of_a_day_ends_the_job():
    stage = await staged()
    await set_on(ClickHouse, "true")(stage)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "Paused")
        stage.later = timedelta(hours=25)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert PAUSE in condition(job, "Ready").message
