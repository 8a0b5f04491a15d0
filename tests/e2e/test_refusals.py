"""What a tenant asks for and does not get."""

import pytest
from tests.e2e import objects
from tests.e2e.objects import archives, conditions
from tests.e2e.scene import Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


async def test_a_restore_onto_tables_that_exist_is_refused_untouched(scene: Scene):
    one, two = scene.shards
    await one.fill(orders=3000)
    await two.fill(orders=2000)
    backup = await scene.back_up("nightly")
    await one.drop()
    await two.fill(orders=5)
    rows = await scene.rows()
    await scene.submit(objects.restore_job("back", backup["metadata"]["name"], overwrite=False))

    job = await scene.ended("RestoreJob", "back")
    assert job["status"]["phase"] == "Failed"
    assert conditions(job)["Ready"] == "False:Refused"
    assert "shop.orders exists" in job["status"]["message"]
    assert await scene.rows() == rows
    assert [shard.asked("download", "restore", "restore_remote") for shard in scene.shards] == [[], []]
    assert await scene.stored() == dict.fromkeys(archives(backup), "")
    assert await scene.local_copies() == []
