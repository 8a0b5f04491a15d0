"""Replicated tables: the orders of a restore that work, and those that double rows or split a table in two.

Every operation here ends with `success`, whatever it has done.
"""

import os
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.conformance.sidecar.replicas import Replica, all_have, arrive, fake_replicas, real_replicas, real_servers
from tests.real import RealClickHouse, RealS3

REAL = os.environ.get("CHBACKUP_CONFORMANCE") == "real"
NAMES = ("r1", "r2", "r9")
ENGINE = "ReplicatedMergeTree('/clickhouse/tables/{shard}/r', '{replica}')"
ELSEWHERE = "ReplicatedMergeTree('/clickhouse/tables/{cluster}/{shard}/demo/r', '{replica}')"
R, L = "demo.r", "demo.l"

if REAL:

    @pytest.fixture(scope="module")
    async def servers() -> AsyncIterator[Sequence[RealClickHouse]]:
        async with real_servers(NAMES) as started:
            yield started

    @pytest.fixture
    async def replicas(server, servers, real_store: RealS3) -> AsyncIterator[Sequence[Replica]]:
        async with real_replicas(server, servers, real_store) as made:
            yield made

else:

    @pytest.fixture
    async def replicas(server) -> AsyncIterator[Sequence[Replica]]:
        async with fake_replicas(server, NAMES) as made:
            yield made


@pytest.fixture
async def r1(replicas: Sequence[Replica]) -> Replica:
    return replicas[0]


@pytest.fixture
async def r2(replicas: Sequence[Replica]) -> Replica:
    return replicas[1]


@pytest.fixture
async def other(replicas: Sequence[Replica]) -> Replica:
    """Another application's server, which has the same shard and ZooKeeper, and no table."""
    return replicas[2]


@pytest.fixture(autouse=True)
async def tables(r1: Replica, r2: Replica) -> None:
    """`r` with 1000 rows on both, `l` with other rows on each, and the archives B1 of r1 and B2 of r2."""
    for replica, rows in ((r1, 100), (r2, 77)):
        await replica.create_table(R, 0, engine=ENGINE, partitions=2)
        await replica.create_table(L, rows)
    await r1.insert(R, 1000)
    await arrive((r1, r2), R, 1000, 1000)
    await r1.run("/backup/create_remote?name=B1")
    await r2.run("/backup/create_remote?name=B2")


async def _drop(*replicas: Replica) -> None:
    for replica in replicas:
        await replica.drop_table(R)


async def test_an_archive_has_all_rows_and_the_definition_with_its_macros(r1: Replica, r2: Replica):
    assert ENGINE in await r1.query(R)
    assert await r1.query(R) == await r2.query(R)
    one, two = [await r1.get(f"/backup/tables?remote_backup={name}&table={R}") for name in ("B1", "B2")]
    assert one == two
    [live] = await r2.get(f"/backup/tables?table={R}")
    assert (live["Engine"], live["TotalBytes"]) == ("ReplicatedMergeTree", one[0]["total_bytes"])


async def test_parts_that_are_equal_on_both_are_not_sent_twice(r1: Replica, r2: Replica):
    await r2.run("/backup/create_remote?name=next&diff-from-remote=B1")
    shadow = [key for key in await r2.objects("next") if key.startswith("shadow/")]
    assert [key for key in shadow if key.startswith("shadow/demo/r/")] == []
    assert [key for key in shadow if key.startswith("shadow/demo/l/")] != []


async def test_dropped_on_all_then_data_on_one_and_schema_on_the_other_is_right(r1: Replica, r2: Replica):
    await _drop(r1, r2)
    for replica in (r1, r2):
        await replica.drop_table(L)
    await r1.run("/backup/restore/B1")
    await r2.run(f"/backup/restore_remote/B1?schema=1&table={R}")
    await r2.run(f"/backup/restore/B2?table={L}")
    await all_have((r1, r2), R, 1000, 1000)
    assert (await r1.count(L), await r2.count(L)) == (100, 77)
    assert ENGINE in await r1.query(R)
    assert await r1.query(R) == await r2.query(R)
    await r2.insert(R, 10)
    await all_have((r1, r2), R, 1010, 1010)


async def test_a_new_replica_has_nothing_for_some_seconds(r1: Replica, r2: Replica):
    await _drop(r1, r2)
    await r1.run("/backup/restore/B1")
    await r2.run(f"/backup/restore_remote/B1?schema=1&table={R}")
    [live] = await r2.get(f"/backup/tables?table={R}")
    assert (await r1.count(R), await r2.count(R), live["TotalBytes"]) == (1000, 0, 0)
    await r1.insert(R, 10)
    await all_have((r1, r2), R, 1010, 1010)


async def test_schema_first_and_data_then_is_right_as_well(r1: Replica, r2: Replica):
    await _drop(r1, r2)
    await r2.run(f"/backup/restore_remote/B1?schema=1&table={R}")
    await r1.run("/backup/restore/B1")
    await all_have((r1, r2), R, 1000, 1000)


async def test_data_on_all_doubles_the_rows(r1: Replica, r2: Replica):
    await _drop(r1, r2)
    await r1.run("/backup/restore/B1")
    await r2.run("/backup/restore/B2")
    await all_have((r1, r2), R, 2000, 2000)


async def test_a_restore_over_a_living_table_adds_to_what_is_there(r1: Replica, r2: Replica):
    await r2.insert(R, 50)
    await all_have((r1, r2), R, 1050, 1050)
    await r1.run("/backup/restore/B1")
    await all_have((r1, r2), R, 2050, 2050)


async def test_dropped_on_one_only_doubles_the_rows(r1: Replica, r2: Replica):
    await _drop(r1)
    await r1.run("/backup/restore/B1")
    await all_have((r1, r2), R, 2000, 2000)


async def test_a_server_that_is_away_counts_as_one_that_has_the_table(r1: Replica, r2: Replica):
    await _drop(r1)
    async with r2.server_down():
        await r1.run("/backup/restore/B1")
        await all_have((r1,), R, 1000)
    await all_have((r1, r2), R, 2000, 2000)


async def test_schema_on_one_while_the_other_keeps_the_table_takes_its_rows(r1: Replica, r2: Replica):
    await r1.run(f"/backup/restore/B1?schema=1&table={R}")
    await r2.insert(R, 1)
    await all_have((r1, r2), R, 1001, 1001)


async def test_schema_empties_tables_that_are_not_replicated(r1: Replica, r2: Replica):
    await _drop(r1, r2)
    await r2.run("/backup/restore_remote/B1?schema=1")
    assert (await r1.count(L), await r2.count(L)) == (100, 0)


async def test_an_entry_that_was_left_puts_the_table_elsewhere(r1: Replica, r2: Replica):
    await r1.lose_table(R)
    await r1.run("/backup/restore/B1")
    assert ELSEWHERE in await r1.query(R)
    assert ENGINE in await r2.query(R)
    await r2.insert(R, 10)
    await all_have((r1, r2), R, 1000, 1010)


async def test_an_entry_that_was_left_and_is_deleted_is_no_more_in_the_way(r1: Replica, r2: Replica):
    await r1.lose_table(R)
    await r1.delete_entry("/clickhouse/tables/01/r/replicas/r1")
    await r1.run(f"/backup/restore/B1?schema=1&table={R}")
    assert ENGINE in await r1.query(R)
    await r2.insert(R, 10)
    await all_have((r1, r2), R, 1010, 1010)


async def test_entries_that_were_left_of_all_put_the_table_elsewhere_together(r1: Replica, r2: Replica):
    for replica in (r1, r2):
        await replica.lose_table(R)
    await r2.run(f"/backup/restore_remote/B1?schema=1&table={R}")
    await r1.run("/backup/restore/B1")
    assert ELSEWHERE in await r1.query(R)
    assert await r1.query(R) == await r2.query(R)
    await all_have((r1, r2), R, 1000, 1000)


async def test_an_entry_that_was_left_elsewhere_too_is_an_error(r1: Replica):
    await r1.lose_table(R)
    await r1.run(f"/backup/restore/B1?table={R}")
    await r1.lose_table(R)
    await r1.drop_table(L)
    row = await r1.run("/backup/restore/B1", status="error")
    assert row["error"].startswith("RestoreSchema: restoreSchema: can't create table `demo`.`r` after 2 times, ")
    assert row["error"].endswith("/01/demo/r/replicas/r1 already exists.")
    assert await r1.count(L) == 0


async def test_a_table_can_be_restored_beside_itself(r1: Replica, r2: Replica):
    await r2.run(f"/backup/restore_remote/B1?schema=1&table={R}&restore_table_mapping=r:r_new")
    await r1.run(f"/backup/restore/B1?table={R}&restore_table_mapping=r:r_new")
    await all_have((r1, r2), "demo.r_new", 1000, 1000)
    await all_have((r1, r2), R, 1000, 1000)
    assert "/clickhouse/tables/{shard}/r_new'" in await r1.query("demo.r_new")


async def test_another_database_is_another_path_only_where_the_path_has_its_name(r1: Replica):
    await r1.run(f"/backup/restore/B1?table={R}&restore_database_mapping=demo:copy")
    assert "/clickhouse/tables/{cluster}/{shard}/copy/r'" in await r1.query("copy.r")
    await all_have((r1,), "copy.r", 1000)
    await all_have((r1,), R, 1000)


async def test_another_application_s_server_joins_the_table_and_doubles_its_rows(
    r1: Replica, r2: Replica, other: Replica
):
    await other.run("/backup/restore_remote/B1")
    await all_have((r1, r2, other), R, 2000, 2000, 2000)
    assert await other.query(R) == await r1.query(R)


async def test_a_partition_is_replaced_on_all(r1: Replica, r2: Replica):
    await r1.insert(R, 10)
    await all_have((r1, r2), R, 1010, 1010)
    await r1.run("/backup/restore/B1?data=1&partitions=1")
    await all_have((r1, r2), R, 1005, 1005)
    assert await r2.counts(R, 2) == {0: 505, 1: 500}
