"""Two replicas of the controller: whatever becomes of the one that leads, the other ends its jobs, and none twice."""

import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from tests.cozydrivers.checks import many, staged, submitted
from tests.cozydrivers.stage import Stage, recorded
from tests.cozydrivers.wire import Wire

from cozydrivers import KubeClient, Manager
from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.errors import LeadershipLost
from cozydrivers.runtime.admission import Limits
from cozydrivers.runtime.elector import RELEASE_TIMEOUT, RETRY_PERIOD, Elector
from cozydrivers.runtime.lease import LEASE_DURATION
from cozydrivers.testing.operators import Installation

pytestmark = pytest.mark.anyio

UPLOAD = 30.0
TAKES_OVER = LEASE_DURATION + 2.2 * RETRY_PERIOD
Accident = Callable[["Replica"], None]


class Replica:
    """A process with a controller, which leads or stands by, and its own connection to the API server."""

    def __init__(self, stage: Stage, identity: str) -> None:
        self.wire = Wire(stage.cluster.kube()._transport)
        kube = KubeClient(self.wire)
        self.elector = Elector(kube, "default", "cozydrivers", identity, now=stage.now)
        limits = Limits(total=1000, per_namespace=1000)
        self._manager = Manager(kube, drivers=[stage.driver()], limits=limits, elector=self.elector, now=stage.now)
        self._scope = anyio.CancelScope()
        self.lost = ""

    async def run(self) -> None:
        with self._scope:
            try:
                await self._manager.run()
            except* LeadershipLost as lost:
                self.lost = str(lost.exceptions[0])

    def cut_off(self) -> None:
        """It goes on, reaches every sidecar, and the API server no more."""
        self.wire.cut()

    def kill(self) -> None:
        """As SIGKILL does: nothing is released."""
        self.wire.cut()
        self._scope.cancel()

    def stop(self) -> None:
        """As SIGTERM does."""
        self._scope.cancel()


@asynccontextmanager
async def two(stage: Stage) -> AsyncGenerator[tuple[Replica, Replica], None]:
    """The leader, and the one that stands by."""
    leader, other = Replica(stage, "first"), Replica(stage, "second")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.run)
        await anyio.sleep(1)
        tasks.start_soon(other.run)
        yield leader, other
        tasks.cancel_scope.cancel()


async def crowd(jobs: int) -> tuple[Stage, list[Installation]]:
    """Applications of one shard, each with a BackupJob; their uploads take longer than a change of the leader."""
    stage = await staged(shards=1)
    apps = await many(stage, jobs, "one-for-all")
    for app in apps:
        app.sidecar(0).duration.upload = UPLOAD
    return stage, apps


async def phases(stage: Stage) -> Counter[str]:
    return Counter(job.status.phase for job in (await stage.kube.list(BackupJob)).items)


async def asked_for(apps: Sequence[Installation], least: int) -> None:
    with anyio.fail_after(60):
        while len(submitted(apps)) < least:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.05)


async def assert_each_ended_well_and_once(stage: Stage, apps: Sequence[Installation]) -> None:
    with anyio.fail_after(600):
        while (await phases(stage))["Succeeded"] < len(apps):  # noqa: ASYNC110 - polled as a user would
            await anyio.sleep(5)
    times = submitted(apps)
    assert (len(times), set(times.values())) == (len(apps), {1})
    assert {each for backup in (await stage.kube.list(Backup)).items for each in recorded(backup)} == set(times)


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("accident", [Replica.kill, Replica.cut_off, Replica.stop], ids=lambda each: each.__name__)
async def test_the_other_ends_the_jobs_of_a_leader_that_is_gone(accident: Accident, share: float):
    """I3: at whatever share of the submissions it happens."""
    await play(accident, jobs=5, share=share)


async def test_150_jobs_of_a_leader_that_is_killed_end_well_and_none_twice():
    await play(Replica.kill, jobs=150, share=0.5)


async def play(accident: Accident, *, jobs: int, share: float) -> None:
    stage, apps = await crowd(jobs)
    async with two(stage) as (leader, other):
        stage.cluster.faults.latency = 0.02
        await asked_for(apps, int(jobs * share))
        assert (leader.elector.leading, other.elector.leading) == (True, False)
        accident(leader)
        stage.cluster.faults.latency = 0
        await anyio.sleep(TAKES_OVER + 1)
        assert (leader.elector.leading, other.elector.leading) == (False, True)
        await assert_each_ended_well_and_once(stage, apps)
    assert bool(leader.lost) is (accident is Replica.cut_off)


async def kept(stage: Stage, identity: str) -> None:
    """A replica that is started again whenever it ends, as a container is."""
    for number in itertools.count():
        await Replica(stage, f"{identity}-{number}").run()
        await anyio.sleep(1)


def outage(stage: Stage) -> None:
    stage.cluster.faults.outage(30)


def silence(stage: Stage) -> None:
    stage.cluster.faults.hang(seconds=30)


def lost_replies(stage: Stage) -> None:
    stage.cluster.faults.lose_reply(seconds=30)


def refusals(stage: Stage) -> None:
    stage.cluster.faults.fail(status=429, retry_after=5, seconds=30)


def a_rival_at_every_second_write(stage: Stage) -> None:
    stage.cluster.faults.rival(2)


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize(
    "trouble",
    [outage, silence, lost_replies, refusals, a_rival_at_every_second_write],
    ids=lambda trouble: trouble.__name__,
)
async def test_when_none_can_lead_for_a_while_jobs_go_on_afterwards(trouble: Callable[[Stage], None], share: float):
    stage, apps = await crowd(4)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept, stage, "first")
        tasks.start_soon(kept, stage, "second")
        stage.cluster.faults.latency = 0.02
        await asked_for(apps, int(len(apps) * share))
        trouble(stage)
        await anyio.sleep(35)
        await assert_each_ended_well_and_once(stage, apps)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("silent", [False, True], ids=["answered", "unanswered"])
@pytest.mark.parametrize("moment", [0.0, 1.01, 1.3, 3.0, 31.2])
async def test_one_that_is_stopped_in_the_middle_of_anything_ends_in_time(moment: float, silent: bool):
    stage, apps = await crowd(3)
    stage.cluster.faults.latency = 0.1
    replica = Replica(stage, "first")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(replica.run)
        await anyio.sleep(moment)
        if silent:
            stage.cluster.faults.hang(seconds=60)
        replica.stop()
        stopped = anyio.current_time()
    assert anyio.current_time() - stopped <= RELEASE_TIMEOUT + 0.1
    stage.cluster.faults.clear()
    async with stage.managed():
        await assert_each_ended_well_and_once(stage, apps)
