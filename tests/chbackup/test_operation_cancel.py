import anyio
import pytest
from tests.chbackup.flows import restarting

import chbackup
from chbackup.testing import FakeSidecar


async def test_cancelling_kills_and_returns_the_row(fake, client):
    fake.duration.upload = 3600
    operation = await client.create_remote("b1")
    row = (await operation.cancel()).row
    assert (row.status, row.error) == ("cancel", "canceled from API /backup/kill")
    with pytest.raises(chbackup.OperationCancelled):
        await operation.wait()


async def test_cancelling_what_has_ended_changes_nothing(client):
    operation = await client.create_remote("b1")
    await operation.wait()
    assert (await operation.cancel()).row.status == "success"


async def test_cancelling_by_token(fake, client):
    fake.duration.upload = 3600
    token = (await client.create_remote("b1")).token
    assert (await client.operation(token).cancel()).row.status == "cancel"


async def test_a_kill_that_is_not_confirmed_is_no_cancel(fake, client):
    await (await client.create_remote("full")).wait()
    await client.delete_local("full")
    fake.tables.insert("shop.orders", 5)
    await (await client.create_remote("incr", diff_from_remote="full")).wait()
    await client.delete_local("incr")
    fake.remote["full"].remove_object(next(key for key in fake.remote["full"].parts if "orders" in key))
    operation = await client.download("incr")
    await anyio.sleep(60)
    with pytest.raises(chbackup.WaitTimeout, match="has not confirmed the kill"):
        await operation.cancel(timeout=30)


async def test_a_resumed_row_that_the_version_cannot_kill_is_waited_out():
    fake = FakeSidecar(version="2.7.4")
    fake.tables.add_table("shop.orders", 10)
    fake.duration.upload = 60
    async with fake.client() as client:
        operation = await client.create_remote("b1")
        await anyio.sleep(20)
        await restarting(fake)()
        assert (await operation.cancel(timeout=600)).row.status == "success"


async def test_a_cancel_says_what_was_left_behind(fake, client):
    fake.duration.upload = 3600
    operation = await client.create_remote("b1")
    await anyio.sleep(1800)
    left = await operation.cancel()
    assert left.stopped
    assert left.local is not None
    assert left.local.broken is None
    assert left.remote is not None
    assert left.remote.broken
    for words in ("ended with cancel", "local list shows a good archive", "can't stat", "delete the local copy"):
        assert words in left.message
    assert "b1" in fake.local


async def test_a_cancel_of_what_had_ended_says_so(client):
    operation = await client.create_remote("b1")
    await operation.wait()
    left = await operation.cancel()
    assert "ended with success" in left.message
    assert "delete" not in left.message
    assert left.remote is not None


async def test_a_cancelled_restore_says_that_tables_may_be_missing(fake, client):
    await (await client.create_remote("b1")).wait()
    fake.duration.restore = 60
    operation = await client.restore("b1")
    await anyio.sleep(10)
    assert "tables may be empty or missing" in (await operation.cancel()).message


async def test_lists_that_cannot_be_read_are_no_obstacle(fake, client):
    fake.duration.upload = 3600
    operation = await client.create_remote("b1")
    fake.faults.replace_reply(502, "<html>", path="/backup/list", times=2)
    left = await operation.cancel()
    assert (left.row.status, left.local, left.remote) == ("cancel", None, None)
    assert "the local list cannot be read" in left.message


async def test_before_2_7_0_a_kill_is_answered_while_the_work_goes_on():
    fake = FakeSidecar(version="2.6.44")
    fake.tables.add_table("shop.orders", 10)
    fake.duration.upload = 60
    async with fake.client() as client:
        operation = await client.create_remote("b1")
        await anyio.sleep(20)
        left = await operation.cancel()
        assert (left.row.status, left.stopped) == ("cancel", False)
        assert "does not wait" in left.message
