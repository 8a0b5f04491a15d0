import gc
import re
from urllib.parse import quote, unquote_plus, urlsplit

import anyio
import httpx
import pytest
import uvicorn

import chbackup
from chbackup.callbacks import CallbackReceiver

BASE = "http://127.0.0.1:9000/hooks"


@pytest.fixture
def receiver():
    return CallbackReceiver(BASE)


async def never():
    raise AssertionError("a body was read")


async def request(app, url, method="POST", receive=never):
    """Call the application as a server does; returns status, headers and body."""
    sent = []

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": method, "path": urlsplit(url).path, "headers": []}, receive, send)
    start, *bodies = sent
    return start["status"], dict(start["headers"]), b"".join(message.get("body", b"") for message in bodies)


async def seconds_until_poked(callback):
    start = anyio.current_time()
    await callback.poked()
    return anyio.current_time() - start


async def test_a_callback_wakes_who_waits(receiver):
    callback = receiver.callback()

    async def call():
        await anyio.sleep(5)
        assert (await request(receiver, callback.url))[0] == 200

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        assert await seconds_until_poked(callback) == pytest.approx(5)


async def test_a_callback_before_the_wait_is_not_lost(receiver):
    callback = receiver.callback()
    await request(receiver, callback.url)
    assert await seconds_until_poked(callback) == 0


async def test_many_callbacks_count_as_one(receiver):
    callback = receiver.callback()
    for _ in range(3):
        await request(receiver, callback.url)
    await callback.poked()
    with anyio.move_on_after(60) as scope:
        await callback.poked()
    assert scope.cancelled_caught


async def test_a_cancelled_wait_loses_nothing(receiver):
    callback = receiver.callback()
    with anyio.move_on_after(1):
        await callback.poked()
    await request(receiver, callback.url)
    assert await seconds_until_poked(callback) == 0


async def test_each_callback_wakes_its_own(receiver):
    callback, other = receiver.callback(), receiver.callback()
    await request(receiver, other.url)
    with anyio.move_on_after(60) as scope:
        await callback.poked()
    assert scope.cancelled_caught
    assert await seconds_until_poked(other) == 0


def test_addresses_cannot_be_guessed_and_survive_being_decoded_twice(receiver):
    urls = [receiver.callback().url for _ in range(100)]
    assert len(set(urls)) == 100
    for url in urls:
        key = url.removeprefix(BASE + "/")
        assert re.fullmatch(r"[A-Za-z0-9_-]{43,}", key)  # 6 bits each: 256
        assert unquote_plus(unquote_plus(quote(url, safe=""))) == url


@pytest.mark.parametrize("path", ["/", "/hooks", "/hooks/", "/hooks/nosuch", "/hooks/" + "A" * 43])
async def test_an_unknown_address_is_404_and_tells_nothing(receiver, path):
    callback = receiver.callback()
    assert await request(receiver, path) == (404, {b"content-length": b"0"}, b"")
    assert await request(receiver, f"{callback.url}/") == (404, {b"content-length": b"0"}, b"")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"])
async def test_another_method_is_405_and_wakes_nobody(receiver, method):
    callback = receiver.callback()
    known = await request(receiver, callback.url, method)
    assert known == await request(receiver, f"{BASE}/nosuch", method)
    assert known[0] == 405
    with anyio.move_on_after(60) as scope:
        await callback.poked()
    assert scope.cancelled_caught


async def test_it_may_be_mounted_anywhere(receiver):
    callback = receiver.callback()
    assert (await request(receiver, f"/another/prefix/{callback.url.rpartition('/')[2]}"))[0] == 200


async def test_an_address_is_forgotten_with_its_callback(receiver):
    callback = receiver.callback()
    url = callback.url
    assert (await request(receiver, url))[0] == 200
    del callback
    gc.collect()
    assert (await request(receiver, url))[0] == 404


async def test_a_body_that_never_ends_is_not_waited_for(receiver):
    callback = receiver.callback()
    with anyio.fail_after(1):
        assert (await request(receiver, callback.url, receive=anyio.sleep_forever))[0] == 200


@pytest.mark.parametrize("base", [BASE, BASE + "/", "https://backup.example", "http://[::1]:9000"])
def test_base_urls(base):
    assert CallbackReceiver(base).callback().url.startswith(base.rstrip("/") + "/")


@pytest.mark.parametrize(
    "base",
    ["", "hooks", "ftp://host", "http://", "http://host:x", "http://host/?a=b", "http://host/#a", "http://a\nb"],
)
def test_what_is_no_base_url_is_refused(base):
    with pytest.raises(chbackup.InvalidInput, match="base_url"):
        CallbackReceiver(base)


def test_a_base_url_with_credentials_is_refused_without_repeating_them():
    with pytest.raises(chbackup.InvalidInput, match="credentials") as caught:
        CallbackReceiver("http://user:hunter22@host")
    assert "hunter22" not in str(caught.value)


async def test_an_end_is_seen_when_the_sidecar_calls(fake, client, receiver):
    """Facts 2.6: one POST, after the row is final. Polling alone would see this end later."""
    fake.duration.upload = 95

    async def deliver(url, payload):
        assert (await request(receiver, url))[0] == 200

    async def network():
        while True:
            await fake.pump(deliver)
            await anyio.sleep(0.1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(network)
        start = anyio.current_time()
        operation = await client.create_remote("b1", callback=receiver.callback())
        assert (await operation.wait()).status == "success"
        assert anyio.current_time() - start < 95.5
        tasks.cancel_scope.cancel()


async def serve(app, *, task_status):
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="on", ws="none")
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._serve)
        while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
            await anyio.sleep(0.01)
        task_status.started(server)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=False)
async def test_it_is_served_by_uvicorn(anyio_backend):
    receiver = CallbackReceiver("http://127.0.0.1")
    callback = receiver.callback()
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(serve, receiver)
        host, port = server.servers[0].sockets[0].getsockname()
        key = callback.url.rpartition("/")[2]
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as raw:
            huge = await raw.post(f"/{key}", content=b"x" * 20_000_000)
            assert (huge.status_code, huge.content) == (200, b"")
            assert (await raw.post("/nosuch", json={"status": "success"})).status_code == 404
            assert (await raw.get(f"/{key}")).headers["allow"] == "POST"
        with anyio.fail_after(5):
            await callback.poked()
        server.should_exit = True
