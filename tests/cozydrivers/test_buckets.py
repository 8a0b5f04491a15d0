"""A bucket in process answers as S3 does."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cozydrivers.clients.objects import Coordinates, StoreError
from cozydrivers.testing.buckets import ACCESS_KEY, FORBIDDEN, SECRET_KEY, UNREACHABLE, FakeBucket, open_among

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
WHERE = Coordinates("backups", ACCESS_KEY, SECRET_KEY, endpoint="https://minio:9000")


def _bucket() -> FakeBucket:
    bucket = FakeBucket(endpoint="minio:9000")
    for key in ("a/1", "a/2", "b/1"):
        bucket.put(key, key.encode() * 2, AT)
    return bucket


async def test_what_was_put_is_listed_read_and_deleted():
    bucket = _bucket()
    async with bucket.open(WHERE) as store:
        found = await store.list("a/")
        assert [(each.key, each.size, each.modified) for each in found] == [("a/1", 6, AT), ("a/2", 6, AT)]
        assert await store.read("a/1", limit=6) == b"a/1a/1"
        assert await store.part("a/1", 4, 99) == b"/1"
        assert (await store.read("c", limit=1), await store.part("c", 0, 1)) == (None, None)
        with pytest.raises(StoreError, match="more than 5 bytes"):
            await store.read("a/1", limit=5)
        await store.delete("a/1")
        await store.delete("a/1")
    assert bucket.keys == ["a/2", "b/1"]


async def test_a_list_can_leave_something_out():
    bucket = _bucket()
    bucket.hidden.add("a/1")
    assert [each.key for each in await bucket.list("a/")] == ["a/2"]
    assert await bucket.read("a/1", limit=9) is not None


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (replace(WHERE, bucket="other"), "404 NoSuchBucket"),
        (replace(WHERE, access_key="x"), "403 InvalidAccessKeyId"),
        (replace(WHERE, secret_key="x"), "403 SignatureDoesNotMatch"),
        (replace(WHERE, endpoint="https://elsewhere"), "can't be reached"),
    ],
)
async def test_who_has_other_coordinates_is_refused(where: Coordinates, why: str):
    for opener in (_bucket().open, open_among(_bucket())):
        with pytest.raises(StoreError, match=why):
            async with opener(where):
                pass


async def test_a_fault_hits_every_request():
    bucket = _bucket()
    bucket.fault = FORBIDDEN
    for request in (bucket.list("a/"), bucket.read("a/1", limit=9), bucket.part("a/1", 0, 1), bucket.delete("a/1")):
        with pytest.raises(StoreError, match="AccessDenied"):
            await request


async def test_it_can_be_out_of_reach_from_outside_alone():
    bucket = _bucket()
    bucket.outside = UNREACHABLE
    with pytest.raises(StoreError, match="can't be reached"):
        await bucket.list("a/")
    bucket.put("a/3", b"", AT)
    assert bucket.under("a/") == ["a/1", "a/2", "a/3"]


async def test_of_several_buckets_the_one_is_opened_that_is_named():
    other = FakeBucket("other", endpoint="minio:9000")
    other.put("x", b"", AT)
    async with open_among(_bucket(), other)(replace(WHERE, bucket="other")) as store:
        assert [each.key for each in await store.list("")] == ["x"]
