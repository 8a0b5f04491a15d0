"""On a terminal: questions, and colour and progress on stderr."""

import os
import pty
import subprocess
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
import pytest
from tests.chbackup.cli import command, environment, quick_sidecar


@pytest.fixture
def anyio_backend():
    return "asyncio"  # a terminal needs a real clock


@pytest.fixture
def fake():
    sidecar = quick_sidecar()
    sidecar.add_remote("shop-20250101", created=datetime(2025, 1, 1))
    sidecar.add_remote("shop-20250102", created=datetime(2025, 1, 2))
    return sidecar


class Terminal:
    """The other side of a process's terminal."""

    def __init__(self, master):
        self._master = master
        self.shown = ""

    def type(self, keys):
        os.write(self._master, keys)

    async def until(self, text):
        with anyio.fail_after(20):
            while text not in self.shown:
                await self.read()

    async def read(self):
        await anyio.wait_readable(self._master)
        self.shown += os.read(self._master, 4096).decode()


@asynccontextmanager
async def on_terminal(url, *arguments):
    """Run a command as the foreground process of a terminal of its own."""
    master, slave = pty.openpty()
    env = {**os.environ, **environment(url), "TERM": "xterm"}
    process = await anyio.open_process(
        ["setsid", "--ctty", *command(*arguments)], stdin=slave, stderr=slave, stdout=subprocess.PIPE, env=env
    )
    try:
        yield process, Terminal(master)
    finally:
        if process.returncode is None:
            process.kill()
        os.close(master)
        os.close(slave)


async def end(process):
    with anyio.fail_after(20):
        out = b"".join([chunk async for chunk in process.stdout]).decode()
        return await process.wait(), out


@pytest.mark.parametrize(
    ("keys", "code", "left"),
    [(b"y\n", 0, 1), (b"n\n", 2, 2), (b"\x03", 130, 2)],
    ids=["yes", "no", "Ctrl-C"],
)
async def test_purge_asks(fake, keys, code, left):
    async with fake.serve() as url, on_terminal(url, "purge", "--keep-last", "1") as (process, terminal):
        await terminal.until("[y/N]: ")
        await anyio.sleep(0.2)  # a signal just before a read begins does not interrupt it
        terminal.type(keys)
        found, out = await end(process)
        await terminal.read()
    assert found == code
    assert len(fake.remote) == left
    assert ("deleting" in terminal.shown) == (code == 0)
    assert "\x1b" not in out
