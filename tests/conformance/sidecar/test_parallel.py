"""Parallel work: pid files guard a name, and have holes."""

import pytest
from tests.conformance.sidecar.rig import Rig

TAKEN = "another clickhouse-backup `upload` command is already running "


@pytest.fixture(autouse=True)
async def slow_uploads(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.configure(API_ALLOW_PARALLEL="true")
    await rig.slow(4)


async def _half_uploaded(rig: Rig) -> str:
    [answer] = await rig.send("POST", "/backup/create_remote?name=a", 201)
    await rig.until("/backup/list/remote", name="a")
    return str(answer["operation_id"])


@pytest.mark.parametrize(
    ("path", "context"),
    [
        ("create?name=a", ""),
        ("upload/a", ""),
        ("download/a", "CheckAndCreatePidFile: "),
        ("restore/a", "pidlock.CheckAndCreatePidFile: "),
        ("restore_remote/a", "RestoreFromRemote Download: CheckAndCreatePidFile: "),
        ("create_remote?name=a", ""),
    ],
)
async def test_a_second_operation_on_a_name_is_acknowledged_and_fails(rig: Rig, path: str, context: str):
    operation_id = await _half_uploaded(rig)
    row = await rig.run(f"/backup/{path}", status="error")
    assert row["error"].startswith(context + TAKEN)
    assert ".a.pid, cmdLine=" in row["error"]
    assert (await rig.settle(operation_id))["status"] == "success"
    assert await rig.desc("remote", "a") == "tar, regular"


async def test_other_names_go_on_beside_it(rig: Rig):
    operation_id = await _half_uploaded(rig)
    await rig.run("/backup/create?name=b")
    assert (await rig.settle(operation_id))["status"] == "success"


async def test_a_duplicate_that_fails_takes_the_pid_file_away(rig: Rig):
    operation_id = await _half_uploaded(rig)
    await rig.run("/backup/create_remote?name=a", status="error")
    await rig.run("/backup/create?name=a")
    assert (await rig.settle(operation_id))["command"] == "create_remote a"


async def test_a_command_minds_the_pid_file_and_a_request_does_not(rig: Rig):
    operation_id = await _half_uploaded(rig)
    [error] = await rig.send("POST", "/backup/actions", 500, json={"command": "delete remote a"})
    assert error["error"].startswith(TAKEN)
    await rig.send("POST", "/backup/delete/remote/a", 200)
    assert (await rig.settle(operation_id))["status"] == "success"
    row = await rig.must_find("remote", "a")
    shadow = sum(size for key, size in (await rig.objects("a")).items() if key.startswith("shadow/"))
    assert row["desc"] == "tar, regular"
    assert shadow < row["compressed_size"]


async def test_a_kill_frees_the_name(rig: Rig):
    await _half_uploaded(rig)
    await rig.send("POST", "/backup/kill", 200, params={"command": "create_remote a"})
    await rig.run("/backup/upload/a")
