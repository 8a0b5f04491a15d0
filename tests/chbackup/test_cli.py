import json
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import yaml
from tests.chbackup.cli import commands, quick_sidecar

import chbackup
from chbackup._cli_errors import exit_code, next_steps
from chbackup._cli_follow import Follower, way_back
from chbackup.cli import main


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


async def test_a_backup_is_made_restored_and_deleted(fake, run):
    code, out, err = await run("backup", "b1", "--tables", "shop.*")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[:2] == ["b1", "remote"]
    fake.tables.drop("shop.orders")
    code, out, _ = await run("restore", "b1", "-o", "json")
    assert code == 0
    assert [table["name"] for table in json.loads(out)["tables"]] == ["shop.orders"]
    assert fake.tables.count("shop.orders") == 100
    assert (await run("delete", "b1"))[:2] == (0, "b1: deleted remotely\n")
    assert (await run("delete", "b1"))[:2] == (0, "b1: there was none\n")


async def test_results_are_objects_for_programs(run):
    code, out, _ = await run("backup", "b1", "-o", "json")
    assert (code, json.loads(out)["name"]) == (0, "b1")
    code, out, _ = await run("delete", "b1", "-o", "yaml")
    found = yaml.safe_load(out)
    assert (code, found["name"], [archive["location"] for archive in found["deleted"]]) == (0, "b1", ["remote"])


async def test_an_increment_is_made(fake, run):
    assert (await run("backup", "full"))[0] == 0
    fake.tables.insert("shop.orders", 5)
    assert (await run("backup", "incr", "--diff-from-remote", "full"))[0] == 0
    assert fake.remote["incr"].metadata.required == "full"
    code, _, err = await run("delete", "full")
    assert code == 2
    assert "incr" in err


async def test_a_detached_backup_is_waited_for_by_its_token(run):
    code, token, _ = await run("backup", "b1", "--detach")
    assert code == 0
    code, out, _ = await run("wait", token.strip(), "-o", "json")
    assert code == 0
    assert json.loads(out)["status"] == "success"
    assert (await run("backup", "b1", "--adopt"))[0] == 0


async def test_the_token_for_programs(run):
    code, out, _ = await run("backup", "b1", "--detach", "-o", "json")
    assert code == 0
    assert (await run("wait", json.loads(out)["token"]))[0] == 0


async def test_a_detached_backup_is_refused_like_any_other(fake, run):
    fake.add_remote("b1")
    code, _, err = await run("backup", "b1", "--detach")
    assert code == 2
    assert "--adopt" in err


async def test_adopt_and_detach_exclude_each_other(run):
    assert (await run("backup", "b1", "--detach", "--adopt"))[0] == 2


async def test_restore_over_tables_that_exist_needs_overwrite(fake, run):
    await run("backup", "b1")
    code, out, err = await run("restore", "b1")
    assert (code, out) == (2, "")
    assert "shop.orders" in err
    assert "`--overwrite`" in err.splitlines()[1]
    assert (await run("restore", "b1", "--overwrite"))[0] == 0


async def test_delete_of_a_broken_archive_needs_broken(fake, run):
    fake.add_remote("b1", broken=True)
    code, _, err = await run("delete", "b1")
    assert code == 2
    assert "`--broken`" in err.splitlines()[1]
    assert (await run("delete", "b1", "--broken"))[0] == 0


async def test_wait_for_what_failed_is_1(run):
    _, token, _ = await run("backup", "b1", "--tables", "no.such", "--detach")
    code, out, err = await run("wait", token.strip())
    assert (code, out) == (1, "")
    assert "no tables for backup" in err


async def test_wait_past_its_deadline_is_4_and_names_the_token(fake, run):
    fake.duration.upload = 60
    token = (await run("backup", "b1", "--detach"))[1].strip()
    code, _, err = await run("wait", token, "--timeout", "0.3")
    assert code == 4
    assert f"`chbackup wait {token}` follows it" in err


async def test_cancel_says_what_is_left_behind(fake, run):
    fake.duration.upload = 60
    token = (await run("backup", "b1", "--detach"))[1].strip()
    while not fake.local:  # noqa: ASYNC110 - a fake offers no event
        await anyio.sleep(0.01)
    code, out, err = await run("cancel", token, "-o", "json")
    assert code == 0
    assert "`chbackup delete b1" in err
    found = json.loads(out)
    assert found["row"]["status"] == "cancel"
    assert found["local"]["name"] == "b1"


async def test_cancel_of_what_has_ended_leaves_it(fake, run):
    token = (await run("backup", "b1", "--detach"))[1].strip()
    await run("wait", token)
    code, out, err = await run("cancel", token)
    assert (code, err) == (0, "")
    assert "success" in out
    assert fake.remote["b1"]


async def test_wrong_credentials_are_3(run, monkeypatch):
    monkeypatch.setenv("CHBACKUP_PASSWORD", "wrong")
    code, _, err = await run("list")
    assert code == 3
    assert "CHBACKUP_PASSWORD" in err.splitlines()[1]


async def test_an_argument_beats_the_environment(run, tmp_path, monkeypatch):
    path = tmp_path / "password"
    path.write_text("secret-of-tests\n")
    monkeypatch.setenv("CHBACKUP_PASSWORD", "wrong")
    assert (await run("list", "--password-file", str(path)))[0] == 0
    assert (await run("list", "--password-file", str(path), "--username", "wrong"))[0] == 3


async def test_the_password_may_stand_in_a_file(run, tmp_path, monkeypatch):
    path = tmp_path / "password"
    path.write_text("secret-of-tests\n")
    monkeypatch.delenv("CHBACKUP_PASSWORD")
    monkeypatch.setenv("CHBACKUP_PASSWORD_FILE", str(path))
    assert (await run("list"))[0] == 0
    path.unlink()
    assert (await run("list"))[0] == 2


async def test_an_error_says_what_to_do_next(run):
    code, out, err = await run("restore", "nosuch")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "chbackup: restore nosuch: there is no such archive in the remote list",
        "`chbackup list` shows what there is",
    ]


async def test_the_deadline_is_4_and_says_how_to_come_back(fake, run):
    fake.duration.upload = 60
    code, _, err = await run("backup", "b1", "--tables", "shop.*", "--timeout", "1")
    assert code == 4
    assert "`create_remote b1` is in progress" in err or "create_remote --tables" in err
    assert "`chbackup backup b1 --tables 'shop.*' --adopt` follows and proves it" in err


async def test_what_fails_is_1(run):
    code, _, err = await run("backup", "b1", "--tables", "no.such")
    assert code == 1
    assert "no tables for backup" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (chbackup.OperationFailed, 1),
        (chbackup.OperationCancelled, 1),
        (chbackup.NotVerified, 1),
        (chbackup.ServerError, 1),
        (chbackup.InvalidInput, 2),
        (chbackup.RequiredByOthers, 2),
        (chbackup.Unsupported, 2),
        (chbackup.NotFound, 2),
        (chbackup.ConnectionFailed, 3),
        (chbackup.Unauthorized, 3),
        (chbackup.WaitTimeout, 4),
        (chbackup.OperationLost, 5),
    ],
)
def test_exit_codes(error, code):
    assert exit_code(error("words")) == code


def test_the_increments_are_named_in_the_order_of_deletion():
    error = chbackup.RequiredByOthers("words")
    error.dependents = ("nearest", "farthest")
    assert next_steps(error) == ["delete the increments first: farthest nearest"]


@pytest.mark.parametrize("arguments", [["nosuch"], ["list", "everywhere"], ["wait", "no-token"], ["backup"], []])
def test_wrong_usage_is_2(arguments, monkeypatch, capsys):
    monkeypatch.setenv("CHBACKUP_URL", "http://127.0.0.1:1")
    assert main(arguments) == 2


def test_without_a_url_nothing_is_done(monkeypatch, capsys):
    monkeypatch.delenv("CHBACKUP_URL", raising=False)
    assert main(["list"]) == 2
    assert "CHBACKUP_URL" in capsys.readouterr().err


def test_nobody_there_is_3(capsys):
    assert main(["list", "--url", "http://127.0.0.1:1"]) == 3
    assert "--url" in capsys.readouterr().err.splitlines()[1]


OPERATION: Any = SimpleNamespace(verb="create_remote", name="b1", token="chb1:t")
COMMON: Any = SimpleNamespace(again=lambda *words: " ".join(words))


def told(*progress):
    follower = Follower(lambda _: None)
    for step, operation in progress:
        follower(chbackup.Progress(step, "b1", operation=operation))
    return follower


def words_for(follower):
    return way_back(COMMON, follower, ("backup", "b1"), "goes on")


def test_who_leaves_a_running_operation_learns_its_token_and_both_commands():
    assert words_for(told(("submitting", None), ("following", OPERATION))) == [
        "the server goes on with `create_remote b1`",
        "token: chb1:t",
        "`wait chb1:t` follows it",
        "`backup b1` goes on",
    ]


def test_who_leaves_while_a_reply_is_out_learns_that_nothing_is_known():
    expected = ["whether it was started on the server is not known; `backup b1` goes on"]
    assert words_for(told(("submitting", None))) == expected


@pytest.mark.parametrize("step", ["verifying", "cleaning up"])
def test_who_leaves_after_the_end_of_the_operation_is_not_told_that_it_goes_on(step):
    assert words_for(told(("following", OPERATION), (step, OPERATION))) == ["`backup b1` goes on"]
