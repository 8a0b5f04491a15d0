"""Facts 3.4 and 3.5: what a restore does to tables. The flow does what was asked for, or nothing."""

import pytest
from tests.conformance.sidecar.flows import archived, client_of
from tests.conformance.sidecar.rig import Rig

import chbackup

TABLE = "demo.t"


@pytest.fixture(autouse=True)
async def archive_and_newer_rows(rig: Rig):
    """An archive `a` of 3000 rows, while the table has 300 more."""
    await rig.create_table(TABLE, 3000, partitions=3)
    await archived(rig, "a")
    await rig.insert(TABLE, 300)


async def test_no_flag_the_table_is_the_archives(rig: Rig):
    report = await chbackup.verified_restore(client_of(rig), "a", overwrite=True)
    assert await rig.counts(TABLE, 3) == {0: 1000, 1: 1000, 2: 1000}
    [table] = report.tables
    assert (table.name, table.engine, table.replaced) == (TABLE, "MergeTree", True)
    assert table.archived_bytes == table.total_bytes > 0


async def test_a_dropped_table_and_its_database_come_back(rig: Rig):
    await rig.drop_table(TABLE)
    report = await chbackup.verified_restore(client_of(rig), "a")
    assert await rig.count(TABLE) == 3000
    assert not report.tables[0].replaced


async def test_one_partition_is_replaced_and_the_others_stay(rig: Rig):
    if not rig.since(2, 8, 0):
        with pytest.raises(chbackup.Unsupported):
            await chbackup.verified_restore(client_of(rig), "a", partitions=["1"], overwrite=True)
        return
    for _ in range(2):  # a repetition doubles nothing
        report = await chbackup.verified_restore(client_of(rig), "a", partitions=["1"], overwrite=True)
        assert await rig.counts(TABLE, 3) == {0: 1100, 1: 1000, 2: 1100}
    assert report.tables[0].partitions == ("1",)
    assert report.tables[0].total_bytes > 0


async def test_a_partition_that_the_archive_lacks_is_not_dropped(rig: Rig):
    """`data=1` drops it, and puts nothing in its place."""
    await rig.run("/backup/create_remote?name=part&partitions=1")
    await rig.send("POST", "/backup/delete/local/part", 200)
    before = await rig.counts(TABLE, 3)
    expected = chbackup.Refused if rig.since(2, 8, 0) else chbackup.Unsupported
    for partition in ["0", "77"]:
        with pytest.raises(expected):
            await chbackup.verified_restore(client_of(rig), "part", partitions=[partition], overwrite=True)
    assert await rig.counts(TABLE, 3) == before


async def test_each_table_is_given_only_the_partitions_that_the_archive_holds_of_it(rig: Rig):
    if not rig.since(2, 8, 0):
        return
    await rig.create_table("demo.u", 100, partitions=2)
    await archived(rig, "two")
    await rig.create_table("demo.spare", 10)
    await rig.insert("demo.u", 100)
    await chbackup.verified_restore(client_of(rig), "two", partitions=["2", "0"], overwrite=True)
    assert await rig.counts("demo.u", 2) == {0: 50, 1: 100}
    assert await rig.counts(TABLE, 3) == {0: 1100, 1: 1100, 2: 1100}


async def test_partitions_of_a_table_that_does_not_exist_are_refused(rig: Rig):
    if not rig.since(2, 8, 0):
        return
    await rig.drop_table(TABLE)
    with pytest.raises(chbackup.Refused, match="tables that exist"):
        await chbackup.verified_restore(client_of(rig), "a", partitions=["1"], overwrite=True)


async def test_a_pattern_that_matches_nothing_is_refused(rig: Rig):
    with pytest.raises(chbackup.Refused, match="matches"):
        await chbackup.verified_restore(client_of(rig), "a", tables="demo.nosuch", overwrite=True)
    assert await rig.count(TABLE) == 3300


async def test_a_pattern_leaves_no_partial_local_copy(rig: Rig):
    await rig.create_table("demo.u", 10)
    await archived(rig, "two")
    await chbackup.verified_restore(client_of(rig), "two", tables="demo.u", overwrite=True)
    assert await rig.count(TABLE) == 3300
    assert await rig.get("/backup/list/local") == []


async def test_tables_without_parts_are_left_as_they_are(rig: Rig):
    await rig.create_table("demo.log", 4, engine="Log")
    await archived(rig, "two")
    report = await chbackup.verified_restore(client_of(rig), "two", overwrite=True)
    assert report.left_out == ("demo.log",)
    assert await rig.count("demo.log") == 4


async def test_an_increment_is_restored_whole(rig: Rig):
    await archived(rig, "next", diff_from_remote="a")
    await rig.drop_table(TABLE)
    await chbackup.verified_restore(client_of(rig), "next")
    assert await rig.count(TABLE) == 3300
