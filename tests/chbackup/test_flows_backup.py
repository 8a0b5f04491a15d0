from contextlib import suppress

import anyio
import pytest
from tests.chbackup.flows import during, post, restarting, result_of, submissions

import chbackup
from chbackup.testing import FakeSidecar


async def test_a_backup_is_proven_and_its_local_copy_deleted(fake, client):
    archive = await chbackup.verified_backup(client, "b1", tables="shop.*")
    assert (archive.name, archive.location, archive.broken) == ("b1", "remote", None)
    assert archive.data_size == sum(table.total_bytes for table in fake.tables)
    assert not fake.local
    assert len(submissions(fake)) == 1


async def test_progress_is_told(fake, client):
    seen: list[chbackup.Progress] = []
    await chbackup.verified_backup(client, "b1", on_progress=seen.append)
    assert [progress.step for progress in seen if progress.step != "following"] == [
        "submitting",
        "verifying",
        "cleaning up",
    ]
    assert [progress.action.status for progress in seen if progress.action] == ["in progress", "success"]


async def test_an_increment_is_proven_against_the_whole_size(fake, client):
    await chbackup.verified_backup(client, "full")
    fake.tables.insert("shop.orders", 100)
    archive = await chbackup.verified_backup(client, "incr", diff_from_remote="full")
    assert archive.required == "full"
    assert 0 < archive.data_size < sum(table.total_bytes for table in fake.tables)


@pytest.mark.parametrize("broken", [False, True])
async def test_a_name_that_exists_remotely_is_refused(fake, client, broken):
    fake.add_remote("b1", broken=broken)
    with pytest.raises(chbackup.Refused, match="exists remotely"):
        await chbackup.verified_backup(client, "b1")
    assert not submissions(fake)


async def test_a_name_that_exists_locally_is_refused(fake, client):
    await (await client.create("b1")).wait()
    with pytest.raises(chbackup.Refused, match="exists locally"):
        await chbackup.verified_backup(client, "b1")
    assert "b1" in fake.local
    assert not submissions(fake)


async def test_a_name_that_a_running_row_names_is_refused(fake, client):
    fake.duration.delete = 60
    fake.add_remote("b1")

    async def delete():
        with suppress(chbackup.NotFound):
            await client.delete_remote("b1")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delete)
        await anyio.sleep(1)
        fake.remote.clear()
        with pytest.raises(chbackup.Refused, match="`delete remote b1` is running"):
            await chbackup.verified_backup(client, "b1")


@pytest.mark.parametrize(
    ("base", "words"),
    [("nosuch", "not in the list"), ("bad", "broken"), ("gap", "not in the list"), ("incr", "its own base")],
)
async def test_a_base_that_is_not_whole_is_refused(fake, client, base, words):
    fake.add_remote("bad", broken=True)
    fake.add_remote("gap", required="gone")
    fake.add_remote("other")
    with pytest.raises(chbackup.Refused, match=words):
        await chbackup.verified_backup(client, "incr", diff_from_remote=base)
    assert not submissions(fake)


async def test_a_nameless_archive_makes_every_base_doubtful(fake, client):
    fake.add_remote("full")
    fake.add_remote("null")
    fake.break_remote("null", "null")
    with pytest.raises(chbackup.Refused, match="without a name"):
        await chbackup.verified_backup(client, "incr", diff_from_remote="full")


async def test_a_busy_sidecar_is_waited_for(fake, client):
    fake.duration.create = 600
    await client.create("other")
    assert await chbackup.verified_backup(client, "b1")
    assert len(submissions(fake)) > 1
    assert len([row for row in await client.actions() if row.verb == "create_remote"]) == 1


async def test_a_lost_reply_is_looked_for_and_never_sent_again(fake, client):
    fake.faults.lose_reply(after_work=True, path="create_remote")
    assert await chbackup.verified_backup(client, "b1")
    assert len(submissions(fake)) == 1


async def test_a_request_that_got_lost_ends_as_lost(fake, client):
    fake.faults.lose_reply(after_work=False, path="create_remote")
    start = anyio.current_time()
    with pytest.raises(chbackup.OperationLost):
        await chbackup.verified_backup(client, "b1")
    assert client.timeout + 10 <= anyio.current_time() - start < client.timeout + 30
    assert len(submissions(fake)) == 1


async def test_a_sidecar_that_takes_no_connections_is_sent_to_later(fake, client):
    fake.faults.refuse = True

    def heal():
        fake.faults.refuse = False

    assert await during(300, heal, chbackup.verified_backup(client, "b1"))
    assert len(submissions(fake)) == 1


async def test_a_killed_upload_that_the_server_resumes_is_followed(fake, client):
    fake.duration.upload = 60
    archive = await during(20, restarting(fake), chbackup.verified_backup(client, "b1"))
    assert archive.broken is None
    assert len(submissions(fake)) == 1
    assert not submissions(fake, "upload")
    assert not fake.local


async def test_a_killed_upload_that_nobody_resumes_is_uploaded_on(fake, client):
    fake.duration.upload = 60
    restart = restarting(fake, API_COMPLETE_RESUMABLE_AFTER_RESTART="false")
    archive = await during(20, restart, chbackup.verified_backup(client, "b1"))
    assert archive.broken is None
    assert len(submissions(fake)) == 1
    assert len(submissions(fake, "upload")) == 1


async def test_a_backup_killed_while_it_is_made_leaves_nothing(fake, client):
    fake.duration.create = 60
    fake.add_remote("other")
    result = await during(20, restarting(fake), result_of(chbackup.verified_backup(client, "b1")))
    assert isinstance(result, chbackup.OperationLost)
    assert "b1" not in fake.local
    assert "b1" not in fake.remote
    assert len(submissions(fake)) == 1


@pytest.mark.parametrize("down", [0.2, 30.0])
@pytest.mark.parametrize("resume", ["true", "false"])
async def test_whenever_the_sidecar_is_killed_the_end_is_honest(version, down, resume):
    for moment in range(0, 130, 15):
        fake = FakeSidecar(version=version)
        fake.tables.add_table("shop.orders", 100, partitions=3)
        fake.add_remote("other")
        fake.duration.create, fake.duration.upload = 5, 5
        async with fake.client() as client:
            restart = restarting(fake, down, API_COMPLETE_RESUMABLE_AFTER_RESTART=resume)
            result = await during(moment / 10 + 0.01, restart, result_of(chbackup.verified_backup(client, "b1")))
            if isinstance(result, chbackup.Archive):
                report = await chbackup.verified_restore(client, "b1", overwrite=True)
                assert report.tables[0].total_bytes == report.tables[0].archived_bytes
                assert fake.tables.count("shop.orders") == 100
            else:
                assert isinstance(result, chbackup.OperationLost)
            assert len(submissions(fake)) <= 1
            assert "b1" not in fake.local


async def test_a_kill_by_somebody_else_ends_as_cancelled(fake, client):
    fake.duration.upload = 60
    fake.add_remote("other")

    async def kill():
        await client.kill("create_remote b1")

    result = await during(20, kill, result_of(chbackup.verified_backup(client, "b1")))
    assert isinstance(result, chbackup.OperationCancelled)
    assert "b1" not in fake.local


async def test_a_success_that_a_restart_has_rewritten_is_still_proven(fake, client):
    operation = await client.create_remote("b1")
    await operation.wait()
    await post(fake, "/restart")
    await anyio.sleep(1)
    assert (await operation.client.status(operation.operation_id)).status == "cancel"
    assert await chbackup.verified_backup(client, "b1", adopt=True)
    assert not fake.local


async def test_an_outage_in_the_upload_fails_and_keeps_the_only_copy(fake, client):
    fake.duration.upload = 60

    def outage():
        fake.faults.s3 = "refused"

    result = await during(20, outage, result_of(chbackup.verified_backup(client, "b1")))
    assert isinstance(result, chbackup.OperationFailed)
    assert "local copy" in str(result)
    assert "b1" in fake.local


async def test_a_list_that_an_outage_empties_is_read_again(fake, client):
    fake.duration.upload = 10
    operation = await client.create_remote("b1")
    await operation.wait()
    fake.faults.s3 = "refused"

    def heal():
        fake.faults.s3 = None

    assert await during(60, heal, chbackup.verified_backup(client, "b1", adopt=True))


async def test_a_hollow_archive_is_not_verified_and_keeps_its_local_copy(fake, client):
    await (await client.create_remote("b1")).wait()
    key = next(key for key in fake.remote["b1"].objects() if key.endswith("orders.json"))
    fake.remote["b1"].remove_object(key)
    with pytest.raises(chbackup.NotVerified, match="add up to") as caught:
        await chbackup.verified_backup(client, "b1", adopt=True)
    assert caught.value.problems
    assert "b1" in fake.local


async def test_what_could_have_hurt_an_archive_makes_it_unproven(fake, client):
    fake.duration.upload = 60

    async def clean():
        await post(fake, "/backup/clean/remote_broken")

    result = await during(20, clean, result_of(chbackup.verified_backup(client, "b1")))
    assert isinstance(result, chbackup.NotVerified)
    assert "clean_remote_broken" in str(result)


async def test_a_timeout_leaves_an_operation_that_can_be_adopted(fake, client):
    fake.duration.upload = 600
    with pytest.raises(chbackup.WaitTimeout, match="in progress"):
        await chbackup.verified_backup(client, "b1", timeout=60)
    assert await chbackup.verified_backup(client, "b1", adopt=True)
    assert len(submissions(fake)) == 1


async def test_adopting_what_is_proven_and_cleaned_up_is_no_work(fake, client):
    first = await chbackup.verified_backup(client, "b1")
    assert await chbackup.verified_backup(client, "b1", adopt=True) == first
    assert len(submissions(fake)) == 1


async def test_adopting_what_nobody_began_begins_it(fake, client):
    assert await chbackup.verified_backup(client, "b1", adopt=True)
    assert len(submissions(fake)) == 1


async def test_adopting_another_base_is_not_verified(fake, client):
    await chbackup.verified_backup(client, "full")
    await chbackup.verified_backup(client, "b1")
    with pytest.raises(chbackup.NotVerified, match="its base is none, asked was 'full'"):
        await chbackup.verified_backup(client, "b1", diff_from_remote="full", adopt=True)


async def test_a_server_whose_rows_cannot_be_told_apart_is_not_supported():
    fake = FakeSidecar(version="2.6.39")
    async with fake.client() as client:
        with pytest.raises(chbackup.Unsupported, match=r"2\.6\.40.*2\.6\.39"):
            await chbackup.verified_backup(client, "b1")
    assert {request.method for request in fake.requests} == {"GET"}


@pytest.mark.parametrize("name", ["", "a/b", "a..b", "-a", ".a", "a b", "é", "x" * 201])
async def test_a_name_that_the_server_would_change_is_refused_unsent(fake, client, name):
    with pytest.raises(chbackup.InvalidInput):
        await chbackup.verified_backup(client, name)
    assert not fake.requests


async def test_a_name_that_a_partial_list_hides_is_refused(fake, client):
    await (await client.create_remote("b1")).wait()
    await client.delete_local("b1")
    fake.add_remote("other")
    fake.faults.unlisted = ["b1"]
    with pytest.raises(chbackup.Refused, match="that no list shows"):
        await chbackup.verified_backup(client, "b1")
    assert len(submissions(fake)) == 1


async def test_nothing_is_begun_while_the_object_store_cannot_be_asked(fake, client):
    fake.add_remote("b1")
    fake.faults.s3 = "denied"
    with pytest.raises(chbackup.WaitTimeout, match="whether it holds b1"):
        await chbackup.verified_backup(client, "b1")
    assert not submissions(fake)


async def test_a_name_that_is_taken_while_the_sidecar_is_busy_is_refused(fake, client):
    fake.occupy("create other", seconds=60)

    def take():
        fake.add_remote("b1")

    result = await during(30, take, result_of(chbackup.verified_backup(client, "b1")))
    assert isinstance(result, chbackup.Refused)
    assert "b1" not in fake.local


async def test_a_base_that_goes_meanwhile_makes_the_increment_unproven(fake, client):
    """Deleted behind another sidecar of the path: no row shows it here."""
    await chbackup.verified_backup(client, "full")
    await chbackup.verified_backup(client, "other")
    fake.tables.insert("shop.orders", 60)
    fake.duration.upload = 60

    def delete():
        del fake.remote["full"]

    result = await during(30, delete, result_of(chbackup.verified_backup(client, "incr", diff_from_remote="full")))
    assert isinstance(result, chbackup.NotVerified)
    assert "full: the last one is not in the list" in str(result)
    assert "incr" in fake.local


@pytest.mark.parametrize("others", [(), ("broken",), ("broken", "good")])
async def test_after_a_failure_the_local_copy_goes_unless_it_may_be_the_last_good_one(fake, client, others):
    for name in others:
        fake.add_remote(name, broken=name == "broken")
    fake.duration.upload = 60

    async def kill():
        await client.kill("create_remote b1")

    result = await during(20, kill, result_of(chbackup.verified_backup(client, "b1")))
    assert isinstance(result, chbackup.OperationCancelled)
    assert ("b1" in fake.local) == ("good" not in others)
    assert ("no good archive" in str(result)) == ("good" not in others)


async def test_a_restart_over_http_before_the_success_was_seen_is_no_cancel(fake, client):
    fake.duration.upload, fake.faults.delay = 60, 0.5
    assert await during(64.5, client.restart, chbackup.verified_backup(client, "b1"))
    assert [row.status for row in await client.actions() if row.verb == "create_remote"] == ["cancel"]
    assert not fake.local


async def test_progress_holds_the_operation_with_its_token(fake, client):
    seen: list[chbackup.Progress] = []
    await chbackup.verified_backup(client, "b1", on_progress=seen.append)
    tokens = {progress.operation.token for progress in seen if progress.operation}
    assert [token.partition(":b1:")[0] for token in tokens] == ["chb1:create_remote"]
    assert all(progress.operation for progress in seen if progress.step == "following")


@pytest.mark.parametrize("moment", [0.05, 1.0, 30.0, 60.3])
async def test_a_caller_who_leaves_stops_nothing_and_can_come_back(fake, client, moment):
    fake.duration.upload, fake.faults.delay = 60, 0.1
    with anyio.move_on_after(moment) as scope:
        await chbackup.verified_backup(client, "b1")
    assert scope.cancelled_caught
    assert await chbackup.verified_backup(client, "b1", adopt=True)
    assert len(submissions(fake)) == 1


async def test_before_2_7_0_tables_are_not_measured():
    fake = FakeSidecar(version="2.6.44")
    fake.tables.add_table("shop.orders", 100)
    async with fake.client() as client:
        assert await chbackup.verified_backup(client, "b1")
        report = await chbackup.verified_restore(client, "b1", overwrite=True)
        assert [table.archived_bytes for table in report.tables] == [0]
    assert fake.tables.count("shop.orders") == 100


async def test_what_a_killed_resume_may_still_make_is_left_alone():
    """Facts 1.7: up to 2.8.0 a kill of a row without an id says `cancel`, and the work goes on."""
    fake = FakeSidecar(version="2.7.4")
    fake.tables.add_table("shop.orders", 100)
    fake.add_remote("other")
    fake.duration.upload = 60
    async with fake.client() as client:

        async def restart_and_kill():
            await restarting(fake)()
            await anyio.sleep(5)
            with anyio.move_on_after(1):
                await client.kill("upload --resumable=1 b1")

        result = await during(10, restart_and_kill, result_of(chbackup.verified_backup(client, "b1")))
        assert isinstance(result, chbackup.OperationCancelled)
        assert "may still be at work" in str(result)
        assert "b1" in fake.local
        await anyio.sleep(60)
        assert fake.remote["b1"].good
