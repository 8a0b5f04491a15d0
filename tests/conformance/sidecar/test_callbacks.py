"""Callbacks: who gets one, with which words, and how their addresses are read."""

import pytest
from tests.conformance.sidecar.rig import Rig


@pytest.fixture(autouse=True)
async def one_table(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)


async def test_an_operation_tells_its_end_once_to_each_address(rig: Rig):
    async with rig.receiver() as receiver:
        row = await rig.run(f"/backup/create?name=a&callback={receiver.url}/one&callback=&callback={receiver.url}/two")
        received = await receiver.received()
    assert [path.rstrip("?") for path, _ in received] == ["/one", "/two"]
    [payload, again] = [payload for _, payload in received]
    assert payload == again
    assert (payload["status"], payload["error"], payload["operation_id"]) == ("success", "", row["operation_id"])
    assert ("command" in payload, "duration" in payload) == ((True, True) if rig.since(2, 8, 1) else (False, False))


async def test_an_address_is_decoded_twice(rig: Rig):
    async with rig.receiver() as receiver:
        address = f"{receiver.url}/cb%3Ftoken%3Da%252Fb%26more%3Dc%25252Fd"
        await rig.run(f"/backup/create?name=a&callback={address}")
        [(path, _)] = await receiver.received()
    assert path == "/cb?token=a/b&more=c%2Fd"


async def test_a_failure_is_told_with_its_error(rig: Rig):
    async with rig.receiver() as receiver:
        row = await rig.run(f"/backup/upload/nosuch?callback={receiver.url}/cb", status="error")
        [(_, payload)] = await receiver.received()
    assert (payload["status"], payload["error"]) == ("error", row["error"])


async def test_a_kill_is_a_cancel_from_2_8_1_on_and_an_error_before(rig: Rig):
    await rig.slow(4)
    async with rig.receiver() as receiver:
        [answer] = await rig.send("POST", f"/backup/create_remote?name=a&callback={receiver.url}/cb", 201)
        await rig.until("/backup/list/remote", name="a")
        await rig.send("POST", "/backup/kill", 200, params={"command": "create_remote a"})
        await rig.settle(answer["operation_id"])
        [(_, payload)] = await receiver.received()
    if rig.since(2, 8, 1):
        assert (payload["status"], payload["error"]) == ("cancel", "canceled from API /backup/kill")
    else:
        assert payload["status"] == "error"
        assert payload["error"].endswith("context canceled")


async def test_deletes_cleaners_and_commands_tell_nobody(rig: Rig):
    async with rig.receiver() as receiver:
        await rig.configure(CALLBACK_URL=f"{receiver.url}/global")
        await rig.send("POST", "/backup/actions", 200, json={"command": "create a"})
        await rig.idle()
        await rig.send("POST", f"/backup/delete/local/a?callback={receiver.url}/cb", 200)
        await rig.send("POST", "/backup/clean", 200)
        assert await receiver.received() == []


async def test_a_global_address_stands_in_for_a_missing_one_from_2_8_1_on(rig: Rig):
    async with rig.receiver() as receiver:
        await rig.configure(CALLBACK_URL=f"{receiver.url}/global?x=1")
        await rig.run("/backup/create?name=a")
        await rig.run(f"/backup/create?name=b&callback={receiver.url}/own%3Fx=1")
        paths = [path for path, _ in await receiver.received()]
    assert paths == (["/global?x=1", "/own?x=1"] if rig.since(2, 8, 1) else ["/own?x=1"])
