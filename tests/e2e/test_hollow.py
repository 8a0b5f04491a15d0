"""Archives that list as good and lack a part: only the object store shows it, and it is looked at."""

import pytest
from tests.e2e import objects, uploads
from tests.e2e.objects import archives, conditions
from tests.e2e.scene import Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.newest]


async def _lose_a_part(scene: Scene, archive: str) -> None:
    """Delete one object with rows, behind the sidecar's back."""
    keys = await scene.s3.objects(f"{scene.path}/{archive}/shadow/")
    await scene.s3.delete(max(keys))


async def test_a_part_that_is_lost_during_the_upload_is_no_success(scene: Scene):
    await uploads.throttle(scene)
    await uploads.begin(scene)
    (begun,) = scene.shards[0].asked("create_remote")
    await _lose_a_part(scene, begun.split()[-1])

    job = await scene.ended("BackupJob", "nightly")
    assert conditions(job)["Ready"] == "False:EngineFailed"
    assert "is not proven" in job["status"]["message"]
    assert await scene.stored() == {}
    assert await scene.local_copies() == []


async def test_an_archive_that_lacks_a_part_is_not_restored(scene: Scene):
    one, two = scene.shards
    await one.fill(orders=3000)
    await two.fill(orders=2000)
    backup = await scene.back_up("nightly")
    assert conditions(await scene.ended("BackupJob", "nightly"))["Verified"] == "True"
    first, second = archives(backup)
    await _lose_a_part(scene, second)
    await one.drop()
    rows = await scene.rows()

    await scene.submit(objects.restore_job("back", backup["metadata"]["name"]))
    job = await scene.ended("RestoreJob", "back")
    assert conditions(job)["Ready"] == "False:Refused", job["status"]
    assert "is not whole in the object store" in job["status"]["message"]
    assert await scene.rows() == rows
    assert [shard.asked("create", "download", "restore", "restore_remote") for shard in scene.shards] == [[], []]
    assert list(await scene.stored()) == [first, second]
    assert await scene.local_copies() == []
