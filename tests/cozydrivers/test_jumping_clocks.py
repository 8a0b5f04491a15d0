"""A clock that jumps ends no job: many deadlines that pass at once speak against the clock, not against the jobs."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import anyio
import pytest
from tests.cozydrivers.checks import many, staged, submitted
from tests.cozydrivers.stage import Stage, condition

from cozydrivers import Manager
from cozydrivers.api.backups import BackupJob
from cozydrivers.manager import LOOK
from cozydrivers.metrics import Metrics
from cozydrivers.runtime.admission import Limits
from cozydrivers.runtime.guard import LONGEST_PAUSE, SETTLING
from cozydrivers.testing.operators import Installation

pytestmark = pytest.mark.anyio

JUMP = timedelta(hours=12)
"""Twice as long as a backup may take."""


class Run:
    """A controller with a wall clock of its own, and its jobs."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.metrics = Metrics()
        self.ahead = timedelta()
        self.apps: list[Installation] = []

    def now(self) -> datetime:
        return self.stage.now() + self.ahead

    def manager(self) -> Manager:
        limits = Limits(total=1000, per_namespace=1000)
        return Manager(
            self.stage.kube, drivers=[self.stage.driver()], limits=limits, metrics=self.metrics, now=self.now
        )

    async def phases(self) -> Counter[str]:
        return Counter(job.status.phase for job in (await self.stage.kube.list(BackupJob)).items)

    def paused(self, reason: str) -> bool:
        return self.metrics.value("cozydrivers_paused", reason=reason) == 1


@asynccontextmanager
async def running(jobs: int, upload: float) -> AsyncGenerator[Run, None]:
    run = Run(await staged(shards=1))
    run.apps = await many(run.stage, jobs, "one-for-all")
    for app in run.apps:
        app.sidecar(0).duration.upload = upload
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.manager().run)
        await anyio.sleep(SETTLING + 5)
        assert await run.phases() == {"Running": jobs}
        yield run
        tasks.cancel_scope.cancel()


async def test_the_controller_s_own_clock_jumps_and_nothing_is_ended_or_begun():
    async with running(jobs=12, upload=120) as run:
        run.ahead = JUMP
        await run.stage.backup("nightly")
        await anyio.sleep(LOOK + 15)
        assert await run.phases() == {"Running": 12, "Pending": 1}
        waiting = await run.stage.backup_job("nightly")
        assert condition(waiting, "Ready").reason == "Paused"
        assert "clock is 432" in waiting.status.message
        assert run.paused("clock")
        run.ahead = timedelta()
        await anyio.sleep(90)
        assert await run.phases() == {"Succeeded": 13}
        assert not run.paused("clock")
        assert set(submitted(run.apps).values()) == {1}


async def test_both_clocks_jump_and_no_job_is_ended_for_an_hour():
    """I5: after that each deadline counts."""
    async with running(jobs=3, upload=3 * LONGEST_PAUSE) as run:
        run.stage.later = JUMP
        await anyio.sleep(60)
        assert run.paused("deadlines")
        await anyio.sleep(LONGEST_PAUSE - 120)
        assert await run.phases() == {"Running": 3}
        await anyio.sleep(240)
        assert await run.phases() == {"Failed": 3}
        assert not run.paused("deadlines")


async def test_both_clocks_jump_and_jobs_that_are_done_within_the_hour_succeed():
    async with running(jobs=6, upload=400) as run:
        run.stage.later = JUMP
        await anyio.sleep(500)
        assert await run.phases() == {"Succeeded": 6}


async def test_a_tenth_of_the_jobs_may_be_late_at_once():
    """I5: some that are stuck among many end at their time."""
    async with running(jobs=30, upload=300) as run:
        for job in (await run.stage.kube.list(BackupJob)).items[:3]:
            started = f"{run.now() - JUMP:%Y-%m-%dT%H:%M:%SZ}"
            space = job.metadata.namespace
            await run.stage.kube.merge_patch(
                BackupJob, job.metadata.name, {"status": {"startedAt": started}}, space, status=True
            )
        await anyio.sleep(120)
        assert await run.phases() == {"Running": 27, "Failed": 3}
