import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chbackup.flows import during, post, restarting, result_of

import chbackup
from chbackup.testing import FakeSidecar


@given(st.floats(0, 1e6))
def test_polling_is_proportional_and_bounded(waited):
    delay = chbackup.poll_delay(waited)
    assert 0.25 <= delay <= 10
    assert delay == pytest.approx(waited / 10) or delay in (0.25, 10)


async def test_a_success_is_returned(client):
    operation = await client.create_remote("b1")
    row = await operation.wait()
    assert (row.command, row.status, row.operation_id) == ("create_remote b1", "success", operation.operation_id)


async def test_rows_are_yielded_as_they_change(fake, client):
    fake.duration.upload = 3600
    operation = await client.create_remote("b1")
    assert [row.status async for row in operation.watch()] == ["in progress", "success"]


async def test_an_hour_is_followed_by_a_few_requests(fake, client):
    fake.duration.upload = 3600
    operation = await client.create_remote("b1")
    start = anyio.current_time()
    await operation.wait()
    assert anyio.current_time() - start < 3615
    assert len(fake.requests) < 420


async def test_watching_may_be_left_at_any_time(fake, client):
    fake.duration.upload = 3600
    operation = await client.create_remote("b1")
    async for row in operation.watch():
        assert row.running
        break


async def test_a_failure_has_the_engines_words(client):
    operation = await client.create_remote("b1", tables="no.such")
    with pytest.raises(chbackup.OperationFailed, match="no tables for backup") as caught:
        await operation.wait()
    assert caught.value.words == "no tables for backup"
    assert caught.value.rows[0].status == "error"


async def test_a_deadline_says_what_it_has_waited_for(fake, client):
    fake.duration.upload = 3600
    operation = await client.create_remote("b1")
    start = anyio.current_time()
    with pytest.raises(chbackup.WaitTimeout, match="`create_remote b1` is in progress") as caught:
        await operation.wait(timeout=60)
    assert anyio.current_time() - start == pytest.approx(60)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.rows[0].running


async def test_a_token_holds_no_address_and_no_secret_and_comes_back(fake, client):
    operation = await client.create_remote("b1")
    assert operation.token == f"chb1:create_remote:b1:{operation.operation_id}:-1"
    async with fake.client() as later:
        again = later.operation(operation.token)
        assert again.token == operation.token
        assert (await again.wait()).status == "success"


@pytest.mark.parametrize("token", ["", "chb1", "chb2:create:b1:id:0", "chb1:create:a/b:id:0", "chb1:create:b1:id:x"])
async def test_what_is_no_token_is_refused(client, token):
    with pytest.raises(chbackup.InvalidInput):
        client.operation(token)


async def test_outages_of_the_network_are_waited_out(fake, client):
    fake.duration.upload = 600
    operation = await client.create_remote("b1")
    fake.faults.refuse = True

    def heal():
        fake.faults.refuse = False

    assert await during(1000, heal, operation.wait())


async def test_an_outage_that_lasts_ends_at_the_deadline(fake, client):
    operation = await client.create_remote("b1")
    fake.faults.refuse = True
    with pytest.raises(chbackup.WaitTimeout, match="refused"):
        await operation.wait(timeout=60)


async def test_wrong_credentials_end_the_wait_at_once(fake, client):
    operation = await client.create_remote("b1")
    async with fake.client() as other:
        stranger = chbackup.Client("http://sidecar.fake", username="x", http_client=other._connection._client)
        with pytest.raises(chbackup.Unauthorized):
            await stranger.operation(operation.token).wait()


@pytest.mark.parametrize("verb", ["create_remote", "upload", "download"])
async def test_what_the_server_resumes_is_adopted(fake, client, verb):
    fake.duration.upload = fake.duration.download = 60
    if verb == "upload":
        await (await client.create("b1")).wait()
    if verb == "download":
        await (await client.create_remote("b1")).wait()
        await client.delete_local("b1")
    operation = await getattr(client, verb)("b1")
    row = await during(20, restarting(fake), operation.wait())
    assert (row.status, row.operation_id, row.resumed) == ("success", "", True)


async def test_nothing_but_the_history_is_read_until_the_resume_has_begun(fake, client):
    fake.duration.upload = 60
    operation = await client.create_remote("b1")
    await during(20, restarting(fake), operation.wait())
    assert {request.path for request in fake.requests} == {
        "/backup/create_remote",
        "/backup/status",
        "/backup/actions",
        "/backup/version",
    }


async def test_a_resume_that_stands_in_a_queue_is_waited_for(fake, client):
    fake.duration.upload = 60
    await (await client.create_remote("a1")).wait()
    await (await client.create_remote("a2")).wait()
    operation = await client.create_remote("b1")
    row = await during(30, restarting(fake), operation.wait())
    assert row.archive == "b1"
    assert row.resumed


async def test_two_restarts_are_survived(fake, client):
    fake.duration.upload = 60
    operation = await client.create_remote("b1")

    async def twice():
        await restarting(fake)()
        await anyio.sleep(20)
        await restarting(fake)()

    assert (await during(10, twice, operation.wait())).status == "success"


async def test_what_nobody_resumes_is_lost_and_the_lists_are_told(fake, client):
    fake.duration.upload = 60
    operation = await client.create_remote("b1")
    restart = restarting(fake, API_COMPLETE_RESUMABLE_AFTER_RESTART="false")
    error = await during(20, restart, result_of(operation.wait()))
    assert isinstance(error, chbackup.OperationLost)
    assert error.local is not None
    assert error.local.broken is None
    assert error.remote is not None
    assert error.remote.broken
    assert "the local list shows a good archive" in str(error)


async def test_a_restore_of_a_remote_archive_is_not_done_when_its_download_was_resumed(fake, client):
    await (await client.create_remote("b1")).wait()
    await client.delete_local("b1")
    fake.duration.download = 60
    operation = await client.restore_remote("b1")
    error = await during(20, restarting(fake), result_of(operation.wait()))
    assert isinstance(error, chbackup.OperationLost)


async def test_another_callers_row_of_the_same_archive_is_not_ours(fake, client):
    await (await client.create("b1")).wait()
    forged = client.operation("chb1:create:b1:00000000-0000-0000-0000-000000000000:-1")
    with pytest.raises(chbackup.OperationLost):
        await forged.wait()


async def test_without_ids_only_later_rows_are_ours():
    fake = FakeSidecar(version="2.5.29")
    fake.tables.add_table("shop.orders", 10)
    async with fake.client() as client:
        await (await client.create("b1")).wait()
        await client.delete_local("b1")
        operation = await client.create("b1", tables="no.such")
        assert operation.position == 2
        with pytest.raises(chbackup.OperationFailed):
            await operation.wait()


async def test_an_id_that_the_version_never_shows_is_found_by_name():
    fake = FakeSidecar(version="2.6.39")
    fake.tables.add_table("shop.orders", 10)
    async with fake.client() as client:
        operation = await client.create_remote("b1")
        assert operation.operation_id
        assert (await operation.wait()).status == "success"


async def test_a_restart_over_http_is_a_cancel(fake, client):
    fake.duration.upload = 60
    operation = await client.create_remote("b1")

    async def restart():
        await post(fake, "/restart")

    error = await during(20, restart, result_of(operation.wait()))
    assert isinstance(error, chbackup.OperationCancelled)
    assert error.words == "canceled via API /restart"


async def test_a_restarted_process_is_told_from_a_trimmed_history():
    fake = FakeSidecar(version="2.8.1-dev", env={"STATUS_HISTORY_SIZE": "3"})
    fake.tables.add_table("shop.orders", 10)
    async with fake.client() as client:
        operation = await client.create_remote("b1")
        await anyio.sleep(60)
        await (await client.create("other")).wait()
        for _ in range(4):
            await client.list_local()
        error = await result_of(operation.wait())
        assert isinstance(error, chbackup.OperationLost)
        assert error.restarted is None
        await (await client.create("another")).wait()
        error = await result_of(operation.wait())
        assert (error.restarted, error.remote is not None) == (False, True)
        assert "has dropped its row" in str(error)
        fake.kill_process()
        fake.configure(API_COMPLETE_RESUMABLE_AFTER_RESTART="false")
        fake.start_process()
        error = await result_of(operation.wait())
        assert error.restarted is True
        assert "was restarted" in str(error)


async def test_an_old_resume_is_not_taken_for_a_row_that_was_dropped():
    fake = FakeSidecar(version="2.8.1-dev", env={"STATUS_HISTORY_SIZE": "1000"})
    fake.tables.add_table("shop.orders", 10)
    async with fake.client() as client:
        await (await client.create_remote("b1")).wait()
        await restarting(fake)()
        await anyio.sleep(5)
        assert [row.resumed for row in await client.actions()] == [True]
        await (await client.create("other")).wait()
        ids = [row.operation_id for row in await client.actions() if row.operation_id]
        forged = client.operation(f"chb1:upload:b1:{ids[0][:4]}ffff{ids[0][8:]}:-1")
        error = await result_of(forged.wait())
        assert isinstance(error, chbackup.OperationLost)
        assert error.restarted is False


async def test_without_an_id_a_row_is_followed_while_older_ones_are_dropped():
    fake = FakeSidecar(version="2.8.1-dev", env={"STATUS_HISTORY_SIZE": "2"})
    fake.tables.add_table("shop.orders", 10)
    fake.duration.create = 60
    async with fake.client() as client:
        for _ in range(3):
            await client.list_local()
        operation = await client.submit("create b1")
        assert operation is not None
        assert operation.operation_id == ""

        async def listing():
            for _ in range(5):
                await client.list_local()

        row = await during(20, listing, operation.wait())
        assert (row.command, row.status) == ("create b1", "success")


def test_a_token_may_hold_any_name_that_exists(fake):
    client = chbackup.Client("http://sidecar.fake")
    assert client.operation("chb1:download:a:b 2:1-2:7".replace(" ", "")).name == "a:b2"
