"""Kill, restart, and the death of the process: what is left, and what goes on by itself."""

import anyio
import pytest
from tests.conformance.sidecar.rig import Rig

TABLE = "demo.big"
BROKEN = "broken (can't stat metadata.json)"


@pytest.fixture(autouse=True)
async def slow_uploads(rig: Rig):
    await rig.create_table(TABLE, 12000, partitions=6)
    await rig.slow(4)


async def _half_uploaded(rig: Rig, name: str) -> str:
    """Start a create_remote and wait until a part of it is in the store; return the operation's id."""
    [answer] = await rig.send("POST", f"/backup/create_remote?name={name}", 201)
    await rig.until("/backup/list/remote", name=name)
    return str(answer["operation_id"])


async def test_kill_cancels_the_row_and_leaves_both_copies(rig: Rig):
    operation_id = await _half_uploaded(rig, "a")
    [answer] = await rig.send("POST", "/backup/kill?command=create_remote%20a", 200)
    assert answer == {"status": "success", "operation": "kill", "command": "create_remote a"}
    row = await rig.settle(operation_id)
    assert (row["status"], row["error"]) == ("cancel", "canceled from API /backup/kill")
    assert await rig.desc("local", "a") == "regular"
    assert await rig.desc("remote", "a") == BROKEN


async def test_a_killed_upload_can_be_continued(rig: Rig):
    await _half_uploaded(rig, "a")
    await rig.send("GET", "/backup/kill", 200)
    before = await rig.objects("a")
    await rig.run("/backup/upload/a")
    assert await rig.desc("remote", "a") == "tar, regular"
    assert before.items() <= (await rig.objects("a")).items()
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.run("/backup/restore_remote/a")
    assert await rig.count(TABLE) == 12000


async def test_kill_without_a_match_is_a_500_in_json(rig: Rig):
    response = await rig.http.post("/backup/kill")
    assert (response.status_code, response.json()["error"]) == (500, "empty command list")
    assert response.headers["content-type"].startswith("application/json")
    await rig.get("/backup/list/local")
    [error] = await rig.send("POST", "/backup/kill?command=create%20x", 500)
    assert error == {"status": "error", "operation": "kill", "error": "command `create x` not found"}


async def test_kill_of_what_the_actions_endpoint_started_waits_for_its_end_before_2_8_1(rig: Rig):
    await rig.send("POST", "/backup/actions", 200, content='{"command":"create_remote a"}')
    await rig.until("/backup/list/remote", name="a")
    await rig.send("POST", "/backup/kill?command=create_remote%20a", 200)
    [row] = await rig.get("/backup/actions?filter=create_remote")
    assert row["status"] == "cancel"
    assert await rig.desc("remote", "a") == (BROKEN if rig.since(2, 8, 1) else "tar, regular")


async def test_restart_rewrites_every_row_to_cancel(rig: Rig):
    await rig.run("/backup/create?name=done")
    await _half_uploaded(rig, "a")
    assert await rig.send("POST", "/restart", 201) == [{"status": "acknowledged", "operation": "restart"}]
    await rig.until("/backup/actions?last=100", command="create done", status="cancel")
    await rig.until("/backup/list/remote", name="a", desc=BROKEN)  # connections may still be lost for a moment
    rows = await rig.get("/backup/actions?filter=create")
    assert [(row["status"], row["error"]) for row in rows] == [("cancel", "canceled via API /restart")] * 2


async def test_a_killed_process_resumes_its_upload_under_another_name(rig: Rig):
    operation_id = await _half_uploaded(rig, "a")
    await rig.kill()
    await rig.start()
    row = await rig.until("/backup/actions", command="upload")
    assert row["command"] == "upload --resumable=1 a"
    assert "operation_id" not in row
    assert await rig.get(f"/backup/status?operationid={operation_id}") == []
    row = await rig.until("/backup/actions", command="upload", status="success")
    assert await rig.desc("remote", "a") == "tar, regular"
    local, remote = await rig.must_find("local", "a"), await rig.must_find("remote", "a")
    assert local["data_size"] == remote["data_size"] == await rig.total_bytes("a")


async def test_a_finished_upload_is_run_again_at_the_next_start(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.kill()
    await rig.start()
    await rig.until("/backup/actions", command="upload --resumable=1 a", status="success")
    await rig.kill()
    await rig.start()
    assert await rig.get("/backup/actions") == []


async def test_several_are_resumed_in_the_order_of_their_names(rig: Rig):
    await rig.slow(0)
    for name in ["b", "a", "c"]:
        await rig.run(f"/backup/create_remote?name={name}")
    await rig.kill()
    await rig.start()
    await rig.until("/backup/actions", command="upload --resumable=1 c", status="success")
    assert [row["command"][-1] for row in await rig.get("/backup/actions")] == ["a", "b", "c"]


async def test_nothing_is_resumed_when_it_is_switched_off(rig: Rig):
    await rig.configure(API_COMPLETE_RESUMABLE_AFTER_RESTART="false")
    await _half_uploaded(rig, "a")
    await rig.kill()
    await rig.start()
    assert await rig.desc("local", "a") == "regular"
    assert await rig.desc("remote", "a") == BROKEN
    assert await rig.get("/backup/actions?filter=upload") == []
    await rig.run("/backup/upload/a")
    assert await rig.desc("remote", "a") == "tar, regular"


async def test_a_deleted_local_copy_is_not_resumed(rig: Rig):
    await _half_uploaded(rig, "a")
    await rig.send("POST", "/backup/kill", 200)
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.kill()
    await rig.start()
    assert await rig.get("/backup/actions") == []
    assert await rig.desc("remote", "a") == BROKEN


async def test_a_process_killed_in_create_leaves_a_broken_local_copy_and_resumes_nothing(rig: Rig):
    await rig.slow_create()
    await rig.send("POST", "/backup/create_remote?name=a", 201)
    await rig.until("/backup/list/local", name="a", desc="broken metadata.json not found")
    await rig.kill()
    await rig.start()
    assert await rig.get("/backup/actions") == []
    assert await rig.desc("local", "a") == "broken metadata.json not found"
    assert await rig.find("remote", "a") is None
    row = await rig.run("/backup/upload/a", status="error")
    assert row["error"].startswith("b.ReadBackupMetadataLocal return error: ReadBackupMetadataLocal: open ")
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.run("/backup/create?name=a")


async def test_a_create_that_is_killed_leaves_a_broken_local_copy(rig: Rig):
    await rig.slow_create()
    [answer] = await rig.send("POST", "/backup/create?name=a", 201)
    await rig.until("/backup/list/local", name="a", desc="broken metadata.json not found")
    await rig.send("POST", "/backup/kill", 200, params={"command": "create a"})
    assert (await rig.settle(answer["operation_id"]))["status"] == "cancel"
    assert await rig.desc("local", "a") == "broken metadata.json not found"


async def test_a_finished_download_is_run_again_at_the_next_start_and_then_no_more(rig: Rig):
    await rig.slow(0)
    await rig.run("/backup/create_remote?name=a")
    await rig.send("POST", "/backup/delete/local/a", 200)
    await rig.run("/backup/download/a")
    await rig.kill()
    await rig.start()
    row = await rig.until("/backup/actions", command="download --resumable=1 a", status="success")
    assert "operation_id" not in row
    row = await rig.run("/backup/download/a", status="error")
    assert row["error"].startswith("backup is already exists: local backup 'a' exists but resumable state")


async def test_a_resume_that_fails_ends_all_further_ones(rig: Rig):
    await rig.slow(0)
    for name in ["a", "b"]:
        await rig.run(f"/backup/create_remote?name={name}")
    await rig.break_local("a")
    await rig.kill()
    await rig.start()
    row = await rig.until("/backup/actions", command="upload --resumable=1 a", status="error")
    assert row["error"].startswith("b.ReadBackupMetadataLocal return error: ")
    await anyio.sleep(0.5)
    assert [row["command"][-1] for row in await rig.get("/backup/actions")] == ["a"]
