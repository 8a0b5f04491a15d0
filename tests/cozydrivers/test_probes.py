"""The server of `/metrics`, `/healthz` and `/readyz`, on real loopback sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from cozydrivers.errors import InvalidInput
from cozydrivers.metrics import Metrics
from cozydrivers.runtime import probes
from cozydrivers.runtime.probes import Probes

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    """In real time: looptime has no sockets."""
    return "asyncio"


@asynccontextmanager
async def serving(server: Probes, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """Serve for the length of the context; gives the address."""
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(server.serve, address)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def asking(server: Probes) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(server) as address, httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
        yield client


async def raw(address: str, request: bytes) -> bytes:
    """Send bytes, and read until the end."""
    host, _, port = address.rpartition(":")
    answer = b""
    async with await anyio.connect_tcp(host, int(port)) as stream:
        if request:
            await stream.send(request)
        try:
            async for chunk in stream:
                answer += chunk
        except anyio.BrokenResourceError:
            pass
    return answer


async def test_health_and_readiness_are_ok_or_a_sentence():
    problem = ""
    async with asking(Probes(Metrics(), ready=lambda: problem)) as client:
        for path in ("/healthz", "/readyz", "/readyz?verbose=1"):
            answer = await client.get(path)
            assert (answer.status_code, answer.text) == (200, "ok\n")
        problem = "BackupJobs have not been listed yet"
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "BackupJobs have not been listed yet\n")
        assert (await client.get("/healthz")).status_code == 200


async def test_an_unhealthy_process_says_so():
    async with asking(Probes(Metrics(), healthy=lambda: "the loop hangs")) as client:
        assert (await client.get("/healthz")).status_code == 503


async def test_metrics_come_as_text_or_as_openmetrics():
    metrics = Metrics()
    metrics.reconciled("BackupJob", "success", 0.1)
    async with asking(Probes(metrics)) as client:
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "controller_runtime_reconcile" in {family.name for family in parse_text(answer.text)}
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        answer = await client.get("/metrics", headers={"Accept": accept})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert "controller_runtime_reconcile" in {family.name for family in parse_openmetrics(answer.text)}


async def test_what_it_does_not_serve():
    async with asking(Probes(Metrics())) as client:
        assert (await client.get("/debug")).status_code == 404
        answer = await client.post("/healthz", content=b"x")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        answer = await client.head("/healthz")
        assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "3", b"")


async def test_a_check_that_raises_is_logged_and_answered(caplog):
    def broken() -> str:
        raise ValueError({"password": "hunter2"})

    async with asking(Probes(Metrics(), ready=broken)) as client:
        assert (await client.get("/readyz")).status_code == 500
        assert (await client.get("/healthz")).status_code == 200
    (record,) = caplog.records
    assert record.getMessage().startswith("/readyz: ValueError in broken, test_probes.py:")
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /healthz SPDY/3\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 9000, b"431"),
    ],
)
async def test_what_is_no_request(request_, status):
    async with serving(Probes(Metrics())) as address:
        assert (await raw(address, request_)).startswith(b"HTTP/1.1 " + status)


async def test_a_client_that_says_nothing_is_left(monkeypatch):
    monkeypatch.setattr(probes, "PATIENCE", 0.05)
    async with serving(Probes(Metrics())) as address:
        assert (await raw(address, b"")).startswith(b"HTTP/1.1 408")
        assert (await raw(address, b"GET /healthz HTTP/1.1\r\n")).startswith(b"HTTP/1.1 408")


async def test_connections_have_a_limit(monkeypatch):
    monkeypatch.setattr(probes, "MOST_CONNECTIONS", 1)
    async with serving(Probes(Metrics())) as address:
        host, _, port = address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as silent:
            assert await raw(address, b"GET /healthz HTTP/1.1\r\n\r\n") == b""
            await silent.send(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert b"200 OK" in await silent.receive()
            with pytest.raises(anyio.EndOfStream):
                await silent.receive()
        assert await raw(address, b"GET /healthz HTTP/1.1\r\n\r\n") != b""


async def test_a_client_that_hangs_up_does_no_harm():
    async with serving(Probes(Metrics())) as address:
        host, _, port = address.rpartition(":")
        for _ in range(3):
            stream = await anyio.connect_tcp(host, int(port))
            await stream.send(b"GET /metrics HTTP/1.1\r\n")
            await stream.aclose()
        assert (await raw(address, b"GET /healthz HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nok\n")


async def test_it_ends_when_it_is_cancelled_even_with_a_client_connected():
    with anyio.fail_after(2):
        async with serving(Probes(Metrics())) as address:
            host, _, port = address.rpartition(":")
            stream = await anyio.connect_tcp(host, int(port))
        await stream.aclose()
    with pytest.raises(OSError):
        await anyio.connect_tcp(host, int(port))


@pytest.mark.parametrize("address", ["", "8080", "localhost:http", "127.0.0.1:70000", "127.0.0.1:-1"])
async def test_what_is_no_address(address):
    with pytest.raises(InvalidInput, match="host:port"):
        await Probes(Metrics()).serve(address)


async def test_an_address_that_is_taken():
    async with serving(Probes(Metrics())) as address:
        with pytest.raises(InvalidInput, match="can't listen on"):
            await Probes(Metrics()).serve(address)


async def test_an_empty_host_is_every_interface():
    async with serving(Probes(Metrics()), ":0") as address:
        answer = await raw(f"127.0.0.1{address}", b"GET /healthz HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
