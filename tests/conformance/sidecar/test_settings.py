"""What settings change: zone, retention, rows left out, rebasing, and the environment of a command."""

import contextlib
import re

import anyio
import httpx
import pytest
from tests.conformance.sidecar.rig import Rig


@pytest.fixture(autouse=True)
async def one_table(rig: Rig):
    await rig.create_table("demo.t", 300, partitions=3)


async def test_times_are_in_the_servers_zone(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    before = await rig.must_find("local", "a")
    await rig.configure(TZ="America/New_York")
    await rig.idle()
    after = await rig.must_find("local", "a")
    assert after["created"] != before["created"]
    [row] = await rig.get("/backup/status")
    assert row["start"][:10] <= before["created"][:10]
    listed = await rig.must_find("remote", "a")
    await rig.remove_object("a", "metadata.json")
    for _ in range(50):  # the list that the server makes as it starts may put the archive into its cache once more
        await rig.forget_cache()
        found = await rig.must_find("remote", "a")
        if found["created"] != listed["created"]:
            break
    assert found["created"] == "0000-12-31 19:03:58"


async def test_names_that_the_server_makes_are_in_its_zone(rig: Rig):
    [first] = await rig.send("POST", "/backup/create", 201)
    await rig.settle(first["operation_id"])
    await rig.configure(TZ="Asia/Kolkata")
    [second] = await rig.send("POST", "/backup/create", 201)
    assert re.sub(r"T.*", "", first["backup_name"]) <= re.sub(r"T.*", "", second["backup_name"])
    assert first["backup_name"][:15] != second["backup_name"][:15]


async def test_minus_one_keeps_the_last_local_archive_until_it_is_uploaded(rig: Rig):
    await rig.run("/backup/create?name=a")
    await rig.configure(BACKUPS_TO_KEEP_LOCAL="-1")
    await anyio.sleep(1.1)
    await rig.run("/backup/create?name=b")
    assert [row["name"] for row in await rig.get("/backup/list/local")] == ["b"]
    await rig.run("/backup/create_remote?name=c")
    assert await rig.get("/backup/list/local") == []
    assert await rig.desc("remote", "c") == "tar, regular"


async def test_rows_can_be_left_out(rig: Rig):
    await rig.configure(API_BACKUP_ACTIONS_SKIP_COMMANDS="list,create")
    await rig.get("/backup/list")
    for command in ["list", "create q"]:
        await rig.send("POST", "/backup/actions", 200, json={"command": command})
    await rig.until("/backup/list/local", name="q", desc="regular")
    await rig.run("/backup/create?name=a")
    assert [row["command"] for row in await rig.get("/backup/actions")] == ["create a"]


async def test_dependants_can_be_rebased_by_a_delete_from_2_8_1_on(rig: Rig):
    await rig.configure(REBASE_DURING_DELETE="true")
    await rig.run("/backup/create_remote?name=a")
    for name, base in [("b", "a"), ("c", "b")]:
        await rig.insert("demo.t", 10)
        await rig.run(f"/backup/create_remote?name={name}&diff-from-remote={base}")
    await rig.send("POST", "/backup/delete/remote/a", 200)
    rows = {row["name"]: row["required"] for row in await rig.get("/backup/list/remote")}
    assert rows == {"b": "" if rig.since(2, 8, 1) else "a", "c": "b"}


async def test_secrets_of_a_commands_environment_are_masked(rig: Rig):
    command = "create --env=S3_SECRET_KEY=abc --env=LOG_LEVEL=info x"
    masked = "create --env=S3_SECRET_KEY=[MASKED] --env=LOG_LEVEL=info x"
    [answer] = await rig.send("POST", "/backup/actions", 200, json={"command": command})
    assert answer["operation"] == masked
    await rig.idle()
    [row] = await rig.get("/backup/actions")
    assert (row["command"], row["status"]) == (masked, "success")


async def test_a_bad_value_in_a_commands_environment_ends_the_process(rig: Rig):
    with contextlib.suppress(httpx.TransportError):  # it is acknowledged, if there is time for that
        await rig.send("POST", "/backup/actions", 200, json={"command": "create --env=CLICKHOUSE_PORT=abc x"})
    await anyio.sleep(1)
    assert not await rig.alive()


async def test_a_bucket_that_is_not_there_is_an_empty_list(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/local/a", 200)
    async with rig.no_bucket():
        assert await rig.get("/backup/list/remote") == []
        [error] = await rig.send("POST", "/backup/delete/remote/a", 500)
        assert error["error"] == "'a' is not found on remote storage"
        [error] = await rig.send("GET", "/backup/tables?remote_backup=a", 500)
        assert error["error"] == "backup 'a' not found on remote storage"
        row = await rig.run("/backup/create_remote?name=b", status="error")
        assert row["error"].endswith("api error NoSuchBucket: The specified bucket does not exist")
        assert await rig.desc("local", "b") == "regular"


async def test_phases_of_one_command_show_in_the_metrics_and_are_not_counted(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/actions", 200, json={"command": "delete remote a"})
    text = (await rig.http.get("/metrics")).text
    metrics = dict(line.removeprefix("clickhouse_backup_").split() for line in text.splitlines() if line[:1] == "c")
    assert (metrics["last_create_status"], metrics["last_upload_status"], metrics["last_delete_status"]) == (*"11", "2")
    assert (metrics["successful_create_remotes"], metrics["successful_uploads"]) == ("1", "0")
    assert re.fullmatch(r"1\.\d+e\+09", metrics["last_create_remote_start"])
    assert metrics["number_backups_remote"] == "0"


async def test_the_history_is_trimmed_at_a_registration_from_2_8_1_on(rig: Rig):
    await rig.configure(STATUS_HISTORY_SIZE="3")
    for _ in range(6):
        await rig.get("/backup/list/local")
    assert len(await rig.get("/backup/actions")) == (4 if rig.since(2, 8, 1) else 6)


async def test_without_resumable_state_a_name_that_exists_is_refused(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.configure(USE_RESUMABLE_STATE="false")
    row = await rig.run("/backup/create_remote?name=a", status="error")
    assert row["error"] == "'a' already exists on remote storage"
    assert await rig.desc("local", "a") == "regular"
    row = await rig.run("/backup/download/a", status="error")
    assert row["error"] == "backup is already exists"


async def test_nothing_is_resumed_without_resumable_state(rig: Rig):
    await rig.configure(USE_RESUMABLE_STATE="false")
    await rig.run("/backup/create_remote?name=a")
    await rig.configure()
    await anyio.sleep(0.5)
    assert await rig.get("/backup/actions") == []


async def test_where_empty_archives_are_allowed_a_restore_of_nothing_is_a_success(rig: Rig):
    await rig.configure(ALLOW_EMPTY_BACKUPS="true")
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.run("/backup/restore_remote/a?table=cozydrivers_ab12.a1")
    assert await rig.count("demo.t") == 300


async def test_without_remote_storage_there_is_none(rig: Rig):
    await rig.configure(REMOTE_STORAGE="none")
    await rig.run("/backup/create?name=a")
    assert await rig.get("/backup/list/remote") == []
    [error] = await rig.send("POST", "/backup/delete/remote/a", 500)
    assert error["error"] == 'aborted: RemoteStorage set to "none"'
    await rig.send("POST", "/backup/delete/local/a", 200)


async def test_a_kill_of_itself_blocks_for_its_timeout(rig: Rig):
    await rig.configure(API_CANCEL_OPERATION_TIMEOUT="2s")
    before = anyio.current_time()
    await rig.send("POST", "/backup/actions", 200, json={"command": "kill"})
    assert 1.5 < anyio.current_time() - before < 10
    [row] = await rig.get("/backup/actions")
    assert (row["command"], row["status"]) == ("kill", "cancel")
