"""Servers as subprocesses: loopback ports, folders, log files, signals and readiness."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc
import httpx

# The kernel kills the server when the process that runs the tests dies, however it dies.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


def which(program: str) -> str | None:
    """Return the path of a program, also of one that only an administrator's PATH has."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")


def cache() -> Path:
    """Return the folder where install.sh puts what it builds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chbackup-real"


def loopback(number: int) -> str:
    """An address of this test process alone, where several share out the tests."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return f"127.0.{worker}.{number}"


def free_ports(address: str, count: int) -> list[int]:
    """Return ports that nothing listens on at this moment, all different."""
    sockets = [socket.create_server((address, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def wait_until(condition: Callable[[], Awaitable[bool]], *, timeout: float, what: str) -> None:
    """Poll a condition every 50 ms; raises TimeoutError naming what was waited for."""
    with anyio.move_on_after(timeout):
        while True:
            if await condition():
                return
            await anyio.sleep(0.05)
    raise TimeoutError(f"{what}: not within {timeout:g} s")


def http(url: str, **options: Any) -> httpx.AsyncClient:
    """Return a plain client for a loopback address, which no proxy setting of the environment reaches."""
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=60, **({"verify": False} | options))


async def answers(client: httpx.AsyncClient, path: str) -> bool:
    """Tell whether a server answers a GET with a 2xx status; refused and slow connections count as no."""
    try:
        return (await client.get(path)).is_success
    except httpx.TransportError:
        return False


class Server(ABC):
    """A real server with a temporary folder of its own.

    `async with` starts it; at the end it is killed and waited for, and its folder is removed.
    """

    name: str
    start_timeout: float = 30
    folder: Path

    def __init__(self) -> None:
        self._process: anyio.abc.Process | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the program and its arguments; called at each start, with `folder` in place."""

    @abstractmethod
    async def is_ready(self) -> bool:
        """Tell whether the server answers."""

    def environment(self) -> Mapping[str, str]:
        """Return what the server's environment has beyond PATH, HOME and TMPDIR."""
        return {}

    @property
    def log(self) -> Path:
        """The file that takes the server's output, of all its starts."""
        return self.folder / "log"

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended, by itself or by us."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The running process, which leads a group of its own; raises RuntimeError when there is none."""
        if self._process is None or not self.running:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    async def start(self) -> None:
        """Start the process and wait until it is ready; raises RuntimeError with the tail of its log."""
        if self.running:
            raise RuntimeError(f"{self.name} is running already")
        program = [*DIE_WITH_PARENT, *self.command()]
        folder = str(self.folder)
        base = {"PATH": os.environ.get("PATH", os.defpath), "HOME": folder, "TMPDIR": folder}
        with self.log.open("ab") as log:
            self._process = await anyio.open_process(
                program,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**base, **self.environment()},
                start_new_session=True,
            )
        await self._wait_until_ready()

    async def kill(self) -> None:
        """End the process with SIGKILL and wait for it; nothing happens when none is running."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> None:
        """End the process with SIGTERM and wait for it, for 10 s; then it is killed."""
        with anyio.move_on_after(10):
            await self._end(signal.SIGTERM)
        await self.kill()

    async def restart(self) -> None:
        """Kill the process and start it again, on the same folder."""
        await self.kill()
        await self.start()

    def freeze(self) -> None:
        """Stop the process with SIGSTOP: connections are accepted by the kernel and never answered."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        os.killpg(self.pid, signal.SIGCONT)

    async def __aenter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        try:
            await self.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.kill()
            await anyio.to_thread.run_sync(shutil.rmtree, self.folder)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        await self._process.wait()

    async def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None

        async def ready_or_gone() -> bool:
            return process.returncode is not None or await self.is_ready()

        try:
            await wait_until(ready_or_gone, timeout=self.start_timeout, what=f"{self.name} ready")
        except TimeoutError as error:
            raise RuntimeError(f"{error}\n{self._log_tail()}") from None
        if process.returncode is not None:
            raise RuntimeError(f"{self.name} ended with code {process.returncode}\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
