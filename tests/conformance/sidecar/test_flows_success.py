"""Facts, section 0: what destroys data while every row says `success`. The flows refuse it, avoid it, or notice it."""

import anyio
import pytest
from tests.conformance.sidecar.flows import archived, client_of, half_uploaded
from tests.conformance.sidecar.rig import Rig

import chbackup

TABLE = "demo.t"


@pytest.fixture(autouse=True)
async def one_table(rig: Rig):
    await rig.create_table(TABLE, 3000, partitions=3)


async def test_0a_tables_that_exist_are_not_dropped_unasked(rig: Rig):
    await archived(rig, "a")
    await rig.insert(TABLE, 300)
    with pytest.raises(chbackup.Refused, match="these tables exist"):
        await chbackup.verified_restore(client_of(rig), "a")
    assert await rig.count(TABLE) == 3300
    await chbackup.verified_restore(client_of(rig), "a", overwrite=True)
    assert await rig.count(TABLE) == 3000


async def test_0b_cleaning_broken_ones_during_an_upload_is_noticed(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(3)
    async with half_uploaded(rig, "a") as outcome:
        await rig.send("POST", "/backup/clean/remote_broken", 200)
    assert isinstance(outcome["result"], chbackup.NotVerified)
    assert "clean_remote_broken" in str(outcome["result"])
    assert await rig.desc("local", "a") == "regular"


async def test_0b_a_delete_during_an_upload_is_noticed(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.configure(API_ALLOW_PARALLEL="true")
    await rig.slow(3)
    async with half_uploaded(rig, "a") as outcome:
        await rig.http.post("/backup/delete/remote/a")
    assert isinstance(outcome["result"], chbackup.NotVerified | chbackup.OperationFailed)


@pytest.mark.parametrize("local", [True, False])
async def test_0c_a_name_that_exists_remotely_is_refused(rig: Rig, local: bool):
    await rig.run("/backup/create_remote?name=a")
    if not local:
        await rig.send("POST", "/backup/delete/local/a", 200)
    before = await rig.objects("a")
    await rig.insert(TABLE, 300)
    with pytest.raises(chbackup.Refused, match="exists remotely"):
        await chbackup.verified_backup(client_of(rig), "a")
    assert await rig.objects("a") == before


async def test_0d_what_was_deleted_and_is_kept_locally_is_refused(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/remote/a", 200)
    with pytest.raises(chbackup.Refused, match="exists locally"):
        await chbackup.verified_backup(client_of(rig), "a")
    assert await rig.objects("a") == {}


async def test_0d_what_a_restart_uploads_again_is_proven_only_when_it_is_whole(rig: Rig):
    await archived(rig, "other")
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/remote/a", 200)
    await rig.kill()
    await rig.start()
    await rig.until("/backup/actions", command="upload --resumable=1 a", status="success")
    assert await rig.desc("remote", "a") == "tar, regular"
    if rig.since(2, 8, 1):
        assert await chbackup.verified_backup(client_of(rig), "a", adopt=True)
        return
    with pytest.raises(chbackup.NotVerified, match="its tables add up to"):
        await chbackup.verified_backup(client_of(rig), "a", adopt=True)
    assert await rig.desc("local", "a") == "regular"
    with pytest.raises(chbackup.NotVerified, match="add up to"):
        await chbackup.verified_restore(client_of(rig), "a", overwrite=True)
    assert await rig.count(TABLE) == 3000


async def test_0e_a_broken_base_is_refused(rig: Rig):
    await archived(rig, "full")
    await rig.write_metadata("full", "garbage")
    await rig.forget_cache()
    with pytest.raises(chbackup.Refused, match="full: the last one is broken"):
        await chbackup.verified_backup(client_of(rig), "next", diff_from_remote="full")
    assert await rig.find("local", "next") is None


async def test_0e_a_gap_in_the_chain_of_the_base_is_refused(rig: Rig):
    await archived(rig, "full")
    await rig.insert(TABLE, 30)
    await archived(rig, "next", diff_from_remote="full")
    await rig.send("POST", "/backup/delete/remote/full?force=1", 200)
    with pytest.raises(chbackup.Refused, match="next -> full: the last one is not in the list"):
        await chbackup.verified_backup(client_of(rig), "third", diff_from_remote="next")


async def test_0f_a_name_that_exists_locally_is_refused_and_stays(rig: Rig):
    await rig.configure(USE_RESUMABLE_STATE="false")
    await rig.run("/backup/create?name=a")
    with pytest.raises(chbackup.Refused, match="exists locally"):
        await chbackup.verified_backup(client_of(rig), "a")
    assert await rig.desc("local", "a") == "regular"


async def test_0_6_a_success_that_a_restart_calls_cancelled_is_proven(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/restart", 201)
    await rig.until("/backup/actions", command="create_remote a", status="cancel")
    assert await chbackup.verified_backup(client_of(rig), "a", adopt=True)


async def test_0_10_an_outage_is_no_empty_store(rig: Rig):
    await archived(rig, "a")
    client = client_of(rig).with_options(timeout=5)
    async with rig.s3_hanging():
        with pytest.raises(chbackup.WaitTimeout):
            await chbackup.verified_restore(client, "a", overwrite=True, timeout=6)
        await anyio.sleep(0.1)
    assert await rig.count(TABLE) == 3000


async def test_0_11_a_killed_backup_is_not_taken_up_again_by_itself(rig: Rig):
    await archived(rig, "other")
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(3)
    async with half_uploaded(rig, "a") as outcome:
        await rig.send("POST", "/backup/kill?command=create_remote%20a", 200)
    assert isinstance(outcome["result"], chbackup.OperationCancelled)
    assert await rig.find("local", "a") is None
    await rig.kill()
    await rig.start()
    await anyio.sleep(0.5)
    assert await rig.get("/backup/actions") == []


async def test_2_5_an_upload_that_the_server_resumes_is_followed_and_proven(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(3)
    async with half_uploaded(rig, "a") as outcome:
        await rig.kill()
        await rig.start()
    assert isinstance(outcome["result"], chbackup.Archive)
    assert await rig.find("local", "a") is None
    await chbackup.verified_restore(client_of(rig), "a", overwrite=True)
    assert await rig.count("demo.big") == 12000


async def test_3_3_the_local_copy_that_a_local_increment_needs_stays(rig: Rig):
    await archived(rig, "a")
    await rig.run("/backup/create?name=increment&diff-from-remote=a")
    await chbackup.verified_restore(client_of(rig), "a", overwrite=True)
    assert await rig.desc("local", "a") == "regular"
    await rig.send("POST", "/backup/delete/remote/a", 200)
    await rig.send("POST", "/backup/delete/local/a?force=1", 200)
    await chbackup.verified_backup(client_of(rig), "a")
    assert await rig.desc("local", "a") == "regular"
