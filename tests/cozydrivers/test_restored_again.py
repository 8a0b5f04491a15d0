"""A RestoreJob that is applied again, as GitOps does, is recognised: it would replace what was written since."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cozydrivers.checks import (
    assert_refused,
    backed_up,
    drop,
    forget,
    reason_of,
    rows,
    without,
)
from tests.cozydrivers.stage import APP, TENANT

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import RestoreJob
from cozydrivers.api.coordination import Lease
from cozydrivers.controllers.restored import RESTORED, Restored, annotation, refusal, seen


async def restored_once():
    stage = await backed_up()
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    await without(RestoreJob, "undo", TENANT)(stage)
    drop(stage)
    forget(stage)
    return stage


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["undo", "another"])
async def test_the_same_restore_is_not_done_again(name):
    stage = await restored_once()
    async with stage.managed():
        job = await stage.end_of(await stage.restore(name, "nightly"))
    assert_refused(stage, job, "RestoreJob undo", "spec.options.repeat")


@pytest.mark.anyio
@pytest.mark.parametrize("options", [{"repeat": "please"}, {"overwrite": False}])
async def test_another_restore_is_done(options):
    stage = await restored_once()
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly", options=options))
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]


@pytest.mark.anyio
async def test_a_word_counts_once():
    stage = await restored_once()
    async with stage.managed():
        await stage.end_of(await stage.restore("undo", "nightly", options={"repeat": "please"}))
        forget(stage)
        job = await stage.end_of(await stage.restore("redo", "nightly", options={"repeat": "please"}))
    assert_refused(stage, job, "RestoreJob undo")


@pytest.mark.anyio
async def test_an_application_that_was_made_anew_has_seen_none():
    stage = await restored_once()
    old = await stage.kube.get(ClickHouse, APP, TENANT)
    await without(ClickHouse, APP, TENANT)(stage)
    await stage.kube.create(ClickHouse, {"metadata": {"name": APP}, "spec": old.spec}, TENANT)
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly"))
    assert job.status.phase == "Succeeded", job.status.message


@pytest.mark.anyio
async def test_a_restore_that_failed_may_be_applied_again():
    stage = await backed_up()
    stage.app.sidecar(1).tables.add_table("shop.orders", 1)
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly", options={"overwrite": False}))
        assert reason_of(job) == ("Failed", "Refused")
        drop(stage)
        job = await stage.end_of(await stage.restore("again", "nightly"))
    assert job.status.phase == "Succeeded", job.status.message


@pytest.mark.anyio
@pytest.mark.parametrize("word", ["", 1, ["a"]])
async def test_a_word_must_be_a_text(word):
    stage = await backed_up()
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly", options={"repeat": word}))
    assert_refused(stage, job, "spec.options.repeat")


ids = st.sampled_from("abc")
restores = st.builds(
    Restored,
    application=ids,
    backup=ids,
    options=ids,
    job=st.uuids().map(str),
    name=st.just("undo"),
    at=st.just(datetime(2026, 11, 26, tzinfo=UTC)),
)


@given(st.lists(restores, max_size=130), restores)
def test_what_was_recorded_is_recognised(before, new):
    kept = seen(Lease.decode({"metadata": {"annotations": {RESTORED: annotation(before, new)}}}))
    assert len(kept) <= 100
    assert kept[-1] == new
    assert refusal(new, kept[:-1]) == refusal(new, kept)
    assert refusal(new.model_copy(update={"job": "later"}), kept)
