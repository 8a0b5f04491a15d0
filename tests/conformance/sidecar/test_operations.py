"""Starting and following operations: acknowledgements, ids, rows, the lock."""

import re
import uuid

import pytest
from tests.conformance.sidecar.rig import Rig

TABLE = "demo.t"


@pytest.fixture(autouse=True)
async def one_table(rig: Rig):
    await rig.create_table(TABLE, 1000, partitions=3)


@pytest.mark.parametrize("operation", ["create", "create_remote"])
async def test_create_is_acknowledged_with_201_and_an_id(rig: Rig, operation: str):
    [answer] = await rig.send("POST", f"/backup/{operation}?name=a", 201)
    assert list(answer) == ["status", "operation", "backup_name", "operation_id"]
    assert (answer["status"], answer["operation"], answer["backup_name"]) == ("acknowledged", operation, "a")
    assert uuid.UUID(answer["operation_id"]).version == 1
    row = await rig.settle(answer["operation_id"])
    assert (row["command"], row["status"]) == (f"{operation} a", "success")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["start"])
    assert row["finish"] >= row["start"]


async def test_others_are_acknowledged_with_200(rig: Rig):
    await rig.run("/backup/create?name=a")
    [answer] = await rig.send("POST", "/backup/upload/a", 200)
    assert list(answer) == ["status", "operation", "backup_name", "diff", "operation_id"]
    await rig.settle(answer["operation_id"])
    await rig.send("POST", "/backup/delete/local/a", 200)
    for operation in ["download", "restore", "restore_remote"]:
        [answer] = await rig.send("POST", f"/backup/{operation}/a", 200)
        assert list(answer) == ["status", "operation", "backup_name", "operation_id"]
        assert (await rig.settle(answer["operation_id"]))["status"] == "success"


async def test_upload_with_a_local_base_says_so(rig: Rig):
    await rig.run("/backup/create_remote?name=full")
    await rig.run("/backup/create?name=next")
    [answer] = await rig.send("POST", "/backup/upload/next?diff-from=full", 200)
    assert (answer["backup_from"], answer["diff"]) == ("full", True)
    row = await rig.settle(answer["operation_id"])
    assert row["command"] == 'upload --diff-from="full" next'


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ("a%2Fb%20c", "abc"),
        ("a..b", "ab"),
        ("a.b", "a.b"),
        ("n+m", "nm"),
        ("a%5Cb", "ab"),
        ("%C3%A9$-%3B", "é$-;"),
    ],
)
async def test_names_are_cleaned(rig: Rig, asked: str, made: str):
    [answer] = await rig.send("POST", f"/backup/create?name={asked}", 201)
    assert answer["backup_name"] == made
    assert (await rig.settle(answer["operation_id"]))["command"] == f"create {made}"
    assert await rig.desc("local", made) == "regular"


async def test_without_a_name_the_server_makes_one_that_the_row_does_not_show(rig: Rig):
    [answer] = await rig.send("POST", "/backup/create", 201)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d", answer["backup_name"])
    assert (await rig.settle(answer["operation_id"]))["command"] == "create"


async def test_an_empty_name_fails_later(rig: Rig):
    [answer] = await rig.send("POST", "/backup/create?name=", 201)
    assert answer["backup_name"] == ""
    row = await rig.settle(answer["operation_id"])
    assert (row["command"], row["status"], row["error"]) == ("create ", "error", "backupName is required")


async def test_a_raw_semicolon_drops_the_name(rig: Rig):
    [answer] = await rig.send("POST", "/backup/create?name=x;y", 201)
    assert answer["backup_name"] not in {"x", "x;y", "xy"}
    await rig.settle(answer["operation_id"])


@pytest.mark.parametrize(("length", "status"), [(233, "success"), (234, "error")])
async def test_names_are_limited_by_the_pid_file(rig: Rig, length: int, status: str):
    name = "n" * length
    row = await rig.run(f"/backup/create?name={name}", status=status)
    assert row.get("error", "").endswith("file name too long") == (status == "error")


async def test_command_text_shows_parameters_in_the_servers_order(rig: Rig):
    row = await rig.run("/backup/create?name=a&schema=false&partitions=0&partitions=1,2&table=demo.*")
    assert row["command"] == 'create --tables="demo.*" --partitions="0" --partitions="1,2" --schema a'
    row = await rig.run("/backup/restore/a?rm=0&skip-empty-tables&table=demo.*")
    assert row["command"] == 'restore --tables="demo.*" --rm --skip-empty-tables --skip-empty-tables a'


async def test_unknown_parameters_are_ignored(rig: Rig):
    row = await rig.run("/backup/create?name=a&no_such=1")
    assert row["command"] == "create a"


async def test_status_without_id_is_the_last_row_of_any_kind(rig: Rig):
    await rig.run("/backup/create?name=a")
    assert (await rig.get("/backup/status"))[0]["command"] == "create a"
    await rig.get("/backup/list/local")
    [row] = await rig.get("/backup/status")
    assert row["command"] == "list local"
    assert "operation_id" not in row


async def test_history_can_be_cut_and_filtered(rig: Rig):
    await rig.run("/backup/create?name=a")
    await rig.run("/backup/create?name=b")
    await rig.get("/backup/list")
    commands = [row["command"] for row in await rig.get("/backup/actions")]
    assert commands == ["create a", "create b", "list"]
    assert [row["command"] for row in await rig.get("/backup/actions?last=2")] == commands[1:]
    assert [row["command"] for row in await rig.get("/backup/actions?last=-1")] == commands
    assert [row["command"] for row in await rig.get("/backup/actions?filter=create+b")] == ["create b"]
    assert [row["command"] for row in await rig.get("/backup/actions?filter=success&last=1")] == ["list"]


async def test_one_operation_at_a_time(rig: Rig):
    await rig.create_table("demo.big", 12000, partitions=6)
    await rig.slow(3)
    [answer] = await rig.send("POST", "/backup/create_remote?name=a", 201)
    for path in ["create?name=z", "create_remote?name=z", "upload/z", "download/z", "restore/z", "restore_remote/z"]:
        response = await rig.http.post(f"/backup/{path}")
        assert response.status_code == 423
        assert response.headers["content-type"].startswith("text/plain")
        assert response.json()["error"] == "another operation is currently running"
    assert (await rig.http.post("/backup/delete/local/z")).status_code == 423
    assert (await rig.http.post("/backup/watch")).status_code == 423
    [error] = await rig.send("POST", "/backup/actions", 500, content='{"command":"create z"}')
    assert (error["operation"], error["error"]) == ("create z", "another operation is currently running")
    [row] = await rig.get("/backup/actions?filter=in+progress")
    assert row == {key: row[key] for key in ["command", "status", "start", "operation_id"]}
    for path in ["list", "tables", "status", "actions", "version"]:
        assert (await rig.http.get(f"/backup/{path}")).status_code == 200
    assert "clickhouse_backup_in_progress_commands 1\n" in (await rig.http.get("/metrics")).text
    assert (await rig.settle(answer["operation_id"]))["status"] == "success"


async def test_no_tables_is_an_error_of_the_row(rig: Rig):
    row = await rig.run("/backup/create?name=a&table=demo.nosuch", status="error")
    assert row["command"] == 'create --tables="demo.nosuch" a'
    assert row["error"] == "no tables for backup"
    assert await rig.find("local", "a") is None


async def test_bad_callbacks_and_mappings_are_refused(rig: Rig):
    [error] = await rig.send("POST", "/backup/create?name=q&callback=%25zz", 400)
    assert error["error"] == 'could not decode url "%zz": invalid URL escape "%zz"'
    [error] = await rig.send("POST", "/backup/restore/q?restore_database_mapping=demo", 500)
    assert error["error"] == "invalid values in restore_database_mapping demo"
    [error] = await rig.send("POST", "/backup/restore/q?restore_table_mapping=a:b:c", 500)
    assert error["error"] == "invalid values in restore_table_mapping a:b:c"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("upload/nosuch", "can't find local backup: backup 'nosuch' is not found"),
        ("download/nosuch", "'nosuch' is not found on remote storage"),
        ("restore_remote/nosuch", "RestoreFromRemote Download: 'nosuch' is not found on remote storage"),
        (
            "create_remote?name=x&diff-from-remote=nosuch",
            "createBackup failed: b.getTablesDiffFromRemote return error: nosuch not found on remote storage",
        ),
    ],
)
async def test_missing_archives_are_errors_of_the_row(rig: Rig, path: str, error: str):
    assert (await rig.run(f"/backup/{path}", status="error"))["error"] == error


async def test_rebase_came_with_2_8_0(rig: Rig):
    if not rig.since(2, 8, 0):
        assert (await rig.http.post("/backup/rebase/a")).status_code == 404
        return
    await rig.run("/backup/create_remote?name=full")
    row = await rig.run("/backup/rebase/full", status="error")
    assert row["error"] == "backup full doesn't contain `required_backup`, nothing to rebase"
    await rig.insert(TABLE, 10)
    await rig.run("/backup/create_remote?name=next&diff-from-remote=full")
    before = await rig.must_find("remote", "next")
    await rig.run("/backup/rebase/next")
    after = await rig.must_find("remote", "next")
    assert (before["required"], after["required"]) == ("full", "")
    assert after["compressed_size"] > before["compressed_size"]
    assert after["data_size"] == before["data_size"] < await rig.total_bytes("next")


async def test_the_local_copy_can_be_deleted_by_the_upload(rig: Rig):
    await rig.run("/backup/create_remote?name=a&delete-source=false")
    assert await rig.get("/backup/list/local") == []
    assert await rig.desc("remote", "a") == "tar, regular"


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ("partitions=1&partitions=2", "12"),
        ("partitions=1,2", "12"),
        ("partitions=demo.t:1,2", "12"),
        ("partitions=demo.t:1&partitions=demo.t:2", "12"),
        ("partitions=demo.t:1,demo.t:2", "1"),
    ],
)
async def test_spellings_of_partitions(rig: Rig, query: str, chosen: str):
    await rig.run(f"/backup/create_remote?name=a&{query}")
    keys = [key.rpartition("/default_")[2] for key in await rig.objects("a") if key.startswith("shadow/")]
    assert "".join(sorted(key[0] for key in keys)) == chosen


async def test_a_partition_that_is_not_there_makes_an_empty_archive(rig: Rig):
    await rig.run("/backup/create?name=a&partitions=77")
    row = await rig.must_find("local", "a")
    assert row["desc"] == "regular"
    assert "data_size" not in row
