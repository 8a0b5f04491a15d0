import re
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cozydrivers.api.coordination import Lease
from cozydrivers.errors import ClusterUnreachable, Conflict, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import acquire, lock_name, release
from cozydrivers.runtime.locks import micro_time
from cozydrivers.testing import FakeCluster

NOW = datetime(2026, 11, 23, 12, 30, 1, 500, tzinfo=UTC)
NAME = lock_name("storage", "https://s3", "bucket", "path")
FIRST, SECOND, THIRD = "BackupJob/1-a", "RestoreJob/2-b", "BackupJob/3-c"


async def nobody_ended(holder: str) -> bool:
    return False


async def all_ended(holder: str) -> bool:
    return True


async def take(kube: KubeClient, holder: str, is_finished=nobody_ended) -> bool:
    return await acquire(kube, "default", NAME, holder, now=NOW, is_finished=is_finished)


async def holder_of(kube: KubeClient) -> str | None:
    try:
        return (await kube.get(Lease, NAME, "default")).spec.holder_identity
    except NotFound:
        return None


async def test_one_holder_at_a_time():
    kube = FakeCluster().kube()
    assert await take(kube, FIRST)
    assert not await take(kube, SECOND)
    await release(kube, "default", NAME, FIRST)
    assert await take(kube, SECOND)
    assert await holder_of(kube) == SECOND


async def test_the_holder_keeps_it_without_a_write():
    cluster = FakeCluster()
    kube = cluster.kube()
    assert await take(kube, FIRST)
    assert await take(kube, FIRST)
    assert [method for method, _ in cluster.requests] == ["GET", "POST", "GET"]


async def test_it_is_not_taken_away_by_time():
    kube = FakeCluster().kube()
    assert await take(kube, FIRST)
    later = NOW + timedelta(days=365)
    assert not await acquire(kube, "default", NAME, SECOND, now=later, is_finished=nobody_ended)


async def test_it_is_taken_over_from_a_holder_that_has_ended():
    kube = FakeCluster().kube()
    asked = []

    async def ended(holder: str) -> bool:
        asked.append(holder)
        return holder == FIRST

    assert await take(kube, FIRST)
    assert await take(kube, SECOND, ended)
    assert not await take(kube, THIRD, ended)
    lease = await kube.get(Lease, NAME, "default")
    assert (lease.spec.holder_identity, lease.spec.lease_transitions, asked) == (SECOND, 1, [FIRST, SECOND])
    assert lease.spec.acquire_time == NOW


async def test_a_lease_without_a_holder_is_free():
    kube = FakeCluster().kube()
    await kube.create(Lease, {"metadata": {"name": NAME}}, "default")
    assert await take(kube, FIRST)


async def test_of_those_who_take_over_at_once_one_wins():
    kube = FakeCluster().kube()
    assert await take(kube, FIRST)
    won = []

    async def ended(holder: str) -> bool:
        await anyio.sleep(1)
        return True

    async def try_it(holder: str) -> None:
        if await take(kube, holder, ended):
            won.append(holder)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(try_it, SECOND)
        tasks.start_soon(try_it, THIRD)
    assert [await holder_of(kube)] == won


async def test_of_those_who_create_it_at_once_one_wins():
    cluster = FakeCluster()
    cluster.faults.latency = 1
    kube = cluster.kube()
    won = []

    async def try_it(holder: str) -> None:
        if await take(kube, holder):
            won.append(holder)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(try_it, FIRST)
        tasks.start_soon(try_it, SECOND)
    assert [await holder_of(kube)] == won


async def test_one_that_is_released_meanwhile_is_taken_at_the_next_try():
    kube = FakeCluster().kube()
    assert await take(kube, FIRST)

    async def ended(holder: str) -> bool:
        await release(kube, "default", NAME, FIRST)
        return True

    assert not await take(kube, SECOND, ended)
    assert await take(kube, SECOND, ended)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_after_a_lost_reply_the_next_try_finds_that_it_is_ours(method):
    cluster = FakeCluster()
    kube = cluster.kube()
    if method == "PATCH":
        assert await take(kube, SECOND)
    cluster.faults.lose_reply(method=method)
    with pytest.raises(ClusterUnreachable):
        await take(kube, FIRST, all_ended)
    assert await take(kube, FIRST)


async def test_nobody_releases_what_another_holds():
    kube = FakeCluster().kube()
    await release(kube, "default", NAME, FIRST)
    assert await take(kube, SECOND)
    await release(kube, "default", NAME, FIRST)
    assert await holder_of(kube) == SECOND


async def test_a_release_never_removes_the_lock_of_who_took_it_over_meanwhile():
    cluster = FakeCluster()
    kube = cluster.kube()
    assert await take(kube, FIRST)
    cluster.faults.latency = 1

    async def let_go() -> None:
        with pytest.raises(Conflict):
            await release(kube, "default", NAME, FIRST)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, kube, SECOND, all_ended)
        await anyio.sleep(0.5)
        tasks.start_soon(let_go)
    assert await holder_of(kube) == SECOND


@given(st.text(), st.lists(st.text()))
def test_names_are_labels(kind, parts):
    name = lock_name(kind, *parts)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= 63


def test_names_stay_the_same_and_tell_their_parts_apart():
    assert lock_name("storage", "a", "bc") == "storage-6da682c56c401f387f36"
    assert (
        len({lock_name("x", *parts) for parts in [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ("abc", "")]})
        == 5
    )
    assert lock_name("a b", "c") != lock_name("a-b", "c")


def test_times_have_six_digits_in_utc():
    assert micro_time(NOW) == "2026-11-23T12:30:01.000500Z"
    assert micro_time(NOW.replace(microsecond=0)) == "2026-11-23T12:30:01.000000Z"
