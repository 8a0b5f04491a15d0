"""The commands against a fake sidecar on a real port."""

import sys
from contextlib import asynccontextmanager

import anyio

from chbackup.cli import main
from chbackup.testing import FakeSidecar

PASSWORD = "secret-of-tests"

HEEDS_INTERRUPTS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may inherit it as ignored
from chbackup.cli import main
sys.exit(main())
"""


def quick_sidecar(**options):
    """A sidecar whose work takes a moment of real time."""
    sidecar = FakeSidecar(username="backup", password=PASSWORD, **options)
    sidecar.tables.add_table("shop.orders", 100)
    sidecar.duration.create = sidecar.duration.upload = sidecar.duration.download = sidecar.duration.restore = 0.05
    return sidecar


def environment(url):
    return {"CHBACKUP_URL": url, "CHBACKUP_USERNAME": "backup", "CHBACKUP_PASSWORD": PASSWORD}


def command(*arguments):
    """A command as a process of its own."""
    return [sys.executable, "-c", HEEDS_INTERRUPTS, *arguments]


@asynccontextmanager
async def commands(fake, monkeypatch, capsys):
    """Yield what runs a command against the sidecar; it returns exit code, stdout and stderr."""

    async def run(*arguments):
        code = await anyio.to_thread.run_sync(main, arguments)
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        return code, out, err

    async with fake.serve() as url:
        for name, value in environment(url).items():
            monkeypatch.setenv(name, value)
        yield run
