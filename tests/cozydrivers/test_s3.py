"""The object store over S3, against a server on a real port. What the answers of real stores are is in conformance."""

import dataclasses
import ssl
import sys
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from xml.sax.saxutils import escape

import anyio
import pytest
import trustme
from aiohttp import web

from cozydrivers.clients import s3
from cozydrivers.clients.objects import Coordinates, StoreError, open_store

pytestmark = pytest.mark.anyio

SECRET = "a-secret-that-nobody-may-see"
HERE = Coordinates(bucket="backups", access_key="key", secret_key=SECRET)


@pytest.fixture
def anyio_backend():
    return "asyncio"


def entry(key, size="3", modified="2026-11-27T01:00:00.000Z"):
    """As some stores write it: without an ETag and a storage class."""
    return f"<Contents><Key>{escape(key)}</Key><LastModified>{modified}</LastModified><Size>{size}</Size></Contents>"


def page(*entries, token=""):
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(entries)}{more}</ListBucketResult>'
    )


def error(status, code, message=""):
    return web.Response(status=status, text=f"<Error><Code>{code}</Code><Message>{message}</Message></Error>")


@asynccontextmanager
async def served(answer, tls=None):
    """A server whose every answer is given; yields its URL and the requests that it has seen."""
    seen = []

    async def handle(request):
        seen.append(request)
        said = answer(request)
        said = await said if isinstance(said, Coroutine) else said
        return web.Response(text=said) if isinstance(said, str) else said

    runner = web.AppRunner(app := web.Application(), shutdown_timeout=0)
    app.router.add_route("*", "/{path:.*}", handle)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


@asynccontextmanager
async def bucket(answer, **changes):
    async with served(answer) as (url, _), open_store(dataclasses.replace(HERE, endpoint=url, **changes)) as store:
        yield store


async def test_pages_are_put_together_and_nothing_is_left_out():
    def answer(request):
        return page(entry("a/2&2")) if "continuation-token" in request.query else page(entry("a/1", "7"), token="x+/=")

    async with served(answer) as (url, seen), open_store(dataclasses.replace(HERE, endpoint=url)) as store:
        assert [(each.key, each.size) for each in await store.list("a/")] == [("a/1", 7), ("a/2&2", 3)]
    assert [request.path for request in seen] == ["/backups/", "/backups/"]
    assert seen[1].query["continuation-token"] == "x+/="
    assert "AWS4-HMAC-SHA256" in seen[0].headers["authorization"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda request: error(403, "AccessDenied", SECRET), "answers 403 AccessDenied"),
        (lambda request: error(404, "NoSuchBucket"), "answers 404 NoSuchBucket"),
        (lambda request: web.Response(status=502, text="<html>"), "answers 502"),
        (lambda request: web.Response(status=307, headers={"location": "http://127.0.0.1:1/"}), "answers 307"),
        (lambda request: "no list", "something else than a list"),
        (lambda request: page(entry("a", size="")), "without size or time"),
        (lambda request: page(entry("a", modified="")), "size or time"),
        (lambda request: page(token="the same for ever"), "without an end"),
    ],
)
async def test_what_is_no_list_is_an_error_without_secrets(answer, words):
    async with bucket(answer) as store:
        with pytest.raises(StoreError, match=words) as caught:
            await store.list("a/")
    assert SECRET not in str(caught.value) + repr(caught.value.__cause__)


async def test_an_object_is_read_as_far_as_the_limit():
    async with bucket(
        lambda request: "content" if request.path == "/backups/a b%2E/ü" else error(404, "NoSuchKey")
    ) as store:
        assert await store.read("a b%2E/ü", limit=7) == b"content"
        assert await store.read("other", limit=1) is None
        with pytest.raises(StoreError, match="more than 6 bytes"):
            await store.read("a b%2E/ü", limit=6)


def ranged(content):
    """As S3 does it."""

    def answer(request):
        if request.path != "/backups/a b/ü":
            return error(404, "NoSuchKey")
        first, last = (int(each) for each in request.headers["range"].removeprefix("bytes=").split("-"))
        if first >= len(content):
            return error(416, "InvalidRange")
        headers = {"content-range": f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"}
        return web.Response(status=206, body=content[first : last + 1], headers=headers)

    return answer


async def test_a_part_of_an_object():
    async with bucket(ranged(b"content")) as store:
        assert await store.part("a b/ü", 0, 3) == b"con"
        assert await store.part("a b/ü", 3, 1_000_000) == b"tent"
        assert await store.part("a b/ü", 7, 1) == b""
        assert await store.part("other", 0, 1) is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda request: "con", "another part of a than"),
        (lambda request: "the whole object", "more than 3 bytes"),
        (
            lambda request: web.Response(status=206, text="con", headers={"content-range": "bytes 0-2/7"}),
            "another part of a than the one asked for",
        ),
        (lambda request: web.Response(status=206, text="con"), "another part"),
        (lambda request: error(404, "NoSuchBucket"), "404 NoSuchBucket"),
        (lambda request: error(403, "AccessDenied"), "403 AccessDenied"),
    ],
)
async def test_what_is_no_part_of_it_is_not_taken_for_one(answer, words):
    async with bucket(answer) as store:
        with pytest.raises(StoreError, match=words):
            await store.part("a", 4, 3)


async def test_a_part_comes_as_it_lies_there():
    headers = {"content-range": "bytes 2-3/9", "content-encoding": "gzip"}
    async with bucket(lambda request: web.Response(status=206, body=b"ab", headers=headers)) as store:
        assert await store.part("a", 2, 2) == b"ab"


async def test_a_store_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(s3, "REQUEST_TIMEOUT", 0.05)
    async with bucket(lambda request: anyio.sleep(0.3)) as store:
        with pytest.raises(StoreError, match=r"did not answer in 0\.05 s"):
            await store.list("a/")


async def test_nobody_there():
    async with open_store(dataclasses.replace(HERE, endpoint="http://user:secret@127.0.0.1:1")) as store:
        with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:1/backups can't be reached"):
            await store.list("a/")


async def test_an_authority_of_one_s_own():
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with served(lambda request: page(), tls) as (url, _):
        there = dataclasses.replace(HERE, endpoint=url)
        async with open_store(there) as store:
            with pytest.raises(StoreError, match="can't be reached"):
                await store.list("a/")
        async with open_store(dataclasses.replace(there, ca=authority.cert_pem.bytes().decode())) as store:
            assert await store.list("a/") == []
        async with open_store(dataclasses.replace(there, verify=False)) as store:
            assert await store.list("a/") == []
    with pytest.raises(StoreError, match="certificates"):
        async with open_store(dataclasses.replace(there, ca="-----BEGIN CERTIFICATE-----\n")):
            pass


@pytest.mark.parametrize(
    ("endpoint", "path_style", "url"),
    [
        ("http://s3.local:8333", True, "http://s3.local:8333/backups"),
        ("https://s3.local/", False, "https://backups.s3.local"),
        ("", False, "https://backups.s3.us-east-1.amazonaws.com"),
    ],
)
async def test_where_the_bucket_is(endpoint, path_style, url):
    assert dataclasses.replace(HERE, endpoint=endpoint, path_style=path_style).url == url


@pytest.mark.parametrize("endpoint", ["ftp://x", "s3.local", "http://[x", "http://x:99999"])
async def test_what_is_no_endpoint(endpoint):
    with pytest.raises(StoreError, match="no http or https URL"):
        _ = dataclasses.replace(HERE, endpoint=endpoint).url


async def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "cozydrivers.clients.s3")
    monkeypatch.setitem(sys.modules, "aiohttp_s3_client", None)
    with pytest.raises(StoreError, match=r"pip install 'chbackup\[s3\]'"):
        open_store(HERE)
