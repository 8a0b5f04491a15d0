"""What a list makes of damage, and what can still be done with it."""

import pytest
from tests.conformance.sidecar.rig import Rig

BROKEN = "broken (can't stat metadata.json)"
GARBAGE = "invalid character 'o' in literal null (expecting 'u')"


@pytest.fixture(autouse=True)
async def one_archive(rig: Rig):
    await rig.create_table("demo.t", 300, partitions=3)
    await rig.run("/backup/create_remote?name=a")


async def _names(rig: Rig, where: str) -> list[str]:
    return [row["name"] for row in await rig.get(f"/backup/list/{where}")]


async def test_local_garbage_is_told_without_the_word_broken(rig: Rig):
    await rig.write_local_metadata("a", "garbage")
    row = await rig.must_find("local", "a")
    assert row["desc"] == f"parse metadata.json error: {GARBAGE}"
    assert list(row) == ["name", "created", "metadata_size", "location", "required", "desc"]
    row = await rig.run("/backup/upload/a", status="error")
    assert row["error"] == f"b.ReadBackupMetadataLocal return error: json.Unmarshal: {GARBAGE}"
    row = await rig.run("/backup/restore/a", status="error")
    assert row["error"] == f"unmarshal backup metadata: {GARBAGE}"
    await rig.send("POST", "/backup/clean/local_broken", 200)
    assert await _names(rig, "local") == []


async def test_a_local_null_loses_its_name_and_cannot_be_deleted(rig: Rig):
    await rig.write_local_metadata("a", "null")
    [row] = await rig.get("/backup/list/local")
    assert (row["name"], row["created"], row["desc"]) == ("", "0001-01-01 00:00:00", "")
    row = await rig.run("/backup/upload/a", status="error")
    assert row["error"] == "can't find local backup: backup 'a' is not found"
    row = await rig.run("/backup/restore/a", status="error")
    assert row["error"].startswith("'a' doesn't contains tables for restore")
    [error] = await rig.send("POST", "/backup/delete/local/a", 500)
    assert error["error"] == "'a' is not found on local storage"
    await rig.send("POST", "/backup/clean/local_broken", 200)
    assert await _names(rig, "local") == [""]


async def test_a_remote_null_loses_its_name_and_cannot_be_deleted(rig: Rig):
    await rig.write_metadata("a", "null")
    await rig.forget_cache()
    [row] = await rig.get("/backup/list/remote")
    assert (row["name"], row["desc"]) == ("", "")
    await rig.send("POST", "/backup/delete/remote/a", 500)
    await rig.send("POST", "/backup/clean/remote_broken", 200)
    assert await _names(rig, "remote") == [""]


async def test_a_stray_object_is_a_broken_archive_that_stops_the_cleaning(rig: Rig):
    await rig.put_stray("bare.txt")
    await rig.run("/backup/create_remote?name=bad")
    await rig.remove_object("bad", "metadata.json")
    await rig.forget_cache()
    assert await rig.desc("remote", "bare.txt") == BROKEN
    [error] = await rig.send("POST", "/backup/delete/remote/bare.txt", 500)
    assert error["error"] == "'bare.txt' is not found on remote storage"
    [error] = await rig.send("POST", "/backup/clean/remote_broken", 500)
    assert error["error"] == "b.RemoveBackupRemote: 'bare.txt' is not found on remote storage"
    assert sorted(await _names(rig, "remote")) == ["a", "bare.txt"]


async def test_an_object_named_as_the_path_makes_the_cleaning_delete_good_archives(rig: Rig):
    await rig.put_stray("")
    await rig.forget_cache()
    assert {row["name"]: row["desc"] for row in await rig.get("/backup/list/remote")} == {
        "": BROKEN,
        "a": "tar, regular",
    }
    await rig.send("POST", "/backup/clean/remote_broken", 200)
    assert await _names(rig, "remote") == [""]
    assert await rig.objects("a") == {}


async def test_an_archive_without_tables_cannot_be_restored(rig: Rig):
    await rig.send("POST", "/backup/delete/local/a", 200)
    row = await rig.run("/backup/restore_remote/a?table=cozydrivers_ab12.a1", status="error")
    assert row["error"].startswith("'a' doesn't contains tables for restore")
    assert await rig.desc("local", "a") == "regular"
    assert await rig.count("demo.t") == 300


async def test_a_further_download_completes_a_filtered_one(rig: Rig):
    await rig.create_table("demo.u", 300)
    await rig.run("/backup/create_remote?name=two")
    await rig.send("POST", "/backup/delete/local/two", 200)
    sizes = []
    for query in ["?table=demo.u", "", "?table=demo.t"]:
        await rig.run(f"/backup/download/two{query}")
        sizes.append((await rig.must_find("local", "two"))["data_size"])
    assert sizes[0] + sizes[2] == sizes[1] == await rig.total_bytes("two")
