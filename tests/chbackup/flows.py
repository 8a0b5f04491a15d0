"""What the tests of the flows share."""

from base64 import b64encode

import anyio

import chbackup


def submissions(fake, verb="create_remote"):
    return [request for request in fake.requests if request.method == "POST" and f"/backup/{verb}" in request.path]


async def during(seconds, act, call):
    """Run a flow, and something else once after so many seconds of it."""

    async def later():
        await anyio.sleep(seconds)
        result = act()
        if result is not None:
            await result

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later)
        return await call


async def result_of(awaitable):
    try:
        return await awaitable
    except chbackup.ChbackupError as error:
        return error


def restarting(fake, down=0.5, **env):
    async def restart():
        fake.kill_process()
        fake.configure(**env)
        await anyio.sleep(down)
        fake.start_process()

    return restart


async def post(fake, path):
    """Do what the client has no method for."""
    token = b64encode(b"backup:secret-of-tests").decode()
    status, _, _ = await fake.handle("POST", path, "", {"authorization": f"Basic {token}"}, b"")
    assert status < 300
