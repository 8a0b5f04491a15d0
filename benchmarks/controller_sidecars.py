"""A process that plays the sidecars of so many applications, each on an address of its own."""

import asyncio
import sys
import time
from collections import Counter
from functools import partial

from benchmarks.controller_tenants import PASSWORD, PORT, USERNAME, address, application
from benchmarks.processes import answer
from chbackup.testing import FakeSidecar

REASONS = {200: "OK", 201: "Created", 404: "Not Found", 423: "Locked"}


class Connection(asyncio.Protocol):
    """One connection to one sidecar."""

    def __init__(self, fleet: "Sidecars", number: int) -> None:
        self._fleet = fleet
        self._number = number
        self._seen = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, rest = self._seen.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._seen = rest[length:]
        method, target, _ = first.split(" ")
        self._answering = asyncio.create_task(self._answer(method, target, headers, rest[:length]))

    async def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path, _, query = target.partition("?")
        self._fleet.asked(self._number, method, path)
        status, answered, content = await self._fleet.sidecars[self._number].handle(method, path, query, headers, body)
        answered = {name: value for name, value in answered.items() if name.lower() != "content-length"}
        start = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", f"content-length: {len(content)}"]
        start += [f"{name}: {value}" for name, value in answered.items()]
        self._transport.write("\r\n".join(start).encode() + b"\r\n\r\n" + content)


class Sidecars:
    """The sidecars; its methods are commands."""

    def __init__(self, count: int) -> None:
        self.sidecars = [
            FakeSidecar(
                username=USERNAME, password=PASSWORD, path=application(number), env={"ALLOW_EMPTY_BACKUPS": "true"}
            )
            for number in range(count)
        ]
        for sidecar in self.sidecars:
            sidecar.tables.add_table("shop.orders", 100)
        self._counts: Counter[str] = Counter()
        self._submitted: dict[str, float] = {}

    def asked(self, number: int, method: str, path: str) -> None:
        """Note a request."""
        self._counts[f"{method} {'/'.join(path.split('/')[:4])}"] += 1
        if (method == "POST" and "create_remote" in path) or (path == "/backup/actions" and method == "POST"):
            self._submitted[application(number)] = time.monotonic() + self.sidecars[number].duration.upload

    async def take(self, seconds: float, spread: float = 0.0) -> None:
        """Have operations take so long from now on, and on each sidecar a bit longer, the last by `spread` seconds."""
        for number, sidecar in enumerate(self.sidecars):
            sidecar.duration.create = 0.0
            sidecar.duration.upload = seconds + spread * number / len(self.sidecars)

    async def ends(self) -> dict[str, float]:
        """Say when the last operation of each application ends."""
        return self._submitted

    async def counts(self) -> dict[str, int]:
        """Say what was asked since the last time."""
        found = dict(self._counts)
        self._counts.clear()
        return found

    async def requests(self, number: int) -> list[tuple[str, str, str]]:
        """Say what one was asked: method, path and query."""
        return [(each.method, each.path, each.query) for each in self.sidecars[number].requests]


async def main(count: str) -> None:
    """Listen on every address until standard input ends."""
    fleet, loop = Sidecars(int(count)), asyncio.get_running_loop()
    for number in range(int(count)):
        await loop.create_server(partial(Connection, fleet, number), address(number), PORT, backlog=32)
    await answer({"take": fleet.take, "ends": fleet.ends, "counts": fleet.counts, "requests": fleet.requests})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
