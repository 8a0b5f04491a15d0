"""Whatever the API server does, jobs end as they would have, and nothing is submitted twice."""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from tests.cozydrivers.checks import slow, staged, submitted
from tests.cozydrivers.stage import APP, CLASS, TENANT, Stage

from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.testing._store import Object

pytestmark = pytest.mark.anyio

UPLOAD = 4.0
NAMES = ("first", "second", "third")
KINDS = ("backupjobs", "backups", "leases", "events")
Trouble = Callable[[Stage], Coroutine[Any, Any, None]]
"""Something that happens, or the moment at which it does."""


async def outage(stage: Stage) -> None:
    stage.cluster.faults.outage(30)


async def restarts(stage: Stage) -> None:
    for _ in range(6):
        stage.cluster.faults.outage()
        await anyio.sleep(4)


async def too_many_requests(stage: Stage) -> None:
    stage.cluster.faults.fail(status=429, retry_after=1, seconds=30)


async def internal_errors(stage: Stage) -> None:
    stage.cluster.faults.fail(status=500, seconds=30)


async def every_third_request_fails(stage: Stage) -> None:
    for _ in range(60):
        stage.cluster.faults.fail(1, status=500)
        await anyio.sleep(0.5)


async def no_answers(stage: Stage) -> None:
    stage.cluster.faults.hang(seconds=10)


async def lost_replies(stage: Stage) -> None:
    """What is written is written, and the answer does not come."""
    stage.cluster.faults.lose_reply(seconds=10)


async def cut_watches(stage: Stage) -> None:
    for _ in range(20):
        stage.cluster.drop_watches()
        await anyio.sleep(1.5)


async def compactions(stage: Stage) -> None:
    for _ in range(10):
        stage.cluster.compact()
        stage.cluster.drop_watches()
        await anyio.sleep(3)


async def silent_watches(stage: Stage) -> None:
    stage.cluster.faults.silence_watches()


async def a_rival_at_every_second_write(stage: Stage) -> None:
    """Each write is a conflict the first time."""
    stage.cluster.faults.rival(2)


async def a_rival_at_every_third_write(stage: Stage) -> None:
    stage.cluster.faults.rival(3)


async def an_unreachable_webhook(stage: Stage) -> None:
    stage.cluster.faults.break_webhook(*KINDS)
    await anyio.sleep(30)
    stage.cluster.faults.clear()


async def late_watches(stage: Stage) -> None:
    """The cache is behind what was written, by more than a step takes."""
    stage.cluster.faults.lag = 15
    await anyio.sleep(120)
    stage.cluster.faults.clear()


TROUBLES: list[Trouble] = [
    outage,
    restarts,
    too_many_requests,
    internal_errors,
    every_third_request_fails,
    no_answers,
    lost_replies,
    cut_watches,
    compactions,
    silent_watches,
    a_rival_at_every_second_write,
    a_rival_at_every_third_write,
    an_unreachable_webhook,
    late_watches,
]


def ask_for(stage: Stage, name: str) -> None:
    """Create a BackupJob past all faults."""
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": APP}
    body = {
        "apiVersion": BackupJob.resource.api_version,
        "kind": "BackupJob",
        "metadata": {"name": name},
        "spec": {"applicationRef": reference, "backupClassName": CLASS},
    }
    stage.cluster.act("POST", BackupJob.resource.path(TENANT), body)


def jobs(stage: Stage) -> list[Object]:
    """The BackupJobs as they are, read past all faults."""
    found: list[Object] = stage.cluster.act("GET", BackupJob.resource.path(TENANT))["items"]
    return found


def has_ended(job: Object) -> bool:
    phase = job.get("status", {}).get("phase")
    return phase in ("Succeeded", "Failed") and not job["metadata"].get("finalizers")


async def all_ended(stage: Stage, *, within: float) -> None:
    with anyio.move_on_after(within):
        while not all(has_ended(job) for job in jobs(stage)):  # noqa: ASYNC110 - polled as a user would
            await anyio.sleep(1)


def recorded(stage: Stage) -> set[str]:
    """The archives that Backups name."""
    found: list[Any] = stage.cluster.act("GET", Backup.resource.path(TENANT))["items"]
    return {
        value
        for backup in found
        for key, value in backup["spec"]["driverMetadata"].items()
        if key.startswith("clickhouse.backup/archive.")
    }


async def at_the_start(stage: Stage) -> None:
    """Before anything was read."""


async def at_submission(stage: Stage) -> None:
    """When a sidecar has been asked, before that is noted."""
    with anyio.fail_after(60):
        while not submitted([stage.app]):  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.01)


async def in_the_middle(stage: Stage) -> None:
    """While archives are uploaded."""
    await at_submission(stage)
    await anyio.sleep(UPLOAD / 2)


async def play(trouble: Trouble, begins: Trouble) -> Stage:
    """Three jobs, the last of which is asked for in the middle of the trouble; requests take some time."""
    stage = await staged()
    slow(stage, UPLOAD)
    stage.cluster.faults.latency = 0.05
    async with stage.managed(), anyio.create_task_group() as tasks:
        for name in NAMES[:-1]:
            ask_for(stage, name)
        await begins(stage)
        tasks.start_soon(trouble, stage)
        await anyio.sleep(2)
        ask_for(stage, NAMES[-1])
        await all_ended(stage, within=1800)
        tasks.cancel_scope.cancel()
    return stage


@pytest.mark.parametrize("begins", [at_the_start, at_submission, in_the_middle], ids=lambda begins: begins.__name__)
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
async def test_everything_converges_and_nothing_is_submitted_twice(trouble: Trouble, begins: Trouble):
    stage = await play(trouble, begins)
    assert {job["metadata"]["name"]: job.get("status", {}).get("phase") for job in jobs(stage)} == dict.fromkeys(
        NAMES, "Succeeded"
    )
    assert all(has_ended(job) for job in jobs(stage))
    times = submitted([stage.app])
    assert set(times.values()) == {1}
    assert set(times) == recorded(stage) == stage.archives()
    assert len(times) == len(NAMES) * stage.app.shards
    assert stage.local_copies() == set()
