"""Archives that list as good and are not."""

import anyio
import pytest
from tests.conformance.sidecar.rig import Rig

TABLE = "demo.t"
GOOD = "tar, regular"


@pytest.fixture(autouse=True)
async def one_table(rig: Rig):
    await rig.create_table(TABLE, 3000, partitions=3)


async def _lose_part(rig: Rig, name: str) -> None:
    await rig.remove_object(name, next(key for key in await rig.objects(name) if key.startswith("shadow/")))


async def test_a_missing_part_stops_the_download_before_anything_is_dropped(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/local/a", 200)
    await _lose_part(rig, "a")
    row = await rig.run("/backup/restore_remote/a", status="error")
    assert "key not found" in row["error"]
    assert await rig.desc("local", "a") == "broken metadata.json not found"
    assert await rig.count(TABLE) == 3000


async def test_a_missing_table_stops_the_download(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.remove_object("a", "metadata/demo/t.json")
    row = await rig.run("/backup/download/a", status="error")
    assert row["error"].endswith("not found on remote storage, backup is broken")


async def test_a_download_whose_base_lacks_a_part_hangs_unless_it_is_lucky(rig: Rig):
    await rig.run("/backup/create_remote?name=full")
    await rig.insert(TABLE, 30)
    await rig.run("/backup/create_remote?name=next&diff-from-remote=full")
    for name in ["next", "full"]:
        await rig.send("POST", f"/backup/delete/local/{name}", 200)
    await _lose_part(rig, "full")
    [answer] = await rig.send("POST", "/backup/download/next", 200)
    with anyio.move_on_after(5):
        row = await rig.settle(answer["operation_id"])
        assert row["status"] == "error", row
        assert "key not found" in row["error"]  # the real server, when no other part waited for the lost one
        return
    with anyio.move_on_after(1):
        await rig.http.post("/backup/kill")
        raise AssertionError("kill answered")
    assert (await rig.settle(answer["operation_id"]))["status"] == "cancel"
    await rig.send("POST", "/backup/delete/local/next", 200)


async def test_an_increment_on_a_broken_base_is_full_and_cannot_be_restored_from_2_8_0_on(rig: Rig):
    await rig.run("/backup/create_remote?name=full")
    await rig.write_metadata("full", "garbage")
    await rig.forget_cache()
    await rig.run("/backup/create_remote?name=next&diff-from-remote=full")
    row = await rig.must_find("remote", "next")
    assert (row["desc"], row["required"]) == (GOOD, "full")
    assert row["data_size"] == await rig.total_bytes("next")
    await rig.send("POST", "/backup/delete/local/next", 200)
    await rig.send("POST", "/backup/delete/local/full", 200)
    if not rig.since(2, 8, 0):
        await rig.run("/backup/restore_remote/next")
        return
    row = await rig.run("/backup/restore_remote/next", status="error")
    assert row["error"].endswith("ReadBackupMetadataRemote: full is broken (bad metadata.json) on remote storage")


@pytest.mark.parametrize("how", ["metadata.json", "garbage"])
async def test_a_broken_archive_downloads_as_empty(rig: Rig, how: str):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/local/a", 200)
    if how == "garbage":
        await rig.write_metadata("a", how)
    else:
        await rig.remove_object("a", how)
    await rig.forget_cache()
    row = await rig.run("/backup/download/a", status="error")
    assert row["error"] == "'a' is empty backup"
    assert await rig.find("local", "a") is None


async def test_a_broken_archive_downloads_as_something_without_a_description_where_empty_ones_are_allowed(rig: Rig):
    await rig.configure(ALLOW_EMPTY_BACKUPS="true")
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.remove_object("a", "metadata.json")
    await rig.forget_cache()
    await rig.run("/backup/restore_remote/a")
    assert await rig.desc("local", "a") == ""
    assert await rig.count(TABLE) == 3000


async def test_an_empty_backup_is_allowed_by_a_setting(rig: Rig):
    await rig.configure(ALLOW_EMPTY_BACKUPS="true")
    await rig.run("/backup/create_remote?name=a&table=demo.nosuch")
    assert [row["desc"] for row in await rig.get("/backup/list")] == ["regular", GOOD]


async def test_cleaning_broken_ones_cuts_a_running_upload(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(4)
    [answer] = await rig.send("POST", "/backup/create_remote?name=a", 201)
    await rig.until("/backup/list/remote", name="a")
    await rig.send("POST", "/backup/clean/remote_broken", 200)
    assert (await rig.settle(answer["operation_id"]))["status"] == "success"
    row = await rig.must_find("remote", "a")
    assert row["desc"] == GOOD
    shadow = sum(size for key, size in (await rig.objects("a")).items() if key.startswith("shadow/"))
    assert shadow < row["compressed_size"]


async def test_uploading_again_what_was_deleted_is_hollow_before_2_8_1(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/remote/a", 200)
    await rig.run("/backup/upload/a?table=")
    await rig.send("POST", "/backup/delete/remote/a", 200)
    await rig.run("/backup/upload/a?table=")
    assert await rig.desc("remote", "a") == GOOD
    keys = set(await rig.objects("a"))
    assert (keys == {"metadata.json"}) != rig.since(2, 8, 1)
    local = await rig.must_find("local", "a")
    assert (await rig.total_bytes("a") == local["data_size"]) == rig.since(2, 8, 1)


async def test_a_name_that_exists_keeps_its_old_data(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    before = await rig.find("remote", "a")
    await rig.insert(TABLE, 3000)
    await rig.run("/backup/create_remote?name=a")
    assert await rig.find("remote", "a") == before
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.run("/backup/restore_remote/a")
    assert await rig.count(TABLE) == 3000


async def test_a_create_of_an_existing_name_overwrites_it(rig: Rig):
    await rig.run("/backup/create?name=a")
    await rig.insert(TABLE, 3000)
    await rig.run("/backup/create?name=a")
    row = await rig.must_find("local", "a")
    assert row["data_size"] == sum(table["TotalBytes"] for table in await rig.get("/backup/tables"))


async def test_a_create_of_an_existing_name_deletes_it_without_resumable_state(rig: Rig):
    await rig.configure(USE_RESUMABLE_STATE="false")
    await rig.run("/backup/create?name=a")
    row = await rig.run("/backup/create?name=a", status="error")
    assert row["error"] == "createBackup failed: 'a' medatata.json already exists"
    assert await rig.get("/backup/list/local") == []


async def test_retention_of_local_archives_takes_downloads_too(rig: Rig):
    await rig.configure(BACKUPS_TO_KEEP_LOCAL="1")
    await rig.run("/backup/create_remote?name=a")
    await anyio.sleep(1.1)
    await rig.run("/backup/create?name=before")
    assert [row["name"] for row in await rig.get("/backup/list/local")] == ["before"]
    metrics = (await rig.http.get("/metrics")).text
    assert "clickhouse_backup_number_backups_local_expected 1\n" in metrics
