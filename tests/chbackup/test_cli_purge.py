import json
import os
from datetime import datetime, timedelta

import pytest
from tests.chbackup.cli import PASSWORD, commands, quick_sidecar

import chbackup
from chbackup._cli_purge import read_shard, read_span
from chbackup.testing import FakeStorage

LONG_AGO = datetime(2025, 12, 1)


@pytest.fixture
def anyio_backend():
    return "asyncio"  # a real port needs a real clock


@pytest.fixture
def fake():
    sidecar = quick_sidecar()
    for day in range(4):
        sidecar.add_remote(f"shop-{20251201 + day}", created=LONG_AGO + timedelta(days=day))
    return sidecar


@pytest.fixture
async def run(fake, monkeypatch, capsys):
    async with commands(fake, monkeypatch, capsys) as run:
        yield run


async def test_a_dry_run_shows_the_plan_and_deletes_nothing(fake, run):
    code, out, _ = await run("purge", "--keep-last", "1", "--dry-run")
    assert code == 0
    verdicts = [(line.split()[1], line.split()[6]) for line in out.splitlines()[1:5]]
    assert verdicts == [
        ("shop-20251201", "delete"),
        ("shop-20251202", "delete"),
        ("shop-20251203", "delete"),
        ("shop-20251204", "keep"),
    ]
    assert "3 to delete, 1 to keep; " in out
    assert len(fake.remote) == 4


async def test_a_dry_run_for_programs(run):
    code, out, err = await run("purge", "--keep-last", "3", "--dry-run", "-o", "json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    deleted = [decision["archive"]["name"] for decision in found["plan"]["decisions"] if decision["delete"]]
    assert deleted == ["shop-20251201"]
    assert found["plan"]["bytes_freed"] > 0
    assert found["bytes_freed"] == 0


async def test_what_no_rule_keeps_is_deleted(fake, run, tmp_path):
    journal = tmp_path / "purge.jsonl"
    code, out, err = await run("purge", "--keep-last", "2", "--yes", "--journal", str(journal))
    assert code == 0
    assert sorted(fake.remote) == ["shop-20251203", "shop-20251204"]
    assert "2 deleted, " in out
    assert [line.split()[:2] for line in err.splitlines()] == [
        ["deleted", "shop-20251201"],
        ["deleted", "shop-20251202"],
    ]
    assert journal.read_text()
    assert PASSWORD not in journal.read_text()


async def test_results_for_programs(run):
    code, out, _ = await run("purge", "--keep-last", "2", "--yes", "-o", "json")
    assert code == 0
    found = json.loads(out)
    assert [result["outcome"] for result in found["results"]] == ["deleted", "deleted"]
    assert found["bytes_freed"] == found["plan"]["bytes_freed"]


async def test_rules_that_protect(fake, run):
    arguments = ("--older-than", "1d", "--match", "shop-*", "--protect", "*01", "--protect", "*02", "--yes")
    assert (await run("purge", *arguments))[0] == 0
    assert sorted(fake.remote) == ["shop-20251201", "shop-20251202", "shop-20251204"]


async def test_without_a_terminal_and_without_yes_it_refuses_after_the_plan(fake, run):
    code, out, err = await run("purge", "--keep-last", "1")
    assert code == 2
    assert "3 to delete" in out
    assert "--yes" in err
    assert len(fake.remote) == 4


async def test_nothing_to_delete_needs_no_answer(run):
    assert (await run("purge", "--keep-last", "9"))[0] == 0


async def test_what_is_in_use_stays_and_that_is_1_and_in_the_table(fake, run):
    fake.duration.create = 60
    async with fake.client() as client:
        await client.create_remote("increment", diff_from_remote="shop-20251202")
    code, out, err = await run("purge", "--keep-last", "2", "--yes", "--timeout", "1")
    assert code == 1
    assert "kept shop-20251202" in err
    assert out.splitlines()[-1].split()[1:3] == ["shop-20251202", "kept"]
    assert "shop-20251202" in fake.remote


async def test_without_its_journal_nothing_is_deleted(fake, run, tmp_path):
    code, _, err = await run("purge", "--keep-last", "1", "--yes", "--journal", str(tmp_path))
    assert code != 0
    assert "journal" in err
    assert len(fake.remote) == 4


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--keep-last", "-1"],
        ["--older-than", "soon"],
        ["--keep-last", "1", "--shard", "2/2"],
        ["--keep-last", "1", "--shard", "1"],
        ["--keep-last", "1", "--targets", "nosuch.yaml", "--url", "http://127.0.0.1:1"],
        ["--keep-last", "1", "--targets", "nosuch.yaml"],
    ],
)
async def test_wrong_usage_is_2(arguments, fake, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = await run("purge", *arguments)
    assert code == 2
    assert err


async def test_without_a_rule_the_options_are_named(run):
    code, _, err = await run("purge", "--yes")
    assert code == 2
    assert "--older-than" in err
    assert "--keep-last" in err


async def test_targets_from_a_file(monkeypatch, capsys, tmp_path):
    storage = FakeStorage()
    fakes = [quick_sidecar(storage=storage, path=path) for path in ("one", "two")]
    for size, fake in enumerate(fakes, 1000):
        for name, day in (("old", 0), ("shop-20251201", 1), ("shop-20251202", 2)):
            fake.add_remote(name, created=LONG_AGO + timedelta(days=day), data_size=size)
    monkeypatch.setenv("PASSWORD_OF_ALL", PASSWORD)
    path = tmp_path / "sidecars.json"
    async with commands(fakes[0], monkeypatch, capsys) as run, fakes[1].serve() as second:
        targets = [
            {"url": url, "username": "backup", "password_env": "PASSWORD_OF_ALL", "storage": name}
            for url, name in ((os.environ["CHBACKUP_URL"], "a"), (second, "b"))
        ]
        path.write_text(json.dumps(targets))
        code, out, _ = await run("purge", "--targets", str(path), "--keep-last", "1", "--match", "shop-*", "--yes")
        assert code == 0
        assert [sorted(fake.remote) for fake in fakes] == [["old", "shop-20251202"], ["old", "shop-20251202"]]
        seen: list[str] = []
        for number in range(2):
            code, out, _ = await run(
                "purge", "--targets", str(path), "--keep-last", "1", "--shard", f"{number}/2", "--dry-run", "-o", "json"
            )
            assert code == 0
            seen += {decision["storage"] for decision in json.loads(out)["plan"]["decisions"]}
        assert sorted(seen) == ["a", "b"]


async def test_a_sidecar_that_cannot_be_asked_is_1_and_in_the_table(fake, run):
    fake.faults.refuse = True
    code, out, _ = await run("purge", "--keep-last", "1", "--yes", "--timeout", "1")
    assert code == 1
    assert "unreachable" in out


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30d", timedelta(days=30)),
        ("1w12h", timedelta(days=7, hours=12)),
        ("45m", timedelta(minutes=45)),
        ("0s", timedelta()),
    ],
)
def test_spans(text, span):
    assert read_span(text) == span


@pytest.mark.parametrize("text", ["", "30", "d", "30D", "-1d", "1d ", "P30D", "1.5d", "٣d"])
def test_what_is_no_span(text):
    with pytest.raises(chbackup.InvalidInput, match="--older-than"):
        read_span(text)


def test_a_shard():
    assert read_shard("3/8") == (3, 8)


@pytest.mark.parametrize("text", ["", "8", "8/8", "0/0", "-1/8", "a/b"])
def test_what_is_no_shard(text):
    with pytest.raises(chbackup.InvalidInput, match="--shard"):
        read_shard(text)
