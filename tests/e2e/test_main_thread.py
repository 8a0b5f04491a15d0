"""A tenant backs up twice, loses everything, and gets the older state back."""

import pytest
from tests.e2e import kube, objects
from tests.e2e.leaks import its_secret, tellers
from tests.e2e.objects import archives, conditions
from tests.e2e.scene import Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


async def test_the_older_of_two_backups_comes_back_on_every_shard(scene: Scene):
    one, two = scene.shards
    await one.fill(orders=3000, items=500)
    await two.fill(orders=2000, visits=70)
    rows = await scene.rows()
    older = await scene.back_up("monday")
    await one.fill(orders=100)
    await two.fill(visits=10)
    newer = await scene.back_up("tuesday")
    await scene.drop()

    await scene.submit(objects.restore_job("back-to-monday", older["metadata"]["name"]))
    job = await scene.ended("RestoreJob", "back-to-monday")

    assert job["status"]["phase"] == "Succeeded", job["status"]
    assert await scene.rows() == rows
    assert await scene.stored() == dict.fromkeys(archives(older, newer), "")
    assert await scene.local_copies() == []


async def test_a_job_says_what_was_proven(scene: Scene):
    await scene.shards[0].fill(orders=10)
    await scene.shards[1].fill(orders=10)
    backup = await scene.back_up("nightly")
    job = await kube.get(scene.client, "BackupJob", scene.namespace, "nightly")
    assert conditions(job).items() >= {"Ready": "True", "Verified": "True"}.items()
    assert len(archives(backup)) == 2
    assert backup["status"]["artifact"]["uri"].startswith(
        f"clickhouse-backup://{scene.namespace}/{objects.APPLICATION}/"
    )
    assert sum([each["size"] for each in await scene.shards[0].archives("remote")]) == _size(backup)


def _size(backup: objects.Manifest) -> int:
    return int(backup["status"]["artifact"]["sizeBytes"])


async def test_nothing_runs_in_the_cluster_and_no_password_is_told(scene: Scene):
    await scene.shards[0].fill(orders=10)
    await scene.shards[1].fill(orders=10)
    pods = await kube.names(scene.client, "Pod")
    backup = await scene.back_up("nightly")
    await scene.drop()
    await scene.submit(objects.restore_job("back", backup["metadata"]["name"]))
    assert (await scene.ended("RestoreJob", "back"))["status"]["phase"] == "Succeeded"
    await scene.submit(objects.restore_job("again", backup["metadata"]["name"]))
    assert (await scene.ended("RestoreJob", "again"))["status"]["phase"] == "Failed"

    assert await kube.names(scene.client, "Pod") == pods
    assert await kube.names(scene.client, "Job") == set()
    assert await tellers(scene) == [its_secret(scene)]
