"""Processes that are measured, or measured against: commands go in and answers come out as lines of JSON."""

import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

MANY_FILES = 20_000
LONGEST_LINE = 2**26

Command = Callable[..., Awaitable[Any]]


class Measured:
    """A process: what it has used so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def cpu(self) -> float:
        """CPU seconds so far, user and system."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, field: str = "VmRSS") -> float:
        """Resident memory in MB: now, or with `VmHWM` at its peak."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

    async def quiet(self, *, busy: float = 0.02, within: float = 120.0) -> None:
        """Wait until it uses no more than that part of a CPU over a second."""
        for _ in range(int(within)):
            before = self.cpu
            await asyncio.sleep(1)
            if self.cpu - before <= busy:
                return
        raise TimeoutError("the process does not come to rest")


class Child(Measured):
    """A process of one of our modules, which answers commands."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__(process)
        self._turn = asyncio.Lock()

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Send a command and return its answer."""
        assert self._process.stdin
        assert self._process.stdout
        async with self._turn:
            self._process.stdin.write(json.dumps([command, arguments]).encode() + b"\n")
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{command}: the process has ended")
        return json.loads(line)


@asynccontextmanager
async def child(module: str, *arguments: object) -> AsyncGenerator[Child, None]:
    """Run a process that answers commands as long as the block; it is ready when the block begins."""
    async with running(module, *arguments, cpu=1, silent=False) as process:
        assert process.stdout
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{module} did not start")
        yield Child(process)


@asynccontextmanager
async def running(
    module: str, *arguments: object, cpu: int, silent: bool = True
) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """Run `python -m MODULE ARGUMENT…` on one CPU as long as the block; with `silent` its standard error is lost."""

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY_FILES, MANY_FILES))
        pin(cpu)

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL if silent else None,
        limit=LONGEST_LINE,
        preexec_fn=prepare,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()


async def answer(commands: Mapping[str, Command]) -> None:
    """Say that this process is ready, and answer commands until standard input ends."""
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("ready", flush=True)
    while line := await reader.readline():
        name, arguments = json.loads(line)
        print(json.dumps(await commands[name](**arguments)), flush=True)


def pin(cpu: int) -> None:
    """Keep this process on one CPU, where there are several."""
    if hasattr(os, "sched_setaffinity") and len(available := sorted(os.sched_getaffinity(0))) > cpu:
        os.sched_setaffinity(0, {available[cpu]})
