"""What dies in the middle: nothing is sent twice under one name, and nothing half-made looks good."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial

import anyio
import pytest
from tests.e2e import objects, uploads
from tests.e2e.leaks import its_secret, tellers
from tests.e2e.objects import archives, conditions
from tests.e2e.proxy import lost_answer
from tests.e2e.scene import Scene
from tests.real.processes import loopback

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# Enough that making an archive of them, or restoring it, takes a second.
MANY = {f"t{number}": 20 for number in range(50)}


async def test_a_controller_killed_before_it_heard_the_answer_adopts_its_backup(scene: Scene):
    one, two = scene.shards
    await one.fill(orders=3000)
    await two.fill(orders=2000)
    async with _killed_at(scene, b"POST /backup/create_remote") as killed:
        await scene.submit(objects.backup_job("nightly"))
        await killed.wait()
        await scene.controller.start()
        backup = await scene.backup_of("nightly")

    first, second = archives(backup)
    assert one.asked("create_remote", "upload") == [f"create_remote {first}"]
    assert two.asked("create_remote", "upload")[-1] == f"create_remote {second}"
    _nothing_twice(scene)
    assert await scene.stored() == dict.fromkeys((first, second), "")
    assert await scene.local_copies() == []
    assert await tellers(scene) == [its_secret(scene)]


async def test_a_controller_killed_before_it_heard_the_answer_adopts_its_restore(scene: Scene):
    one, two = scene.shards
    await one.fill(orders=3000)
    await two.fill(orders=2000)
    rows = await scene.rows()
    backup = await scene.back_up("nightly")
    await scene.drop()
    async with _killed_at(scene, b"POST /backup/restore/") as killed:
        await scene.submit(objects.restore_job("back", backup["metadata"]["name"]))
        await killed.wait()
        await scene.controller.start()
        job = await scene.ended("RestoreJob", "back")

    assert job["status"]["phase"] == "Succeeded", job["status"]
    assert await scene.rows() == rows
    assert len(one.asked("restore")) == 1
    assert await scene.stored() == dict.fromkeys(archives(backup), "")
    assert await scene.local_copies() == []


@contextlib.asynccontextmanager
async def _killed_at(scene: Scene, request: bytes) -> AsyncIterator[anyio.Event]:
    """Kill the controller when the first shard's sidecar has answered a request, before the answer arrives."""
    killed, shard = anyio.Event(), scene.shards[0]

    async def kill() -> None:
        await scene.controller.kill()
        killed.set()

    async with lost_answer(loopback(63), (shard.sidecar.address, shard.sidecar.port), request, kill):
        await scene.move(shard, loopback(63))
        yield killed


async def test_a_sidecar_killed_while_it_makes_an_archive_makes_another(scene: Scene):
    one, two = scene.shards
    await one.fill(**MANY)
    await two.fill(orders=2000)
    await scene.submit(objects.backup_job("nightly"))
    await one.crash(one.creating)

    backup = await scene.backup_of("nightly")
    given_up, made = one.asked("create_remote", "upload")
    assert made == f"create_remote {archives(backup)[0]}"
    assert given_up != made
    _nothing_twice(scene)
    assert await scene.stored() == dict.fromkeys(archives(backup), "")
    assert await scene.local_copies() == []


async def test_a_sidecar_killed_in_the_upload_completes_the_same_archive(scene: Scene):
    one = scene.shards[0]
    await uploads.throttle(scene)
    rows = await scene.rows()
    await scene.submit(objects.backup_job("nightly"))
    await one.crash(partial(uploads.uploading, scene))

    backup = await scene.backup_of("nightly")
    first = archives(backup)[0]
    assert one.asked("create_remote", "upload") == [f"create_remote {first}", f"upload --resumable=1 {first}"]
    assert await scene.stored() == dict.fromkeys(archives(backup), "")
    assert await scene.local_copies() == []
    await scene.drop()
    await scene.submit(objects.restore_job("back", backup["metadata"]["name"]))
    assert (await scene.ended("RestoreJob", "back"))["status"]["phase"] == "Succeeded"
    assert await scene.rows() == rows


async def test_a_restore_whose_sidecar_was_killed_is_finished_by_the_same_job(scene: Scene):
    one, two = scene.shards
    await one.fill(**MANY)
    await two.fill(orders=2000)
    rows = await scene.rows()
    backup = await scene.back_up("nightly")
    await scene.drop()
    await scene.submit(objects.restore_job("back", backup["metadata"]["name"]))

    async def half_restored() -> bool:
        return bool(await one.tables()) and await one.rows() != rows[0]

    await one.crash(half_restored)
    job = await scene.ended("RestoreJob", "back")

    assert job["status"]["phase"] == "Succeeded", job["status"]
    assert await scene.rows() == rows
    assert len(one.asked("restore")) == 2
    assert await scene.stored() == dict.fromkeys(archives(backup), "")
    assert await scene.local_copies() == []


async def test_a_shard_that_fails_leaves_nothing_of_the_set(scene: Scene):
    await scene.shards[0].fill(orders=3000)  # and nothing on the other: `no tables for backup`
    await scene.submit(objects.backup_job("nightly"))
    job = await scene.ended("BackupJob", "nightly")
    assert conditions(job)["Ready"] == "False:EngineFailed"
    assert await scene.local_copies() == []
    assert await scene.stored() == {}


def _nothing_twice(scene: Scene) -> None:
    for shard in scene.shards:
        asked = shard.asked("create_remote", "upload")
        assert len(asked) == len(set(asked)), asked
