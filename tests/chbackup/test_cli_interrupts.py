"""Ctrl-C and SIGTERM, sent to processes."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from datetime import datetime

import anyio
import pytest
from tests.chbackup.cli import command, environment, quick_sidecar


@pytest.fixture
def anyio_backend():
    return "asyncio"  # processes need a real clock


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_reads_just_ends(number):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen(command("list", "--url", url), stderr=subprocess.PIPE, text=True) as process:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1)
                process.send_signal(number)
                _, words = process.communicate(timeout=20)
            assert words == "chbackup: interrupted\n"
            assert process.returncode == 130


async def interrupted(fake, url, *arguments, after):
    """Interrupt a command once `after()`; returns its exit code and stderr."""
    env = {**os.environ, **environment(url)}
    with anyio.fail_after(30):
        async with await anyio.open_process(command(*arguments), env=env) as process:
            while not after():  # noqa: ASYNC110 - a fake offers no event
                await anyio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.stderr
            words = b"".join([chunk async for chunk in process.stderr]).decode()
            return await process.wait(), words


async def test_who_waits_detaches_and_is_told_how_to_come_back():
    fake = quick_sidecar()
    fake.duration.upload = 3

    def polled():  # the second question shows that the first one's answer has arrived
        return sum(request.path == "/backup/status" for request in fake.requests) > 1

    async with fake.serve() as url:
        code, words = await interrupted(fake, url, "backup", "b1", "--tables", "shop.*", after=polled)
        assert code == 130
        assert words.splitlines()[-1] == "chbackup: interrupted"
        assert "the server goes on with `create_remote b1`" in words
        assert "`chbackup backup b1 --tables 'shop.*' --adopt` follows and proves it" in words
        [resume] = re.findall("`(chbackup wait .*)`", words)
        async with fake.client() as client:
            assert [row.status for row in await client.actions(filter="create_remote")] == ["in progress"]
        env = {**os.environ, **environment(url)}
        found = await anyio.run_process([sys.executable, "-m", "chbackup.cli", *shlex.split(resume)[1:]], env=env)
        assert b"success" in found.stdout


async def test_a_purge_stops_and_the_same_command_goes_on():
    fake = quick_sidecar()
    for day in range(1, 5):
        fake.add_remote(f"shop-2025010{day}", created=datetime(2025, 1, day))

    def deleting():
        return any(request.path.startswith("/backup/delete") for request in fake.requests)

    async with fake.serve() as url:
        fake.faults.delay = 0.2
        purge = ("purge", "--keep-last", "1", "--yes")
        code, words = await interrupted(fake, url, *purge, after=deleting)
        assert code == 130
        assert re.search(r"stopped after \d of 3; the same command goes on", words)
        assert 1 < len(fake.remote) <= 4
        fake.faults.delay = 0
        env = {**os.environ, **environment(url)}
        await anyio.run_process([sys.executable, "-m", "chbackup.cli", *purge], env=env)
        assert list(fake.remote) == ["shop-20250104"]


SHIELDED = """
import os, signal, sys
import anyio
from chbackup._cli_command import run_job
signal.signal(signal.SIGINT, signal.default_int_handler)

async def job():
    print("ready", flush=True)
    try:
        await anyio.sleep_forever()
    finally:
        print("stopping", flush=True)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(60)

run_job(job)
"""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_leaves_at_once(second):
    with subprocess.Popen([sys.executable, "-c", SHIELDED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(second)
        assert process.wait(timeout=20) == 130


IGNORING = """
import os, signal
import anyio
from chbackup._cli_command import run_job
signal.signal(signal.SIGINT, signal.SIG_IGN)

async def job():
    os.kill(os.getpid(), signal.SIGINT)
    await anyio.sleep(0.1)
    print("done", flush=True)

run_job(job)
"""


def test_what_the_parent_process_ignores_stays_ignored():
    found = subprocess.run([sys.executable, "-c", IGNORING], capture_output=True, text=True, check=True)
    assert found.stdout == "done\n"
