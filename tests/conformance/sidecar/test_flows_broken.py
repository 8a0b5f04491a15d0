"""Facts 3.2 and 3.3: broken archives, and deleting. The flows tell them apart and keep chains whole."""

import anyio
import pytest
from tests.conformance.sidecar.flows import archived, client_of, half_uploaded
from tests.conformance.sidecar.rig import Rig

import chbackup

TABLE = "demo.t"


@pytest.fixture(autouse=True)
async def one_table(rig: Rig):
    await rig.create_table(TABLE, 3000, partitions=3)


async def _break(rig: Rig, name: str, how: str) -> None:
    if how == "missing":
        await rig.remove_object(name, "metadata.json")
    else:
        await rig.write_metadata(name, how)
    await rig.forget_cache()


@pytest.mark.parametrize("how", ["missing", "garbage"])
async def test_a_broken_remote_archive_is_neither_restored_nor_overwritten_nor_deleted_unasked(rig: Rig, how: str):
    await archived(rig, "other")
    await archived(rig, "a")
    await _break(rig, "a", how)
    client = client_of(rig)
    with pytest.raises(chbackup.Refused, match="broken"):
        await chbackup.verified_restore(client, "a", overwrite=True)
    with pytest.raises(chbackup.Refused, match="exists remotely: broken"):
        await chbackup.verified_backup(client, "a")
    with pytest.raises(chbackup.Refused, match="broken=True"):
        await chbackup.verified_delete(client, "a")
    assert await rig.count(TABLE) == 3000
    await chbackup.verified_delete(client, "a", broken=True)
    assert await rig.objects("a") == {}


async def test_an_archive_without_a_name_makes_the_list_doubtful(rig: Rig):
    await archived(rig, "full")
    await archived(rig, "a")
    await _break(rig, "a", "null")
    client = client_of(rig)
    with pytest.raises(chbackup.Refused, match="without a name"):
        await chbackup.verified_delete(client, "full")
    with pytest.raises(chbackup.Refused, match="without a name"):
        await chbackup.verified_backup(client, "next", diff_from_remote="full")
    assert await rig.desc("remote", "full") == "tar, regular"


async def test_a_broken_local_copy_is_refused_for_a_backup_and_replaced_by_a_restore(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.break_local("a")
    await rig.insert(TABLE, 300)
    client = client_of(rig)
    with pytest.raises(chbackup.Refused, match="exists"):
        await chbackup.verified_backup(client, "a")
    await chbackup.verified_restore(client, "a", overwrite=True)
    assert await rig.count(TABLE) == 3000
    assert await rig.find("local", "a") is None


async def test_an_upload_in_progress_looks_broken_and_is_not_deleted(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(3)
    async with half_uploaded(rig, "a") as outcome:
        with pytest.raises(chbackup.Busy, match="create_remote a"):
            await chbackup.verified_delete(client_of(rig), "a", broken=True)
    assert isinstance(outcome["result"], chbackup.Archive)


async def test_a_base_is_not_deleted_on_any_version(rig: Rig):
    await archived(rig, "full")
    await rig.insert(TABLE, 30)
    await archived(rig, "next", diff_from_remote="full")
    client = client_of(rig)
    with pytest.raises(chbackup.RequiredByOthers) as caught:
        await chbackup.verified_delete(client, "full")
    assert caught.value.dependents == ("next",)
    await chbackup.verified_restore(client, "next", overwrite=True)
    for name in ["next", "full", "full"]:
        await chbackup.verified_delete(client, name)
    assert await rig.get("/backup/list") == []


async def test_a_delete_waits_for_an_outage_and_keeps_the_local_copy(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    async with rig.s3_refused():
        with pytest.raises(chbackup.WaitTimeout):
            await chbackup.verified_delete(client_of(rig), "a", timeout=5)
    assert await rig.desc("local", "a") == "regular"


async def test_an_outage_in_the_upload_fails_and_keeps_the_only_copy(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(2)
    with anyio.fail_after(600):
        async with half_uploaded(rig, "a") as outcome, rig.s3_refused():
            await rig.until("/backup/actions?filter=create_remote", command="create_remote a", status="error")
    assert isinstance(outcome["result"], chbackup.OperationFailed)
    assert await rig.desc("local", "a") == "regular"


async def test_a_stale_local_copy_is_not_restored(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.insert(TABLE, 300)
    await rig.run("/backup/create?name=a")
    await chbackup.verified_restore(client_of(rig), "a", overwrite=True)
    assert await rig.count(TABLE) == 3000


async def test_an_archives_own_local_copy_is_taken_though_the_remote_one_is_hollow(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.remove_object("a", next(key for key in await rig.objects("a") if key.startswith("shadow/")))
    await rig.insert(TABLE, 300)
    await chbackup.verified_restore(client_of(rig), "a", overwrite=True)
    assert await rig.count(TABLE) == 3000
    assert await rig.desc("local", "a") == "regular"


async def test_a_missing_part_stops_a_restore_before_any_table_is_touched(rig: Rig):
    await archived(rig, "a")
    await rig.remove_object("a", next(key for key in await rig.objects("a") if key.startswith("shadow/")))
    await rig.insert(TABLE, 300)
    with pytest.raises(chbackup.OperationFailed, match="key not found"):
        await chbackup.verified_restore(client_of(rig), "a", overwrite=True)
    assert await rig.count(TABLE) == 3300


async def test_two_callers_without_the_lock_do_not_harm_each_other(rig: Rig):
    """Facts 2.4."""
    await archived(rig, "other")
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.configure(API_ALLOW_PARALLEL="true")
    await rig.slow(2)
    results: list[object] = []

    async def run() -> None:
        try:
            results.append(await chbackup.verified_backup(client_of(rig), "a"))
        except chbackup.ChbackupError as error:
            results.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        tasks.start_soon(run)
    assert {type(result) for result in results} == {chbackup.Archive, chbackup.Refused}
    await rig.slow(0)
    await chbackup.verified_restore(client_of(rig), "a", overwrite=True)
    assert await rig.count("demo.big") == 12000


async def test_a_rebased_increment_stands_alone(rig: Rig):
    await archived(rig, "full")
    await rig.insert(TABLE, 300)
    await archived(rig, "next", diff_from_remote="full")
    client = client_of(rig)
    if not rig.since(2, 8, 0):
        with pytest.raises(chbackup.Unsupported):
            await chbackup.verified_rebase(client, "next")
        return
    before = await rig.must_find("remote", "next")
    archive = await chbackup.verified_rebase(client, "next")
    assert (archive.required, archive.data_size) == ("", before["data_size"])
    assert await chbackup.verified_rebase(client, "next") == archive
    await chbackup.verified_delete(client, "full")
    await rig.drop_table(TABLE)
    await chbackup.verified_restore(client, "next")
    assert await rig.count(TABLE) == 3300


async def test_a_cancel_says_what_is_left(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(3)
    operation = await client_of(rig).create_remote("a")
    await rig.until("/backup/list/remote", name="a")
    left = await operation.cancel()
    assert (left.row.status, left.stopped) == ("cancel", True)
    assert left.local is not None
    assert left.remote is not None
    assert (left.local.broken, left.remote.broken) == (None, "broken (can't stat metadata.json)")
    await chbackup.verified_delete(client_of(rig), "a", broken=True)


async def test_a_restarted_process_is_told(rig: Rig):
    await rig.configure(API_COMPLETE_RESUMABLE_AFTER_RESTART="false")
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(3)
    operation = await client_of(rig).create_remote("a")
    await rig.until("/backup/list/remote", name="a")
    await rig.kill()
    await rig.start()
    await rig.run("/backup/create?name=other&table=demo.t")
    with pytest.raises(chbackup.OperationLost, match="was restarted"):
        await operation.wait(timeout=30)
