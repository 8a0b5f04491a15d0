"""A local copy with a state file uploads itself again at the next start of the process: it goes first."""

from datetime import datetime

import anyio
import pytest
from tests.chbackup.fleets import LAST, NOW, alike, deletes, fleet_of, later, outcomes, purged, sidecar

import chbackup


async def made(fake, name, **options):
    fake.tables.add_table(f"db.{name.replace('-', '_')}", 100)
    async with fake.client() as client:
        await (await client.create_remote(name, **options)).wait()


async def test_local_copies_go_first_on_every_sidecar(version):
    one, two = alike(2, version=version)
    await made(two, "shop-20260101")
    async with one.client() as client:
        await (await client.download("shop-20260101")).wait()
    one.add_remote("shop-20260120", created=datetime(2026, 1, 20))
    run, _ = await purged({"one": one, "two": two})
    assert run.summary.counts == {"deleted": 1}
    assert deletes(one, two) == ["local/shop-20260101", "remote/shop-20260101", "local/shop-20260101"]
    for fake in (one, two):
        fake.kill_process()
        fake.start_process()
        assert not fake.local
    assert set(one.remote) == {"shop-20260120"}


async def test_a_local_copy_stays_while_the_remote_list_is_empty():
    fake = sidecar()
    await made(fake, "shop-20260101")
    fake.add_remote("shop-20260120", created=datetime(2026, 1, 20))
    async with fleet_of({"a": fake}) as fleet, fleet.purge(LAST, now=NOW, timeout=60) as run:
        fake.faults.s3 = "denied"
        results = [result async for result in run]
    assert outcomes(results) == {"shop-20260101": "kept"}
    assert "shop-20260101" in fake.local


async def test_the_base_of_a_local_increment_stays_and_the_plan_says_so():
    one, two = alike(2)
    await made(one, "shop-20260101", delete_source=True)
    one.add_remote("shop-20260120", created=datetime(2026, 1, 20))
    two.tables.add_table("db.t", 100)
    async with two.client() as client:
        await (await client.create("increment", diff_from_remote="shop-20260101")).wait()
    run, _ = await purged({"one": one, "two": two})
    assert run.summary.planned == 0
    assert set(one.remote) == {"shop-20260101", "shop-20260120"}


async def test_the_good_local_copy_of_a_broken_archive_is_not_thrown_away():
    fake = sidecar()
    await made(fake, "shop-20260101")
    fake.add_remote("shop-20260120", created=datetime(2026, 1, 20))
    fake.break_remote("shop-20260101")
    _, results = await purged({"a": fake}, broken=True)
    assert outcomes(results) == {"shop-20260101": "kept"}
    assert "local copy" in results[0].reason
    assert set(fake.local) == set(fake.remote) - {"shop-20260120"}


async def test_the_broken_local_copy_of_a_broken_archive_goes_with_it():
    fake = sidecar()
    await made(fake, "shop-20260101")
    fake.add_remote("shop-20260120", created=datetime(2026, 1, 20))
    fake.break_remote("shop-20260101")
    fake.local["shop-20260101"].lose_metadata()
    run, _ = await purged({"a": fake}, broken=True)
    assert run.summary.ok
    assert not fake.local


@pytest.mark.parametrize("after_work", [True, False])
async def test_the_lost_reply_to_a_local_delete_is_looked_into(after_work):
    fake = sidecar()
    await made(fake, "shop-20260101")
    fake.add_remote("shop-20260120", created=datetime(2026, 1, 20))
    fake.faults.lose_reply(after_work=after_work, path="/delete/local/")
    run, _ = await purged({"a": fake})
    assert run.summary.counts == {"deleted": 1}
    assert deletes(fake).count("local/shop-20260101") == (1 if after_work else 2)
    assert not fake.local


async def test_other_local_copies_stay():
    fake = sidecar()
    await made(fake, "shop-20260101")
    fake.add_remote("shop-20260102", created=datetime(2026, 1, 2))
    await purged({"a": fake}, chbackup.Retention(keep_last=1, protect=["*01"]))
    assert set(fake.local) == {"shop-20260101"}


async def test_the_copies_of_a_sidecar_that_was_busy_are_looked_at_again():
    one, two = alike(2)
    for day in (1, 2, 20):
        one.add_remote(f"shop-202601{day:02d}", created=datetime(2026, 1, day))
    one.duration.delete = 20.0
    async with (
        fleet_of({"one": one, "two": two}) as fleet,
        fleet.purge(LAST, now=NOW) as run,
        anyio.create_task_group() as tasks,
    ):
        second = run.plan.delete[1].archive.name
        tasks.start_soon(later, 10, lambda: two.occupy(f"download {second}", seconds=50.0))
        tasks.start_soon(later, 40, lambda: two.add_local(second) and None)
        results = [result async for result in run]
    assert set(outcomes(results).values()) == {"deleted"}
    assert not two.local
