"""A rotated password: each sidecar has the one that it was started with, and no job fails of it (I6, I9)."""

import base64
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest
from tests.cozydrivers.checks import (
    STRATEGY,
    assert_one_sentence,
    backed_up,
    patched,
    pod_name,
    reason_of,
    rows,
    slow,
    staged,
    submitted,
    without,
)
from tests.cozydrivers.stage import APP, TENANT, Stage, recorded
from tests.whole import whole

from cozydrivers import ClickHouseDriver, Manager
from cozydrivers.api.backups import BackupJob
from cozydrivers.api.core import Secret
from cozydrivers.api.strategy import Altinity
from cozydrivers.metrics import Metrics
from cozydrivers.testing.operators import PASSWORD, USERNAME

pytestmark = pytest.mark.anyio

SECRET = f"clickhouse-{APP}-backup-api-auth"
NEW = "what-came-after-the-rotation"


async def rotate(stage: Stage, password: str = NEW) -> None:
    """Write another password into the Secret. The sidecars go on with theirs."""
    await patched(Secret, SECRET, {"stringData": {"password": password}}, TENANT)(stage)


def takes(stage: Stage, shard: int, password: str) -> None:
    """Have a sidecar take another password, as it does at its start."""
    stage.app.sidecar(shard)._credentials = (USERNAME, password)


async def restart(stage: Stage, shard: int, password: str = NEW) -> None:
    """Have a sidecar be killed in whatever it does, and started with what the Secret holds."""
    takes(stage, shard, password)
    await stage.app.restart(stage.kube, shard, after=2)


async def assert_backed_up_once(stage: Stage, job: BackupJob) -> None:
    job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made(job.metadata.name)) <= stage.archives()
    assert set(submitted([stage.app]).values()) == {1}
    assert stage.local_copies() == set()


async def says(stage: Stage, job: BackupJob, word: str) -> BackupJob:
    """Wait until a job's message holds a word."""
    with anyio.fail_after(60):
        while word not in (job := await stage.backup_job(job.metadata.name)).status.message:  # noqa: ASYNC110 - polled as a user would
            await anyio.sleep(0.5)
    return job


def refusals(metrics: Metrics) -> float:
    """How many requests were answered with 401."""
    lines = metrics.exposition()[0].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if "sidecar_requests_total{" in line and '"401"' in line)


@asynccontextmanager
async def counted(stage: Stage) -> AsyncGenerator[Metrics, None]:
    """A controller, and what its sidecars answered."""
    metrics = Metrics()
    driver = ClickHouseDriver(connect=stage.network.connect, metrics=metrics)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Manager(stage.kube, drivers=[driver], now=stage.now).run)
        yield metrics
        tasks.cancel_scope.cancel()


# A job in the middle of a rotation


async def test_sidecars_that_were_not_restarted_are_asked_with_what_they_take():
    stage = await staged()
    slow(stage, 20)
    async with counted(stage) as metrics:
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await rotate(stage)
        await assert_backed_up_once(stage, job)
        await assert_backed_up_once(stage, await stage.backup("later"))
        assert refusals(metrics) == 0


async def test_one_that_was_restarted_is_asked_with_the_new_one_and_the_other_with_the_old(caplog):
    caplog.set_level(logging.DEBUG)
    stage = await staged()
    slow(stage, 20)
    async with counted(stage) as metrics:
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await rotate(stage)
        await restart(stage, 1)
        await assert_backed_up_once(stage, job)
        assert refusals(metrics) == 1
        await assert_backed_up_once(stage, await stage.backup("later"))
        assert refusals(metrics) == 1
    text = caplog.text + str([each.raw for each in (await stage.kube.list(whole(BackupJob))).items])
    tokens = [base64.b64encode(f"{USERNAME}:{word}".encode()).decode() for word in (PASSWORD, NEW)]
    assert [secret for secret in (PASSWORD, NEW, *tokens) if secret in text] == []


async def test_a_restore_goes_on_as_well():
    stage = await backed_up()
    slow(stage, 20)
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        await rotate(stage)
        await restart(stage, 1)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]


async def test_a_secret_that_comes_after_the_restart_is_waited_for():
    stage = await staged()
    slow(stage, 20)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await restart(stage, 1)
        job = await says(stage, job, "401")
        assert_one_sentence(job.status.message, "shard 1 replica 0", pod_name(1), "401", f"Secret {TENANT}/{SECRET}")
        await anyio.sleep(60)
        await rotate(stage)
        await assert_backed_up_once(stage, job)


async def test_a_secret_that_is_deleted_and_created_anew_is_waited_for():
    stage = await staged()
    slow(stage, 20)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await without(Secret, SECRET, TENANT)(stage)
        await restart(stage, 1)
        job = await says(stage, job, f"Secret {TENANT}/{SECRET} does not exist")
        body = {"metadata": {"name": SECRET}, "stringData": {"username": USERNAME, "password": NEW}}
        await stage.kube.create(Secret, body, TENANT)
        await assert_backed_up_once(stage, job)


async def test_what_was_in_the_secret_before_is_tried_too():
    """Both are restarted: one has read the Secret before the rotation, one after it."""
    stage = await staged()
    slow(stage, 20)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await rotate(stage)
        await restart(stage, 1)
        await anyio.sleep(10)
        takes(stage, 0, "neither")
        job = await stage.stands(job, "SidecarUnreachable")
        takes(stage, 0, PASSWORD)
        await assert_backed_up_once(stage, job)


async def test_a_controller_that_starts_after_the_rotation_waits_for_the_restart_of_the_sidecars():
    stage = await staged()
    await rotate(stage)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "SidecarUnreachable")
        assert_one_sentence(job.status.message, "401", "from its next restart on")
        assert stage.touched() == []
        for shard in (0, 1):
            await restart(stage, shard)
        await assert_backed_up_once(stage, job)


async def test_a_password_that_stays_wrong_ends_the_job_after_half_an_hour_and_costs_few_requests():
    stage = await staged()
    slow(stage, 20)
    async with counted(stage) as metrics:
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        takes(stage, 1, "neither")
        await stage.stands(job, "SidecarUnreachable")
        before = refusals(metrics)
        await anyio.sleep(100)
        assert refusals(metrics) - before <= 80  # up to four for each look, which is every 5 s
        stage.later = timedelta(minutes=31)
        job = await stage.stands(job, "TimedOut")
        assert_one_sentence(job.status.message, "401", SECRET)
        takes(stage, 1, PASSWORD)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert (stage.archives(), stage.local_copies()) == (set(), set())


# A 401 where something is sent or deleted


@pytest.mark.parametrize("path", ["/backup/create_remote", "/backup/delete/local"])
async def test_a_401_says_that_nothing_was_done_and_what_was_asked_is_done_with_what_is_taken(path: str):
    stage = await staged()
    stage.app.sidecar(1).faults.replace_reply(401, "401 Unauthorized\n", path=path)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    made = [row for row in stage.app.sidecar(1)._look().history.rows if row.command.startswith("create_remote")]
    assert len(made) == 1
    assert len(stage.archives()) == 2
    assert stage.local_copies() == set()


async def test_a_clean_up_outlives_a_rotation():
    stage = await staged()
    slow(stage, 60)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await rotate(stage)
        takes(stage, 0, NEW)
        await without(BackupJob, "nightly", TENANT)(stage)
        await anyio.sleep(60)
    assert (stage.archives(), stage.local_copies()) == (set(), set())
    assert job.metadata.finalizers


# Whose word counts


async def test_the_strategy_s_secret_counts_and_not_what_the_pod_says():
    stage = await staged()
    names = {"API_USERNAME": "who", "API_PASSWORD": "what"}
    env = [{"name": n, "valueFrom": {"secretKeyRef": {"name": "other", "key": key}}} for n, key in names.items()]
    container = {"name": "client", "image": "alpine", "env": env}
    await patched(Altinity, STRATEGY, {"spec": {"template": {"spec": {"containers": [container]}}}})(stage)
    await rotate(stage, "of-no-use")
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "SecretMissing")
        assert_one_sentence(job.status.message, f"Secret {TENANT}/other does not exist")
        body = {"metadata": {"name": "other"}, "stringData": {"who": USERNAME, "what": PASSWORD}}
        await stage.kube.create(Secret, body, TENANT)
        await assert_backed_up_once(stage, job)
