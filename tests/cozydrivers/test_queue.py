from collections.abc import Callable

import anyio
import pytest
from anyio import current_time
from hypothesis import given
from hypothesis import strategies as st

from cozydrivers.runtime import Key, WorkQueue
from cozydrivers.runtime.backoff import backoff

A, B, C = (Key("one", name) for name in "abc")


async def drain(queue: WorkQueue) -> list[Key]:
    """Take what is there now, each for no time."""
    taken = []
    with anyio.move_on_after(0.001):
        while True:
            async with queue.take() as key:
                taken.append(key)
    return taken


async def next_time(queue: WorkQueue) -> tuple[Key, int]:
    """Take a key; return it and the seconds that it took."""
    started = current_time()
    async with queue.take() as key:
        return key, round(current_time() - started)


async def test_a_key_that_waits_is_not_added_twice():
    queue = WorkQueue()
    for key in (A, B, A, A):
        queue.add(key)
    assert await drain(queue) == [A, B]


async def test_a_key_added_while_it_is_worked_on_waits_again_and_is_never_worked_on_twice_at_once():
    queue = WorkQueue()
    queue.add(A)
    async with queue.take() as key:
        assert key == A
        queue.add(A)
        queue.add(A)
        assert await drain(queue) == []
    assert await drain(queue) == [A]


async def test_namespaces_take_turns():
    queue = WorkQueue()
    for name in "abcd":
        queue.add(Key("large", name))
    for name in "xy":
        queue.add(Key("small", name))
    queue.add(Key("", "cluster-wide"))
    assert [str(key) for key in await drain(queue)] == [
        *("large/a", "small/x", "cluster-wide", "large/b", "small/y", "large/c", "large/d")
    ]


async def test_a_delayed_key_comes_when_it_is_due():
    queue = WorkQueue()
    queue.add_after(A, 60)
    queue.add_after(B, 3600)
    assert await next_time(queue) == (A, 60)
    assert await next_time(queue) == (B, 3540)


async def test_the_earliest_time_wins():
    queue = WorkQueue()
    queue.add_after(A, 60)
    queue.add_after(A, 10)
    queue.add_after(A, 30)
    assert await next_time(queue) == (A, 10)
    queue.add_after(A, 60)
    queue.add(A)
    queue.add_after(A, 5)
    assert await next_time(queue) == (A, 0)
    with anyio.move_on_after(1000):
        await next_time(queue)
        pytest.fail("the later times were to be forgotten")


async def test_a_worker_that_waits_sees_an_earlier_time():
    queue = WorkQueue()
    queue.add_after(A, 3600)
    taken = []

    async def work() -> None:
        while True:
            taken.append(await next_time(queue))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await anyio.sleep(10)
        queue.add_after(B, 5)
        await anyio.sleep(3600)
        tasks.cancel_scope.cancel()
    assert taken == [(B, 15), (A, 3585)]


async def test_a_delay_may_be_set_while_the_key_is_worked_on():
    queue = WorkQueue()
    queue.add(A)
    async with queue.take():
        queue.add_after(A, 1)
        await anyio.sleep(10)
        assert await drain(queue) == []
    assert await drain(queue) == [A]


async def test_a_delay_does_not_add_to_a_key_that_waits_again_anyway():
    queue = WorkQueue()
    queue.add(A)
    async with queue.take():
        queue.add(A)
        queue.add_after(A, 5)
    assert await drain(queue) == [A]
    await anyio.sleep(10)
    assert await drain(queue) == []


async def test_failures_in_a_row_wait_longer_and_longer_up_to_a_minute():
    queue = WorkQueue(random=lambda: 0.0)
    waits = []
    for _ in range(9):
        queue.retry(A)
        waits.append((await next_time(queue))[1])
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    queue.retry(B)
    assert await next_time(queue) == (B, 1)
    queue.forget(A)
    queue.retry(A)
    assert await next_time(queue) == (A, 1)


async def test_a_time_that_the_server_asks_for_is_waited_whatever_comes():
    queue = WorkQueue(random=lambda: 0.0)
    queue.add(A)
    async with queue.take():
        queue.add(A)
        queue.retry(A, not_before=30)
    queue.add(A)
    queue.add_after(A, 5)
    assert await drain(queue) == []
    assert (await next_time(queue))[1] == 30
    queue.retry(B, not_before=0.5)
    assert await next_time(queue) == (B, 1)
    queue.add(B)
    assert await next_time(queue) == (B, 0)


async def test_a_success_ends_the_time_that_the_server_asked_for():
    queue = WorkQueue()
    queue.retry(A, not_before=30)
    queue.forget(A)
    queue.add(A)
    assert await drain(queue) == [A]


async def test_nothing_is_lost_when_a_worker_is_cancelled():
    queue = WorkQueue()
    with anyio.move_on_after(1):
        async with queue.take():
            pytest.fail("nothing was added")
    queue.add(A)
    with anyio.move_on_after(1):
        async with queue.take():
            await anyio.sleep(10)
    assert await drain(queue) == [A]


async def test_a_key_whose_worker_raises_waits_again():
    queue = WorkQueue()
    queue.add(A)
    with pytest.raises(RuntimeError):
        async with queue.take():
            raise RuntimeError
    assert await drain(queue) == [A]


async def test_times_that_do_not_hold_any_more_do_not_pile_up():
    queue = WorkQueue()
    for _ in range(300):
        queue.add_after(A, 3600)
        queue.add(A)
        assert await drain(queue) == [A]
    assert len(queue._agenda) < 100


@pytest.mark.parametrize("workers", [1, 3])
async def test_each_key_that_is_added_is_worked_on_afterwards(workers: int):
    queue = WorkQueue()
    busy: set[Key] = set()
    added: dict[Key, float] = {}
    worked: dict[Key, float] = {}

    async def work() -> None:
        while True:
            async with queue.take() as key:
                assert key not in busy
                busy.add(key)
                worked[key] = current_time()
                await anyio.sleep(0.7)
                busy.remove(key)

    async with anyio.create_task_group() as tasks:
        for _ in range(workers):
            tasks.start_soon(work)
        for step in range(300):
            key = Key(str(step % 3), str(step % 7))
            added[key] = current_time()
            (queue.add if step % 2 else add_late(queue))(key)
            await anyio.sleep(0.2)
        await anyio.sleep(100)
        tasks.cancel_scope.cancel()
    assert len(worked) == 21
    assert all(worked[key] >= added[key] for key in added)


def add_late(queue: WorkQueue) -> Callable[[Key], None]:
    return lambda key: queue.add_after(key, 1.5)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_back_off_stays_in_its_bounds(failures, number):
    wait = backoff(failures, 0.8, 30, lambda: number)
    longest = min(30, 0.8 * 2 ** min(failures - 1, 10))
    assert longest / 2 <= wait <= longest
