"""Neither the password nor the base64 of `user:password` is shown, whatever goes wrong."""

import logging
import traceback
from base64 import b64encode

import httpx
import pytest
import respx

import chbackup
from chbackup.testing import FakeSidecar

USER, PASSWORD = "backup", "s3cr3t-of-tests"
TOKEN = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
URL = "http://10.0.3.7:7171"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


def assert_silent(*texts):
    for text in texts:
        assert PASSWORD not in text
        assert TOKEN not in text


def everything_of(error):
    """What a logger, a debugger or a reporter may print of an error."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)), repr(error.__cause__))
    yield repr(error.__context__)
    yield "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "reply",
    [
        httpx.ConnectError(f"to {USER}:{PASSWORD}@10.0.3.7"),
        httpx.ReadTimeout(f"header {TOKEN}"),
        httpx.Response(500, text=f"Authorization: Basic {TOKEN} and {PASSWORD}"),
        httpx.Response(401, text=f"401 Unauthorized {PASSWORD}"),
        httpx.Response(423, json={"error": f"another operation is currently running {PASSWORD}"}),
        httpx.Response(200, text=f"<html>{TOKEN}{PASSWORD}</html>"),
    ],
)
async def test_no_error_shows_them(reply, caplog):
    caplog.set_level(logging.DEBUG)
    with respx.mock(base_url=URL) as server:
        server.route().mock(**{"side_effect" if isinstance(reply, Exception) else "return_value": reply})
        async with chbackup.Client(URL, username=USER, password=PASSWORD) as sidecar:
            with pytest.raises(chbackup.ChbackupError) as caught:
                await sidecar.delete_remote("b1") if not reply_is_page(reply) else await sidecar.list_all()
    assert_silent(*everything_of(caught.value), caplog.text)


def reply_is_page(reply):
    return isinstance(reply, httpx.Response) and reply.status_code == 200


async def test_no_representation_shows_them(caplog):
    caplog.set_level(logging.DEBUG)
    fake = FakeSidecar(username=USER, password=PASSWORD)
    fake.tables.add_table("shop.orders", 3)
    async with fake.client() as sidecar:
        operation = await sidecar.create("b1")
        assert_silent(repr(sidecar), repr(operation), operation.token, repr(sidecar.with_options(timeout=1)))
        assert_silent(repr(sidecar._connection))
    assert_silent(caplog.text, repr(fake.requests))


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
def test_no_client_shows_them(transport):
    sidecar = chbackup.Client(URL, username=USER, password=PASSWORD, transport=transport)
    assert_silent(repr(sidecar), repr(vars(sidecar)), str(sidecar))


async def test_the_words_of_the_history_do_not_show_them():
    row = {"command": "create b1", "status": "error", "error": f"dial with {PASSWORD} and {TOKEN}"}
    with respx.mock(base_url=URL) as server:
        server.route().respond(json=row)
        async with chbackup.Client(URL, username=USER, password=PASSWORD) as sidecar:
            (listed,), single = await sidecar.actions(), await sidecar.status()
    assert single
    assert_silent(repr(listed), listed.error, repr(single))


@pytest.mark.parametrize(
    "call",
    [
        lambda sidecar: sidecar.create("b1", callback=f"ftp://10.0.0.1/{PASSWORD}"),
        lambda sidecar: sidecar.create("b1", callback=f"http://{USER}:{PASSWORD}@10.0.0.1/"),
        lambda sidecar: sidecar.submit(f"create --env=S3_SECRET_KEY={PASSWORD} b1"),
        lambda sidecar: sidecar.submit(f"create '{PASSWORD}"),
        lambda sidecar: sidecar.submit(f"{PASSWORD}"),
        lambda sidecar: sidecar.submit(f"watch --x={PASSWORD}"),
    ],
    ids=range(6),
)
async def test_what_is_refused_is_not_repeated_where_it_may_be_secret(call):
    async with chbackup.Client(URL) as sidecar:
        with pytest.raises(chbackup.InvalidInput) as caught:
            await call(sidecar)
    assert_silent(*everything_of(caught.value))


async def test_a_callback_shows_in_no_representation_of_the_operation():
    async with FakeSidecar().client() as sidecar:
        operation = await sidecar.create("b1", callback=chbackup.Callback(f"http://10.0.0.1/{PASSWORD}"))
    assert_silent(repr(operation), operation.token)


def test_the_query_of_a_table_is_not_shown():
    table = chbackup.Table(database="shop", name="s3", create_table_query=f"ENGINE = S3('key', '{PASSWORD}')")
    assert_silent(repr(table), str(table), repr([table]))


@pytest.mark.parametrize(
    "url", [f"http://{USER}:{PASSWORD}@10.0.3.7:7171", f"http://{PASSWORD}@10.0.3.7", f"ftp://{USER}:{PASSWORD}@a"]
)
def test_an_address_with_credentials_is_refused_without_repeating_them(url):
    with pytest.raises(chbackup.InvalidInput) as caught:
        chbackup.Client(url)
    assert_silent(*everything_of(caught.value))
