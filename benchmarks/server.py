"""A process that answers as a fleet of idle sidecars does, as cheaply as asyncio can: it is not what is measured."""

import asyncio
import json
import re
import sys
from functools import partial
from urllib.parse import unquote

ROW = b'{"command":"create_remote shop","status":"in progress","start":"2026-11-23 10:00:00","operation_id":"a1"}\n'
DELETE = re.compile(r"/backup/delete/(local|remote)/([^/?]+)")


def archives(count: int, prefix: str) -> dict[str, bytes]:
    """Return the remote archives of one sidecar by name, as lines of a list, one a day."""
    found = {}
    for number in range(count):
        name = f"{prefix}-202601{number // 24 % 28 + 1:02d}T{number % 24:02d}{number // 672:02d}00Z"
        row = {
            "name": name,
            "created": f"2026-{number // 672 + 1:02d}-{number // 24 % 28 + 1:02d} {number % 24:02d}:00:00",
            "size": 1_000_000 + number,
            "data_size": 900_000 + number,
            "metadata_size": 1000,
            "compressed_size": 999_000 + number,
            "location": "remote",
            "required": "",
            "desc": "tar, regular",
        }
        found[name] = json.dumps(row, separators=(",", ":")).encode() + b"\n"
    return found


class Sidecar(asyncio.Protocol):
    """One connection to one sidecar; `lists` is that sidecar's state."""

    def __init__(self, lists: dict[str, bytes]) -> None:
        self._lists = lists
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while b"\r\n\r\n" in self._seen:  # no request here has a body
            head, _, self._seen = self._seen.partition(b"\r\n\r\n")
            target = head.split(b"\r\n", 1)[0].decode().split(" ")[1]
            body = self._answer(target.partition("?")[0], unquote(target.partition("?")[2]))
            start = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            self._transport.write(start.encode() + body)

    def _answer(self, path: str, query: str) -> bytes:
        if path.startswith("/backup/list"):
            return b"" if path.endswith("/local") else b"".join(self._lists.values())
        if path == "/backup/status":
            return ROW
        if path == "/backup/version":
            return b'{"version":"2.7.4"}\n'
        if path == "/backup/actions":
            return b"" if "in progress" in query or "in+progress" in query else ROW
        if found := DELETE.fullmatch(path):
            self._lists.pop(found[2], None)
            return b'{"status":"success","operation":"delete","backup_name":"%s"}\n' % found[2].encode()
        return b""


async def serve(addresses: list[str], port: int, per_sidecar: int) -> None:
    """Listen on every address, say so, and go on until standard input ends."""
    loop = asyncio.get_running_loop()
    for number, address in enumerate(addresses):
        lists = archives(per_sidecar, f"shop{number}")
        await loop.create_server(partial(Sidecar, lists), address, port, backlog=512)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def addresses(sidecars: int) -> list[str]:
    """Return one loopback address for each sidecar."""
    return [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(sidecars)]


if __name__ == "__main__":
    sidecars, port, per_sidecar = map(int, sys.argv[1:])
    asyncio.run(serve(addresses(sidecars), port, per_sidecar))
