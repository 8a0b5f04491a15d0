"""A dump is read to its end in small portions, beside everything else that the controller does."""

import bz2
import gzip
import random

import anyio
import pytest

from cozydrivers.clients.objects import StoreError
from cozydrivers.drivers.mariadb.dumps import parse
from cozydrivers.drivers.mariadb.stream import CHUNK, Problem, Progress, Proven, Streams

pytestmark = pytest.mark.anyio

BEGIN = b"-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB\n--\n"
END = b"-- Dump completed on 2026-08-21 10:00:03\n"
NOISE = random.Random(7).randbytes(3 * CHUNK).replace(b"\n", b"")
DUMP = BEGIN + NOISE + b"\n" + END
PACK = {
    "sql": bytes,
    "sql.gz": lambda content: gzip.compress(content, 1),
    "sql.bz2": lambda content: bz2.compress(content, 1),
}
UID = "a-run"


def dump(size, ending="sql"):
    found = parse(f"db/backup.2026-08-21T10:00:00Z.{ending}", size)
    assert found
    return found


class OneObject:
    """A bucket with one object. `requests` are the spans that were asked for; one of them takes `seconds`."""

    def __init__(self, content, seconds=0.0):
        self.content = content
        self.seconds = seconds
        self.requests = []
        self.fault = ""

    async def list(self, prefix):
        return []

    async def read(self, key, *, limit):
        return self.content

    async def part(self, key, start, length):
        self.requests.append((start, length))
        await anyio.sleep(self.seconds)
        if self.fault:
            raise StoreError(self.fault)
        return None if self.content is None else self.content[start : start + length]

    async def delete(self, key):
        self.content = None


async def to_the_end(streams, store, its, **budget):
    """The verdict, and the progress before it."""
    before = []
    while isinstance(verdict := await streams.advance(store, UID, its, **budget), Progress):
        before.append(verdict)
        assert len(before) < 1000
    return verdict, before


@pytest.mark.parametrize("ending", PACK)
async def test_a_whole_dump_is_proven(ending):
    store = OneObject(PACK[ending](DUMP))
    size = len(store.content)
    assert await Streams().advance(store, UID, dump(size, ending)) == Proven()
    assert max(length for _, length in store.requests) == CHUNK
    assert len(store.requests) == -(-size // CHUNK) + 1, "each byte once, and a look beyond the end"


@pytest.mark.parametrize("ending", PACK)
async def test_over_several_steps_where_it_is_long(ending):
    store = OneObject(PACK[ending](DUMP))
    size = len(store.content)
    verdict, before = await to_the_end(Streams(), store, dump(size, ending), most_bytes=CHUNK)
    assert verdict == Proven()
    assert 3 <= len(before) <= 4
    assert [each.size for each in before] == [size] * len(before)
    assert [each.read for each in before] == sorted({each.read for each in before})
    assert len(store.requests) == -(-size // CHUNK) + 1, "a step goes on where the last one came to"


async def test_a_slow_store_ends_a_step():
    store = OneObject(DUMP, seconds=12.0)
    began = anyio.current_time()
    assert await Streams().advance(store, UID, dump(len(DUMP))) == Progress(2 * CHUNK, len(DUMP))
    assert anyio.current_time() - began == 24


async def test_other_tasks_run_in_between():
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    content = gzip.compress(BEGIN + b"\n" * 20 * CHUNK + END)
    async with anyio.create_task_group() as group:
        group.start_soon(others)
        assert await Streams().advance(OneObject(content), UID, dump(len(content), "sql.gz")) == Proven()
        group.cancel_scope.cancel()
    assert turns > 80, "once for each 256 KiB"


async def test_what_expands_without_measure_takes_many_small_steps():
    content = bz2.compress(BEGIN + b"\n" * 32 * CHUNK + END)
    assert len(content) < 1000
    verdict, before = await to_the_end(Streams(), OneObject(content), dump(len(content), "sql.bz2"), most_bytes=CHUNK)
    assert verdict == Proven()
    assert len(before) == 2


async def test_a_problem_ends_the_reading_at_once():
    store = OneObject(NOISE)
    assert await Streams().advance(store, UID, dump(len(NOISE))) == Problem("it does not begin as a dump does")
    assert len(store.requests) == 1


async def test_a_dump_without_its_end_is_none():
    content = gzip.compress(DUMP[: -len(END)], 1)
    verdict = await Streams().advance(OneObject(content), UID, dump(len(content), "sql.gz"))
    assert isinstance(verdict, Problem)
    assert "last line" in verdict.sentence


@pytest.mark.parametrize("change", [-1, 1, -2 * CHUNK, 2 * CHUNK])
async def test_an_object_that_has_another_size_meanwhile(change):
    store, streams, size = OneObject(DUMP), Streams(), len(DUMP)
    assert isinstance(await streams.advance(store, UID, dump(size), most_bytes=CHUNK), Progress)
    store.content = (DUMP * 2)[: size + change]
    assert (await to_the_end(streams, store, dump(size)))[0] == Problem(f"its size is no longer {size} bytes")


async def test_an_object_that_is_listed_with_another_size_meanwhile():
    store, streams = OneObject(DUMP), Streams()
    await streams.advance(store, UID, dump(len(DUMP)), most_bytes=CHUNK)
    verdict = await streams.advance(store, UID, dump(7))
    assert verdict == Problem(f"its size was {len(DUMP)} bytes and is 7")


async def test_an_object_that_goes_meanwhile():
    store, streams = OneObject(DUMP), Streams()
    await streams.advance(store, UID, dump(len(DUMP)), most_bytes=CHUNK)
    await store.delete("")
    assert await streams.advance(store, UID, dump(len(DUMP))) == Problem("it is gone")


async def test_an_empty_object():
    assert await Streams().advance(OneObject(b""), UID, dump(0)) == Problem("it is empty")


async def test_a_store_that_fails_costs_nothing_that_was_read():
    store, streams = OneObject(DUMP), Streams()
    await streams.advance(store, UID, dump(len(DUMP)), most_bytes=CHUNK)
    store.fault = "503"
    with pytest.raises(StoreError):
        await streams.advance(store, UID, dump(len(DUMP)))
    store.fault = ""
    assert await streams.advance(store, UID, dump(len(DUMP))) == Proven()
    assert [start // CHUNK for start, _ in store.requests[:3]] == [0, 1, 1]


async def test_a_step_that_is_cancelled_is_taken_up_again():
    store, streams = OneObject(gzip.compress(DUMP, 1), seconds=1.0), Streams()
    its = dump(len(store.content), "sql.gz")
    for _ in range(3):
        with anyio.move_on_after(1.5):
            await streams.advance(store, UID, its)
    assert await streams.advance(store, UID, its) == Proven()


async def test_runs_are_kept_apart_until_they_are_forgotten():
    store, streams, its = OneObject(DUMP), Streams(), dump(len(DUMP))
    await streams.advance(store, UID, its, most_bytes=2 * CHUNK)
    assert await streams.advance(store, "another", its, most_bytes=CHUNK) == Progress(CHUNK, len(DUMP))
    assert await streams.advance(store, UID, its) == Proven()
    assert await streams.advance(store, UID, its, most_bytes=CHUNK) == Proven(), "a verdict stays"
    streams.forget(UID)
    streams.forget("unknown")
    assert await streams.advance(store, UID, its, most_bytes=CHUNK) == Progress(CHUNK, len(DUMP))
    assert isinstance(await streams.advance(store, "another", its, most_bytes=CHUNK), Progress)
