"""What is measured, and what it is measured against; run as a process for one variant."""

import asyncio
import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from benchmarks.server import addresses, archives

USER, PASSWORD = "backup", "secret-of-the-benchmark"
REQUESTS, IN_FLIGHT = 2000, 50
ROWS, DECODES = 1000, 300
STARTS = 10
SIDECARS, ARCHIVES, KEPT = 1000, 60, 10
LIMIT = 64

Variant = Callable[[int], Awaitable[float]]


@dataclass(frozen=True)
class Case:
    """A benchmark: variants by name, one of them the baseline, and how much more the others may cost.

    A variant takes the port of the servers and returns the CPU seconds of one unit of work.
    """

    name: str
    what: str
    unit: str
    baseline: str
    variants: Mapping[str, Variant]
    aims: Mapping[str, float]
    sidecars: int = 0
    archives: int = 0


async def each(count: int, work: Callable[[], Awaitable[object]]) -> float:
    """Return the CPU seconds of one call, after a warm-up."""
    for _ in range(20):
        await work()
    began = time.process_time()
    for _ in range(count):
        await work()
    return (time.process_time() - began) / count


async def together(count: int, work: Callable[[], Awaitable[object]]) -> float:
    """Return the CPU seconds of one call with many in flight."""

    async def worker() -> None:
        for _ in range(count // IN_FLIGHT):
            await work()

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return (time.process_time() - began) / count


# status


async def status_httpx(port: int) -> float:
    import httpx

    url = f"http://{addresses(1)[0]}:{port}/backup/status"
    async with httpx.AsyncClient(auth=(USER, PASSWORD), timeout=30.0, trust_env=False) as client:

        async def work() -> None:
            response = await client.get(url, params={"operationid": "a1"})
            response.raise_for_status()
            assert next(json.loads(line) for line in response.content.splitlines())["status"] == "in progress"

        return await each(REQUESTS, work)


async def status_chbackup(port: int) -> float:
    import chbackup

    async with chbackup.Client(f"http://{addresses(1)[0]}:{port}", username=USER, password=PASSWORD) as client:

        async def work() -> None:
            row = await client.status("a1")
            assert row
            assert row.running

        return await each(REQUESTS, work)


async def inflight_aiohttp(port: int) -> float:
    import aiohttp

    url = f"http://{addresses(1)[0]}:{port}/backup/status"
    async with aiohttp.ClientSession(headers={"Authorization": authorization()}) as session:

        async def work() -> None:
            async with session.get(url, params={"operationid": "a1"}) as response:
                response.raise_for_status()
                body = await response.read()
                assert next(json.loads(line) for line in body.splitlines())["status"] == "in progress"

        return await together(5 * REQUESTS, work)


async def inflight_chbackup(port: int) -> float:
    import chbackup

    url = f"http://{addresses(1)[0]}:{port}"
    async with chbackup.Client(url, username=USER, password=PASSWORD, transport="aiohttp") as client:

        async def work() -> None:
            row = await client.status("a1")
            assert row
            assert row.running

        return await together(5 * REQUESTS, work)


# decode


def body() -> bytes:
    """Return a list of 1,000 rows as a server sends it."""
    return b"".join(archives(ROWS, "shop").values())


async def decode_pydantic(_: int) -> float:
    from pydantic import BaseModel, TypeAdapter

    import chbackup.client  # noqa: F401 - the collector's rounds take longer in a larger process

    class Row(BaseModel):
        name: str
        created: str
        size: int = 0
        data_size: int = 0
        object_disk_size: int = 0
        metadata_size: int = 0
        rbac_size: int = 0
        config_size: int = 0
        named_collection_size: int = 0
        compressed_size: int = 0
        location: Literal["local", "remote"]
        required: str = ""
        desc: str = ""

    adapter = TypeAdapter(list[Row])
    lines = body()

    async def work() -> None:
        rows = adapter.validate_json(b"[" + b",".join(lines.splitlines()) + b"]")
        assert len(rows) == ROWS

    return await each(DECODES, work)


async def decode_chbackup(_: int) -> float:
    from chbackup._answers import read_rows
    from chbackup._http import Answer
    from chbackup.models import Archive

    answer = Answer(200, body())

    async def work() -> None:
        assert len(read_rows(Archive, answer, "list")) == ROWS

    return await each(DECODES, work)


# import


def starts(statement: str) -> Variant:
    """Return a variant that starts Python with one statement."""

    async def variant(_: int) -> float:
        start(statement)  # compiles what has changed
        began = children()
        for _start in range(STARTS):
            start(statement)
        return (children() - began) / STARTS

    return variant


def start(statement: str) -> None:
    """Start Python with one statement, and wait for its end; like an installed package, ours is compiled once."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)


def children() -> float:
    """Return the CPU seconds of the processes that this one has waited for."""
    times = os.times()
    return times.children_user + times.children_system


# purge


def authorization() -> str:
    return f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


def urls(port: int) -> list[str]:
    return [f"http://{address}:{port}" for address in addresses(SIDECARS)]


async def purge_aiohttp(port: int) -> float:
    """Send what a purge must send, and decode what it must read, one sidecar after the other in each of the workers."""
    import aiohttp

    session = aiohttp.ClientSession(
        headers={"Authorization": authorization()}, connector=aiohttp.TCPConnector(limit=LIMIT)
    )

    async def ask(method: str, url: str) -> list[dict[str, Any]]:
        async with session.request(method, url) as response:
            response.raise_for_status()
            return [json.loads(line) for line in (await response.read()).splitlines()]

    async def purge(url: str) -> None:
        rows = await ask("GET", f"{url}/backup/list")
        assert rows == await ask("GET", f"{url}/backup/list")
        doomed = sorted(rows, key=lambda row: row["created"], reverse=True)[KEPT:]
        for row in reversed(doomed):
            assert not await ask("GET", f"{url}/backup/actions?filter=in%20progress")
            assert any(found["name"] == row["name"] for found in await ask("GET", f"{url}/backup/list"))
            await ask("POST", f"{url}/backup/delete/remote/{row['name']}")

    queue = urls(port)

    async def worker() -> None:
        while queue:
            await purge(queue.pop())

    began = time.process_time()
    async with session:
        await asyncio.gather(*(worker() for _ in range(LIMIT)))
    return time.process_time() - began


def purges(transport: Any) -> Variant:
    """Return a variant that purges with a Fleet over a transport."""

    async def variant(port: int) -> float:
        import chbackup

        targets = [chbackup.Target(url, username=USER, password=PASSWORD) for url in urls(port)]
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            async with chbackup.Fleet(targets, limit=LIMIT, transport=transport) as fleet:
                retention = chbackup.Retention(keep_last=KEPT)
                journal = Path(folder, "journal.jsonl")
                async with fleet.purge(retention, now=datetime.now(UTC), journal=journal) as run:
                    outcomes = [result.outcome async for result in run]
        assert outcomes.count("deleted") == SIDECARS * (ARCHIVES - KEPT), set(outcomes)
        return time.process_time() - began

    return variant


CASES: Sequence[Case] = (
    Case(
        "status",
        "`client.status()`",
        "µs",
        "bare httpx",
        {"bare httpx": status_httpx, "chbackup": status_chbackup},
        {"chbackup": 1.15},
        sidecars=1,
    ),
    Case(
        "inflight",
        "`client.status()`, 50 in flight",
        "µs",
        "bare aiohttp",
        {"bare aiohttp": inflight_aiohttp, "chbackup[aiohttp]": inflight_chbackup},
        {"chbackup[aiohttp]": 3.5},
        sidecars=1,
    ),
    Case(
        "decode",
        "a list of 1,000 rows",
        "ms",
        "pydantic on the joined array",
        {"pydantic on the joined array": decode_pydantic, "chbackup": decode_chbackup},
        {"chbackup": 1.2},
    ),
    Case(
        "import",
        "import",
        "ms",
        "httpx + pydantic + anyio",
        {"httpx + pydantic + anyio": starts("import httpx, pydantic, anyio"), "chbackup": starts("import chbackup")},
        {"chbackup": 1.15},
    ),
    Case(
        "use",
        "import and use: a client and a flow, over a client and a model",
        "ms",
        "httpx + pydantic + anyio",
        {
            "httpx + pydantic + anyio": starts(
                "from anyio import run; from httpx import AsyncClient; from pydantic import BaseModel, TypeAdapter\n"
                "class Row(BaseModel): name: str"
            ),
            "chbackup": starts("from chbackup import Client, verified_backup"),
        },
        {"chbackup": 1.15},
    ),
    Case(
        "purge",
        f"purge of {SIDECARS * (ARCHIVES - KEPT):,} archives over {SIDECARS:,} sidecars",
        "s",
        "bare aiohttp",
        {"bare aiohttp": purge_aiohttp, "chbackup[aiohttp]": purges("aiohttp"), "chbackup": purges("httpx")},
        {"chbackup[aiohttp]": 3.5, "chbackup": 6},
        sidecars=SIDECARS,
        archives=ARCHIVES,
    ),
)


def main(name: str, variant: str, port: str) -> None:
    """Measure one variant of one benchmark, and print what was measured."""
    case = next(case for case in CASES if case.name == name)

    async def measure() -> float:
        return await case.variants[variant](int(port))

    cpu = asyncio.run(measure())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": cpu, "memory": memory}))


if __name__ == "__main__":
    main(*sys.argv[1:])
