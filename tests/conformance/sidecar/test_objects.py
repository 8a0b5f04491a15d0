"""What the objects of an archive prove, and an object store as drivers ask it."""

import os

import pytest
from tests.conformance.sidecar.rig import Rig

from chbackup import Archive
from cozydrivers.clients.objects import StoreError
from cozydrivers.drivers.clickhouse.stored import METADATA, Found, found_under, judge, read_table, table_keys

TABLE = "demo.t"
REAL = os.environ.get("CHBACKUP_CONFORMANCE") == "real"
MOST = 1_000_000


@pytest.fixture(autouse=True)
async def some_tables(rig: Rig):
    await rig.create_table(TABLE, 3000, partitions=3)
    await rig.create_table("demo.empty", 0)
    await rig.create_table("demo.log", 10, engine="Log")


async def problems(rig: Rig, name: str) -> list[str]:
    """What a driver reads of an archive, and what it makes of it."""
    listed = Archive.model_validate(await rig.must_find("remote", name))
    prefix = f"{rig.path}/{name}/"
    async with rig.store() as store:
        found = found_under(prefix, await store.list(prefix))
        read = {key: read_table(await store.read(prefix + key, limit=MOST) or b"") for key in table_keys(found)}
    assert found.sizes == await rig.objects(name)
    return judge(listed, Found(found.sizes, read))


async def two_archives(rig: Rig) -> None:
    await rig.run("/backup/create_remote?name=full")
    await rig.insert(TABLE, 30)
    await rig.run("/backup/create_remote?name=next&diff-from-remote=full")


async def lose(rig: Rig, name: str, folder: str) -> str:
    """Remove one object by hand, and say which."""
    key = next(key for key in sorted(await rig.objects(name)) if key.startswith(folder))
    await rig.remove_object(name, key)
    return key


@pytest.mark.parametrize("compression", ["tar", "gzip", "none"] if REAL else ["tar"])
async def test_the_objects_of_whole_archives_add_up(rig: Rig, compression: str):
    if compression != "tar":  # all that the fake has
        await rig.configure(S3_COMPRESSION_FORMAT=compression)
    await two_archives(rig)
    assert [await problems(rig, name) for name in ("full", "next")] == [[], []]


@pytest.mark.parametrize("tables", ["demo.log", "demo.empty"])
async def test_those_of_an_archive_without_rows_too(rig: Rig, tables: str):
    await rig.run(f"/backup/create_remote?name=a&table={tables}")
    assert await problems(rig, "a") == []


async def test_nor_does_an_increment_without_changes_need_any(rig: Rig):
    await rig.run("/backup/create_remote?name=full")
    await rig.run("/backup/create_remote?name=next&diff-from-remote=full")
    assert await problems(rig, "next") == []


@pytest.mark.parametrize("name", ["full", "next"])
async def test_a_part_that_is_lost_shows(rig: Rig, name: str):
    await two_archives(rig)
    key = await lose(rig, name, "shadow/")
    found = await problems(rig, name)
    assert "objects under shadow/ have" in found[0]
    assert found[1:] == [f"{key} is lost"]


async def test_a_table_that_is_lost_shows(rig: Rig):
    await two_archives(rig)
    await lose(rig, "full", METADATA)
    [found] = await problems(rig, "full")
    assert "objects under metadata/ have" in found


async def test_what_an_upload_after_a_delete_leaves_shows(rig: Rig):
    """Hollow up to 2.8.0: the state file says that all of it was sent."""
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/remote/a", 200)
    await rig.run("/backup/upload/a?table=")
    await rig.send("POST", "/backup/delete/remote/a", 200)
    await rig.run("/backup/upload/a?table=")
    assert (await problems(rig, "a") == []) == rig.since(2, 8, 1)


async def test_what_a_cleaning_cuts_out_of_an_upload_shows(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(4)
    [answer] = await rig.send("POST", "/backup/create_remote?name=a", 201)
    await rig.until("/backup/list/remote", name="a")
    await rig.send("POST", "/backup/clean/remote_broken", 200)
    assert (await rig.settle(answer["operation_id"]))["status"] == "success"
    assert await problems(rig, "a")


async def test_an_object_store_as_it_is_asked(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.run("/backup/create_remote?name=ab")
    async with rig.store() as store:
        keys = [each.key for each in await store.list(f"{rig.path}/a/")]
        assert keys == sorted(f"{rig.path}/a/{key}" for key in await rig.objects("a"))
        assert await store.list(f"{rig.path}/nosuch/") == []
        assert await store.read(f"{rig.path}/a/nosuch", limit=1) is None
        with pytest.raises(StoreError, match="more than 1 bytes"):
            await store.read(f"{rig.path}/a/metadata/demo/t.json", limit=1)
        whole = await store.read(f"{rig.path}/a/metadata/demo/t.json", limit=MOST) or b""
        assert await store.part(f"{rig.path}/a/metadata/demo/t.json", 3, 4) == whole[3:7]
        assert await store.part(f"{rig.path}/a/metadata/demo/t.json", len(whole) - 1, 4) == whole[-1:]
        assert await store.part(f"{rig.path}/a/metadata/demo/t.json", len(whole), 4) == b""
        assert await store.part(f"{rig.path}/a/nosuch", 0, 1) is None
        await store.delete(f"{rig.path}/a/metadata.json")
        await store.delete(f"{rig.path}/a/metadata.json")
        assert f"{rig.path}/a/metadata.json" not in [each.key for each in await store.list(f"{rig.path}/a/")]
    await rig.forget_cache()
    assert await rig.desc("remote", "a") == "broken (can't stat metadata.json)"
