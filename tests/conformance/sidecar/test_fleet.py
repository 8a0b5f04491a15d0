"""A purge of a fleet against the server: chains, local copies, and a set that goes on after a stop."""

from datetime import UTC, datetime

import anyio

import chbackup

KEEP = chbackup.Retention(keep_last=1)


async def test_a_chain_and_its_local_copies_go_and_the_newest_stays(rig, tmp_path):
    await rig.create_table("demo.orders", 1000)
    url = str(rig.http.base_url).rstrip("/")
    async with chbackup.Client(url, http_client=rig.http) as client:
        await (await client.create_remote("shop-20260101")).wait()
        await rig.insert("demo.orders", 10)
        await (await client.create_remote("shop-20260102", diff_from_remote="shop-20260101")).wait()
        await anyio.sleep(1.1)  # times have whole seconds, and ties are kept
        await (await client.create_remote("shop-20260103")).wait()
        fleet = chbackup.Fleet([chbackup.Target(url)], http_client=rig.http)
        async with fleet, fleet.purge(KEEP, now=datetime.now(UTC), journal=tmp_path / "journal") as run:
            results = [result async for result in run]
        assert [(result.outcome, result.archive) for result in results] == [
            ("deleted", "shop-20260102"),
            ("deleted", "shop-20260101"),
        ]
        left = await client.list_all()
        assert {(archive.name, archive.location) for archive in left} == {
            ("shop-20260103", "local"),
            ("shop-20260103", "remote"),
        }
        async with fleet.purge(KEEP, now=datetime.now(UTC), journal=tmp_path / "journal") as run:
            assert not run.plan.delete


async def test_a_server_without_archives_is_believed(rig):
    url = str(rig.http.base_url).rstrip("/")
    fleet = chbackup.Fleet([chbackup.Target(url)], http_client=rig.http)
    async with fleet, fleet.purge(KEEP, now=datetime.now(UTC), timeout=30) as run:
        assert [result async for result in run] == []
