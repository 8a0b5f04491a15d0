"""A callback ends a pause early, and nothing depends on it."""

import anyio
import pytest
from tests.chbackup.flows import during

import chbackup

BASE = "http://127.0.0.1:9000/hooks"


@pytest.fixture
def receiver():
    return chbackup.CallbackReceiver(BASE)


async def deliver(fake, receiver, every=1.0):
    """Be the network between the sidecar and the application."""

    async def send(url, payload):
        await receiver({"type": "http", "method": "POST", "path": url.removeprefix("http:/")}, None, swallow)

    async def swallow(message):
        pass

    while True:
        await fake.pump(send)
        await anyio.sleep(every)


async def waited(operation):
    start = anyio.current_time()
    await operation.wait()
    return anyio.current_time() - start


async def test_an_end_is_seen_when_the_callback_comes(fake, client, receiver):
    fake.duration.upload = 110
    operation = await client.create_remote("b1", callback=receiver.callback())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver, fake, receiver)
        assert await waited(operation) < 111.5
        tasks.cancel_scope.cancel()


async def test_a_lost_callback_costs_nothing(fake, client, receiver):
    fake.duration.upload = 110
    plain = await waited(await client.create_remote("b1"))
    assert await waited(await client.create_remote("b2", callback=receiver.callback())) == pytest.approx(plain, abs=11)


async def test_callbacks_without_end_do_not_make_a_busy_loop(fake, client, receiver):
    fake.duration.upload = 60
    callback = receiver.callback()
    operation = await client.create_remote("b1", callback=callback)

    async def storm():
        for _ in range(400):
            callback.poke()
            await anyio.sleep(0.05)

    await during(1, storm, operation.wait())
    assert len(fake.requests) < 150


async def test_a_callback_is_no_evidence(fake, client, receiver):
    fake.duration.upload = 60
    callback = receiver.callback()
    operation = await client.create_remote("b1", callback=callback)
    row = await during(10, callback.poke, operation.wait())
    assert row.status == "success"
    assert not fake.remote["b1"].damage


async def test_a_deadline_holds_while_one_waits_for_a_callback(fake, client, receiver):
    fake.duration.upload = 110
    operation = await client.create_remote("b1", callback=receiver.callback())
    start = anyio.current_time()
    with pytest.raises(chbackup.WaitTimeout):
        await operation.wait(timeout=60)
    assert anyio.current_time() - start == pytest.approx(60)


async def test_flows_ask_for_callbacks_and_are_woken(fake, client, receiver):
    fake.duration.upload = fake.duration.download = fake.duration.restore = 110
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver, fake, receiver)
        start = anyio.current_time()
        await chbackup.verified_backup(client, "b1", callbacks=receiver)
        await chbackup.verified_restore(client, "b1", overwrite=True, callbacks=receiver)
        assert anyio.current_time() - start < 3 * 110 + 5
        tasks.cancel_scope.cancel()
    assert len([request for request in fake.requests if "callback=" in request.query]) == 3


async def test_a_lost_reply_still_wakes(fake, client, receiver):
    fake.duration.upload = 110
    fake.faults.lose_reply(after_work=True, path="create_remote")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver, fake, receiver)
        start = anyio.current_time()
        await chbackup.verified_backup(client, "b1", callbacks=receiver)
        assert anyio.current_time() - start < 113
        tasks.cancel_scope.cancel()
