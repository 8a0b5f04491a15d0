"""Single exchanges, with answers as the real server gave them; respx sees the client as any httpx client."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

import chbackup

URL = "http://10.0.3.7:7171"
SAMPLES = Path(__file__).parents[2] / "fixtures/samples/clickhouse-backup"
BUSY = {"status": "error", "operation": "create", "error": "another operation is currently running"}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param  # nothing waits here, so the clock may be the real one


@pytest.fixture
async def sidecar():
    async with chbackup.Client(URL, username="backup", password="secret-of-tests") as sidecar:
        yield sidecar


@pytest.fixture
def server():
    with respx.mock(base_url=URL) as server:
        yield server


def refuse(server, status, words, path="/backup/delete/remote/b1"):
    """Answer as writeError does: JSON that is labelled as plain text."""
    body = json.dumps({"status": "error", "operation": "delete", "error": words}) + "\n"
    server.post(path).respond(status, text=body)


async def test_credentials_go_into_the_header_only(server, sidecar):
    route = server.get("/backup/version").respond(json={"version": "2.7.4"})
    assert await sidecar.version() == "2.7.4"
    request = route.calls.last.request
    assert request.headers["authorization"].startswith("Basic ")
    assert "secret" not in str(request.url)


async def test_no_credentials_no_header(server):
    route = server.get("/backup/version").respond(json={"version": "2.7.4"})
    async with chbackup.Client(URL) as sidecar:
        await sidecar.version()
    assert "authorization" not in route.calls.last.request.headers


async def test_the_root_page_tells_the_version_of_old_servers(server, sidecar):
    missing = {"status": "error", "operation": "/backup/version", "error": "GET /backup/version 404 Not Found"}
    server.get("/backup/version").respond(404, text=json.dumps(missing))
    server.get("/").respond(text="Version: 2.5.0\nDocumentation: ...\n")
    assert await sidecar.version() == "2.5.0"


async def test_an_empty_body_is_an_empty_list(server, sidecar):
    server.get("/backup/list/remote").respond(text="")
    server.get("/backup/status").respond(text="")
    assert await sidecar.list_remote() == []
    assert await sidecar.status("6f456940-e6d7-11f1-8a56-1e29c4aa3c77") is None


async def test_somebody_elses_row_is_not_taken_for_ours(server, sidecar):
    row = {"command": "list", "status": "success", "operation_id": "other"}
    server.get("/backup/status").respond(json=row)
    assert await sidecar.status("ours") is None


async def test_unknown_fields_are_kept_and_nulls_are_missing(server, sidecar):
    row = {"name": "b1", "location": "remote", "desc": "tar, regular", "kind": "cas", "size": None, "required": ""}
    server.get("/backup/list").respond(json=row)
    (archive,) = await sidecar.list_all()
    assert archive.size == 0
    assert archive.model_dump()["kind"] == "cas"


STRANGERS: dict[str, dict[str, Any]] = {
    "a page": {"html": "<html>welcome</html>"},
    "an array": {"json": [{"name": "b1", "location": "remote", "status": "success", "version": "1"}]},
    "another API": {"json": {"kind": "Status", "apiVersion": "v1"}},
    "a number": {"json": 7},
    "null": {"text": "null"},
    "an empty 404": {"status_code": 404},
    "a page that is missing": {"status_code": 404, "html": "<html>404 Not Here</html>"},
    "a redirect": {"status_code": 301, "headers": {"location": "/backup/list"}},
}
CALLS = {
    "version": lambda sidecar: sidecar.version(),
    "health": lambda sidecar: sidecar.health(),
    "list_all": lambda sidecar: sidecar.list_all(),
    "status": lambda sidecar: sidecar.status(),
    "actions": lambda sidecar: sidecar.actions(),
    "tables": lambda sidecar: sidecar.tables(),
    "create": lambda sidecar: sidecar.create("b1"),
    "restore": lambda sidecar: sidecar.restore("b1"),
    "delete_remote": lambda sidecar: sidecar.delete_remote("b1"),
    "kill": lambda sidecar: sidecar.kill("create b1"),
    "restart": lambda sidecar: sidecar.restart(),
    "clean": lambda sidecar: sidecar.clean(force=True),
    "watch": lambda sidecar: sidecar.watch(),
    "submit": lambda sidecar: sidecar.submit("create b1"),
}


@pytest.mark.parametrize("answer", STRANGERS)
@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_no_sidecar_is_recognised(server, sidecar, call, answer):
    server.route().respond(**STRANGERS[answer])
    with pytest.raises(chbackup.ServerError, match="not clickhouse-backup's, is the url right") as caught:
        await CALLS[call](sidecar)
    assert caught.value.message.count("\n") == 0
    assert not caught.value.retryable


async def test_the_page_of_something_in_between_is_shown_shortened(server, sidecar):
    server.get("/backup/list").respond(502, html="<html>" + "x" * 10_000)
    with pytest.raises(chbackup.ServerError) as caught:
        await sidecar.list_all()
    assert len(caught.value.message) < 300
    assert caught.value.retryable


async def test_flags_are_sent_only_when_true_and_encoded(server, sidecar):
    route = server.post("/backup/create_remote").respond(201, json=ack("create_remote"))
    await sidecar.create_remote("b1", tables="a;b%.*", schema=True, rbac=False, partitions=["1", "2"])
    query = route.calls.last.request.url.query.decode()
    assert query == "name=b1&table=a%3Bb%25.%2A&partitions=1&partitions=2&schema=1"
    assert route.calls.last.request.content == b""


async def test_mappings_are_spelled_with_underscores(server, sidecar):
    server.get("/backup/version").respond(json={"version": "2.7.4"})
    route = server.post("/backup/restore/b1").respond(json=ack("restore"))
    await sidecar.restore("b1", database_mapping={"a": "b"}, table_mapping={"t": "u"}, ignore_dependencies=True)
    assert dict(route.calls.last.request.url.params) == {
        "ignore-dependencies": "1",
        "restore_database_mapping": "a:b",
        "restore_table_mapping": "t:u",
    }


async def test_a_submission_becomes_an_operation(server, sidecar):
    server.post("/backup/upload/b1").respond(json=ack("upload"))
    operation = await sidecar.upload("b1")
    assert (operation.verb, operation.name, operation.operation_id) == ("upload", "b1", "id-1")


async def test_an_acknowledgement_of_another_name_is_an_error(server, sidecar):
    server.post("/backup/create").respond(201, json={**ack("create"), "backup_name": "b2"})
    with pytest.raises(chbackup.ServerError, match="has acknowledged 'b2'"):
        await sidecar.create("b1")


@pytest.mark.parametrize(
    ("status", "words", "error"),
    [
        (423, "another operation is currently running", chbackup.Busy),
        (500, "another operation is currently running", chbackup.Busy),
        (500, "'b1' is not found on remote storage", chbackup.NotFound),
        (500, 'aborted: RemoteStorage set to "none"', chbackup.NotFound),
        (500, "bd.RemoveBackupRemote: RemoveBackupRemote Walk: S3 remotePager NextPage: ...", chbackup.ServerError),
        (400, 'could not decode url "%zz": invalid URL escape', chbackup.InvalidInput),
        (404, "POST /backup/delete/remote/b1 404 Not Found", chbackup.Unsupported),
        (405, "405 Method POST Not Allowed", chbackup.Unsupported),
        (403, "RBAC: access denied", chbackup.Unauthorized),
        (502, "bad gateway", chbackup.ServerError),
    ],
)
async def test_errors_are_told_by_status_and_words(server, sidecar, status, words, error):
    refuse(server, status, words)
    with pytest.raises(error) as caught:
        await sidecar.delete_remote("b1")
    assert type(caught.value) is error
    assert (caught.value.status_code, caught.value.words) == (status, words)
    assert caught.value.operation == "delete remote b1"


async def test_a_busy_sidecar_is_busy_even_when_nobody_tells_the_holder(server, sidecar):
    server.post("/backup/create").respond(423, json=BUSY)
    with pytest.raises(chbackup.Busy) as caught:
        await sidecar.create("b1")
    assert caught.value.retryable
    assert caught.value.holder is None


async def test_a_busy_sidecar_tells_its_holder(server, sidecar):
    server.post("/backup/create").respond(423, json=BUSY)
    server.get("/backup/actions").respond(json={"command": "list remote", "status": "in progress"})
    with pytest.raises(chbackup.Busy, match="`list remote`") as caught:
        await sidecar.create("b1")
    assert caught.value.holder is not None
    assert caught.value.holder.command == "list remote"


async def test_a_base_is_refused_with_its_dependents(server, sidecar):
    sample = json.loads((SAMPLES / "2.8.1-dev/delete_remote_base_guard_500.json").read_text())["response"]
    server.post("/backup/delete/remote/full-1").respond(sample["status"], text=sample["body"])
    with pytest.raises(chbackup.RequiredByOthers) as caught:
        await sidecar.delete_remote("full-1")
    assert caught.value.dependents == ("incr-1",)


async def test_401_is_plain_text(server, sidecar):
    server.get("/backup/list").respond(401, text="401 Unauthorized\n")
    with pytest.raises(chbackup.Unauthorized, match="401 Unauthorized"):
        await sidecar.list_all()


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("late"), False),
        (httpx.ReadTimeout("late"), True),
        (httpx.RemoteProtocolError("Server disconnected"), True),
    ],
)
async def test_no_answer_says_whether_anything_was_sent(server, sidecar, error, sent):
    server.post("/backup/create").mock(side_effect=error)
    with pytest.raises(chbackup.ConnectionFailed) as caught:
        await sidecar.create("b1")
    assert caught.value.sent is sent
    assert caught.value.retryable


async def test_redirects_are_not_followed(server, sidecar):
    server.post("/backup/create").respond(301, headers={"location": f"{URL}/elsewhere"})
    with pytest.raises(chbackup.ServerError, match="redirects are not followed") as caught:
        await sidecar.create("b1")
    assert not caught.value.retryable


async def test_a_client_of_the_callers_stays_open(server):
    server.get("/backup/version").respond(json={"version": "2.7.4"})
    async with httpx.AsyncClient() as http_client:
        async with chbackup.Client(URL, http_client=http_client) as sidecar:
            await sidecar.version()
        assert not http_client.is_closed


async def test_every_recorded_list_is_read(sidecar):
    paths = sorted(SAMPLES.glob("*/list_*.json"))
    assert len(paths) > 10
    for path in paths:
        sample = json.loads(path.read_text())
        with respx.mock(base_url=URL) as server:
            server.get("/backup/list").respond(sample["response"]["status"], text=sample["response"]["body"])
            if sample["response"]["status"] == 200:
                archives = await sidecar.list_all()
                assert len(archives) == len(sample["response"]["body"].splitlines())
                assert [bool(archive.broken) for archive in archives] == [
                    not archive.desc.endswith("regular") for archive in archives
                ]
            else:
                with pytest.raises(chbackup.ServerError):
                    await sidecar.list_all()


def ack(verb):
    return {"status": "acknowledged", "operation": verb, "backup_name": "b1", "operation_id": "id-1"}
