"""What a test can let go wrong: each fault and control of the fake, seen through a plain HTTP client."""

import json
import math

import anyio
import httpx
import pytest

from chbackup.testing import FakeSidecar

HTML = "<html><body>502 Bad Gateway</body></html>"


@pytest.fixture
async def http(fake):
    transport, auth = fake.transport(), ("backup", "secret-of-tests")
    async with httpx.AsyncClient(transport=transport, base_url="http://sidecar.fake", auth=auth, timeout=60) as client:
        yield client


async def lines(http, path="/backup/actions"):
    return [json.loads(line) for line in (await http.get(path)).text.splitlines()]


async def end_of(http, path, seconds=60):
    """Start an operation and return its row after a while."""
    assert (await http.post(path)).status_code in {200, 201}
    await anyio.sleep(seconds)
    return (await lines(http, "/backup/actions?last=1"))[0]


async def test_somebody_else_holds_the_lock_for_a_while(fake, http):
    fake.occupy("create_remote nightly", seconds=100)
    assert (await http.post("/backup/create?name=a")).status_code == 423
    [row] = await lines(http)
    assert (row["command"], row["status"]) == ("create_remote nightly", "in progress")
    await anyio.sleep(101)
    assert (await http.post("/backup/create?name=a")).status_code == 201


async def test_somebody_elses_operation_lasts_until_it_is_killed(fake, http):
    fake.occupy()
    await anyio.sleep(80_000)
    assert (await http.post("/backup/create?name=a")).status_code == 423
    assert (await http.post("/backup/kill")).status_code == 200
    assert (await http.post("/backup/create?name=a")).status_code == 201


async def test_history_is_forgotten_but_for_what_runs(fake, http):
    await end_of(http, "/backup/create?name=a")
    fake.occupy("upload b")
    fake.forget_history()
    assert [row["command"] for row in await lines(http)] == ["upload b"]


async def test_a_list_is_short(fake, http):
    for name in "abc":
        fake.add_remote(name)
    fake.faults.unlisted = {"b"}
    assert [row["name"] for row in await lines(http, "/backup/list/remote")] == ["a", "c"]
    fake.faults.heal()
    assert [row["name"] for row in await lines(http, "/backup/list/remote")] == ["a", "b", "c"]


@pytest.mark.parametrize("fault", ["refused", "denied", "no_bucket"])
async def test_a_store_that_fails_lists_as_empty(fake, http, fault):
    fake.add_remote("a")
    fake.add_local("b")
    fake.faults.s3 = fault
    assert [row["name"] for row in await lines(http, "/backup/list")] == ["b"]
    assert (await http.post("/backup/delete/remote/a")).status_code == 500
    assert "a" in fake.remote


async def test_a_full_disk_fails_the_download(fake, http):
    await end_of(http, "/backup/create_remote?name=a")
    await http.post("/backup/delete/local/a")
    fake.faults.disk_full = True
    row = await end_of(http, "/backup/download/a")
    assert row["error"].endswith("no space left on device")
    assert not fake.local["a"].good
    fake.faults.disk_full = False
    assert (await end_of(http, "/backup/download/a"))["status"] == "success"


@pytest.mark.parametrize(
    ("how", "name", "desc"),
    [
        ("missing", "a", "broken (can't stat metadata.json)"),
        ("unopenable", "a", "broken (can't open metadata.json)"),
        ("unreadable", "a", "broken (can't read metadata.json)"),
        ("garbage", "a", "broken (bad metadata.json)"),
        ("null", "", ""),
    ],
)
async def test_remote_archives_break(fake, http, how, name, desc):
    fake.add_remote("a")
    await http.get("/backup/list")
    fake.break_remote("a", how)
    [row] = await lines(http, "/backup/list/remote")
    assert (row["name"], row["desc"], row["created"]) == (name, desc, "0001-01-01 00:00:00")
    assert "size" not in row


@pytest.mark.parametrize(
    ("how", "name", "desc"),
    [
        ("missing", "a", "broken metadata.json not found"),
        ("garbage", "a", "parse metadata.json error: invalid character 'o' in literal null (expecting 'u')"),
        ("null", "", ""),
    ],
)
async def test_local_archives_break(fake, http, how, name, desc):
    fake.add_local("a", required="base")
    fake.break_local("a", how)
    [row] = await lines(http, "/backup/list/local")
    assert (row["name"], row["desc"], row["required"]) == (name, desc, "")


async def test_a_stray_object_lists_as_broken(fake, http):
    fake.add_stray("bare.txt")
    [row] = await lines(http, "/backup/list/remote")
    assert (row["name"], row["desc"]) == ("bare.txt", "broken (can't stat metadata.json)")
    assert (await http.post("/backup/clean/remote_broken")).status_code == 500


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (401, "401 Unauthorized\n", {"Content-Type": "text/plain"}),
        (423, '{"status":"error","error":"another operation is currently running"}', None),
        (500, "boom", None),
        (502, HTML, {"Content-Type": "text/html"}),
        (302, "", {"Location": "http://elsewhere.fake/"}),
        (200, '{"name":"a","cre', {"Content-Type": "application/json"}),
        (200, b"\xff\xfe\n", None),
    ],
)
@pytest.mark.parametrize("after_work", [True, False])
async def test_somebody_in_between_answers(fake, http, status, body, headers, after_work):
    fake.faults.replace_reply(status, body, headers=headers, path="/backup/create", after_work=after_work)
    response = await http.post("/backup/create?name=a")
    assert (response.status_code, response.content) == (status, body.encode() if isinstance(body, str) else body)
    assert (headers or {}).items() <= {name.title(): value for name, value in response.headers.items()}.items()
    assert len(await lines(http)) == after_work


async def test_replies_are_spoiled_in_order_for_their_paths_and_as_often_as_told(fake, http):
    fake.faults.replace_reply(500, "first", path="/backup/list", times=2)
    fake.faults.replace_reply(500, "second", times=math.inf)
    texts = [(await http.get(path)).text for path in ["/health", "/backup/list", "/backup/list", "/backup/list"]]
    assert texts == ["second", "first", "first", "second"]
    fake.faults.heal()
    assert (await http.get("/health")).status_code == 200


async def test_a_reply_is_cut_in_the_middle(fake, http):
    fake.faults.cut_reply(10, path="/backup/create")
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post("/backup/create?name=a")
    assert [row["command"] for row in await lines(http)] == ["create a"]


async def test_replies_are_lost_more_than_once(fake, http):
    fake.faults.lose_reply(after_work=False, times=2)
    for _ in range(2):
        with pytest.raises(httpx.ReadError):
            await http.post("/backup/create?name=a")
    assert await lines(http) == []


async def test_healing_heals_all(fake):
    for name, value in [("s3", "refused"), ("refuse", True), ("delay", 5.0), ("disk_full", True), ("unlisted", "a")]:
        setattr(fake.faults, name, value)
    fake.faults.lose_reply()
    fake.faults.heal()
    assert fake.faults == type(fake.faults)()


async def test_the_newest_version_and_its_name(http):
    fake = FakeSidecar(version="newest")
    async with httpx.AsyncClient(transport=fake.transport(), base_url="http://sidecar.fake") as http:
        assert (await http.get("/backup/version")).json() == {"version": "2.8.0+fd469780"}


@pytest.mark.parametrize(("version", "created"), [("2.7.4", "2026-01-01 07:00:00"), ("2.6.28", "2026-01-01 12:00:00")])
async def test_dates_are_in_the_servers_zone_since_2_6_29(version, created):
    fake = FakeSidecar(version=version, env={"TZ": "America/New_York"})
    fake.add_remote("a")
    async with httpx.AsyncClient(transport=fake.transport(), base_url="http://sidecar.fake") as http:
        [row] = await lines(http, "/backup/list/remote")
        assert row["created"] == created
        assert (await lines(http))[0]["start"] == "2026-01-01 07:00:00"


async def test_watch_iterations_call_back_where_a_global_address_is_known(fake, http, version):
    fake.configure(CALLBACK_URL="http://receiver/x")
    await http.post("/backup/watch?watch_interval=1h&full_interval=24h")
    await anyio.sleep(7300)
    fake.duration.upload = 10_000
    await anyio.sleep(1800)
    assert len(fake.callbacks) == (3 if version == "2.8.1-dev" else 0)
    await http.post("/backup/kill")
    assert [row["status"] for row in await lines(http)][:1] == ["cancel"]


async def test_a_watch_ends_at_its_first_failure(fake, http):
    fake.faults.s3 = "denied"
    await http.post("/backup/watch")
    await anyio.sleep(100)
    row = (await lines(http))[0]
    assert (row["command"], row["status"]) == ("watch", "error")
    assert row["error"].startswith("too many errors create_remote: 1, delete local: 0, ")


def test_a_port_cuts_and_replaces_replies(fake):
    async def main():
        auth = ("backup", "secret-of-tests")
        async with fake.serve() as url, httpx.AsyncClient(base_url=url, auth=auth, trust_env=False) as http:
            for keep in [0, 10, 1000]:
                fake.faults.cut_reply(keep)
                with pytest.raises(httpx.TransportError):
                    await http.get("/backup/list/remote")
            fake.faults.replace_reply(502, HTML)
            response = await http.get("/backup/list")
            assert (response.status_code, response.text) == (502, HTML)

    fake.add_remote("a")
    anyio.run(main)
