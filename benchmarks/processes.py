"""Processes that are measured, or measured against: commands go in and answers come out as lines of JSON."""

import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

MANY_FILES = 20_000

Command = Callable[..., Awaitable[Any]]


class Child:
    """A process of `python -m MODULE ARGUMENT…` that answers commands; it ends when its standard input does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
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
        """Wait until it uses less than that part of a CPU over a second."""
        for _ in range(int(within)):
            before = self.cpu
            await asyncio.sleep(1)
            if self.cpu - before < busy:
                return
        raise TimeoutError("the process does not come to rest")


@asynccontextmanager
async def child(
    module: str, *arguments: object, cpu: int | None = None, log: Path | None = None
) -> AsyncGenerator[Child, None]:
    """Run a process as long as the block, on one CPU if given; it has said that it is ready when the block begins.

    Its standard error goes into the file `log`.
    """

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY_FILES, MANY_FILES))
        if cpu is not None:
            pin(cpu)

    with (log or Path(os.devnull)).open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *map(str, arguments)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=2**26,
            preexec_fn=prepare,
        )
    assert process.stdin
    assert process.stdout
    try:
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{module} did not start")
        yield Child(process)
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()


async def answer(commands: Mapping[str, Command]) -> None:
    """Say that this process is ready, and answer commands until standard input ends."""
    reader = asyncio.StreamReader(limit=2**26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("ready", flush=True)
    while line := await reader.readline():
        name, arguments = json.loads(line)
        print(json.dumps(await commands[name](**arguments)), flush=True)


def pin(cpu: int) -> None:
    """Keep this process on one CPU, where there are several."""
    if hasattr(os, "sched_setaffinity") and len(available := sorted(os.sched_getaffinity(0))) > cpu:
        os.sched_setaffinity(0, {available[cpu]})
