import json
import os
import signal
import socket
import subprocess
import sys

import anyio
import pytest

import chbackup
from chbackup.cli import exit_code, main
from chbackup.testing import FakeSidecar


@pytest.fixture
def anyio_backend():
    return "asyncio"  # a real port needs a real clock


@pytest.fixture
def fake():
    sidecar = FakeSidecar(username="backup", password="secret-of-tests")
    sidecar.tables.add_table("shop.orders", 100)
    sidecar.duration.create = sidecar.duration.upload = sidecar.duration.download = sidecar.duration.restore = 0.05
    return sidecar


@pytest.fixture
async def run(fake, monkeypatch, capsys):
    async with fake.serve() as url:
        monkeypatch.setenv("CHBACKUP_URL", url)
        monkeypatch.setenv("CHBACKUP_USERNAME", "backup")
        monkeypatch.setenv("CHBACKUP_PASSWORD", "secret-of-tests")

        async def run(*arguments):
            code = await anyio.to_thread.run_sync(main, arguments)
            out, err = capsys.readouterr()
            return code, out, err

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


async def test_a_detached_backup_is_refused_like_any_other(fake, run):
    fake.add_remote("b1")
    assert (await run("backup", "b1", "--detach"))[0] == 2


async def test_adopt_and_detach_exclude_each_other(run):
    assert (await run("backup", "b1", "--detach", "--adopt"))[0] == 2


async def test_restore_over_tables_that_exist_needs_overwrite(fake, run):
    await run("backup", "b1")
    code, out, err = await run("restore", "b1")
    assert (code, out) == (2, "")
    assert "shop.orders" in err
    assert (await run("restore", "b1", "--overwrite"))[0] == 0


async def test_delete_of_a_broken_archive_needs_broken(fake, run):
    fake.add_remote("b1", broken=True)
    assert (await run("delete", "b1"))[0] == 2
    assert (await run("delete", "b1", "--broken"))[0] == 0


@pytest.mark.parametrize(("where", "count"), [((), 2), (("local",), 1), (("remote",), 1)])
async def test_list_prints_the_rows_as_json(fake, run, where, count):
    async with fake.client() as client:
        await (await client.create_remote("b1")).wait()
    code, out, _ = await run("list", *where, "-o", "json")
    assert code == 0
    rows = json.loads(out)
    assert len(rows) == count
    assert rows[0]["name"] == "b1"
    assert "T" in rows[0]["created"]


async def test_long_names_stay_on_one_line(fake, run):
    fake.add_remote("x" * 150)
    _, out, _ = await run("list", "remote")
    assert len(out.splitlines()) == 2


async def test_an_error_is_one_line_on_stderr(run):
    code, out, err = await run("restore", "nosuch")
    assert (code, out) == (2, "")
    assert err == "chbackup: restore nosuch: there is no such archive in the remote list\n"


async def test_wrong_credentials_are_3(run, monkeypatch):
    monkeypatch.setenv("CHBACKUP_PASSWORD", "wrong")
    assert (await run("list"))[0] == 3


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


async def test_the_deadline_is_4(fake, run):
    fake.duration.upload = 60
    code, _, err = await run("backup", "b1", "--timeout", "1")
    assert code == 4
    assert "`create_remote b1` is in progress" in err


async def test_what_fails_is_1(fake, run):
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


@pytest.mark.parametrize("arguments", [["nosuch"], ["list", "everywhere"], ["wait", "no-token"], ["backup"], []])
def test_wrong_usage_is_2(arguments, monkeypatch, capsys):
    monkeypatch.setenv("CHBACKUP_URL", "http://127.0.0.1:1")
    assert main(arguments) == 2


def test_help_is_0(capsys):
    assert main(["--help"]) == 0
    assert "backup" in capsys.readouterr().out


def test_without_a_url_nothing_is_done(monkeypatch, capsys):
    monkeypatch.delenv("CHBACKUP_URL", raising=False)
    assert main(["list"]) == 2
    assert "CHBACKUP_URL" in capsys.readouterr().err


def test_nobody_there_is_3(capsys):
    assert main(["list", "--url", "http://127.0.0.1:1"]) == 3


HEEDS_INTERRUPTS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may inherit it as ignored
from chbackup.cli import main
sys.exit(main())
"""


def test_an_interrupt_is_130():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-c", HEEDS_INTERRUPTS, "list", "--url", url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1)
                process.send_signal(signal.SIGINT)
                _, words = process.communicate(timeout=20)
            assert words == "chbackup: interrupted; what was started on the server goes on\n"
            assert process.returncode == 130


def test_without_the_extra_it_is_named(tmp_path):
    hide = tmp_path / "typer.py"
    hide.write_text("raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')")
    command = [sys.executable, "-c", "import chbackup.cli"]
    found = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert found.stderr == "typer is missing: pip install 'chbackup[cli]'\n"
