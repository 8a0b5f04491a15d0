"""Baselines for what a controller costs: the requests of one job, recorded, and sent again by a bare client.

`serve` answers as the API server did, `api` is a bare aiohttp loop against that, `sidecars` sends what the sidecar was
asked through chbackup's client. The last two print the CPU seconds of one job.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.controller_tenants import PASSWORD, PORT, USERNAME, address

AT_ONCE = 20
WRITES = ("POST", "PATCH")
FOLLOWED = ("backupjobs", "backups")
EVENT = b'{"type":"MODIFIED","object":'


class Server(asyncio.Protocol):
    """Answers step `/N/…` with what was recorded, and shows written objects to those who watch."""

    def __init__(self, steps: list[dict[str, Any]], watching: "set[Server]") -> None:
        self._steps = steps
        self._watching = watching
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._watching.discard(self)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, rest = self._seen.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if not end or len(rest) < length:
            return
        self._seen = rest[length:]
        name = head.split(b" ", 2)[1].split(b"/")[1].partition(b"?")[0]
        if name == b"watch":
            self._transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            self._watching.add(self)
            return
        step = self._steps[int(name)]
        answer = step["answer"].encode()
        start = (
            f"HTTP/1.1 {step['status']} X\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n"
        )
        self._transport.write(start.encode() + answer)
        if step["method"] in WRITES and kind_of(step) in FOLLOWED:
            for watcher in self._watching:
                watcher.show(answer)

    def show(self, written: bytes) -> None:
        line = EVENT + written + b"}\n"
        self._transport.write(b"%x\r\n%s\r\n" % (len(line), line))


def kind_of(step: dict[str, Any]) -> str:
    """Return the plural of the kind that a step is about."""
    parts = step["path"].strip("/").split("/")
    where = parts.index("namespaces") + 2 if "namespaces" in parts else 2 if parts[0] == "api" else 3
    return str(parts[where])


async def serve(file: str) -> None:
    from benchmarks.processes import answer

    steps, watching = json.loads(Path(file).read_text())["api"], set[Server]()
    server = await asyncio.get_running_loop().create_server(lambda: Server(steps, watching), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def where() -> int:
        return int(port)

    await answer({"port": where})


def models() -> dict[str, Any]:
    """Return pydantic's plain models of the fields that the controller reads, by plural."""
    from pydantic import BaseModel

    class Reference(BaseModel):
        name: str = ""
        kind: str = ""
        apiGroup: str = ""  # noqa: N815 - as in JSON

    class Owner(BaseModel):
        name: str = ""
        kind: str = ""
        uid: str = ""

    class Metadata(BaseModel):
        name: str = ""
        namespace: str = ""
        uid: str = ""
        resourceVersion: str = ""  # noqa: N815
        generation: int = 0
        creationTimestamp: datetime | None = None  # noqa: N815
        deletionTimestamp: datetime | None = None  # noqa: N815
        labels: dict[str, str] = {}
        annotations: dict[str, str] = {}
        finalizers: list[str] = []
        ownerReferences: list[Owner] = []  # noqa: N815

    class Condition(BaseModel):
        type: str
        status: str = ""
        reason: str = ""
        message: str = ""
        lastTransitionTime: datetime | None = None  # noqa: N815
        observedGeneration: int = 0  # noqa: N815

    class JobSpec(BaseModel):
        planRef: Reference | None = None  # noqa: N815
        applicationRef: Reference = Reference()  # noqa: N815
        backupClassName: str = ""  # noqa: N815

    class JobStatus(BaseModel):
        phase: str = ""
        startedAt: datetime | None = None  # noqa: N815
        completedAt: datetime | None = None  # noqa: N815
        message: str = ""
        conditions: list[Condition] = []
        backupRef: Reference | None = None  # noqa: N815

    class Job(BaseModel):
        metadata: Metadata
        spec: JobSpec = JobSpec()
        status: JobStatus = JobStatus()

    class Artifact(BaseModel):
        uri: str = ""
        sizeBytes: int = 0  # noqa: N815

    class BackupSpec(BaseModel):
        applicationRef: Reference = Reference()  # noqa: N815
        strategyRef: Reference = Reference()  # noqa: N815
        planRef: Reference | None = None  # noqa: N815
        takenAt: datetime | None = None  # noqa: N815
        driverMetadata: dict[str, str] = {}  # noqa: N815

    class BackupStatus(BaseModel):
        phase: str = ""
        artifact: Artifact | None = None
        conditions: list[Condition] = []

    class Backup(BaseModel):
        metadata: Metadata
        spec: BackupSpec = BackupSpec()
        status: BackupStatus = BackupStatus()

    return {"backupjobs": Job, "backups": Backup}


def decoder() -> Callable[[str, bytes], Any]:
    """Return what decodes an answer about a kind."""
    from pydantic import TypeAdapter

    adapters = {kind: TypeAdapter(model) for kind, model in models().items()}

    def decode(kind: str, body: bytes) -> Any:
        return adapters[kind].validate_json(body) if kind in adapters else json.loads(body)

    return decode


async def api(url: str, file: str, jobs: int) -> float:
    """Send the requests of so many jobs, decode the answers and what a watch shows."""
    import aiohttp

    steps, decode = json.loads(Path(file).read_text())["api"], decoder()
    written = sum(step["method"] in WRITES and kind_of(step) in FOLLOWED for step in steps)
    headers = {"Authorization": "Bearer admin", "Content-Type": "application/json"}

    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def watch() -> None:
            seen = 0
            async with session.get(f"{url}/watch", timeout=aiohttp.ClientTimeout(None)) as response:
                opened.set()
                async for line in response.content:
                    kind = "backups" if b'"kind": "Backup"' in line[:200] else "backupjobs"
                    decode(kind, line[len(EVENT) : -2])
                    seen += 1
                    if seen == jobs * written:
                        return

        async def job() -> None:
            for number, step in enumerate(steps):
                data = json.dumps(step["body"]) if step["body"] else None
                target = f"{url}/{number}{step['path']}"
                async with session.request(step["method"], target, params=step["query"], data=data) as response:
                    body = await response.read()
                    if response.status < 300:
                        decode(kind_of(step), body)

        opened = asyncio.Event()
        watching = asyncio.create_task(watch())
        await opened.wait()
        return await _together(jobs, lambda _: job(), watching)


async def sidecars(transport: Any, file: str, jobs: int) -> float:
    """Ask each sidecar what that of the recorded job was asked, through a client of its own."""
    from chbackup import Client

    asked = json.loads(Path(file).read_text())["sidecar"]

    async def job(number: int) -> None:
        url = f"http://{address(number)}:{PORT}"
        async with Client(url, username=USERNAME, password=PASSWORD, transport=transport) as client:
            for method, path, query in asked:
                await _ask(client, method, path, query)

    return await _together(jobs, job)


async def _ask(client: Any, method: str, path: str, query: str) -> None:
    reads = {
        "/backup/actions": client.actions,
        "/backup/list/local": client.list_local,
        "/backup/list/remote": client.list_remote,
        "/backup/version": client.version,
        "/metrics": client.metrics,
        "/backup/tables": client.tables,
    }
    if method == "GET" and path in reads and not query:
        await reads[path]()
        return
    pairs = [tuple(pair.split("=", 1)) for pair in query.split("&") if pair]
    answer = await client._connection.send(  # noqa: SLF001 - below what would refuse to repeat it
        method,
        path.strip("/").split("/"),
        pairs,
        timeout=client._timeout,  # noqa: SLF001
    )
    [json.loads(line) for line in answer.body.splitlines() if line.startswith(b"{")]


async def _together(jobs: int, work: Callable[[int], Awaitable[None]], *others: Awaitable[None]) -> float:
    queue = iter(range(jobs))

    async def worker() -> None:
        for number in queue:
            await work(number)

    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)), *others)
    return (time.process_time() - began) / jobs


def main(what: str, *arguments: str) -> None:
    """Serve, or measure and print."""
    if what == "serve":
        asyncio.run(serve(*arguments))
    else:
        where, file, jobs = arguments
        print(asyncio.run({"api": api, "sidecars": sidecars}[what](where, file, int(jobs))))


if __name__ == "__main__":
    main(*sys.argv[1:])
