import anyio
import pytest
from tests.chbackup.flows import during, restarting, result_of, submissions

import chbackup
from chbackup.testing import FakeSidecar


@pytest.fixture
async def archived(fake, client):
    """The archive `b1` of all tables, which are dropped then."""
    await chbackup.verified_backup(client, "b1")
    fake.requests.clear()
    drop_all(fake)


def drop_all(fake):
    for table in list(fake.tables):
        fake.tables.drop(table.full_name)


async def test_dropped_tables_are_back_and_reported(fake, client, archived):
    report = await chbackup.verified_restore(client, "b1")
    assert fake.tables.count("shop.orders") == 1000
    assert fake.tables.count("shop.items") == 10
    assert report.archive.name == "b1"
    assert {table.name for table in report.tables} == {"shop.orders", "shop.items"}
    assert all(table.total_bytes == table.archived_bytes > 0 and not table.replaced for table in report.tables)
    assert not fake.local


async def test_a_pattern_chooses_tables_from_a_full_download(fake, client, archived):
    report = await chbackup.verified_restore(client, "b1", tables="shop.i*")
    assert [table.name for table in report.tables] == ["shop.items"]
    assert "shop.orders" not in fake.tables
    assert submissions(fake, "download")[0].query == ""


async def test_a_pattern_that_matches_nothing_is_refused(fake, client, archived):
    with pytest.raises(chbackup.Refused, match="matches"):
        await chbackup.verified_restore(client, "b1", tables="other.*")
    assert not submissions(fake, "")


async def test_tables_that_exist_are_refused(fake, client, archived):
    fake.tables.add_table("shop.items", 3)
    with pytest.raises(chbackup.Refused, match=r"these tables exist: shop\.items;"):
        await chbackup.verified_restore(client, "b1")
    assert fake.tables.count("shop.items") == 3
    assert not submissions(fake, "")


async def test_tables_of_other_archives_do_not_matter(fake, client, archived):
    fake.tables.add_table("other.items", 3)
    assert await chbackup.verified_restore(client, "b1")
    assert fake.tables.count("other.items") == 3


async def test_tables_are_overwritten_when_told_so(fake, client, archived):
    fake.tables.add_table("shop.items", 3)
    report = await chbackup.verified_restore(client, "b1", overwrite=True)
    assert fake.tables.count("shop.items") == 10
    assert {table.name for table in report.tables if table.replaced} == {"shop.items"}


async def test_a_table_that_appears_during_the_download_is_not_dropped(fake, client, archived):
    fake.duration.download = 60

    def create():
        fake.tables.add_table("shop.items", 3)

    result = await during(30, create, result_of(chbackup.verified_restore(client, "b1")))
    assert isinstance(result, chbackup.Refused)
    assert fake.tables.count("shop.items") == 3


async def test_tables_whose_rows_are_in_no_archive_are_left_as_they_are(fake, client):
    fake.tables.add_table("shop.journal", 4, engine="Log")
    await chbackup.verified_backup(client, "b1")
    report = await chbackup.verified_restore(client, "b1", overwrite=True)
    assert fake.tables.count("shop.journal") == 4
    assert report.left_out == ("shop.journal",)
    assert {table.name for table in report.tables} == {"shop.orders", "shop.items"}


async def test_replicated_tables_that_are_alive_are_refused_whatever_is_said(fake, client):
    fake.tables.add_table("shop.replicated", 4, engine="ReplicatedMergeTree('/tables/{shard}/r','{replica}')")
    await chbackup.verified_backup(client, "b1")
    with pytest.raises(chbackup.Refused, match=r"DROP TABLE shop\.replicated ON CLUSTER"):
        await chbackup.verified_restore(client, "b1", overwrite=True)
    assert not submissions(fake, "restore")


async def test_a_missing_archive_is_not_found(fake, client, archived):
    with pytest.raises(chbackup.NotFound):
        await chbackup.verified_restore(client, "nosuch")
    assert not submissions(fake, "")


async def test_an_empty_list_in_an_outage_is_no_answer(fake, client, archived):
    fake.faults.s3 = "refused"

    def heal():
        fake.faults.s3 = None

    assert await during(100, heal, chbackup.verified_restore(client, "b1"))


async def test_an_outage_that_lasts_is_named(fake, client, archived):
    fake.faults.s3 = "denied"
    with pytest.raises(chbackup.WaitTimeout, match="outage of the object store"):
        await chbackup.verified_restore(client, "b1")


@pytest.mark.parametrize("how", ["missing", "garbage"])
async def test_a_broken_archive_is_refused(fake, client, archived, how):
    fake.break_remote("b1", how)
    with pytest.raises(chbackup.Refused, match="broken"):
        await chbackup.verified_restore(client, "b1")
    assert not submissions(fake, "")


async def test_an_increment_without_its_base_is_refused(fake, client):
    await chbackup.verified_backup(client, "full")
    fake.tables.insert("shop.orders", 5)
    await chbackup.verified_backup(client, "incr", diff_from_remote="full")
    del fake.remote["full"]
    with pytest.raises(chbackup.Refused, match="incr -> full: the last one is not in the list"):
        await chbackup.verified_restore(client, "incr", overwrite=True)


async def test_an_increment_is_restored_with_its_base(fake, client):
    await chbackup.verified_backup(client, "full")
    fake.tables.insert("shop.orders", 5)
    await chbackup.verified_backup(client, "incr", diff_from_remote="full")
    drop_all(fake)
    await chbackup.verified_restore(client, "incr")
    assert fake.tables.count("shop.orders") == 1005


async def test_an_increment_beside_a_local_copy_of_its_base_cannot_be_measured(fake, client):
    await (await client.create_remote("full")).wait()
    fake.tables.insert("shop.orders", 5)
    await chbackup.verified_backup(client, "incr", diff_from_remote="full")
    with pytest.raises(chbackup.Refused, match="delete the local copies of full first"):
        await chbackup.verified_restore(client, "incr", overwrite=True)


async def test_a_stale_local_copy_is_not_restored(fake, client, archived):
    fake.tables.add_table("shop.stale", 1)
    await (await client.create("b1")).wait()
    await chbackup.verified_restore(client, "b1")
    assert fake.tables.count("shop.orders") == 1000


async def test_a_short_download_touches_no_table(fake, client, archived):
    fake.tables.add_table("shop.items", 3)
    key = next(key for key in fake.remote["b1"].parts if "orders" in key)
    fake.remote["b1"].truncate_object(key)
    with pytest.raises(chbackup.NotVerified, match="the local copy holds"):
        await chbackup.verified_restore(client, "b1", overwrite=True)
    assert fake.tables.count("shop.items") == 3
    assert not submissions(fake, "restore")
    assert not fake.local


async def test_a_download_that_fails_touches_no_table(fake, client, archived):
    fake.tables.add_table("shop.items", 3)
    key = next(key for key in fake.remote["b1"].parts if "orders" in key)
    fake.remote["b1"].remove_object(key)
    with pytest.raises(chbackup.OperationFailed, match="key not found"):
        await chbackup.verified_restore(client, "b1", overwrite=True)
    assert fake.tables.count("shop.items") == 3
    assert not fake.local


async def test_a_download_that_never_ends_is_killed_at_the_deadline(fake, client):
    await chbackup.verified_backup(client, "full")
    fake.tables.insert("shop.orders", 5)
    await chbackup.verified_backup(client, "incr", diff_from_remote="full")
    key = next(key for key in fake.remote["full"].parts if "orders" in key)
    fake.remote["full"].remove_object(key)
    with pytest.raises(chbackup.WaitTimeout):
        await chbackup.verified_restore(client, "incr", overwrite=True, timeout=3600)
    assert not fake.local
    assert fake.tables.count("shop.orders") == 1005
    assert not [row for row in await client.actions() if row.running]


async def test_a_hollow_archive_is_refused(fake, client, archived):
    key = next(key for key in fake.remote["b1"].objects() if key.endswith("orders.json"))
    fake.remote["b1"].remove_object(key)
    with pytest.raises(chbackup.NotVerified, match="add up to"):
        await chbackup.verified_restore(client, "b1")
    assert not submissions(fake, "")


async def test_an_archive_that_is_being_restored_is_busy(fake, client, archived):
    fake.duration.restore = 60
    await (await client.download("b1")).wait()
    await client.restore("b1")
    with pytest.raises(chbackup.Busy) as caught:
        await chbackup.verified_restore(client, "b1", overwrite=True)
    assert caught.value.holder is not None
    assert caught.value.holder.command == "restore b1"


@pytest.mark.parametrize("verb", ["download", "restore"])
async def test_a_lost_reply_is_never_sent_again(fake, client, archived, verb):
    fake.faults.lose_reply(after_work=True, path=f"/backup/{verb}/")
    await chbackup.verified_restore(client, "b1")
    assert len(submissions(fake, verb)) == 1
    assert fake.tables.count("shop.orders") == 1000


async def test_a_download_goes_on_after_a_restart(fake, client, archived):
    fake.duration.download = 60
    await during(20, restarting(fake), chbackup.verified_restore(client, "b1"))
    assert len(submissions(fake, "download")) == 1
    assert fake.tables.count("shop.orders") == 1000


@pytest.mark.parametrize("resume", ["true", "false"])
async def test_whenever_the_sidecar_is_killed_the_end_is_honest(version, resume):
    for moment in range(0, 130, 15):
        fake = FakeSidecar(version=version)
        fake.tables.add_table("shop.orders", 100, partitions=3)
        async with fake.client() as client:
            await chbackup.verified_backup(client, "b1")
            drop_all(fake)
            fake.requests.clear()
            fake.duration.download, fake.duration.restore = 5, 5
            restart = restarting(fake, API_COMPLETE_RESUMABLE_AFTER_RESTART=resume)
            result = await during(moment / 10 + 0.01, restart, result_of(chbackup.verified_restore(client, "b1")))
            if isinstance(result, chbackup.RestoreReport):
                assert fake.tables.count("shop.orders") == 100
            else:
                assert isinstance(result, chbackup.OperationLost)
            assert len(submissions(fake, "download")) <= 1
            assert len(submissions(fake, "restore")) <= 1
            fake.duration.download = fake.duration.restore = 0.1
            await anyio.sleep(60)
            await chbackup.verified_restore(client, "b1", overwrite=True)
            assert fake.tables.count("shop.orders") == 100


async def test_the_archives_own_local_copy_is_used_and_kept(fake, client):
    """A hollow remote archive would only cost the last good copy."""
    await (await client.create_remote("b1")).wait()
    fake.remote["b1"].remove_object(next(iter(fake.remote["b1"].parts)))
    drop_all(fake)
    await chbackup.verified_restore(client, "b1")
    assert fake.tables.count("shop.orders") == 1000
    assert "b1" in fake.local
    assert not submissions(fake, "download")


async def test_a_local_copy_that_another_caller_makes_meanwhile_is_left_alone(fake, client, archived):
    fake.occupy("create other", seconds=60)

    def create():
        fake.add_local("b1")

    result = await during(30, create, result_of(chbackup.verified_restore(client, "b1")))
    assert isinstance(result, chbackup.Refused)
    assert "another caller" in str(result)
    assert "b1" in fake.local


async def test_a_table_that_appears_while_the_sidecar_is_busy_is_not_dropped(fake, client, archived):
    fake.duration.download = 20

    def occupy_and_create():
        fake.occupy("create other", seconds=60)
        fake.tables.add_table("shop.items", 3)

    result = await during(15, occupy_and_create, result_of(chbackup.verified_restore(client, "b1")))
    assert isinstance(result, chbackup.Refused)
    assert fake.tables.count("shop.items") == 3


async def test_a_download_that_a_restart_over_http_calls_cancelled_is_measured(fake, client, archived):
    fake.duration.download, fake.faults.delay = 20, 1.0

    async def restart_at_its_end():
        while not ("b1" in fake.local and fake.local["b1"].good):  # noqa: ASYNC110
            await anyio.sleep(0.05)
        await client.restart()

    assert await during(5, restart_at_its_end, chbackup.verified_restore(client, "b1"))
    assert [row.status for row in await client.actions() if row.verb == "download"] == ["cancel"]
    assert fake.tables.count("shop.orders") == 1000
