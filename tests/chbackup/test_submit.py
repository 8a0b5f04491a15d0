"""`submit`: what kills, hangs or confuses a sidecar is refused, the rest is run and found again."""

import json

import anyio
import httpx
import pytest

import chbackup
from chbackup.testing import FakeSidecar

REFUSED = {
    "": "empty",
    "   ": "empty",
    "# create b1": "comment",
    "create b1 # really": "comment",
    "create b1\ncreate b2": "line breaks",
    "create\tb1": "tabs",
    "create \x00b1": "control characters",
    'create "b1': "quoting",
    '""': "must begin with one of",
    "tables": "must begin with one of",
    "--env=A=b create b1": "must begin with one of",
    "server": "must begin with one of",
    "CREATE b1": "must begin with one of",
    "create --env=S3_SECRET_KEY=hunter2 b1": "--env",
    "create --env S3_SECRET_KEY=hunter2 b1": "--env",
    "create -env=A=b b1": "--env",
    "create --config=/x b1": "--config",
    "delete --help": "--help",
    "create -- b1": "a lone dash",
    "create": "exactly one name",
    "create a b": "exactly one name",
    "create --tables shop.* b1": "--flag=value",
    "create b1 --schema": "before the arguments",
    "create 'a b'": "no name for an archive",
    "create_remote a/b": "no name for an archive",
    "restore ''": "no archive's name",
    "upload": "exactly one name",
    "download a..b": "no archive's name",
    "rebase": "exactly one name",
    "rebalance --dry-run": "exactly one name",
    "kill": "kill itself",
    "kill create b1": "one quoted word",
    "kill ''": "one quoted word",
    "delete": "ends the server",
    "delete local": "ends the server",
    "delete foo bar": "ends the server",
    "delete remote": "ends the server",
    "delete --force": "ends the server",
    "delete remote b1 --force": "before the arguments",
    "delete remote a/b": "no archive's name",
    "clean now": "no argument",
    "list local remote": "no argument",
    "watch --watch-interval=1h": "with a blank",
}


@pytest.mark.parametrize("command", REFUSED)
async def test_what_a_sidecar_does_not_survive_is_refused(fake, client, command):
    with pytest.raises(chbackup.InvalidInput, match=REFUSED[command]) as caught:
        await client.submit(command)
    assert not fake.requests
    assert "hunter2" not in str(caught.value)


async def test_a_command_becomes_an_operation(fake, client):
    operation = await client.submit("create_remote --tables=shop.* b1")
    assert (operation.verb, operation.name, operation.operation_id) == ("create_remote", "b1", "")
    assert (await operation.wait()).command == "create_remote --tables=shop.* b1"
    assert {archive.name for archive in await client.list_remote()} == {"b1"}


async def test_the_last_row_of_that_name_is_ours(fake, client):
    await (await client.create("b1")).wait()
    await client.list_local()
    operation = await client.submit("create b1")
    assert operation.position == 2
    assert (await operation.wait()).position == 2


async def test_a_synchronous_command_has_ended(fake, client):
    await (await client.create_remote("b1")).wait()
    assert await client.submit("delete local b1") is None
    assert await client.submit("clean_remote_broken") is None
    assert [archive.location for archive in await client.list_all()] == ["remote"]
    with pytest.raises(chbackup.NotFound):
        await client.submit("delete local b1")


async def test_lists_and_watches_run_on_unseen(fake, client):
    assert await client.submit("list remote") is None
    await anyio.sleep(60)
    assert await client.submit("watch --watch-interval 1h --full-interval 24h") is None
    rows = await client.actions()
    assert [row.verb for row in rows][:2] == ["list", "watch"]
    assert rows[1].running


async def test_a_kill_names_its_victim(fake, client):
    fake.duration.create = 60
    await client.create("b1")
    assert await client.submit("kill 'create b1'") is None
    assert (await client.actions())[0].status == "cancel"
    with pytest.raises(chbackup.NotFound):
        await client.submit("kill 'create b1'")


async def test_busy_is_500_here_and_still_busy(fake, client):
    fake.duration.create = 60
    await client.create("b1")
    with pytest.raises(chbackup.Busy, match="`create b1`") as caught:
        await client.submit("create b2")
    assert caught.value.holder
    assert caught.value.holder.command == "create b1"


async def test_a_base_is_guarded_here_too():
    fake = FakeSidecar(version="2.8.1-dev")
    async with fake.client() as client:
        fake.add_remote("full")
        fake.add_remote("incr", required="full")
        with pytest.raises(chbackup.RequiredByOthers):
            await client.submit("delete remote full")
        await client.submit("delete --force remote full")
        assert set(fake.remote) == {"incr"}


@pytest.mark.parametrize(
    ("command", "seconds"), [("delete local b1", 600), ("kill 'create b1'", 1860), ("create b1", 30), ("list", 30)]
)
async def test_what_is_done_before_the_answer_has_its_own_time(command, seconds):
    async def answer(request):
        seen.append(request)
        await anyio.sleep(10_000)

    seen: list[httpx.Request] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http_client:
        start = anyio.current_time()
        with pytest.raises(chbackup.ConnectionFailed):
            await chbackup.Client("http://sidecar.fake", http_client=http_client).submit(command)
        assert anyio.current_time() - start == pytest.approx(seconds)
    assert json.loads(seen[0].content) == {"command": command}
