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


@pytest.mark.parametrize(
    "url", [f"http://{USER}:{PASSWORD}@10.0.3.7:7171", f"http://{PASSWORD}@10.0.3.7", f"ftp://{USER}:{PASSWORD}@a"]
)
def test_an_address_with_credentials_is_refused_without_repeating_them(url):
    with pytest.raises(chbackup.InvalidInput) as caught:
        chbackup.Client(url)
    assert_silent(*everything_of(caught.value))
