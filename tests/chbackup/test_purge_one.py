"""chbackup.purge: one sidecar and a plan that was read before."""

from datetime import datetime

import pytest
from tests.chbackup.fleets import LAST, NOW, deletes, sidecar

import chbackup


async def test_a_plan_is_carried_out(version, tmp_path):
    fake = sidecar(days=(1, 2, 3), version=version)
    async with fake.client() as client:
        plan = chbackup.plan_purge(await client.list_remote(), LAST, NOW)
        summary = await chbackup.purge(client, plan, journal=tmp_path / "purge.jsonl")
    assert set(fake.remote) == {"shop-20260103"}
    assert summary.ok
    assert summary.counts == {"deleted": 2}
    assert summary.bytes_freed == plan.bytes_freed
    assert '"url": "http://sidecar.fake"' in (tmp_path / "purge.jsonl").read_text()


async def test_what_has_changed_since_stays():
    fake = sidecar(days=(1, 2, 3))
    async with fake.client() as client:
        plan = chbackup.plan_purge(await client.list_remote(), LAST, NOW)
        fake.add_remote("new", required="shop-20260102")
        summary = await chbackup.purge(client, plan)
    assert not summary.ok
    assert [result.archive for result in summary.problems] == ["shop-20260102"]
    assert set(fake.remote) == {"new", "shop-20260102", "shop-20260103"}


async def test_a_plan_for_many_storages_is_for_a_fleet():
    one, two = (
        [
            chbackup.Archive(name=f"{host}{day}", location="remote", desc="regular", created=datetime(2026, 1, day))
            for day in (1, 2)
        ]
        for host in "ab"
    )
    plan = chbackup.plan_fleet({"a": one, "b": two}, LAST, NOW)
    fake = sidecar()
    async with fake.client() as client:
        with pytest.raises(chbackup.InvalidInput, match="several storages"):
            await chbackup.purge(client, plan)
    assert not deletes(fake)


async def test_nothing_to_delete_is_no_work():
    fake = sidecar(days=(1,))
    async with fake.client() as client:
        plan = chbackup.plan_purge(await client.list_remote(), LAST, NOW)
        assert (await chbackup.purge(client, plan)).ok
    assert not deletes(fake)
