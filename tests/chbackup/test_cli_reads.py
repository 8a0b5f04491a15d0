import json

import pytest
import yaml
from tests.chbackup.cli import commands, quick_sidecar

from chbackup._cli_output import plain, printable


@pytest.fixture
def anyio_backend():
    return "asyncio"  # a real port needs a real clock


@pytest.fixture
def fake():
    return quick_sidecar()


@pytest.fixture
async def run(fake, monkeypatch, capsys):
    async with commands(fake, monkeypatch, capsys) as run:
        yield run


async def rows_of(run, *arguments):
    code, out, err = await run(*arguments, "-o", "json")
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize(("where", "count"), [((), 2), (("local",), 1), (("remote",), 1)])
async def test_list_prints_the_rows_with_typed_times(fake, run, where, count):
    async with fake.client() as client:
        await (await client.create_remote("b1")).wait()
    rows = await rows_of(run, "list", *where)
    assert [row["name"] for row in rows] == ["b1"] * count
    assert "T" in rows[0]["created"]
    code, out, _ = await run("list", *where, "-o", "yaml")
    assert (code, yaml.safe_load(out)) == (0, rows)


async def test_list_says_what_is_broken(fake, run):
    fake.add_remote("b1", broken=True)
    assert "broken" in (await run("list"))[1].splitlines()[1]


async def test_long_names_stay_on_one_line(fake, run):
    fake.add_remote("x" * 150)
    _, out, _ = await run("list", "remote")
    assert len(out.splitlines()) == 2


async def test_an_empty_list_has_its_heading_only(run):
    assert len((await run("list"))[1].splitlines()) == 1
    assert await rows_of(run, "list") == []


async def test_tables_of_clickhouse_by_pattern(fake, run):
    fake.tables.add_table("other.t", 1)
    assert [row["name"] for row in await rows_of(run, "tables", "shop.*")] == ["orders"]
    code, out, _ = await run("tables", "shop.*")
    assert code == 0
    assert "shop.orders" in out
    assert "other.t" not in out


async def test_tables_of_an_archive(run):
    await run("backup", "b1")
    assert [row["name"] for row in await rows_of(run, "tables", "--remote-backup", "b1")] == ["orders"]
    assert (await run("tables", "--remote-backup", "nosuch"))[0] == 2


async def test_the_query_that_may_hold_a_password_is_in_no_table(run):
    assert "CREATE TABLE" in (await rows_of(run, "tables", "shop.*"))[0]["create_table_query"]
    out = (await run("tables", "shop.*"))[1]
    assert "CREATE" not in out
    assert "(" not in out.splitlines()[1].split()[1]


async def test_actions_status_and_version(fake, run):
    assert await rows_of(run, "status") == []
    await run("backup", "b1")
    [row] = await rows_of(run, "actions", "--filter", "create_remote")
    assert (row["command"], row["status"]) == ("create_remote b1", "success")
    assert "T" in row["start"]
    assert "position" not in row
    assert len(await rows_of(run, "actions")) > 1
    assert len(await rows_of(run, "actions", "--last", "1")) == 1
    assert len(await rows_of(run, "status")) == 1
    assert (await run("version"))[1] == "2.7.4\n"
    assert await rows_of(run, "version") == [{"version": "2.7.4"}]


async def test_last_is_bounded(run):
    assert (await run("actions", "--last", "0"))[0] == 2
    assert (await run("actions", "--last", "40000"))[0] == 2


async def test_no_colour_where_there_is_no_terminal(run, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    _, out, err = await run("list")
    assert "\x1b" not in out + err
    assert "\x1b" not in (await run("delete", "no/name"))[2]


def test_what_a_server_says_moves_no_cursor():
    assert printable("a\x1b[2Jb\r\nc\x07 ü") == "a�[2Jb� c� ü"


def test_what_programs_get_is_plain():
    assert plain({"a": (1, None, "x"), 2: True}) == {"a": [1, None, "x"], "2": True}
