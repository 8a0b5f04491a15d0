"""The form of answers: JSON lines, empty bodies, errors labelled as text, who is let in."""

import pytest
from tests.conformance.sidecar.rig import Rig

JSON = "application/json; charset=UTF-8"
TEXT = "text/plain; charset=utf-8"


async def test_version_is_one_line_of_json(rig: Rig):
    response = await rig.http.get("/backup/version")
    assert response.headers["content-type"] == JSON
    assert response.headers["cache-control"] == "no-store, no-cache, must-revalidate"
    assert response.headers["pragma"] == "no-cache"
    assert response.text.endswith("\n")
    assert list(response.json()) == ["version"]


async def test_root_names_version_and_routes(rig: Rig):
    response = await rig.http.get("/")
    lines = response.text.splitlines()
    assert lines[0] == f"Version: {(await rig.get('/backup/version'))[0]['version']}"
    assert "/backup/restore_remote/{name}" in lines
    assert "/health" not in lines
    assert ("/backup/rebase/{name}" in lines) == rig.since(2, 8, 0)


async def test_health_takes_any_method(rig: Rig):
    assert await rig.send("GET", "/health", 200) == [{"status": "OK"}]
    assert await rig.send("POST", "/health", 200) == [{"status": "OK"}]


async def test_metrics_are_prometheus_text(rig: Rig):
    response = await rig.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "clickhouse_backup_number_backups_remote_expected 0\n" in response.text
    assert "clickhouse_backup_last_create_status 2\n" in response.text


@pytest.mark.parametrize("path", ["/backup/list", "/backup/status", "/health", "/metrics", "/"])
async def test_everything_needs_credentials(rig: Rig, path: str):
    for response in [await rig.anonymous.get(path), await rig.http.get(path, auth=("backup", "wrong"))]:
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Basic realm="Provide username and password"'
        assert response.text == "401 Unauthorized\n"


async def test_query_credentials_replace_those_of_the_header_half_by_half(rig: Rig):
    assert (await rig.anonymous.get("/backup/version?user=backup&pass=secret")).status_code == 200
    assert (await rig.anonymous.get("/backup/version?user=backup", auth=("x", "secret"))).status_code == 200
    assert (await rig.http.get("/backup/version?user=&pass=")).status_code == 401


async def test_unknown_paths_are_told_to_anybody(rig: Rig):
    response = await rig.anonymous.get("/backup/no%20such?x=1&y=2")
    assert response.status_code == 404
    assert response.headers["content-type"] == TEXT
    assert response.json() == {
        "status": "error",
        "operation": "/backup/no such",
        "error": "GET /backup/no%20such?x=1&y=2 404 Not Found",
    }
    assert "\\u0026" in response.text


async def test_wrong_methods_are_told_to_anybody(rig: Rig):
    response = await rig.anonymous.get("/backup/create")
    assert response.status_code == 405
    assert response.headers["content-type"] == TEXT
    assert response.json()["error"] == "405 Method GET Not Allowed"


@pytest.mark.parametrize("path", ["/backup/list/", "/backup/List", "/backup/upload/a%2Fb"])
async def test_paths_are_exact(rig: Rig, path: str):
    assert (await rig.http.post(path)).status_code == 404


async def test_unclean_paths_are_redirected(rig: Rig):
    response = await rig.http.get("/backup//list")
    assert (response.status_code, response.headers["location"]) == (301, "/backup/list")


async def test_head_is_known_to_some_paths_only(rig: Rig):
    for path in ["/", "/backup/version", "/backup/list", "/backup/actions"]:
        assert (await rig.http.head(path)).status_code == 200
    for path in ["/backup/list/remote", "/backup/status", "/backup/tables", "/backup/kill"]:
        assert (await rig.http.head(path)).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/backup/status",
        "/backup/status?operationid=00000000-0000-0000-0000-000000000000",
        "/backup/actions",
        "/backup/list",
        "/backup/list/nowhere",
    ],
)
async def test_nothing_is_an_empty_body(rig: Rig, path: str):
    response = await rig.http.get(path)
    assert (response.status_code, response.text) == (200, "")
    assert response.headers["content-type"] == JSON


async def test_last_is_a_small_number(rig: Rig):
    [error] = await rig.send("GET", "/backup/actions?last=40000", 500)
    assert error["error"] == 'strconv.ParseInt: parsing "40000": value out of range'
    [error] = await rig.send("GET", "/backup/actions?last=x", 500)
    assert error["error"] == 'strconv.ParseInt: parsing "x": invalid syntax'
