"""verified_restore(partitions=...): only these, in tables that exist, and never one that the archive lacks."""

import pytest
from tests.chbackup.flows import result_of, submissions

import chbackup
from chbackup.testing import FakeSidecar


@pytest.fixture
async def fake():
    sidecar = FakeSidecar(version="2.8.1-dev")
    sidecar.tables.add_table("shop.orders", 300, partitions=3)
    sidecar.tables.add_table("shop.items", 20, partitions=2)
    async with sidecar.client() as client:
        await chbackup.verified_backup(client, "b1")
    sidecar.tables.insert("shop.orders", 300)
    sidecar.tables.insert("shop.items", 20)
    sidecar.requests.clear()
    return sidecar


def counts(fake, table, modulus):
    return [sum(row % modulus == rest for row in fake.tables.rows(table)) for rest in range(modulus)]


async def test_only_the_partitions_that_are_named_are_replaced(fake, client):
    report = await chbackup.verified_restore(client, "b1", tables="shop.orders", partitions=["1"], overwrite=True)
    assert counts(fake, "shop.orders", 3) == [200, 100, 200]
    assert counts(fake, "shop.items", 2) == [20, 20]
    [table] = report.tables
    assert (table.name, table.partitions, table.replaced) == ("shop.orders", ("1",), True)
    assert table.total_bytes > 0


async def test_a_repetition_doubles_nothing(fake, client):
    for _ in range(2):
        await chbackup.verified_restore(client, "b1", partitions=["1", "1"], overwrite=True)
    assert counts(fake, "shop.orders", 3) == [200, 100, 200]
    assert counts(fake, "shop.items", 2) == [20, 10]


async def test_each_table_gives_only_what_the_archive_holds_of_it(fake, client):
    await chbackup.verified_restore(client, "b1", partitions=["2", "0"], overwrite=True)
    assert counts(fake, "shop.orders", 3) == [100, 200, 100]
    assert counts(fake, "shop.items", 2) == [10, 20]
    assert "shop.items%3A2" not in submissions(fake, "restore")[0].query


async def test_a_partition_that_the_archive_lacks_is_refused(fake, client):
    with pytest.raises(chbackup.Refused, match=r"no table of it holds partition 77: .*shop\.items holds 0, 1"):
        await chbackup.verified_restore(client, "b1", partitions=["1", "77"], overwrite=True)
    assert not submissions(fake, "")


async def test_partitions_are_not_replaced_unasked(fake, client):
    with pytest.raises(chbackup.Refused, match="overwrite=True replaces partitions of"):
        await chbackup.verified_restore(client, "b1", partitions=["1"])
    assert not submissions(fake, "")


async def test_tables_that_do_not_exist_are_refused(fake, client):
    fake.tables.drop("shop.items")
    with pytest.raises(chbackup.Refused, match=r"shop\.items does not"):
        await chbackup.verified_restore(client, "b1", partitions=["1"], overwrite=True)
    assert await chbackup.verified_restore(client, "b1", tables="*.orders", partitions=["1"], overwrite=True)


async def test_replicated_tables_are_refused(fake, client):
    fake.tables.add_table("shop.r", 4, engine="ReplicatedMergeTree('/t/{shard}/r','{replica}')", partitions=2)
    await chbackup.verified_backup(client, "b2")
    with pytest.raises(chbackup.Refused, match=r"replicated tables cannot be replaced: shop\.r"):
        await chbackup.verified_restore(client, "b2", partitions=["1"], overwrite=True)


async def test_a_lost_reply_is_looked_for(fake, client):
    fake.faults.lose_reply(after_work=True, path="/backup/restore/")
    await chbackup.verified_restore(client, "b1", partitions=["1"], overwrite=True)
    assert len(submissions(fake, "restore")) == 1
    assert counts(fake, "shop.orders", 3) == [200, 100, 200]


@pytest.mark.parametrize("partitions", ["202601", [""]])
async def test_what_is_no_list_of_ids_is_refused(fake, client, partitions):
    result = await result_of(chbackup.verified_restore(client, "b1", partitions=partitions, overwrite=True))
    assert isinstance(result, chbackup.InvalidInput)
    assert not fake.requests


async def test_a_server_that_does_not_list_partitions_is_not_supported():
    fake = FakeSidecar(version="2.7.4")
    fake.tables.add_table("shop.orders", 300, partitions=3)
    async with fake.client() as client:
        await chbackup.verified_backup(client, "b1")
        with pytest.raises(chbackup.Unsupported, match=r"2\.8\.0"):
            await chbackup.verified_restore(client, "b1", partitions=["1"], overwrite=True)
