"""Transient is not terminal, and every wait is told (I5, I6): what passes by itself costs time and nothing else."""

import re
import statistics
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest
from tests.cozydrivers.checks import backed_up, forget, rows, slow, staged
from tests.cozydrivers.stage import TENANT, Stage, recorded

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import Condition

pytestmark = pytest.mark.anyio

READ = ("/pods", "/secrets/", "/clickhouses/", "/backupclasses/", "/altinities/", "/leases/", "/namespaces/kube-system")


def submitted(stage: Stage, verb: str) -> list[str]:
    """The submissions of a verb, as each sidecar got them."""
    return [asked for asked in stage.touched() if f"/{verb}" in asked]


async def assert_backed_up_once(stage, job):
    assert job.status.phase == "Succeeded", job.status.message
    backups = (await stage.kube.list(Backup, TENANT)).items
    assert [backup.metadata.name for backup in backups] == ["nightly"]
    assert recorded(backups[0]) == stage.archives()
    assert len(stage.archives()) == 2
    assert stage.local_copies() == set()
    asked = submitted(stage, "create_remote")
    assert len(asked) == len(set(asked))


# The API server


def troubles(faults, kind):
    """Plan a trouble for each kind of thing that a controller reads, and for what it writes."""
    for method, path in [("PATCH", ""), ("POST", ""), ("DELETE", ""), *(("GET", path) for path in READ)]:
        if kind == "refused":
            faults.refuse(method=method, path=path)
        elif kind == "lost":
            faults.lose_reply(method=method, path=path)
        else:
            faults.fail(status=kind, retry_after=1 if kind == 429 else None, method=method, path=path)


api_troubles = pytest.mark.parametrize("kind", [409, 429, 500, "refused", "lost"], ids=str)


@api_troubles
async def test_a_backup_outlives_the_api_server_s_troubles(kind):
    stage = await staged()
    job = await stage.backup("nightly")
    troubles(stage.cluster.faults, kind)
    async with stage.managed():
        job = await stage.end_of(job)
    await assert_backed_up_once(stage, job)


@api_troubles
async def test_a_restore_outlives_the_api_server_s_troubles(kind):
    stage = await backed_up()
    job = await stage.restore("undo", "nightly")
    troubles(stage.cluster.faults, kind)
    async with stage.managed():
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]
    asked = submitted(stage, "restore/")
    assert len(asked) == len(set(asked))


async def test_a_backup_outlives_dropped_watches_and_compaction():
    stage = await staged()
    slow(stage, 3)
    async with stage.managed():
        job = await stage.backup("nightly")
        for _ in range(6):
            await anyio.sleep(0.5)
            stage.cluster.compact()
            stage.cluster.drop_watches()
        job = await stage.end_of(job)
    await assert_backed_up_once(stage, job)


# The sidecars


def refuse(faults, on):
    faults.refuse = on


def answer_late(faults, on):
    faults.delay = 45.0 if on else 0.0


def answer_500(faults, on):
    faults.broken_config = "mapping values are not allowed" if on else ""


def hang(faults, on):
    faults.clickhouse_down = on


def lose_the_store(faults, on):
    faults.s3 = "denied" if on else None


sidecar_troubles = pytest.mark.parametrize("trouble", [refuse, answer_late, answer_500, hang, lose_the_store])


@asynccontextmanager
async def in_trouble(stage, trouble, seconds):
    trouble(stage.app.sidecar(1).faults, True)
    yield
    await anyio.sleep(seconds)
    trouble(stage.app.sidecar(1).faults, False)


@sidecar_troubles
@pytest.mark.parametrize("moment", [0.0, 1.0])
async def test_a_backup_outlives_a_sidecar_s_troubles(trouble, moment):
    stage = await staged()
    slow(stage, 2)
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(moment)
        async with in_trouble(stage, trouble, 12):
            pass
        job = await stage.end_of(job)
    await assert_backed_up_once(stage, job)


@sidecar_troubles
async def test_a_restore_outlives_a_sidecar_s_troubles(trouble):
    stage = await backed_up()
    slow(stage, 2)
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        await anyio.sleep(1)
        async with in_trouble(stage, trouble, 12):
            pass
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]
    assert stage.local_copies() == set()


# What is told meanwhile


async def history(stage, job):
    """A job's versions to its end, each with the event loop's time."""
    seen = []
    version = job.metadata.resource_version
    watch = stage.kube.watch(type(job), TENANT, resource_version=version, timeout=7200)
    async with aclosing(watch) as events:
        async for event in events:
            seen.append((anyio.current_time(), event.object))
            if event.object.status.phase in ("Succeeded", "Failed"):
                return seen
    raise AssertionError("the watch has ended")


def assert_told(versions):
    """Each version says where the job stands, and a condition's time is that of its status."""
    before: dict[str, Condition] = {}
    for version in versions:
        conditions = {condition.type: condition for condition in version.status.conditions}
        assert {"Ready", "Progressing"} <= conditions.keys()
        for condition in conditions.values():
            assert re.fullmatch("([A-Z][a-z0-9]*)+", condition.reason)
            assert condition.message
            assert condition.observed_generation == version.metadata.generation
            old = before.get(condition.type)
            if old and old.status == condition.status:
                assert condition.last_transition_time == old.last_transition_time
        assert version.status.message == conditions["Ready"].message
        before = conditions


@pytest.mark.parametrize("kind", [BackupJob, RestoreJob])
async def test_each_phase_says_what_it_waits_for(kind):
    stage = await backed_up()
    slow(stage, 20)
    stage.app.sidecar(1).faults.refuse = True
    create = stage.backup("other") if kind is BackupJob else stage.restore("undo", "nightly")
    async with stage.managed():
        job = await create
        async with anyio.create_task_group() as tasks:

            async def heal():
                await anyio.sleep(20)
                stage.app.sidecar(1).faults.refuse = False

            tasks.start_soon(heal)
            versions = [version for _, version in await history(stage, job)]
    told = [version for version in versions if version.status.phase]
    assert_told(told)
    phases = list(dict.fromkeys(version.status.phase for version in told))
    assert phases == ["Pending", "Running", "Succeeded"]
    reasons = list(dict.fromkeys(version.status.conditions[0].reason for version in told))
    begun = ["InProgress"] if kind is BackupJob else ["Submitting", "InProgress"]
    assert reasons[: len(begun) + 1] == ["SidecarUnreachable", *begun]
    end = told[-1].status
    starts = {version.status.started_at for version in told if version.status.phase != "Pending"}
    assert starts == {end.started_at}
    assert job.metadata.creation_timestamp <= end.started_at <= end.completed_at
    assert all(version.status.completed_at is None for version in told[:-1])


# What it costs


async def bursts(stage, shard, seconds):
    """Requests to a sidecar, counted anew whenever it was left alone for a moment."""
    requests, counts = stage.app.sidecar(shard).requests, []
    for _ in range(int(seconds / 0.05)):
        before = len(requests)
        await anyio.sleep(0.05)
        counts.append(len(requests) - before)
    return [count for count in counts if count]


@pytest.mark.parametrize("kind", [BackupJob, RestoreJob])
async def test_a_poll_costs_two_requests_to_each_sidecar_at_most(kind):
    stage = await (staged() if kind is BackupJob else backed_up())
    slow(stage, 120)
    async with stage.managed():
        job: Any = await (stage.backup("other") if kind is BackupJob else stage.restore("undo", "nightly"))
        await stage.stands(job, "InProgress")
        await anyio.sleep(0.3)
        forget(stage)
        counts = await bursts(stage, 0, 30)
        asked = {request.path for request in stage.app.sidecar(0).requests}
    assert len(counts) > 10
    assert max(counts) <= 2
    assert asked <= {"/backup/status", "/backup/actions"}


async def delay_of(stage, seconds):
    """Seconds from the end of an operation of that length to Succeeded, as a part of the length."""
    sidecar = stage.app.sidecar(0)
    sidecar.duration.create, sidecar.duration.upload = 0.0, seconds
    begun = anyio.current_time()
    at, job = (await history(stage, await stage.backup(f"of-{seconds:.2f}".replace(".", "-"))))[-1]
    assert job.status.phase == "Succeeded", job.status.message
    return (at - begun - seconds) / seconds


@pytest.mark.parametrize(("length", "bound"), [(1, 0.25), (60, 0.05)])
async def test_an_end_is_seen_soon(length, bound):
    """The lengths are spread over the time between two polls, which is a tenth of the time waited."""
    stage = await staged(shards=1)
    async with stage.managed():
        delays = [await delay_of(stage, length * 1.1 ** (number / 5)) for number in range(5)]
    assert min(delays) >= 0
    assert statistics.median(delays) <= bound


async def test_the_end_of_a_long_operation_is_seen_within_ten_seconds():
    stage = await staged(shards=1)
    stage.app.sidecar(0).duration.upload = 65
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        begun = anyio.current_time()
        stage.later = timedelta(hours=1)
        at, job = (await history(stage, job))[-1]
    assert job.status.phase == "Succeeded", job.status.message
    assert at - begun <= 65 + 10
