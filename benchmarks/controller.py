"""What the controller costs: `python -m benchmarks controller`, with `--quick` for small sizes that only try it.

The controller is a process of its own on one CPU; FakeCluster, sidecars and tenants are others on another CPU.
Beside each figure stands that of the reference controllers, measured on a machine of the same size: two Go processes
against kube-apiserver 1.33.4, which poll every 5 s.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from tests.real import RealCluster
from tests.real.processes import free_ports
from tests.real.report import participants

from benchmarks.controller_tenants import FIXTURES, Tenants, application, namespace
from benchmarks.processes import Child, Measured, child, pin, running
from cozydrivers import KubeClient
from cozydrivers.errors import ApiError


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    at_once: Sequence[int] = (100, 500, 2000)
    long: float = 60.0
    operations: Sequence[float] = (2.0, 10.0, 30.0)
    few: int = 20
    burst: int = 500
    idle: int = 2000
    idle_seconds: float = 60.0
    finished: int = 5000
    replayed: int = 200
    rounds: int = 5


SPREAD = 5.0
"""Seconds over which the ends of operations are spread whose delay is measured; the reference's were over 10 s."""

QUICK = Sizes((10, 50), 5.0, (1.0,), 5, 50, 100, 5.0, 200, 20, 1)


class Asked(Protocol):
    """Takes commands, in this process or another one."""

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Carry it out."""


class Here:
    """Tenants in this process, for a cluster that is not ours."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Carry it out; nobody counts requests."""
        return {} if command == "counts" else await getattr(self._tenants, command)(**arguments)


@dataclass
class World:
    """What a controller works against."""

    kubeconfig: str
    tenants: Asked
    sidecars: Child

    @asynccontextmanager
    async def controller(self, jobs: int) -> AsyncGenerator[Measured, None]:
        """Run a controller that lets so many jobs run at once; at rest when the block begins."""
        limits = [f"--max-running={jobs}", f"--max-running-per-namespace={jobs}"]
        (port,) = free_ports("127.0.0.1", 1)
        options = ["--no-leader-elect", f"--metrics-address=127.0.0.1:{port}", f"--kubeconfig={self.kubeconfig}"]
        async with running("cozydrivers", "run", *limits, *options, cpu=0) as process:
            controller = Measured(process)
            await controller.quiet()
            await self.tenants.ask("counts")
            yield controller

    async def ends(self, prefix: str, count: int, within: float) -> dict[str, float]:
        """Wait until so many jobs have succeeded; return when each did."""
        deadline = time.monotonic() + within
        while len(found := await self.tenants.ask("ends", prefix=prefix)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {count} jobs have ended after {within:g} s")
            await asyncio.sleep(0.2)
        failed = [name for name, (_, phase) in found.items() if phase != "Succeeded"]
        if failed:
            raise RuntimeError(f"{len(failed)} jobs have failed, {failed[0]} is one")
        return {name: at for name, (at, _) in found.items()}


@asynccontextmanager
async def world(applications: int, *, real: bool = False) -> AsyncGenerator[World, None]:
    """Run a cluster with so many applications and their sidecars, as long as the block."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        sidecars = await stack.enter_async_context(child("benchmarks.controller_sidecars", applications))
        made: Asked
        if real:
            cluster = await stack.enter_async_context(RealCluster())
            await cluster.apply_crds(FIXTURES / "crds")
            kubeconfig = str(cluster.kubeconfig())
            made = Here(Tenants(await stack.enter_async_context(KubeClient.connect(kubeconfig=kubeconfig))))
        else:
            kubeconfig = str(Path(folder, "kubeconfig"))
            made = await stack.enter_async_context(child("benchmarks.controller_cluster", kubeconfig))
        await made.ask("populate", applications=applications)
        yield World(kubeconfig, made, sidecars)


def row(what: str, measured: str, aim: str = "", reference: str = "-") -> None:
    """Print a line of the table."""
    print(f"| {what} | {measured} | {aim} | {reference} |", flush=True)


async def at_once(sizes: Sizes) -> None:
    """Run many long backups at the same time."""
    costs = []
    for count in sizes.at_once:
        async with world(count) as there, there.controller(count) as controller:
            await there.sidecars.ask("take", seconds=sizes.long)
            cpu = controller.cpu
            await there.tenants.ask("back_up", first=0, count=count, prefix="long")
            while await there.tenants.ask("running", prefix="long") < count:
                await asyncio.sleep(0.2)
            peak = controller.memory()
            await there.ends("long", count, within=sizes.long + count)
            await controller.quiet()
            costs.append((controller.cpu - cpu) / count)
            memory = controller.memory("VmHWM")
            requests = await there.tenants.ask("counts")
            what = f"{count:,} jobs over {count:,} sidecars at once, {sizes.long:g} s each"
            row(f"{what}: RSS, all running / peak", f"{peak:.0f} / {memory:.0f} MB", "< 300 MB", "201 MB with 500")
            row(f"{what}: CPU per job", f"{costs[-1] * 1e3:.1f} ms", "", "21.8 to 24.7 ms with 500")
            row(f"{what}: API requests per job", told(requests, count), "<= 9", "6 to 13")
    row("CPU per job, most over fewest jobs", f"{costs[-1] / costs[0]:.2f}", "flat", "2.2 (10 to 500 jobs: 1.0)")


def told(requests: dict[str, int], jobs: int) -> str:
    """Say how many requests a job took, watches and lists of the caches left out."""
    counted = {what: number / jobs for what, number in requests.items() if not what.startswith(("watch", "list"))}
    parts = ", ".join(f"{number:.2g} {what}" for what, number in sorted(counted.items(), key=lambda item: -item[1]))
    return f"{sum(counted.values()):.1f} ({parts})"


async def delay(sizes: Sizes, *, real: bool = False) -> None:
    """Measure from the end of an operation to Succeeded."""
    async with world(sizes.few, real=real) as there, there.controller(sizes.few) as controller:
        for number, seconds in enumerate(sizes.operations):
            await there.sidecars.ask("take", seconds=seconds, spread=SPREAD)
            prefix = f"delay{number}"
            await there.tenants.ask("back_up", first=0, count=sizes.few, prefix=prefix)
            between = await polled(there, prefix, seconds, sizes.few)
            found = await there.ends(prefix, sizes.few, within=seconds + 60)
            over = await there.sidecars.ask("ends")
            delays = sorted(at - over[application(int(name.rpartition("-")[2]))] for name, at in found.items())
            aim = f"<= {max(0.25, (seconds + SPREAD / 2) / 20) * 1e3:.0f} ms"
            where = "kube-apiserver, " * real
            length = f"{seconds:g} to {seconds + SPREAD:g} s"
            what = f"{where}{sizes.few} operations of {length}: end of operation to Succeeded, median / worst"
            row(what, f"{median(delays) * 1e3:.0f} / {delays[-1] * 1e3:.0f} ms", aim, "2,700 / 4,400 ms with 10")
            if between is not None and not real:
                row(f"{what.split(':')[0]}: API requests while they are polled", str(between), "0", "1 per poll")
            await controller.quiet()


async def polled(there: World, prefix: str, seconds: float, jobs: int) -> int | None:
    """Count the API requests in the middle of long operations; None where they are too short to tell."""
    while await there.tenants.ask("running", prefix=prefix) < jobs:
        await asyncio.sleep(0.05)
    if seconds < 5:
        return None
    await asyncio.sleep(seconds * 0.2)
    await there.tenants.ask("counts")
    await asyncio.sleep(seconds * 0.4)
    counts: dict[str, int] = await there.tenants.ask("counts")
    return sum(number for what, number in counts.items() if not what.startswith(("watch", "list")))


async def burst(sizes: Sizes, *, real: bool = False) -> None:
    """Create many jobs at once whose engines are done immediately."""
    async with world(sizes.burst, real=real) as there, there.controller(sizes.burst) as controller:
        await there.sidecars.ask("take", seconds=0.0)
        cpu = controller.cpu
        began = await there.tenants.ask("back_up", first=0, count=sizes.burst, prefix="burst")
        found = await there.ends("burst", sizes.burst, within=sizes.burst)
        spent = controller.cpu - cpu
        what = f"{'kube-apiserver, ' * real}{sizes.burst} jobs created at once, engines done immediately: drained in"
        took = max(found.values()) - began
        row(what, f"{took:.1f} s, of which the controller's CPU {spent:.1f} s", "< 32 s", "32.5 to 35 s")


async def finished(sizes: Sizes, *, real: bool = False) -> None:
    """Let a controller rest beside many finished jobs; measure the decoding of their list."""
    async with world(1, real=real) as there:
        async with there.controller(1):
            await there.sidecars.ask("take", seconds=0.0)
            await there.tenants.ask("back_up", first=0, count=1, prefix="model")
            await there.ends("model", 1, within=60)
            await asyncio.sleep(2)
        where = "kube-apiserver, " * real
        done = 0
        for count in (sizes.idle, sizes.finished):
            await there.tenants.ask("clone", job="model-0", where=namespace(0), count=count - done, first=done)
            done = count
            if count == sizes.idle:
                await decoded(there, sizes, where)
            async with there.controller(1) as controller:
                before = controller.cpu
                await asyncio.sleep(sizes.idle_seconds)
                idle = (controller.cpu - before) / sizes.idle_seconds
                what = f"{where}{count:,} finished jobs with their Backups"
                row(f"{what}: CPU at rest", f"{idle:.2%} of a core", "< 0.5 %", "0.1 %")
                row(
                    f"{what}: RSS",
                    f"{controller.memory():.0f} MB",
                    "< 110 MB with 5,000",
                    "165 MB (130 after a restart)",
                )


async def decoded(there: World, sizes: Sizes, where: str) -> None:
    """Compare a list through KubeClient with a bare one."""
    found: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(sizes.rounds):
        for variant, times in found.items():
            times.append(await printed("benchmarks.controller_decode", variant, there.kubeconfig, sizes.idle))
    ours, bare = (median(found[variant]) for variant in ("ours", "bare"))
    what = f"{where}list and decode of {sizes.idle:,} BackupJobs over aiohttp + pydantic's models of the same fields"
    row(what, f"{ours * 1e3:.0f} ms over {bare * 1e3:.0f} ms: {ours / bare:.2f}", "<= 1.5")


async def printed(module: str, *arguments: object) -> float:
    """Run a process that prints a number."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=lambda: pin(0),
    )
    answered, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{module} {arguments[0]} has failed")
    return float(answered)


async def overhead(sizes: Sizes) -> None:
    """Compare a job's CPU, without its sidecar's requests, with a bare loop that makes its API requests."""
    count = sizes.replayed
    async with world(count) as there:
        await there.sidecars.ask("take", seconds=1.0)
        async with there.controller(count) as controller:
            await there.tenants.ask("recorded")
            await there.tenants.ask("back_up", first=0, count=1, prefix="model")
            await there.ends("model", 1, within=60)
            await controller.quiet()
            steps = {
                "api": await there.tenants.ask("recorded"),
                "sidecar": await there.sidecars.ask("requests", number=0),
            }
            spent = controller.cpu
            await there.tenants.ask("back_up", first=0, count=count, prefix="cost")
            await there.ends("cost", count, within=count + 60)
            await controller.quiet()
            spent = (controller.cpu - spent) / count
        file = Path(there.kubeconfig).with_name("steps.json")
        await asyncio.to_thread(file.write_text, json.dumps(steps))
        asked = await printed("benchmarks.controller_replay", "sidecars", "httpx", file, count)
        async with child("benchmarks.controller_replay", "serve", file) as server:
            url = f"http://127.0.0.1:{await server.ask('port')}"
            bare = [await printed("benchmarks.controller_replay", "api", url, file, count) for _ in range(sizes.rounds)]
    own, base = spent - asked, median(bare)
    row(
        "CPU per job without its sidecar requests, over bare aiohttp with the same API requests and answers",
        f"({spent * 1e3:.1f} - {asked * 1e3:.1f}) ms over {base * 1e3:.1f} ms: {own / base:.2f}",
        "<= 3",
        "7 to 10 ms in all",
    )


async def measure(sizes: Sizes) -> None:
    """Run all, those for the real API server where there is one."""
    print("| controller | measured | aim | reference |")
    print("|---|---|---|---|")
    await finished(sizes)
    await overhead(sizes)
    await delay(sizes)
    await burst(sizes)
    await at_once(sizes)
    absent = [each.name for each in participants() if each.name in ("etcd", "kube-apiserver") and not each.version]
    if absent:
        print(f"\nWithout the real API server: {', '.join(absent)} not found.")
        return
    for group in (delay, burst, finished):
        try:
            await group(sizes, real=True)
        except ApiError as error:
            row(f"kube-apiserver: {group.__name__}", str(error))


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    pin(1)
    asyncio.run(measure(QUICK if "--quick" in arguments else Sizes()))
