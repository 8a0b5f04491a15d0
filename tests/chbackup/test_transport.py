"""Both transports against a real server on loopback: TLS, time-outs, redirects, lost replies, proxies."""

import asyncio
import ssl
import sys
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
import trustme

import chbackup

VERSION = b'{"version":"2.7.4"}\n'
TRANSPORTS = ["httpx", "aiohttp"]
ACK = b'{"version":"2.7.4","status":"acknowledged","operation":"create","backup_name":"b1","operation_id":"1"}\n'


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def reply(body, status=b"200 OK", headers=b""):
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), headers, body)


class Requests(list[str]):
    """The heads of the requests that came."""

    url = ""


@asynccontextmanager
async def server(answer, context=None):
    """Answer every request with bytes, or with nothing and a closed connection."""
    requests = Requests()

    async def talk(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                requests.append(head.decode())
                answered = await answer() if callable(answer) else answer
                writer.write(answered)
                await writer.drain()
                if not answered:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    requests.url = f"http{'s' if context else ''}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield requests
    finally:
        listener.close()
        await asyncio.sleep(0.01)  # the connections end


def server_context(authority, *, ask_client=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_request_arrives_as_it_was_meant(transport):
    async with (
        server(reply(ACK)) as requests,
        chbackup.Client(requests.url, username="u", password="p", transport=transport) as sidecar,
    ):
        await sidecar.create("b1", tables="a;b%.*,c+d", callback="http://10.0.0.1/x?t=a%2Fb")
    target = requests[1].split(" ")[1]  # the first one asks for the version
    callback = "http%3A%2F%2F10.0.0.1%2Fx%3Ft%3Da%252Fb"
    assert dict(httpx.URL(f"http://a{target}").params) == {"name": "b1", "table": "a;b%.*,c+d", "callback": callback}
    assert ";" not in target
    assert "uthorization: Basic dTpw" in requests[0]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_name_arrives_as_it_is(transport):
    name = "a;b%2Fc\"d'é:+&=?#"
    body = b'{"status":"success","operation":"delete","backup_name":"a;b%2Fc\\"d\'\xc3\xa9:+&=?#"}\n'
    async with server(reply(body)) as requests, chbackup.Client(requests.url, transport=transport) as sidecar:
        await sidecar.delete_remote(name)
    path = requests[0].split(" ")[1]
    assert httpx.URL(f"http://a{path}").path == f"/backup/delete/remote/{name}"
    assert "?" not in path


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_custom_authority_is_trusted_when_given(authority, ca_file, transport):
    context = chbackup.tls_context(ca_file=ca_file)
    async with server(reply(VERSION), server_context(authority)) as requests:
        for verify in (context, context, False):  # shared by several clients
            async with chbackup.Client(requests.url, verify=verify, transport=transport) as sidecar:
                assert await sidecar.version() == "2.7.4"
        async with chbackup.Client(requests.url, transport=transport) as sidecar:
            with pytest.raises(chbackup.ConnectionFailed, match=r"(?i)certificate.verify.failed") as caught:
                await sidecar.version()
    assert not caught.value.sent


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_certificate_is_shown(authority, ca_file, transport, tmp_path):
    mine = authority.issue_cert("client.test")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    mine.cert_chain_pems[0].write_to_path(certificate)
    mine.private_key_pem.write_to_path(key)
    async with server(reply(VERSION), server_context(authority, ask_client=True)) as requests:
        context = chbackup.tls_context(ca_file=ca_file, certificate=str(certificate), key=str(key))
        async with chbackup.Client(requests.url, verify=context, transport=transport) as sidecar:
            assert await sidecar.version() == "2.7.4"
        without = chbackup.tls_context(ca_file=ca_file)
        async with chbackup.Client(requests.url, verify=without, transport=transport) as sidecar:
            with pytest.raises(chbackup.ConnectionFailed):
                await sidecar.version()


def test_files_that_hold_no_certificates_are_refused(tmp_path, ca_file):
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for options, field in [
        ({"ca_file": str(empty)}, "ca_file"),
        ({"ca_file": str(tmp_path / "nosuch")}, "ca_file"),
        ({"certificate": str(empty)}, "certificate"),
        ({"certificate": ca_file}, "certificate"),  # without a key
        ({"key": ca_file}, "key"),
    ]:
        with pytest.raises(chbackup.InvalidInput, match=field):
            chbackup.tls_context(**options)
    assert isinstance(chbackup.tls_context(), ssl.SSLContext)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_redirects_are_not_followed(transport):
    async with (
        server(reply(b"", b"301 Moved Permanently", b"Location: /backup/list\r\n")) as requests,
        chbackup.Client(requests.url, transport=transport) as sidecar,
    ):
        for call in (sidecar.list_all(), sidecar.create("b1")):
            with pytest.raises(chbackup.ServerError, match="redirects are not followed"):
                await call
    assert len(requests) == 2


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_lost_reply_leaves_the_outcome_open_and_is_not_repeated(transport):
    async with server(b"") as requests, chbackup.Client(requests.url, transport=transport) as sidecar:
        with pytest.raises(chbackup.ConnectionFailed, match="unknown") as caught:
            await sidecar.create("b1")
    assert caught.value.sent
    assert len(requests) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_reply_that_breaks_off_leaves_the_outcome_open(transport):
    async with (
        server(reply(ACK)[:-10] + b"\r\n") as requests,
        chbackup.Client(requests.url, transport=transport, timeout=chbackup.Timeout(5, read=0.2)) as sidecar,
    ):
        with pytest.raises(chbackup.ConnectionFailed) as caught:
            await sidecar.create("b1")
    assert caught.value.sent
    assert len(requests) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_where_nobody_listens_nothing_was_sent(transport):
    async with server(b"") as requests:
        pass
    async with chbackup.Client(requests.url, transport=transport) as sidecar:
        with pytest.raises(chbackup.ConnectionFailed, match="nothing was sent") as caught:
            await sidecar.create("b1")
    assert not caught.value.sent


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "timeout", [0.2, chbackup.Timeout(0.2), chbackup.Timeout(60, read=0.2), chbackup.Timeout(0.2, connect=60)]
)
async def test_a_server_that_does_not_answer_is_given_up(transport, timeout):
    async def later():
        await asyncio.sleep(3)
        return reply(VERSION)

    async with (
        server(later) as requests,
        chbackup.Client(requests.url, transport=transport, timeout=timeout) as sidecar,
    ):
        start = anyio.current_time()
        with pytest.raises(chbackup.ConnectionFailed) as caught:
            await sidecar.version()
    assert anyio.current_time() - start < 2
    assert caught.value.sent


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_environment_names_no_proxy(transport, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with server(reply(VERSION)) as requests, chbackup.Client(requests.url, transport=transport) as sidecar:
        assert await sidecar.version() == "2.7.4"


async def test_a_client_of_the_callers_is_used_as_it_is():
    async with (
        server(reply(VERSION)) as requests,
        httpx.AsyncClient(
            base_url="http://127.0.0.1:9/other", auth=("own", "secret"), headers={"x-own": "1"}, follow_redirects=True
        ) as http_client,
    ):
        sidecar = chbackup.Client(requests.url, http_client=http_client)
        assert await sidecar.version() == "2.7.4"
        sidecar = chbackup.Client(requests.url, http_client=http_client, username="u", password="p")
        assert await sidecar.version() == "2.7.4"
    own, ours = requests
    assert "x-own: 1" in own
    assert "Authorization: Basic b3duOnNlY3JldA==" in own
    assert "Authorization: Basic dTpw" in ours


def test_the_fast_transport_is_chosen_by_argument_only(monkeypatch):
    assert "Aiohttp" not in repr(chbackup.Client("http://a")._connection._client._transport)
    with pytest.raises(chbackup.InvalidInput, match="'httpx' or 'aiohttp'"):
        chbackup.Client("http://a", transport="requests")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "httpx_aiohttp", None)
    with pytest.raises(chbackup.InvalidInput, match=r"chbackup\[aiohttp\]"):
        chbackup.Client("http://a", transport="aiohttp")


def test_the_fast_transport_says_that_it_needs_asyncio():
    async def main():
        async with chbackup.Client("http://127.0.0.1:9", transport="aiohttp") as sidecar:
            with pytest.raises(chbackup.InvalidInput, match="needs asyncio"):
                await sidecar.version()

    anyio.run(main, backend="trio")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), chbackup.Timeout])
def test_times_that_cannot_be_waited_for_are_refused(timeout):
    with pytest.raises(chbackup.InvalidInput, match="positive"):
        chbackup.Client("http://a", timeout=timeout(5, connect=0) if callable(timeout) else timeout)


def test_a_time_out_is_seconds_or_three_of_them():
    client = chbackup.Client("http://a", timeout=chbackup.Timeout(60, connect=2, read=20))
    assert client.timeout == 60
    assert client.with_options(timeout=5).timeout == 5
    assert client.timeout == 60


def test_a_username_with_a_colon_is_refused():
    with pytest.raises(chbackup.InvalidInput, match="colon"):
        chbackup.Client("http://a", username="a:b", password="c")
