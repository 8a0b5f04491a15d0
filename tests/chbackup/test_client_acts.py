"""The endpoints that act at once, and the newest ones."""

from datetime import UTC, timedelta, timezone

import anyio
import pytest

import chbackup
from chbackup.testing import FakeSidecar

CLEANS = ["clean", "clean_local_broken", "clean_remote_broken"]


async def test_a_living_process_is_healthy(client):
    assert await client.health() == "OK"


async def test_a_restart_cancels_what_runs_and_rewrites_what_has_ended(fake, client):
    await (await client.create("b1")).wait()
    fake.duration.create = 60
    await client.create("b2")
    assert await client.restart() is None
    await anyio.sleep(1)
    assert {row.status for row in await client.actions()} == {"cancel"}


@pytest.mark.parametrize("method", CLEANS)
async def test_nothing_is_cleaned_while_something_runs(fake, client, method):
    fake.duration.create = 60
    await client.create("b1")
    with pytest.raises(chbackup.Busy, match="`create b1` is running") as caught:
        await getattr(client, method)()
    assert caught.value.holder
    assert caught.value.holder.command == "create b1"
    assert caught.value.retryable
    assert not [request for request in fake.requests if request.path.startswith("/backup/clean")]


@pytest.mark.parametrize("method", CLEANS)
async def test_a_clean_without_a_look(fake, client, method):
    before = len(fake.requests)
    assert await getattr(client, method)(force=True) is None
    assert len(fake.requests) == before + 1


async def test_broken_archives_are_cleaned_where_they_are(fake, client):
    await (await client.create_remote("good")).wait()
    fake.add_remote("bad", broken=True)
    fake.local["good"].lose_metadata()
    await client.clean_local_broken()
    assert {(archive.name, archive.location) for archive in await client.list_all()} == {
        ("bad", "remote"),
        ("good", "remote"),
    }
    await client.clean_remote_broken()
    assert [archive.name for archive in await client.list_all()] == ["good"]


async def test_a_list_with_a_nameless_archive_is_not_cleaned(fake, client):
    fake.add_remote("b1")
    fake.break_remote("b1", "null")
    with pytest.raises(chbackup.Refused, match="without a name"):
        await client.clean_remote_broken()
    assert not [request for request in fake.requests if request.path.startswith("/backup/clean")]


async def test_a_watch_runs_until_it_is_killed(fake, client):
    command = await client.watch(watch_interval="1h", full_interval="24h")
    await anyio.sleep(10)
    with pytest.raises(chbackup.Busy, match="watch"):
        await client.create("b1")
    assert await client.kill(command) == command
    await (await client.create("b1")).wait()


async def test_an_increment_becomes_a_full_archive_by_rebase():
    fake = FakeSidecar(version="2.8.1-dev")
    fake.tables.add_table("shop.orders", 10)
    async with fake.client() as client:
        await (await client.create_remote("full")).wait()
        await (await client.create_remote("incr", diff_from_remote="full")).wait()
        await (await client.rebase("incr")).wait()
        assert {archive.name: archive.required for archive in await client.list_remote()} == {"full": "", "incr": ""}


async def test_rebase_and_rebalance_are_unsupported_where_there_are_none():
    async with FakeSidecar(version="2.7.4").client() as client:
        for call in (client.rebase, client.rebalance):
            with pytest.raises(chbackup.Unsupported):
                await call("b1")


async def test_tables_in_detail():
    fake = FakeSidecar(version="2.8.1-dev")
    fake.tables.add_table("shop.orders", 100, partitions=4)
    async with fake.client() as client:
        (parts,) = await client.tables(list_parts=True)
        (partitions,) = await client.tables(list_partitions=True)
    assert sum(part.total_bytes for part in parts.parts_list) == parts.total_bytes > 0
    assert [partition.parts for partition in partitions.partitions] == [1] * 4
    assert parts.full_name == "shop.orders"


async def test_times_are_aware_when_the_zone_is_given(fake):
    zone = timezone(timedelta(hours=5))
    async with fake.client(timezone=zone) as client:
        await (await client.create("b1")).wait()
        (archive,) = await client.list_local()
        row = (await client.actions())[0]
        assert await client.status(row.operation_id) == row.model_copy(update={"position": -1})
    assert archive.created.tzinfo is row.start.tzinfo is row.finish.tzinfo is zone
    assert row.start <= archive.created <= row.finish


async def test_lists_of_old_servers_are_in_utc():
    fake = FakeSidecar(version="2.5.29")
    fake.tables.add_table("shop.orders", 10)
    async with fake.client(timezone=timezone(timedelta(hours=5))) as client:
        await (await client.create("b1")).wait()
        (archive,) = await client.list_local()
    assert archive.created
    assert archive.created.tzinfo is UTC


async def test_a_time_that_is_none_has_no_zone(fake):
    fake.add_remote("b1", broken=True)
    async with fake.client(timezone=UTC) as client:
        assert [archive.created for archive in await client.list_remote()] == [None]
