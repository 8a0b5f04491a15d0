"""Restore: what it destroys while every row says success, and where it stops."""

import pytest
from tests.conformance.sidecar.rig import Rig

TABLE = "demo.t"
FULL = {0: 1000, 1: 1000, 2: 1000}


@pytest.fixture(autouse=True)
async def archive_and_newer_rows(rig: Rig):
    """An archive `a` of 3000 rows, while the table has 300 more."""
    await rig.create_table(TABLE, 3000, partitions=3)
    await rig.run("/backup/create_remote?name=a")
    await rig.insert(TABLE, 300)


@pytest.mark.parametrize("flags", ["", "?rm=1", "?rm=false", "?drop=", "?schema=1&data=1"])
async def test_existing_tables_are_dropped_and_recreated(rig: Rig, flags: str):
    await rig.run(f"/backup/restore/a{flags}")
    assert await rig.counts(TABLE, 3) == FULL


@pytest.mark.parametrize(
    ("flags", "after"),
    [
        ("?partitions=1", {1: 1000}),
        ("?partitions=77", {}),
        ("?data=1&partitions=1", {0: 1100, 1: 1000, 2: 1100}),
        ("?data=1&partitions=77", {0: 1100, 1: 1100, 2: 1100}),
        ("?data=1", {0: 2100, 1: 2100, 2: 2100}),
        ("?data=0", {0: 2100, 1: 2100, 2: 2100}),
        ("?schema=1", {}),
        ("?table=*.*,cozydrivers_ab12.a1", FULL),
        ("?table=demo.*,cozydrivers_ab12.a1", FULL),
        ("?restore_table_mapping=cozydrivers_ab12:a1", FULL),
    ],
)
async def test_what_a_table_holds_afterwards(rig: Rig, flags: str, after: dict[int, int]):
    await rig.run(f"/backup/restore/a{flags}")
    assert await rig.counts(TABLE, 3) == after


async def test_a_live_partition_that_the_archive_lacks_is_dropped_by_its_restore(rig: Rig):
    await rig.run("/backup/create_remote?name=part&partitions=1")
    await rig.run("/backup/restore/part?data=1&partitions=2")
    assert await rig.counts(TABLE, 3) == {0: 1100, 1: 1100}


async def test_a_tag_in_the_table_pattern_shows_in_the_row(rig: Rig):
    row = await rig.run("/backup/restore_remote/a?table=*.*,cozydrivers_ab12.a1")
    assert row["command"] == 'restore_remote --tables="*.*,cozydrivers_ab12.a1" a'


async def test_a_pattern_without_a_match_changes_nothing(rig: Rig):
    row = await rig.run("/backup/restore/a?table=demo.nosuch", status="error")
    assert "not found schemas by demo.nosuch" in row["error"]
    assert await rig.count(TABLE) == 3300


async def test_other_tables_are_left_alone(rig: Rig):
    await rig.create_table("demo.other", 5)
    await rig.run("/backup/restore/a")
    assert await rig.count("demo.other") == 5


async def test_a_dropped_table_comes_back(rig: Rig):
    await rig.drop_table(TABLE)
    await rig.run("/backup/restore/a")
    assert await rig.counts(TABLE, 3) == FULL


async def test_a_table_can_be_restored_beside_itself(rig: Rig):
    await rig.run("/backup/restore/a?restore_table_mapping=t:t2")
    assert await rig.count(TABLE) == 3300
    assert await rig.counts("demo.t2", 3) == FULL
    await rig.run("/backup/restore/a?restore_database_mapping=demo:copy")
    assert await rig.counts("copy.t", 3) == FULL


async def test_tables_without_parts_come_back_empty(rig: Rig):
    await rig.create_table("demo.log", 4, engine="Log")
    await rig.run("/backup/create?name=b")
    await rig.run("/backup/restore/b?table=demo.log")
    assert await rig.count("demo.log") == 0


async def test_restore_needs_a_good_local_copy(rig: Rig):
    await rig.break_local("a")
    row = await rig.run("/backup/restore/a", status="error")
    assert row["error"].startswith("read backup metadata file: open ")
    assert await rig.count(TABLE) == 3300


async def test_restore_remote_takes_a_stale_local_copy(rig: Rig):
    await rig.send("POST", "/backup/delete/remote/a", 200)
    await rig.run("/backup/restore_remote/a")
    assert await rig.counts(TABLE, 3) == FULL


async def test_download_of_what_create_made_is_refused(rig: Rig):
    row = await rig.run("/backup/download/a", status="error")
    assert row["error"].startswith("backup is already exists: local backup 'a' exists but resumable state")


async def test_download_over_a_broken_local_copy_is_refused(rig: Rig):
    await rig.break_local("a")
    row = await rig.run("/backup/download/a", status="error")
    assert row["error"].startswith("backup is already exists")
    row = await rig.run("/backup/restore_remote/a", status="error")
    assert row["error"].startswith("read backup metadata file: open ")
    assert await rig.count(TABLE) == 3300


async def test_download_of_what_was_downloaded_is_a_success(rig: Rig):
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.run("/backup/download/a")
    await rig.run("/backup/download/a")
    row = await rig.must_find("local", "a")
    assert row["data_size"] == await rig.total_bytes("a")


async def test_a_filtered_download_is_a_partial_copy_that_lists_as_good(rig: Rig):
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.run("/backup/download/a?schema=1")
    assert await rig.desc("local", "a") == "regular"
    row = await rig.must_find("local", "a")
    assert "data_size" not in row


async def test_an_increment_is_restored_whole(rig: Rig):
    await rig.run("/backup/create_remote?name=next&diff-from-remote=a")
    for name in ["a", "next"]:
        await rig.send("POST", f"/backup/delete/local/{name}?force=1", 200)
    await rig.run("/backup/restore_remote/next")
    assert await rig.count(TABLE) == 3300
    row = await rig.must_find("local", "next")
    assert row["data_size"] == await rig.total_bytes("next")


async def test_a_local_increment_is_restored_whole(rig: Rig):
    await rig.run("/backup/create_remote?name=next&diff-from-remote=a")
    await rig.run("/backup/restore/next")
    assert await rig.count(TABLE) == 3300
