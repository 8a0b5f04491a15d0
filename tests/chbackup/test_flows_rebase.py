import anyio
import pytest
from tests.chbackup.flows import during, restarting, result_of, submissions

import chbackup
from chbackup.testing import FakeSidecar


@pytest.fixture
async def fake():
    sidecar = FakeSidecar(version="2.8.1-dev")
    sidecar.tables.add_table("shop.orders", 1000, partitions=6)
    async with sidecar.client() as client:
        await chbackup.verified_backup(client, "full")
        sidecar.tables.insert("shop.orders", 60)
        await chbackup.verified_backup(client, "incr", diff_from_remote="full")
    sidecar.requests.clear()
    return sidecar


async def test_an_increment_is_made_whole_and_its_base_can_go(fake, client):
    archive = await chbackup.verified_rebase(client, "incr")
    assert (archive.required, archive.broken) == ("", None)
    await chbackup.verified_delete(client, "full")
    await chbackup.verified_restore(client, "incr", overwrite=True)
    assert fake.tables.count("shop.orders") == 1060


async def test_a_full_archive_is_returned_as_it_is(fake, client):
    assert (await chbackup.verified_rebase(client, "full")).name == "full"
    assert not submissions(fake, "rebase")


async def test_what_is_missing_is_not_found(fake, client):
    with pytest.raises(chbackup.NotFound):
        await chbackup.verified_rebase(client, "nosuch")


@pytest.mark.parametrize("how", ["missing", "garbage"])
async def test_a_chain_that_is_not_whole_is_refused(fake, client, how):
    fake.break_remote("full", how)
    with pytest.raises(chbackup.Refused, match="broken"):
        await chbackup.verified_rebase(client, "incr")
    assert not submissions(fake, "rebase")


async def test_a_base_in_use_is_busy(fake, client):
    fake.occupy("delete remote full", seconds=60)
    with pytest.raises(chbackup.Busy, match="delete remote full"):
        await chbackup.verified_rebase(client, "incr")


async def test_a_busy_sidecar_is_waited_for(fake, client):
    fake.occupy("create other", seconds=60)
    assert (await chbackup.verified_rebase(client, "incr")).required == ""


async def test_a_lost_reply_is_looked_for(fake, client):
    fake.faults.lose_reply(after_work=True, path="rebase")
    assert (await chbackup.verified_rebase(client, "incr")).required == ""
    assert len(submissions(fake, "rebase")) == 1


async def test_a_request_that_got_lost_ends_as_lost(fake, client):
    fake.faults.lose_reply(after_work=False, path="rebase")
    assert isinstance(await result_of(chbackup.verified_rebase(client, "incr")), chbackup.OperationLost)
    assert len(submissions(fake, "rebase")) == 1


async def test_a_killed_server_ends_as_lost_and_the_increment_still_stands(fake, client):
    fake.duration.upload = 60
    result = await during(20, restarting(fake), result_of(chbackup.verified_rebase(client, "incr")))
    assert isinstance(result, chbackup.OperationLost)
    fake.duration.upload = 1
    await anyio.sleep(60)
    assert (await chbackup.verified_rebase(client, "incr")).required == ""


async def test_what_could_have_hurt_it_makes_it_unproven(fake, client):
    fake.duration.upload = 60

    async def clean():
        await client.clean_remote_broken(force=True)

    result = await during(20, clean, result_of(chbackup.verified_rebase(client, "incr")))
    assert isinstance(result, chbackup.NotVerified)
    assert "clean_remote_broken" in str(result)


async def test_a_server_without_it_is_not_supported():
    async with FakeSidecar(version="2.7.4").client() as client:
        with pytest.raises(chbackup.Unsupported, match=r"2\.8\.0"):
            await chbackup.verified_rebase(client, "incr")
