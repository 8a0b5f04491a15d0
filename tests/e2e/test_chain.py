"""A chain of increments, as a class asks for it: whole in the store, restored from its middle, then begun anew."""

import pytest
from tests.e2e import kube, objects
from tests.e2e.objects import archives
from tests.e2e.scene import Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

CLASS = "clickhouse-chained"


async def test_increments_are_restored_whole_and_the_one_after_a_restore_is_full(scene: Scene):
    await kube.apply(scene.client, objects.backup_class(CLASS, maxChain="5"))
    backups, rows = [], []
    for day in ("monday", "tuesday", "wednesday"):
        for shard in scene.shards:
            await shard.fill(orders=2000)
        rows.append(await scene.rows())
        backups.append(await scene.back_up(day, backup_class=CLASS))
    monday, tuesday, wednesday = (archives(backup) for backup in backups)
    chains = [dict(zip(tuesday, monday, strict=True)), dict(zip(wednesday, tuesday, strict=True))]
    assert await _bases(scene) == dict.fromkeys(monday, "") | chains[0] | chains[1]
    assert await scene.stored() == dict.fromkeys([*monday, *tuesday, *wednesday], "")

    await scene.drop()
    await scene.submit(objects.restore_job("back-to-tuesday", backups[1]["metadata"]["name"]))
    job = await scene.ended("RestoreJob", "back-to-tuesday")
    assert job["status"]["phase"] == "Succeeded", job["status"]
    assert await scene.rows() == rows[1]
    assert await scene.local_copies() == []

    thursday = archives(await scene.back_up("thursday", backup_class=CLASS))
    found = await _bases(scene)
    assert [found[name] for name in thursday] == ["", ""]


async def _bases(scene: Scene) -> dict[str, str]:
    """The base of each archive in the store; empty for a full one."""
    return {each["name"]: each["required"].strip("+") for each in await scene.shards[0].archives("remote")}
