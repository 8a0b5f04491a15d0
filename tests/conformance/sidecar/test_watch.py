"""Watch: its row, its iterations, and how its parameters are read."""

import anyio
import httpx
import pytest
from tests.conformance.sidecar.rig import Rig

LONG = "watch_interval=1h&full_interval=24h"


@pytest.fixture(autouse=True)
async def one_table(rig: Rig):
    await rig.create_table("demo.t", 1000, partitions=3)


async def _first_archive(rig: Rig) -> str:
    return str((await rig.until("/backup/list/remote", desc="tar, regular"))["name"])


async def test_an_iteration_leaves_no_local_copy(rig: Rig):
    await rig.send("POST", f"/backup/watch?{LONG}", 201)
    name = await _first_archive(rig)
    assert name.startswith("shard0-full-202")
    await rig.until("/backup/tables", Name="t")  # the deletion follows at once, and asks ClickHouse first
    await anyio.sleep(0.5)
    assert await rig.get("/backup/list/local") == []


async def test_iterations_have_rows_from_2_8_1_on(rig: Rig):
    await rig.send("POST", f"/backup/watch?{LONG}", 201)
    name = await _first_archive(rig)
    rows = await rig.get("/backup/actions?filter=create_remote")
    assert [row["command"] for row in rows] == ([f"create_remote {name}"] if rig.since(2, 8, 1) else [])
    assert [row["operation_id"][14] for row in rows] == ["4"] * len(rows)


async def test_the_row_shows_the_parameters_in_the_servers_order(rig: Rig):
    query = "delete-source=0&partitions=1&partitions=2&schema=T&rbac=x&skip-projections=a&watch-interval=1m"
    [answer] = await rig.send("POST", f"/backup/watch?{query}&full_interval=2m&table=demo.t", 201)
    assert answer["command"] == (
        'watch --watch-interval="1m" --full-interval="2m" --tables="demo.t" --partitions="1" --partitions="2" --schema '
        "--delete-source --skip-projections=a"
    )


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("full_interval=1m", "fullInterval `1m` should be more than watchInterval `1h`"),
        ("watch_interval=1x", 'watchInterval `1x` parsing error: time: unknown unit "x" in duration "1x"'),
    ],
)
async def test_bad_intervals_are_errors_of_the_row(rig: Rig, query: str, error: str):
    await rig.send("GET", f"/backup/watch?{query}", 201)
    row = await rig.until("/backup/actions", command="watch", status="error")
    assert row["error"] == f"Watch ValidateWatchParams: {error}"


async def test_schedules_came_with_2_8_0(rig: Rig):
    [answer] = await rig.send("POST", "/backup/watch?schedule=nonsense", 201)
    assert answer["command"] == ('watch --schedule="nonsense"' if rig.since(2, 8, 0) else "watch")
    if rig.since(2, 8, 0):
        row = await rig.until("/backup/actions", command="watch", status="error")
        assert row["error"].startswith("Watch ValidateWatchParams: invalid schedule `nonsense`, ")


async def test_a_command_is_reworded_and_its_values_heeded_from_2_8_1_on(rig: Rig):
    command = "watch --full-interval 1m"
    [answer] = await rig.send("POST", "/backup/actions", 200, json={"command": command})
    assert answer["operation"] == command
    row = await rig.until("/backup/actions", command="watch")
    assert row["command"] == 'watch --full-interval="1m"'
    if rig.since(2, 8, 1):
        await rig.until("/backup/actions", command="watch", status="error")
    else:
        await _first_archive(rig)


async def test_a_value_behind_an_equals_sign_loses_the_connection_before_2_8_1(rig: Rig):
    body = {"command": "watch --watch-interval=1x"}
    if rig.since(2, 8, 1):
        await rig.send("POST", "/backup/actions", 200, json=body)
        return
    with pytest.raises(httpx.TransportError):
        await rig.http.post("/backup/actions", json=body)
    assert await rig.get("/backup/actions") == []


async def test_a_second_watch_is_refused(rig: Rig):
    await rig.send("POST", f"/backup/watch?{LONG}", 201)
    await rig.send("POST", "/backup/watch", 423)
    [error] = await rig.send("POST", "/backup/actions", 500, json={"command": "watch"})
    assert (error["operation"], error["error"]) == ("watch", "another operation is currently running")
