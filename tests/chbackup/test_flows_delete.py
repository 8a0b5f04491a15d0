import anyio
import pytest
from tests.chbackup.flows import during, result_of, submissions

import chbackup
from chbackup.testing import FakeSidecar


async def test_both_copies_are_deleted(fake, client):
    await (await client.create_remote("b1")).wait()
    fake.add_remote("other")
    report = await chbackup.verified_delete(client, "b1")
    assert not fake.local
    assert set(fake.remote) == {"other"}
    assert report.local is not None
    assert report.remote is not None
    assert (report.local.location, report.remote.location) == ("local", "remote")


async def test_deleting_again_is_no_work(fake, client):
    fake.add_remote("other")
    report = await chbackup.verified_delete(client, "b1")
    assert (report.local, report.remote) == (None, None)
    assert not submissions(fake, "delete")


async def test_the_last_archive_can_be_deleted_and_deleted_again(fake, client):
    fake.add_remote("b1")
    assert (await chbackup.verified_delete(client, "b1")).remote
    assert not (await chbackup.verified_delete(client, "b1")).remote


async def test_a_base_is_refused_on_every_version(fake, client):
    fake.add_remote("full")
    fake.add_remote("incr-1", required="full")
    fake.add_remote("incr-2", required="incr-1")
    with pytest.raises(chbackup.RequiredByOthers) as caught:
        await chbackup.verified_delete(client, "full")
    assert caught.value.dependents == ("incr-1", "incr-2")
    assert not submissions(fake, "delete")


async def test_a_local_increment_keeps_its_remote_base(fake, client):
    await (await client.create_remote("full")).wait()
    await client.delete_local("full")
    fake.tables.insert("shop.orders", 5)
    await (await client.create("incr", diff_from_remote="full")).wait()
    with pytest.raises(chbackup.RequiredByOthers):
        await chbackup.verified_delete(client, "full")


async def test_a_broken_archive_needs_to_be_told(fake, client):
    fake.add_remote("b1", broken=True)
    with pytest.raises(chbackup.Refused, match="broken=True"):
        await chbackup.verified_delete(client, "b1")
    assert "b1" in fake.remote
    await chbackup.verified_delete(client, "b1", broken=True)
    assert "b1" not in fake.remote


async def test_a_broken_archive_stays_while_anything_runs(fake, client):
    fake.add_remote("b1", broken=True)
    fake.duration.create = 60
    await client.create("other")
    with pytest.raises(chbackup.Busy) as caught:
        await chbackup.verified_delete(client, "b1", broken=True)
    assert caught.value.holder is not None
    assert caught.value.holder.command == "create other"
    assert "b1" in fake.remote


async def test_an_upload_in_progress_is_not_deleted_as_a_broken_archive(fake, client):
    fake.duration.upload = 60
    operation = await client.create_remote("b1")
    await anyio.sleep(10)
    with pytest.raises(chbackup.Busy):
        await chbackup.verified_delete(client, "b1", broken=True)
    assert await operation.wait()


async def test_the_base_of_a_running_increment_is_not_deleted(fake, client):
    await chbackup.verified_backup(client, "full")
    fake.tables.insert("shop.orders", 5)
    fake.duration.create = 60
    await client.create_remote("incr", diff_from_remote="full")
    with pytest.raises(chbackup.Busy):
        await chbackup.verified_delete(client, "full")


async def test_a_nameless_archive_stops_every_delete(fake, client):
    fake.add_remote("b1")
    fake.add_remote("null")
    fake.break_remote("null", "null")
    with pytest.raises(chbackup.Refused, match="without a name"):
        await chbackup.verified_delete(client, "b1")
    assert "b1" in fake.remote


async def test_a_busy_sidecar_is_waited_for(fake, client):
    fake.add_remote("b1")
    fake.duration.create = 600
    await client.create("other")
    await chbackup.verified_delete(client, "b1")
    assert "b1" not in fake.remote


async def test_an_outage_is_waited_for_and_the_local_copy_kept_meanwhile(fake, client):
    await (await client.create_remote("b1")).wait()
    fake.faults.s3 = "refused"

    def heal():
        assert "b1" in fake.local
        fake.faults.s3 = None

    await during(300, heal, chbackup.verified_delete(client, "b1"))
    assert not fake.remote
    assert not fake.local


async def test_an_outage_that_lasts_ends_at_the_deadline(fake, client):
    await (await client.create_remote("b1")).wait()
    fake.faults.s3 = "refused"
    result = await result_of(chbackup.verified_delete(client, "b1", timeout=600))
    assert isinstance(result, chbackup.WaitTimeout)
    assert "b1" in fake.local


async def test_a_lost_reply_is_no_trouble(fake, client):
    fake.add_remote("b1")
    fake.faults.lose_reply(after_work=True, path="/backup/delete/")
    await chbackup.verified_delete(client, "b1")
    assert "b1" not in fake.remote


async def test_a_delete_that_takes_long_is_waited_for(fake, client):
    fake.add_remote("b1")
    fake.duration.delete = 3000
    await chbackup.verified_delete(client, "b1")
    assert "b1" not in fake.remote
    assert len(submissions(fake, "delete")) <= 2


async def test_what_was_made_anew_after_a_lost_delete_is_not_deleted(fake, client):
    fake.add_remote("b1", data_size=1000)
    fake.add_remote("other")
    fake.faults.lose_reply(after_work=True, path="/backup/delete/")

    def make():
        fake.add_remote("b1", data_size=2000)

    result = await during(0.1, make, result_of(chbackup.verified_delete(client, "b1")))
    assert isinstance(result, chbackup.Refused)
    assert "made anew" in str(result)
    assert "b1" in fake.remote


@pytest.mark.parametrize("release", ["2.5.29", "2.6.39"])
async def test_chains_are_kept_and_archives_deleted_on_old_servers(release):
    fake = FakeSidecar(version=release)
    fake.add_remote("full")
    fake.add_remote("incr", required="full")
    async with fake.client() as client:
        with pytest.raises(chbackup.RequiredByOthers):
            await chbackup.verified_delete(client, "full")
        await chbackup.verified_delete(client, "incr")
        await chbackup.verified_delete(client, "full")
    assert not fake.remote


async def test_a_name_that_only_an_earlier_server_took_can_be_deleted(fake, client):
    fake.add_remote("it's:50%;ö")
    fake.add_remote("other")
    await chbackup.verified_delete(client, "it's:50%;ö")
    assert set(fake.remote) == {"other"}
