"""Lists of archives and tables: the evidence that an archive is what it should be, and what does not show."""

import pytest
from tests.conformance.sidecar.rig import Rig

TABLE = "demo.t"


@pytest.fixture(autouse=True)
async def two_tables(rig: Rig):
    await rig.create_table(TABLE, 3000, partitions=3)
    await rig.create_table("demo.u", 100)


async def test_local_rows_come_before_remote_ones(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    local, remote = await rig.get("/backup/list")
    assert list(local) == ["name", "created", "size", "data_size", "metadata_size", "location", "required", "desc"]
    assert (local["location"], local["required"], local["desc"]) == ("local", "", "regular")
    assert list(remote) == [*list(local)[:5], "compressed_size", *list(local)[5:]]
    assert (remote["location"], remote["required"], remote["desc"]) == ("remote", "", "tar, regular")
    assert await rig.get("/backup/list/local") == [local]
    assert await rig.get("/backup/list/remote") == [remote]


async def test_sizes_of_a_full_archive_agree(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    local, remote = await rig.get("/backup/list")
    live = sum(row["TotalBytes"] for row in await rig.get("/backup/tables"))
    assert local["data_size"] == remote["data_size"] == live == await rig.total_bytes("a")
    objects = await rig.objects("a")
    data = sum(size for key, size in objects.items() if key.startswith("shadow/"))
    tables = sum(size for key, size in objects.items() if key.startswith("metadata/"))
    assert (remote["compressed_size"], remote["metadata_size"], remote["size"]) == (data, tables, data + tables)


async def test_an_increment_has_its_own_parts_and_names_all(rig: Rig):
    await rig.run("/backup/create_remote?name=full")
    await rig.insert("demo.u", 10)
    await rig.run("/backup/create_remote?name=next&diff-from-remote=full")
    full = await rig.must_find("remote", "full")
    local, remote = await _both(rig, "next")
    assert local["required"] == remote["required"] == "full"
    assert local["data_size"] == remote["data_size"] < full["data_size"]
    assert await rig.total_bytes("next") == full["data_size"] + remote["data_size"]
    assert [key for key in await rig.objects("next") if "/t/" in key] == []


async def _both(rig: Rig, name: str):
    return await rig.must_find("local", name), await rig.must_find("remote", name)


async def test_an_increment_without_changes_has_no_data_size(rig: Rig):
    await rig.run("/backup/create_remote?name=full")
    await rig.run("/backup/create_remote?name=next&diff-from-remote=full")
    for row in await _both(rig, "next"):
        assert "data_size" not in row
        assert "compressed_size" not in row


async def test_upload_against_a_remote_base_keeps_the_local_size(rig: Rig):
    await rig.run("/backup/create_remote?name=full")
    await rig.run("/backup/create?name=next")
    await rig.run("/backup/upload/next?diff-from-remote=full")
    local, remote = await _both(rig, "next")
    assert (local["required"], remote["required"]) == ("", "full")
    assert local["data_size"] == remote["data_size"] == await rig.total_bytes("next")


async def test_tables_of_an_archive(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    rows = await rig.get("/backup/tables?remote_backup=a")
    assert {row["table"]: row["parts"] for row in rows} == {"t": 3, "u": 1}
    assert [row["disks"] for row in rows] == [["default"], ["default"]]
    assert list(rows[0]) == ["database", "table", "total_bytes", "size", "parts", "disks", "skip"]
    assert [row["table"] for row in await rig.get("/backup/tables?remote_backup=a&table=demo.u")] == ["u"]
    local = await rig.get("/backup/tables?local_backup=a")
    assert [row["total_bytes"] > 0 for row in local] == [rig.since(2, 8, 0)] * 2


async def test_tables_of_clickhouse(rig: Rig):
    await rig.create_table("demo.log", 4, engine="Log")
    rows = {row["Name"]: row for row in await rig.get("/backup/tables?table=demo.*")}
    assert {name: row["Engine"] for name, row in rows.items()} == {"log": "Log", "t": "MergeTree", "u": "MergeTree"}
    assert rows["log"]["TotalBytes"] == 0
    assert rows["t"]["CreateTableQuery"].startswith("CREATE TABLE demo.t (")
    assert " PARTITION BY id % 3 " in rows["t"]["CreateTableQuery"]
    assert (rows["t"]["Skip"], rows["t"]["UUID"]) == (False, "")
    [path] = rows["t"]["DataPaths"]
    assert path == rows["t"]["DataPath"]


async def test_tables_of_no_archive(rig: Rig):
    [error] = await rig.send("GET", "/backup/tables?remote_backup=x", 500)
    assert error["error"] == "backup 'x' not found on remote storage"
    [error] = await rig.send("GET", "/backup/tables?local_backup=x", 500)
    assert error["error"].endswith("backup 'x' is not found")


async def test_broken_archives_by_their_words(rig: Rig):
    for name in ["stat", "bad"]:
        await rig.run(f"/backup/create_remote?name={name}")
    await rig.remove_object("stat", "metadata.json")
    await rig.write_metadata("bad", "garbage")
    await rig.forget_cache()
    await rig.break_local("stat")
    assert await rig.desc("remote", "stat") == "broken (can't stat metadata.json)"
    assert await rig.desc("remote", "bad") == "broken (bad metadata.json)"
    assert await rig.desc("local", "stat") == "broken metadata.json not found"
    row = await rig.must_find("remote", "stat")
    assert list(row) == ["name", "created", "metadata_size", "location", "required", "desc"]
    assert await rig.get("/backup/tables?remote_backup=bad") == []


async def test_metadata_that_is_null_has_no_name(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.write_metadata("a", "null")
    await rig.forget_cache()
    [row] = await rig.get("/backup/list/remote")
    assert (row["name"], row["desc"], row["location"]) == ("", "", "remote")


async def test_what_was_listed_once_is_not_read_again(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    assert await rig.desc("remote", "a") == "tar, regular"
    await rig.remove_object("a", "metadata.json")
    assert await rig.desc("remote", "a") == "tar, regular"
    await rig.forget_cache()
    assert await rig.desc("remote", "a") == "broken (can't stat metadata.json)"


async def test_a_running_upload_looks_broken(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(4)
    [answer] = await rig.send("POST", "/backup/create_remote?name=a", 201)
    row = await rig.until("/backup/list/remote", name="a")
    assert row["desc"] == "broken (can't stat metadata.json)"
    assert "size" not in row
    await rig.settle(answer["operation_id"])
    assert await rig.desc("remote", "a") == "tar, regular"


async def test_a_lost_part_shows_nowhere_but_in_the_store(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    before, total = await rig.find("remote", "a"), await rig.total_bytes("a")
    await rig.remove_object(
        "a", next(key for key in await rig.objects("a") if "/t/" in key and key.startswith("shadow"))
    )
    await rig.forget_cache()
    assert await rig.find("remote", "a") == before
    assert await rig.total_bytes("a") == total


async def test_a_lost_table_shows_in_its_tables(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.remove_object("a", "metadata/demo/t.json")
    await rig.forget_cache()
    assert await rig.desc("remote", "a") == "tar, regular"
    rows = {row["table"]: row for row in await rig.get("/backup/tables?remote_backup=a")}
    assert (rows["t"]["total_bytes"], rows["t"]["parts"]) == (0, 0)
    assert rows["u"]["total_bytes"] > 0


async def test_a_store_that_is_down_lists_as_empty(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    async with rig.s3_refused():
        assert await rig.get("/backup/list/remote") == []
        assert [row["location"] for row in await rig.get("/backup/list")] == ["local"]
        assert await rig.get("/backup/tables?remote_backup=a") == []
        [error] = await rig.send("POST", "/backup/delete/remote/a", 500)
        assert error["error"].startswith("bd.RemoveBackupRemote: RemoveBackupRemote Walk: S3 remotePager NextPage")
        assert await rig.send("POST", "/backup/clean/remote_broken", 200) == [
            {"status": "success", "operation": "clean_remote_broken"}
        ]
        assert (await rig.send("POST", "/backup/delete/local/a", 200))[0]["status"] == "success"


async def test_sidecars_on_one_path_see_each_others_archives(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    async with rig.sibling() as other:
        assert await other.desc("remote", "a") == "tar, regular"
        assert await other.get("/backup/list/local") == []
        await other.run("/backup/restore_remote/a")
        assert await other.count(TABLE) == 3000
        await other.send("POST", "/backup/delete/remote/a", 200)
    assert await rig.get("/backup/list/remote") == []
