"""I3 and I7 under accidents: whatever dies or gets lost, work is done once, and nothing half looks good."""

import anyio
import pytest
from tests.cozydrivers.checks import authorization
from tests.cozydrivers.fate import Fate, FatedNetwork, fated_kube
from tests.cozydrivers.stage import Stage, recorded

from cozydrivers import ClickHouseDriver, Manager

pytestmark = pytest.mark.anyio

TABLE = "shop.orders"
BACKUP_WRITES = range(1, 12)
SENDS_SHARD_1 = 4
RESTORE_WRITES = range(1, 22)


async def staged(*, rows=100):
    stage = Stage()
    await stage.set_up()
    for shard in (0, 1):
        stage.app.sidecar(shard).tables.add_table(TABLE, rows + shard)
    return stage


def fated(stage, fate):
    driver = ClickHouseDriver(connect=FatedNetwork(stage.network, fate).connect, objects=stage.network.objects.open)
    return Manager(fated_kube(stage, fate), drivers=[driver], now=stage.cluster.now)


async def live_and_die(stage, fate):
    """One controller until fate strikes (or 60 s), then another one that lives."""
    with anyio.move_on_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fated(stage, fate).run)
            await fate.struck.wait()
            if fate.dies:
                tasks.cancel_scope.cancel()
            await anyio.sleep_forever()


def submissions(stage):
    """How often each archive was asked for, by verb and name."""
    return [
        (request.path, request.query)
        for sidecar in stage.app.sidecars.values()
        for request in sidecar.requests
        if request.method == "POST" and "/delete/" not in request.path and "/kill" not in request.path
    ]


async def assert_backed_up_once(stage, job, fate):
    assert fate.where
    assert job.status.phase == "Succeeded", f"{fate.where}: {job.status.message}"
    assert recorded(await stage.made(job.status.backup_ref.name)) == stage.archives()
    assert stage.local_copies() == set()
    asked = submissions(stage)
    assert len(asked) == len(set(asked)), f"{fate.where}: {asked}"


@pytest.mark.parametrize("number", BACKUP_WRITES)
async def test_a_backup_survives_the_death_of_its_controller_after_any_write(number):
    stage = await staged()
    job = await stage.backup("nightly")
    fate = Fate(number)
    await live_and_die(stage, fate)
    async with stage.managed():
        job = await stage.end_of(job)
    await assert_backed_up_once(stage, job, fate)


@pytest.mark.parametrize("number", BACKUP_WRITES)
async def test_a_backup_survives_the_loss_of_any_reply(number):
    stage = await staged()
    fate = Fate(number, dies=False)
    job = await stage.backup("nightly")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fated(stage, fate).run)
        job = await stage.end_of(job)
        tasks.cancel_scope.cancel()
    await assert_backed_up_once(stage, job, fate)


@pytest.mark.parametrize("number", RESTORE_WRITES)
async def test_a_restore_survives_the_death_of_its_controller_after_any_write(number):
    stage = await lost_after_backup()
    fate = Fate(number)
    job = await stage.restore("undo", "nightly")
    await live_and_die(stage, fate)
    async with stage.managed():
        job = await stage.end_of(job)
    assert fate.where
    assert job.status.phase == "Succeeded", f"{fate.where}: {job.status.message}"
    assert [stage.app.sidecar(shard).tables.count(TABLE) for shard in (0, 1)] == [100, 101], fate.where
    assert stage.local_copies() == set()
    assert len(stage.archives()) == 2


async def lost_after_backup():
    stage = await staged()
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.drop(TABLE)
    return stage


@pytest.mark.parametrize("number", RESTORE_WRITES)
async def test_a_restore_survives_the_loss_of_any_reply(number):
    stage = await lost_after_backup()
    fate = Fate(number, dies=False)
    job = await stage.restore("undo", "nightly")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fated(stage, fate).run)
        job = await stage.end_of(job)
        tasks.cancel_scope.cancel()
    assert fate.where
    assert job.status.phase == "Succeeded", f"{fate.where}: {job.status.message}"
    assert [stage.app.sidecar(shard).tables.count(TABLE) for shard in (0, 1)] == [100, 101], fate.where
    assert stage.local_copies() == set()


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
    fate = Fate(SENDS_SHARD_1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fated(stage, fate).run)
        await fate.struck.wait()
        tasks.cancel_scope.cancel()
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
