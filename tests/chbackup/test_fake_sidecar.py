"""The fake's own controls: faults, durations, sharing a store, the death of its process, a real port."""

import json
from datetime import datetime
from typing import Any

import anyio
import httpx
import pytest

from chbackup.testing import FakeSidecar, FakeStorage


@pytest.fixture
async def http(fake):
    async with httpx.AsyncClient(
        transport=fake.transport(), base_url="http://sidecar.fake", auth=("backup", "secret-of-tests")
    ) as client:
        yield client


async def rows(http: httpx.AsyncClient, path: str = "/backup/actions") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await http.get(path)).text.splitlines()]


async def backup(http: httpx.AsyncClient, name: str = "a", **query: str) -> dict[str, Any]:
    assert (await http.post("/backup/create_remote", params={"name": name} | query)).status_code == 201
    await anyio.sleep(60)
    return (await rows(http, "/backup/actions?last=1"))[0]


async def test_work_goes_on_when_nobody_looks(fake, http):
    fake.duration.create, fake.duration.upload = 100, 3000
    await http.post("/backup/create_remote?name=a")
    await anyio.sleep(99)
    assert not fake.local["a"].good
    await anyio.sleep(2)
    assert fake.local["a"].good
    assert "a" not in fake.remote
    await anyio.sleep(1500)
    assert 0 < len(fake.remote["a"].parts) < len(fake.local["a"].parts)
    await anyio.sleep(10_000)
    [row] = await rows(http)
    assert row["status"] == "success"
    assert datetime.fromisoformat(row["finish"]) - datetime.fromisoformat(row["start"]) == (
        datetime(2026, 1, 1, 0, 51, 40) - datetime(2026, 1, 1)
    )


async def test_times_come_from_the_given_day():
    fake = FakeSidecar(now=datetime(2027, 5, 1, 10))
    assert fake.now == datetime(2027, 5, 1, 10)
    await anyio.sleep(3600)
    assert fake.now == datetime(2027, 5, 1, 11)


async def test_a_request_costs_no_time(fake, http):
    before = anyio.current_time()
    await http.get("/backup/list")
    assert anyio.current_time() == before
    fake.faults.delay = 3
    await http.get("/backup/version")
    assert anyio.current_time() == before + 3


async def test_requests_are_logged_without_headers(fake, http):
    await http.post("/backup/create?name=a")
    assert fake.requests == [("POST", "/backup/create", "name=a")]
    assert "secret" not in repr(fake.requests)


async def test_a_sidecar_without_credentials_takes_none():
    async with httpx.AsyncClient(transport=FakeSidecar().transport(), base_url="http://sidecar.fake") as http:
        assert (await http.get("/backup/version")).status_code == 200
        assert (await http.get("/backup/version", auth=("a", "b"))).status_code == 401


async def test_nobody_listens(fake, http):
    fake.faults.refuse = True
    with pytest.raises(httpx.ConnectError):
        await http.get("/backup/version")
    fake.faults.refuse = False
    fake.kill_process()
    assert not fake.running
    with pytest.raises(httpx.ConnectError):
        await http.get("/backup/version")
    fake.start_process()
    assert await rows(http) == []


@pytest.mark.parametrize("after_work", [True, False])
async def test_one_reply_is_lost(fake, http, after_work):
    fake.faults.lose_reply(after_work=after_work, path="/backup/create")
    await http.get("/backup/version")
    with pytest.raises(httpx.ReadError):
        await http.post("/backup/create?name=a")
    assert len(await rows(http)) == after_work


async def test_the_read_timeout_ends_the_wait_and_not_the_work(fake, http):
    fake.duration.delete = 100
    await backup(http)
    with pytest.raises(httpx.ReadTimeout):
        await http.post("/backup/delete/remote/a", timeout=1)
    assert "a" in fake.remote
    await anyio.sleep(100)
    assert "a" not in fake.remote


async def test_a_store_that_hangs_holds_everything_up_until_it_heals(fake, http):
    fake.faults.s3 = "hanging"
    with pytest.raises(httpx.ReadTimeout):
        await http.get("/backup/list/remote", timeout=10)
    assert (await http.post("/backup/create?name=a")).status_code == 423
    fake.faults.s3 = None
    await anyio.sleep(1)
    assert (await rows(http))[0]["status"] == "success"


@pytest.mark.parametrize(("fault", "seconds"), [("refused", 49), ("denied", 35)])
async def test_an_upload_gives_up_on_a_store_that_refuses(fake, http, fault, seconds):
    fake.faults.s3 = fault
    await http.post("/backup/create_remote?name=a")
    await anyio.sleep(seconds)
    assert (await rows(http))[0]["status"] == "in progress"
    await anyio.sleep(1)
    assert (await rows(http))[0]["status"] == "error"
    fake.faults.s3 = None
    assert fake.local["a"].good


async def test_an_upload_outlives_a_short_outage(fake, http):
    fake.faults.s3 = "refused"
    await http.post("/backup/create_remote?name=a")
    await anyio.sleep(20)
    fake.faults.s3 = None
    await anyio.sleep(20)
    assert (await rows(http))[0]["status"] == "success"


async def test_operations_wait_for_clickhouse(fake, http):
    fake.faults.clickhouse_down = True
    await http.post("/backup/create?name=a")
    with pytest.raises(httpx.ReadTimeout):
        await http.get("/backup/list/local", timeout=5)
    assert (await http.get("/health")).status_code == 200
    fake.faults.clickhouse_down = False
    await anyio.sleep(10)
    assert [row["status"] for row in await rows(http)] == ["success", "success"]


async def test_a_broken_configuration_stops_most_but_not_status(fake, http):
    fake.faults.broken_config = "yaml: line 1: no"
    response = await http.get("/backup/list")
    assert response.status_code == 500
    assert len(response.text.splitlines()) == 2
    assert (await http.post("/backup/create?name=a")).status_code == 500
    assert (await http.get("/backup/status")).status_code == 200


async def test_sidecars_share_a_store_by_path(version):
    store = FakeStorage()
    one, two, other = [
        FakeSidecar(version=version, storage=store, path=path, shard=shard)
        for path, shard in [("app", "0"), ("app", "1"), ("app/{shard}", "1")]
    ]
    one.add_remote("a")
    assert list(two.remote) == ["a"]
    assert list(other.remote) == []
    assert other.path == "app/1"


async def test_one_sidecars_upload_is_seen_by_the_other_as_it_goes(version):
    store = FakeStorage()
    one, two = FakeSidecar(version=version, storage=store), FakeSidecar(version=version, storage=store)
    one.tables.add_table("shop.orders", 100, partitions=4)
    one.duration.upload = 50
    async with httpx.AsyncClient(transport=one.transport(), base_url="http://one.fake") as http:
        await http.post("/backup/create_remote?name=a")
    await anyio.sleep(25)
    assert not two.remote["a"].good
    await anyio.sleep(30)
    assert two.remote["a"].good
    assert {key.rpartition("/")[2] for key in store.objects("backup/a/")} >= {"metadata.json", "orders.json"}


async def test_archives_for_lists_need_no_backup(fake, http):
    fake.add_remote("old", created=datetime(2025, 12, 24), data_size=5, required="older")
    fake.add_remote("bad", broken=True)
    fake.add_remote("null")
    fake.break_remote("null", "null")
    listed = await rows(http, "/backup/list/remote")
    assert [(row["name"], row["created"], row["required"]) for row in listed] == [
        ("bad", "0001-01-01 00:00:00", ""),
        ("old", "2025-12-24 00:00:00", "older"),
        ("", "0001-01-01 00:00:00", ""),
    ]


async def test_a_truncated_part_leaves_the_table_empty(fake, http):
    await backup(http)
    await http.post("/backup/delete/local/a")
    key = next(key for key in fake.remote["a"].objects() if key.startswith("shadow/shop/orders"))
    fake.remote["a"].truncate_object(key)
    await http.post("/backup/restore_remote/a")
    await anyio.sleep(60)
    row = (await rows(http, "/backup/actions?last=1"))[0]
    assert "has unexpected size: 0" in row["error"]
    assert fake.local["a"].good
    assert fake.tables.count("shop.orders") == 0


async def test_clean_during_a_create_ends_the_process(fake, http):
    fake.duration.create = 50
    await http.post("/backup/create?name=a")
    with pytest.raises(httpx.ReadError):
        await http.post("/backup/clean")
    assert not fake.running
    fake.start_process()
    assert (await rows(http, "/backup/list/local"))[0]["desc"] == "broken metadata.json not found"


async def test_a_list_right_after_the_start_costs_the_resume(fake, http):
    fake.duration.upload = 100
    await http.post("/backup/create_remote?name=a")
    await anyio.sleep(50)
    fake.kill_process()
    fake.start_process()
    fake.duration.list = 1
    await http.get("/backup/list/local")
    await anyio.sleep(1000)
    assert [row["command"] for row in await rows(http)] == ["list local"]


async def test_kill_of_itself_blocks(fake, http):
    fake.configure(API_CANCEL_OPERATION_TIMEOUT="30s")
    before = anyio.current_time()
    await http.post("/backup/actions", json={"command": "kill"}, timeout=60)
    assert anyio.current_time() - before == pytest.approx(30, abs=1)
    assert (await rows(http))[0]["status"] == "cancel"


async def test_history_is_trimmed_from_2_8_1_on(fake, http, version):
    fake.configure(STATUS_HISTORY_SIZE="3")
    fake.kill_process()
    fake.start_process()
    for _ in range(10):
        await http.get("/backup/list/local")
    assert len(await rows(http)) == (4 if version == "2.8.1-dev" else 10)


async def test_parallel_work_is_a_setting(fake, http):
    fake.configure(API_ALLOW_PARALLEL="true")
    assert [(await http.post(f"/backup/create?name={name}")).status_code for name in "ab"] == [201, 201]


async def test_unknown_settings_and_versions_are_refused():
    with pytest.raises(ValueError, match="settings not modelled: NO_SUCH"):
        FakeSidecar(env={"NO_SUCH": "1"})
    with pytest.raises(ValueError, match="does not begin with three numbers"):
        FakeSidecar(version="new")


async def test_callbacks_go_out_when_pumped(fake, http, version):
    sent = []

    async def send(url, payload):
        sent.append((url, payload))

    await backup(http, callback="http://receiver/x%3Ftoken%3D1")
    await fake.pump(send)
    await fake.pump(send)
    [(url, payload)] = sent
    assert url == "http://receiver/x?token=1"
    assert (payload["status"], payload["error"]) == ("success", "")
    assert ("command" in payload) == (version == "2.8.1-dev")


async def test_remote_retention_keeps_ancestors(fake, http):
    fake.configure(BACKUPS_TO_KEEP_REMOTE="1")
    await backup(http, "full")
    fake.tables.insert("shop.items", 1)
    await backup(http, "next", **{"diff-from-remote": "full"})
    assert sorted(fake.remote) == ["full", "next"]
    await backup(http, "new")
    assert sorted(fake.remote) == ["new"]


async def test_one_local_archive_less_than_none(fake, http):
    fake.configure(BACKUPS_TO_KEEP_LOCAL="-1")
    await backup(http)
    assert fake.local == {}
    assert fake.remote["a"].good


async def test_the_sdks_client_speaks_to_it(fake):
    async with fake.client() as client:
        assert await client.list_all() == []


def test_it_serves_on_a_real_port(fake):
    async def main():
        auth = ("backup", "secret-of-tests")
        async with (
            fake.serve("127.0.0.1", 0) as url,
            httpx.AsyncClient(base_url=url, auth=auth, trust_env=False) as http,
        ):
            response = await http.post("/backup/create?name=a%20b")
            assert (response.status_code, response.json()["backup_name"]) == (201, "ab")
            assert "content-length" not in response.headers
            assert (await http.get("/backup//list")).headers["location"] == "/backup/list"
            fake.faults.lose_reply()
            with pytest.raises(httpx.TransportError):
                await http.get("/backup/version")
            assert (await http.get("/health", auth=("x", "y"))).status_code == 401

    anyio.run(main)
