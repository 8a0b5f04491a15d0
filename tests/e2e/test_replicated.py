"""Replicated tables of two replicas with a ZooKeeper: they come back once, on both; and what is alive is left alone."""

import pytest
from tests.e2e import objects
from tests.e2e.objects import Manifest, archives, conditions
from tests.e2e.scene import Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


async def _fill(scene: Scene) -> None:
    """A replicated table on both, and one that is not replicated, with rows of its own on each."""
    one, two = scene.shards
    for replica in scene.shards:
        await replica.replicate("orders")
    await one.fill(orders=3000, notes=100)
    await two.fill(notes=77)
    await _insert_and_wait(scene, 10)


async def _insert_and_wait(scene: Scene, rows: int) -> None:
    """Insert into `orders` on the second replica, and wait until the first one has the rows as well."""
    one, two = scene.shards
    await two.waits_for("orders", await one.clickhouse.count("shop.orders"))
    await two.fill(orders=rows)
    await one.waits_for("orders", await two.clickhouse.count("shop.orders"))


async def _restore(scene: Scene, backup: Manifest) -> Manifest:
    await scene.submit(objects.restore_job("back", backup["metadata"]["name"]))
    return await scene.ended("RestoreJob", "back")


async def test_what_was_dropped_on_both_comes_back_on_both(replicated: Scene):
    await _fill(replicated)
    rows = await replicated.rows()
    backup = await replicated.back_up("nightly")
    assert len(archives(backup)) == 2  # the second replica's rows that are not replicated are in an archive of its own
    await replicated.drop()

    job = await _restore(replicated, backup)
    assert job["status"]["phase"] == "Succeeded", job["status"]
    assert await replicated.rows() == rows
    assert await replicated.stored() == dict.fromkeys(archives(backup), "")

    await _insert_and_wait(replicated, 5)
    one, two = await replicated.rows()
    assert [line for line in one.splitlines() if "orders" in line] == [
        line for line in two.splitlines() if "orders" in line
    ]


@pytest.mark.newest
async def test_one_that_is_alive_on_any_replica_is_refused(replicated: Scene):
    await _fill(replicated)
    backup = await replicated.back_up("nightly")
    await replicated.shards[0].drop()
    rows = await replicated.rows()

    job = await _restore(replicated, backup)
    assert conditions(job)["Ready"] == "False:Refused", job["status"]
    assert "DROP TABLE" in job["status"]["message"]
    assert [replica.asked("restore", "restore_remote") for replica in replicated.shards] == [[], []]
    assert await replicated.rows() == rows
