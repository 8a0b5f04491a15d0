"""Two callers of one name: on one sidecar or on two, with and without the server's lock, replies lost."""

import anyio
import pytest
from tests.chbackup.flows import during, result_of, submissions

import chbackup
from chbackup.testing import FakeSidecar, FakeStorage

STEP = 0.3


def sidecar(version, storage=None, rows=1000, **env):
    fake = FakeSidecar(version=version, storage=storage, env=env)
    fake.tables.add_table("shop.orders", rows, partitions=6)
    fake.duration.create, fake.duration.upload = 2, 20
    return fake


async def both(first, second, later=0.0):
    """Run two flows, the second one `later`; return their results or errors."""
    results = {}

    async def run(key, flow, delay):
        await anyio.sleep(delay)
        results[key] = await result_of(flow)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, 1, first, 0.0)
        tasks.start_soon(run, 2, second, later)
    return results[1], results[2]


def rows_of(fake):
    return [row.command for row in fake._pod.history.rows if row.command.startswith(("create_remote", "upload"))]


async def restorable(fake):
    async with fake.client() as client:
        await chbackup.verified_restore(client, "b1", overwrite=True)


@pytest.mark.parametrize("later", [0.0, 0.01, STEP, 3.0, 10.0, 22.3])
async def test_with_the_lock_one_is_proven_and_the_other_refused(version, later):
    fake = sidecar(version)
    fake.faults.delay = 0.2 if not later else 0.0  # both have looked before one of them submits
    async with fake.client() as client:
        results = await both(chbackup.verified_backup(client, "b1"), chbackup.verified_backup(client, "b1"), later)
    assert {type(result) for result in results} == {chbackup.Archive, chbackup.Refused}
    assert later == 0 or isinstance(results[0], chbackup.Archive)
    assert rows_of(fake) == ["create_remote b1"]
    await restorable(fake)
    assert fake.tables.count("shop.orders") == 1000


async def test_who_has_the_name_is_said(version):
    fake = sidecar(version)
    async with fake.client() as client:
        await client.create_remote("b1")
        with pytest.raises(chbackup.Refused, match="in use, `create_remote b1` is running") as caught:
            await chbackup.verified_backup(client, "b1")
    assert caught.value.rows[0].command == "create_remote b1"


async def test_without_the_lock_the_one_who_is_kept_out_touches_nothing(version):
    """Facts 2.4: both are acknowledged, and the row of the second fails by the lock file."""
    fake = sidecar(version, API_ALLOW_PARALLEL="true")
    fake.add_remote("other")
    fake.faults.delay = 0.2  # both have looked before one of them submits
    async with fake.client() as client:
        results = await both(chbackup.verified_backup(client, "b1"), chbackup.verified_backup(client, "b1"))
    [refused] = [result for result in results if isinstance(result, chbackup.Refused)]
    assert any(isinstance(result, chbackup.Archive) for result in results)
    assert "`create_remote b1` of another caller is at work" in str(refused)
    assert "is already running" in refused.words
    assert rows_of(fake) == ["create_remote b1"] * 2
    await restorable(fake)


async def test_what_failed_beside_another_caller_leaves_that_ones_copies(version):
    fake = sidecar(version, API_ALLOW_PARALLEL="true")
    fake.add_remote("other")

    async def later(client):
        await anyio.sleep(5)
        fake._pod.pids.clear()  # as a third caller's failure does
        await client.create_remote("b1")
        await anyio.sleep(1)
        await client.kill("create_remote b1")

    async with fake.client() as client, anyio.create_task_group() as tasks:
        tasks.start_soon(later, client)
        result = await result_of(chbackup.verified_backup(client, "b1"))
        assert isinstance(result, chbackup.OperationCancelled)
        assert "left to `create_remote b1` of another caller" in str(result)
        assert "b1" in fake.local


async def test_a_success_of_another_caller_is_not_taken_for_ours(version):
    fake = sidecar(version, API_ALLOW_PARALLEL="true")
    async with fake.client() as client:
        await client.create_remote("b1")
        fake.local.pop("b1", None)  # nothing of it shows in the lists yet
        result = await result_of(chbackup.verified_backup(client, "b1"))
    assert isinstance(result, chbackup.Refused)


@pytest.mark.parametrize("parallel", ["true", "false"])
@pytest.mark.parametrize("after_work", [True, False])
async def test_a_lost_reply_beside_another_caller_claims_nothing_blindly(version, parallel, after_work):
    fake = sidecar(version, API_ALLOW_PARALLEL=parallel)
    fake.add_remote("other")
    fake.faults.delay = 0.2
    fake.faults.lose_reply(after_work=after_work, path="create_remote")
    async with fake.client() as client:
        results = await both(chbackup.verified_backup(client, "b1"), chbackup.verified_backup(client, "b1"))
        assert all(isinstance(result, chbackup.Archive | chbackup.ChbackupError) for result in results)
        # Nothing tells apart who has begun the only row there is; the archive is the same.
        assert not after_work or len([item for item in results if isinstance(item, chbackup.Archive)]) <= 1
        assert len(submissions(fake)) == 2
        await anyio.sleep(60)
        assert await chbackup.verified_backup(client, "b1", adopt=True)
    await restorable(fake)
    assert fake.tables.count("shop.orders") == 1000


async def test_a_row_that_says_something_else_is_not_ours(version):
    fake = sidecar(version)
    fake.faults.lose_reply(after_work=False, path="create_remote")

    async def other():
        async with fake.client() as client:
            await client.create_remote("b1", tables="shop.o*")

    async with fake.client() as client:
        result = await during(2, other, result_of(chbackup.verified_backup(client, "b1", tables="shop.*")))
    assert isinstance(result, chbackup.OperationLost)
    assert 'left to `create_remote --tables="shop.o*" b1` of another caller' in str(result)
    assert "b1" in fake.local


@pytest.mark.parametrize("later", [10.0, 30.0])
async def test_on_another_sidecar_of_the_path_the_name_is_refused_once_it_is_listed(version, later):
    storage = FakeStorage()
    one, two = sidecar(version, storage), sidecar(version, storage)
    async with one.client() as first, two.client() as second:
        results = await both(chbackup.verified_backup(first, "b1"), chbackup.verified_backup(second, "b1"), later)
    assert [type(result) for result in results] == [chbackup.Archive, chbackup.Refused]
    assert not submissions(two)


@pytest.mark.parametrize("later", [0.0, STEP])
async def test_on_two_sidecars_at_once_a_mixture_is_not_proven(version, later):
    storage = FakeStorage()
    one, two = sidecar(version, storage), sidecar(version, storage, rows=1700)
    async with one.client() as first, two.client() as second:
        results = await both(chbackup.verified_backup(first, "b1"), chbackup.verified_backup(second, "b1"), later)
    assert len([result for result in results if isinstance(result, chbackup.Archive)]) <= 1
    assert any(isinstance(result, chbackup.NotVerified) for result in results)


@pytest.mark.parametrize("parallel", ["true", "false"])
@pytest.mark.parametrize("later", [0.0, STEP, 5.0, 12.0])
async def test_two_restores_of_one_archive_double_nothing(version, parallel, later):
    fake = sidecar(version, API_ALLOW_PARALLEL=parallel)
    async with fake.client() as client:
        await chbackup.verified_backup(client, "b1")
        fake.duration.download, fake.duration.restore = 10, 10
        results = await both(
            chbackup.verified_restore(client, "b1", overwrite=True),
            chbackup.verified_restore(client, "b1", overwrite=True),
            later,
        )
        assert any(isinstance(result, chbackup.RestoreReport) for result in results)
        for result in results:
            assert isinstance(result, chbackup.RestoreReport | chbackup.Refused | chbackup.Busy)
    assert fake.tables.count("shop.orders") == 1000


async def test_a_kill_that_could_hit_another_callers_row_is_refused(version):
    fake = sidecar(version, API_ALLOW_PARALLEL="true")
    async with fake.client() as client:
        operation = await client.create_remote("b1")
        fake._pod.new_row("create_remote b1", with_id=True)
        with pytest.raises(chbackup.Refused, match="may hit that one"):
            await operation.cancel()
        assert (await client.status(operation.operation_id)).running
