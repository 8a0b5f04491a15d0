"""`POST /backup/actions`: command lines, and the ones that hurt."""

import httpx
import pytest
from tests.conformance.sidecar.rig import Rig


@pytest.fixture(autouse=True)
async def one_table(rig: Rig):
    await rig.create_table("demo.t", 1000, partitions=3)


async def _command(rig: Rig, command: str, status: int = 200):
    return await rig.send("POST", "/backup/actions", status, json={"command": command})


async def test_asynchronous_commands_are_acknowledged_without_an_id(rig: Rig):
    assert await _command(rig, "create a") == [{"status": "acknowledged", "operation": "create a"}]
    await rig.idle()
    [row] = await rig.get("/backup/actions")
    assert (row["command"], row["status"]) == ("create a", "success")
    assert "operation_id" not in row
    assert await rig.desc("local", "a") == "regular"


async def test_options_come_before_the_name_and_the_rest_is_ignored(rig: Rig):
    await _command(rig, "create --tables='demo.*' --schema a b c")
    await rig.idle()
    assert [row["name"] for row in await rig.get("/backup/list/local")] == ["a"]


async def test_delete_answers_when_it_is_done(rig: Rig):
    await rig.run("/backup/create?name=a")
    assert await _command(rig, "delete local a") == [{"status": "success", "operation": "delete local a"}]
    [error] = await _command(rig, "delete local a", 500)
    assert error["error"] == "'a' is not found on local storage"


@pytest.mark.parametrize(
    ("body", "operation", "error"),
    [
        ("", None, "empty request"),
        ('{"command":"nonsense"}', "nonsense", "unknown command"),
        ('{"command":"tables"}', "tables", "unknown command"),
        ('{\n"command":"list"\n}', "{", "unexpected end of JSON input"),
        ('{"command":"create \\"a"}', None, "EOF found when expecting closing quote"),
    ],
)
async def test_bad_bodies_are_400(rig: Rig, body: str, operation: str | None, error: str):
    [answer] = await rig.send("POST", "/backup/actions", 400, content=body)
    assert (answer.get("operation"), answer["error"]) == (operation, error)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('[{"command":"list"}]', "json: cannot unmarshal array into Go value of type status.ActionRow"),
        ("7", "json: cannot unmarshal number into Go value of type status.ActionRow"),
        ("list", "invalid character 'l' looking for beginning of value"),
        ('{"command":"list"} {"command":"list"}', "invalid character '{' after top-level value"),
        ("\r", "unexpected end of JSON input"),
    ],
)
async def test_what_is_no_command_object_is_400(rig: Rig, body: str, error: str):
    [answer] = await rig.send("POST", "/backup/actions", 400, content=body)
    assert (answer["operation"], answer["error"]) == (body, error)


async def test_earlier_lines_have_run_when_a_later_one_fails(rig: Rig):
    body = '{"command":"clean"}\n\n{"command":"nonsense"}'
    [answer] = await rig.send("POST", "/backup/actions", 400, content=body)
    assert answer["operation"] == "nonsense"
    assert [row["command"] for row in await rig.get("/backup/actions")] == ["clean"]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("create --no-such a", "flag provided but not defined: -no-such"),
        ("upload", "backupName is required"),
        ("restore_remote", "backupName is required"),
    ],
)
async def test_bad_arguments_are_errors_of_the_row(rig: Rig, command: str, error: str):
    await _command(rig, command)
    await rig.idle()
    [row] = await rig.get("/backup/actions")
    assert (row["command"], row["status"]) == (command, "error")
    assert error in row["error"]


async def test_help_is_a_success_that_does_nothing(rig: Rig):
    await _command(rig, "create --help")
    await rig.idle()
    assert (await rig.get("/backup/actions"))[0]["status"] == "success"
    assert await rig.get("/backup/list/local") == []


@pytest.mark.parametrize("body", ['{"command":""}', '{"command":"  "}', '{"cmd":"list"}', "null"])
async def test_no_command_loses_the_connection_only(rig: Rig, body: str):
    with pytest.raises(httpx.TransportError):
        await rig.http.post("/backup/actions", content=body)
    assert await rig.alive()


@pytest.mark.parametrize("command", ["delete", "delete local", "delete foo bar"])
async def test_a_delete_without_its_arguments_ends_the_process(rig: Rig, command: str):
    with pytest.raises(httpx.TransportError):
        await rig.http.post("/backup/actions", json={"command": command})
    assert not await rig.alive()


async def test_cleaners_run_before_the_answer(rig: Rig):
    for command in ["clean", "clean_local_broken", "clean_remote_broken"]:
        assert await _command(rig, command) == [{"status": "success", "operation": command}]
    assert await rig.send("POST", "/backup/clean/local_broken", 200) == [
        {"status": "success", "operation": "clean_local_broken"}
    ]


async def test_cleaners_delete_what_is_broken(rig: Rig):
    for name in ["good", "bad"]:
        await rig.run(f"/backup/create_remote?name={name}")
    await rig.break_local("bad")
    await rig.remove_object("bad", "metadata.json")
    await rig.forget_cache()
    await rig.send("POST", "/backup/clean/local_broken", 200)
    await rig.send("POST", "/backup/clean/remote_broken", 200)
    assert [(row["location"], row["name"]) for row in await rig.get("/backup/list")] == [
        ("local", "good"),
        ("remote", "good"),
    ]


async def test_watch_holds_the_lock_until_it_is_killed(rig: Rig):
    [answer] = await rig.send("POST", "/backup/watch?watch_interval=1h&full_interval=24h", 201)
    command = 'watch --watch-interval="1h" --full-interval="24h"'
    assert answer == {"status": "acknowledged", "operation": "watch", "command": command}
    assert (await rig.http.post("/backup/create?name=z")).status_code == 423
    await rig.until("/backup/list/remote", desc="tar, regular")
    await rig.send("POST", "/backup/kill", 200, params={"command": command})
    assert (await rig.get("/backup/actions?filter=watch"))[0]["status"] == "cancel"
