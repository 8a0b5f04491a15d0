"""What may happen in the middle of an upload: one archive under one name, or nothing that looks like one."""

import anyio
import pytest
from tests.e2e import kube, objects, uploads
from tests.e2e.objects import archives, conditions
from tests.e2e.proxy import gate
from tests.e2e.scene import Scene
from tests.real.processes import wait_until
from tests.real.sidecar import IMPATIENT

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


async def _assert_made_once(scene: Scene, *, resumed: bool = False) -> None:
    """The job has succeeded; each archive was asked for once under its name, is whole, and left no local copy."""
    backup = await scene.backup_of("nightly")
    first, second = archives(backup)
    one, two = scene.shards
    resume = [f"upload --resumable=1 {first}"] if resumed else []
    assert one.asked("create_remote", "upload") == [f"create_remote {first}", *resume]
    assert two.asked("create_remote", "upload") == [f"create_remote {second}"]
    assert await scene.stored() == dict.fromkeys((first, second), "")
    assert await scene.local_copies() == []


async def _assert_nothing_left(scene: Scene, *others: str) -> None:
    """No archive but those of others is anywhere, and no sidecar does anything."""
    assert await scene.stored() == dict.fromkeys(others, "")
    assert await scene.local_copies() == []
    for shard in scene.shards:
        assert await shard.running() == []


@pytest.mark.newest
async def test_controller_and_sidecar_die_together_and_one_archive_is_made(scene: Scene):
    await uploads.throttle(scene)
    await uploads.begin(scene)
    await scene.controller.kill()
    await scene.shards[0].sidecar.kill()
    await scene.controller.start()
    await anyio.sleep(3)
    await scene.shards[0].sidecar.start()
    await _assert_made_once(scene, resumed=True)


@pytest.mark.newest
async def test_a_store_that_gives_no_answer_for_a_while_is_waited_for(scene: Scene):
    await uploads.throttle(scene)
    await uploads.begin(scene)
    scene.s3.freeze()
    await anyio.sleep(8)
    scene.s3.thaw()
    await _assert_made_once(scene)


@pytest.mark.newest
async def test_a_store_that_refuses_is_an_end_that_leaves_nothing(scene: Scene):
    async with gate(("127.0.0.1", scene.s3.port)) as way:
        await uploads.throttle(scene, S3_ENDPOINT=way.url, **IMPATIENT)
        await uploads.begin(scene)
        way.shut()
        await scene.says("BackupJob", "nightly", "connection refused")
        await way.open()
        job = await scene.ended("BackupJob", "nightly")
        assert conditions(job)["Ready"] == "False:EngineFailed"
        await _assert_nothing_left(scene)


@pytest.mark.newest
async def test_a_sidecar_that_does_somebody_s_work_is_waited_for(scene: Scene):
    await uploads.throttle(scene)
    async with scene.shards[0].sidecar.client() as somebody:
        (await somebody.post("/backup/create_remote", params={"name": "by-hand"})).raise_for_status()
    await scene.submit(objects.backup_job("nightly"))
    await scene.says("BackupJob", "nightly", "is busy with: create_remote by-hand")
    backup = await scene.backup_of("nightly")
    assert await scene.stored() == dict.fromkeys([*archives(backup), "by-hand"], "")
    assert await scene.local_copies() == ["by-hand"]


async def test_an_upload_that_somebody_kills_is_an_end_that_leaves_nothing(scene: Scene):
    await uploads.throttle(scene)
    await uploads.begin(scene)
    async with scene.shards[0].sidecar.client() as somebody:
        (await somebody.get("/backup/kill")).raise_for_status()
    job = await scene.ended("BackupJob", "nightly")
    assert conditions(job)["Ready"] == "False:Cancelled"
    await _assert_nothing_left(scene)


async def test_a_job_that_is_deleted_takes_everything_with_it(scene: Scene):
    await uploads.throttle(scene)
    await uploads.begin(scene)
    await kube.delete(scene.client, "BackupJob", scene.namespace, "nightly")

    async def gone() -> bool:
        return "nightly" not in await kube.names(scene.client, "BackupJob", scene.namespace)

    await wait_until(gone, timeout=60, what="the end of the deletion")
    await _assert_nothing_left(scene)
    assert await kube.names(scene.client, "Backup", scene.namespace) == set()


@pytest.mark.newest
async def test_addresses_that_are_swapped_mix_up_nothing(scene: Scene):
    await uploads.throttle(scene)
    rows = await scene.rows()
    await uploads.begin(scene)
    one, two = scene.shards
    await _at(scene, two.sidecar.address, one.sidecar.address)
    await anyio.sleep(5)
    for shard in scene.shards:
        assert len(shard.asked("create_remote", "upload")) == 1, "a sidecar was asked for what another one makes"
    await _at(scene, one.sidecar.address, two.sidecar.address)
    await _assert_made_once(scene)
    await scene.drop()
    await scene.submit(objects.restore_job("back", (await scene.backup_of("nightly"))["metadata"]["name"]))
    assert (await scene.ended("RestoreJob", "back"))["status"]["phase"] == "Succeeded"
    assert await scene.rows() == rows


async def _at(scene: Scene, *addresses: str) -> None:
    """Give the Pods these addresses, as when they are re-created and the network hands out old ones."""
    for shard, address in zip(scene.shards, addresses, strict=True):
        await scene.move(shard, address)
