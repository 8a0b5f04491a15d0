"""The address of a callback, decoded twice by the server, is the one that was given."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anyio
import pytest
from tests.conformance.sidecar.fake_rig import FakeRig
from tests.conformance.sidecar.rig import Rig

import chbackup

PATH = "/hook/a%2Fb+c;d?token=x%2By%25&n=%C3%A9"


@contextlib.asynccontextmanager
async def listening(rig: Rig) -> AsyncIterator[tuple[str, list[str]]]:
    """Yield an address, and the paths that are posted to it; the fake only says what it would post."""
    if isinstance(rig, FakeRig):
        paths: list[str] = []
        yield "http://127.0.0.1:9", paths
        paths += [callback.url.removeprefix("http://127.0.0.1:9") for callback in rig.fake.callbacks]
        return
    found: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        found.append(head.split(" ")[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", found
    with anyio.move_on_after(10):
        while not found:  # noqa: ASYNC110
            await anyio.sleep(0.05)
    listener.close()


@pytest.mark.parametrize("verb", ["create", "create_remote"])
async def test_it_is_called_as_it_was_given(rig: Rig, verb: str):
    await rig.create_table("demo.events", 100)
    sidecar = chbackup.Client(str(rig.http.base_url), http_client=rig.http)
    async with listening(rig) as (base, paths):
        operation = await getattr(sidecar, verb)("b1", callback=base + PATH)
        await operation.wait(timeout=60)
    assert paths == [PATH]
