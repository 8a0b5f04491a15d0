import json
import logging

import anyio
import pytest
from anyio import current_time

from cozydrivers.errors import Conflict, CozydriversError, Unavailable
from cozydrivers.runtime import Controller, Key, WorkQueue
from cozydrivers.runtime.controller import Reconcile
from cozydrivers.runtime.logs import JsonFormatter, log_context

A, B = Key("one", "a"), Key("one", "b")


async def run(reconcile: Reconcile, seconds: float, *keys: Key, workers: int = 2) -> WorkQueue:
    queue = WorkQueue(random=lambda: 0.0)
    for key in keys:
        queue.add(key)
    with anyio.move_on_after(seconds):
        await Controller("jobs", reconcile, queue, workers=workers).run()
    return queue


async def test_a_key_is_looked_at_again_after_the_seconds_that_were_returned():
    seen: list[float] = []

    async def reconcile(key: Key) -> float | None:
        seen.append(current_time())
        return 10 if len(seen) < 3 else None

    await run(reconcile, 1000, A)
    assert [at - seen[0] for at in seen] == pytest.approx([0, 10, 20])


async def test_workers_work_side_by_side():
    ended: dict[Key, float] = {}

    async def reconcile(key: Key) -> None:
        await anyio.sleep(5)
        ended[key] = current_time()

    started = current_time()
    await run(reconcile, 6, A, B)
    assert ended == pytest.approx({A: started + 5, B: started + 5})


async def test_a_failure_is_tried_again_later_and_does_not_stop_the_others(caplog):
    tried: dict[Key, list[float]] = {A: [], B: []}

    async def reconcile(key: Key) -> None:
        tried[key].append(current_time())
        if key == A and len(tried[A]) < 4:
            raise Conflict("the object has been modified")

    await run(reconcile, 100, A, B)
    assert [at - tried[A][0] for at in tried[A]] == pytest.approx([0, 1, 3, 7])
    assert len(tried[B]) == 1
    assert [record.getMessage() for record in caplog.records] == ["jobs one/a: the object has been modified"]


async def test_a_failure_is_logged_once_until_it_changes_or_the_key_succeeds(caplog):
    answers: list[str | None] = ["x", "x", "y", "x", None, "x", "x", None]

    async def reconcile(key: Key) -> float | None:
        answer = answers.pop(0) if answers else None
        if answer:
            raise CozydriversError(answer)
        return 1

    await run(reconcile, 200, A)
    assert [record.getMessage() for record in caplog.records] == [f"jobs one/a: {word}" for word in "xyxx"]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


async def test_the_log_tells_where_a_foreign_error_came_from_but_not_its_text(caplog):
    async def reconcile(key: Key) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 1)
            raise ValueError({"data": {"password": "aHVudGVyMg=="}})

    await run(reconcile, 0.5, A)
    (record,) = caplog.records
    assert record.getMessage().startswith("jobs one/a: ValueError in reconcile, test_controller_loop.py:")
    assert "aHVudGVyMg" not in caplog.text


async def test_a_success_ends_the_back_off():
    tried: list[float] = []

    async def reconcile(key: Key) -> float | None:
        tried.append(current_time())
        if len(tried) in (1, 2, 4):
            raise CozydriversError("no")
        return 100

    await run(reconcile, 150, A)
    assert [at - tried[0] for at in tried] == pytest.approx([0, 1, 3, 103, 104])


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_key_is_not_tried_before_the_time_that_the_server_asks_for(grouped):
    tried: list[float] = []

    async def reconcile(key: Key) -> None:
        tried.append(current_time())
        if len(tried) == 1:
            error = Unavailable("too many requests", status=429, retry_after=20)
            raise ExceptionGroup("", [ValueError(), error]) if grouped else error

    queue = WorkQueue(random=lambda: 0.0)
    queue.add(A)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Controller("jobs", reconcile, queue).run)
        for _ in range(50):
            await anyio.sleep(0.5)
            if len(tried) < 2:
                queue.add(A)  # each change of the object
        tasks.cancel_scope.cancel()
    assert [at - tried[0] for at in tried] == pytest.approx([0, 20])


async def test_what_is_logged_in_a_step_holds_its_key():
    formatter = JsonFormatter()
    lines: list[dict[str, str]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(formatter.format(record)))

    async def reconcile(key: Key) -> None:
        with log_context(uid=f"uid-of-{key.name}"):
            await anyio.sleep(1)
            logging.getLogger("cozydrivers.drivers").error("inside")
        raise CozydriversError("no")

    handler = Handler()
    logging.getLogger("cozydrivers").addHandler(handler)
    queue = WorkQueue()
    queue.add(A)
    queue.add(B)
    try:
        with anyio.move_on_after(1.2):
            await Controller("BackupJob", reconcile, queue).run()
    finally:
        logging.getLogger("cozydrivers").removeHandler(handler)
    told = sorted(
        (line["message"], line["controller"], line["namespace"], line["job"], line.get("uid", "")) for line in lines
    )
    assert told == [
        ("BackupJob one/a: no", "BackupJob", "one", "a", ""),
        ("BackupJob one/b: no", "BackupJob", "one", "b", ""),
        ("inside", "BackupJob", "one", "a", "uid-of-a"),
        ("inside", "BackupJob", "one", "b", "uid-of-b"),
    ]


async def test_cancelling_puts_the_key_back():
    async def reconcile(key: Key) -> None:
        await anyio.sleep(1000)

    queue = await run(reconcile, 10, A)
    async with queue.take() as key:
        assert key == A


async def test_a_step_that_never_waits_can_be_cancelled():
    steps = 0

    async def reconcile(key: Key) -> float:
        nonlocal steps
        steps += 1
        if steps == 1000:
            tasks.cancel_scope.cancel()
        return 0

    queue = WorkQueue()
    queue.add(A)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Controller("jobs", reconcile, queue, workers=1).run)
    assert steps == 1000
