"""I3 and I7 under accidents of sidecars; those of controllers, request by request, stand in `tests/simulation`."""

import anyio
import pytest
from tests.cozydrivers.checks import authorization
from tests.cozydrivers.stage import Stage, recorded
from tests.simulation.process import Point, Process
from tests.simulation.sidecars import Sidecars

from cozydrivers import ClickHouseDriver

pytestmark = pytest.mark.anyio

TABLE = "shop.orders"


class Crashing(Stage):
    def drivers(self, meet):
        return [ClickHouseDriver(connect=Sidecars(self.network, meet).connect, objects=self.network.objects.open)]


async def staged(*, rows=100):
    stage = Crashing()
    await stage.set_up()
    for shard in (0, 1):
        stage.app.sidecar(shard).tables.add_table(TABLE, rows + shard)
    return stage


def submissions(stage):
    """How often each archive was asked for, by verb and name."""
    return [
        (request.path, request.query)
        for sidecar in stage.app.sidecars.values()
        for request in sidecar.requests
        if request.method == "POST" and "/delete/" not in request.path and "/kill" not in request.path
    ]


async def lost_after_backup():
    stage = await staged()
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.drop(TABLE)
    return stage


@pytest.mark.parametrize("moment", [0.05, 0.15, 0.3, 0.45, 0.55, 0.62, 0.7, 0.9, 1.2])
async def test_a_backup_survives_the_restart_of_a_sidecar_at_any_moment(moment):
    stage = await staged()
    async with stage.managed():
        job = await stage.backup("nightly")
        await restart(stage, moment)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made("nightly")) == stage.archives()
    assert stage.local_copies() == set()


@pytest.mark.parametrize("moment", [0.05, 0.3, 0.52, 0.6, 0.75, 0.85, 1.0, 1.3])
async def test_a_restore_survives_the_restart_of_a_sidecar_at_any_moment(moment):
    stage = await lost_after_backup()
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        await restart(stage, moment)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert [stage.app.sidecar(shard).tables.count(TABLE) for shard in (0, 1)] == [100, 101]
    assert stage.local_copies() == set()


async def restart(stage, moment):
    await anyio.sleep(moment)
    stage.app.sidecar(1).kill_process()
    await anyio.sleep(2)
    stage.app.sidecar(1).start_process()


@pytest.mark.parametrize("moment", [0.05, 0.3], ids=["in the create phase", "in the upload"])
async def test_what_was_sent_before_controller_and_sidecar_died_is_never_sent_again(moment):
    stage = await staged()
    job = await stage.backup("nightly")
    clean = await clean_backup()
    process = Process(stage, Point(sends(clean, shard=1), "dies after"))
    with anyio.fail_after(60):
        await process.run()
    await anyio.sleep(moment)
    stage.app.sidecar(1).kill_process()
    stage.app.sidecar(1).start_process()
    async with stage.managed():
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made("nightly")) == stage.archives()
    assert stage.local_copies() == set()
    asked = submissions(stage)
    assert len(asked) == len(set(asked)), asked


async def clean_backup():
    """The requests of a backup that nothing befalls."""
    stage = await staged()
    job = await stage.backup("nightly")
    process = Process(stage)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.run)
        await stage.end_of(job)
        process.kill()
    return process.trace


def sends(trace, shard):
    """The number of the request that has a shard backed up."""
    return next(
        n for n, asked in enumerate(trace) if "create_remote?" in asked.request and f"-s{shard}of" in asked.request
    )


async def test_a_backup_survives_the_restart_of_a_sidecar_s_server():
    """`POST /restart` cancels what runs, keeps its rows and resumes nothing: the upload is taken up by us."""
    stage = await staged()
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(0.4)
        await stage.app.sidecar(1).handle("POST", "/restart", "", authorization(), b"")
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made("nightly")) == stage.archives()
    assert [path for path, _ in submissions(stage) if "/upload/" in path]
    assert stage.local_copies() == set()
