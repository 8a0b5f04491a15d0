"""`/backup/tables`: two shapes of rows, and the lists that came with 2.8.0."""

from typing import Any

import pytest
from tests.conformance.sidecar.rig import Rig

GO_KEYS = ["Database", "Name", "Engine", "DataPath", "DataPaths", "UUID", "CreateTableQuery", "TotalBytes", "Skip"]
ROW_KEYS = ["database", "table", "total_bytes", "size", "parts", "disks", "skip"]


@pytest.fixture(autouse=True)
async def three_tables(rig: Rig):
    await rig.create_table("demo.e", 0)
    await rig.create_table("demo.log", 4, engine="Log")
    await rig.create_table("demo.t", 3000, partitions=3)


async def _rows(rig: Rig, query: str) -> dict[str, dict[str, Any]]:
    return {row["table"]: row for row in await rig.get(f"/backup/tables?{query}")}


async def test_the_servers_own_tables_are_shown_by_all_only(rig: Rig):
    assert [row["Name"] for row in await rig.get("/backup/tables")] == ["e", "log", "t"]
    rows = {row["Name"]: row for row in await rig.get("/backup/tables/all")}
    assert rows.keys() > {"e", "log", "t", "numbers", "one", "parts"}
    assert list(rows["one"]) == [*GO_KEYS, "BackupType"]
    assert (rows["one"]["Database"], rows["one"]["Engine"], rows["one"]["Skip"]) == ("system", "SystemOne", True)
    assert (rows["one"]["DataPath"], rows["one"]["DataPaths"], rows["one"]["BackupType"]) == ("", None, "none")
    assert (rows["log"]["Skip"], rows["log"]["BackupType"]) == (False, "full")


async def test_a_pattern_chooses_among_all(rig: Rig):
    assert [row["Name"] for row in await rig.get("/backup/tables/all?table=system.on*,demo.t")] == ["t", "one"]
    assert await rig.get("/backup/tables?table=system.one") == []


async def test_lists_change_the_shape_from_2_8_0_on(rig: Rig):
    [row] = await rig.get("/backup/tables?list_parts=1&table=demo.t")
    assert list(row) == ([*ROW_KEYS, "backup_type", "parts_list"] if rig.since(2, 8, 0) else [*GO_KEYS, "BackupType"])


async def test_lists_of_live_tables(rig: Rig):
    if not rig.since(2, 8, 0):
        return
    rows = await _rows(rig, "parts=true&list_partitions=1")
    part, partition = rows["t"]["parts_list"][1], rows["t"]["partitions"][1]
    assert part == {"name": "1_2_2_0", "partition_id": "1"} | {key: part[key] for key in ["total_bytes", "size"]}
    assert partition == {"partition_id": "1", "partition": "1", "parts": 1} | {
        key: part[key] for key in ["total_bytes", "size"]
    }
    assert rows["t"]["total_bytes"] == sum(part["total_bytes"] for part in rows["t"]["parts_list"])
    assert (rows["t"]["parts"], rows["t"]["disks"]) == (0, ["default"])
    assert list(rows["e"]) == list(rows["log"]) == [*ROW_KEYS, "backup_type"]
    [hidden] = await rig.get("/backup/tables/all?partitions=1&table=system.one")
    assert (hidden["disks"], hidden["skip"], hidden["backup_type"]) == (None, True, "none")


@pytest.mark.parametrize("query", ["list_parts=TRUE", "partitions=false", "list_parts="])
async def test_lists_are_asked_for_by_1_or_true_exactly(rig: Rig, query: str):
    [row] = await rig.get(f"/backup/tables?{query}&table=demo.t")
    assert "Database" in row


@pytest.mark.parametrize("where", ["remote_backup", "remote-backup", "local_backup", "local-backup"])
async def test_lists_of_archives_say_nothing_of_sizes(rig: Rig, where: str):
    await rig.run("/backup/create_remote?name=a")
    rows = await _rows(rig, f"{where}=a&list_parts=1&partitions=1")
    assert list(rows) == ["e", "log", "t"]
    assert list(rows["e"]) == list(rows["log"]) == ROW_KEYS
    if not rig.since(2, 8, 0):
        assert list(rows["t"]) == ROW_KEYS
        return
    assert rows["t"]["parts_list"][2] == {"name": "2_3_3_0", "partition_id": "2"}
    assert rows["t"]["partitions"][2] == {"partition_id": "2", "parts": 1}
    assert rows["e"]["size"] == "0B"


async def test_a_local_archive_goes_before_a_remote_one(rig: Rig):
    await rig.run("/backup/create?name=a")
    assert len(await rig.get("/backup/tables?local_backup=a&remote_backup=nosuch")) == 3
    [error] = await rig.send("GET", "/backup/tables?remote_backup=", 500)
    assert error["error"] == "backup '' not found on remote storage"


async def test_broken_archives_have_no_tables(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.remove_object("a", "metadata.json")
    await rig.forget_cache()
    assert await rig.get("/backup/tables?remote_backup=a") == []
    await rig.break_local("a")
    if rig.since(2, 7, 0):
        assert await rig.get("/backup/tables?local_backup=a") == []
