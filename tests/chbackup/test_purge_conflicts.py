"""What comes between the plan and a delete: each archive is looked at again, on all sidecars of its storage."""

from datetime import datetime

import anyio
import pytest
from tests.chbackup.fleets import LAST, NOW, alike, deletes, fleet_of, later, outcomes, purged, sidecar

import chbackup

FOREVER = float("inf")
NEWEST = chbackup.Retention(keep_last=1, protect=["live*"])


def chain(fake, *, first=1):
    """Put a full archive, an increment and an increment on that into a storage, and a newer full one."""
    names = ["shop-20260101", "shop-20260102", "shop-20260103"]
    for day, (name, base) in enumerate(zip(names, ["", *names], strict=False), first):
        fake.add_remote(name, created=datetime(2026, 1, day), required=base)
    fake.add_remote("shop-20260120", created=datetime(2026, 1, 20))
    return names


async def during_purge(fakes, act, retention=LAST, **options):
    """Plan, do something, and carry the plan out; return the results."""
    async with fleet_of(fakes) as fleet, fleet.purge(retention, now=NOW, **options) as run:
        result = act()
        if result is not None:
            await result
        return [result async for result in run]


async def start_upload(fake, name, base=None, seconds=100.0):
    fake.tables.add_table("db.t", 100)
    fake.duration.create = seconds
    async with fake.client() as client:
        await client.create_remote(name, diff_from_remote=base)


async def test_increments_go_before_their_bases(version):
    fake = sidecar(version=version)
    names = chain(fake)
    run, _ = await purged({"a": fake})
    assert run.summary.ok
    assert deletes(fake) == [f"remote/{name}" for name in reversed(names)]


async def test_a_chain_that_a_kept_archive_needs_stays(version):
    fake = sidecar(version=version)
    chain(fake)
    fake.add_remote("shop-20260121", created=datetime(2026, 1, 21), required="shop-20260102")
    await purged({"a": fake})
    assert set(fake.remote) == {"shop-20260101", "shop-20260102", "shop-20260121"}


@pytest.mark.parametrize("at", [0, 1])
async def test_a_running_increment_keeps_its_base_until_it_ends_and_then_for_good(at):
    fakes = alike(2)
    chain(fakes[0])
    hosts = {"one": fakes[0], "two": fakes[1]}
    results = await during_purge(hosts, lambda: start_upload(fakes[at], "live", "shop-20260102"), NEWEST)
    assert outcomes(results) == {
        "shop-20260103": "deleted",
        "shop-20260102": "kept",
        "shop-20260101": "kept",
    }
    assert "live" in results[1].reason
    assert "shop-20260102 stays" in results[2].reason
    assert {"live", "shop-20260101", "shop-20260102"} <= set(fakes[0].remote)


async def test_what_runs_too_long_is_reported_and_the_rest_goes_on():
    fake = sidecar(days=range(1, 6), env={"API_ALLOW_PARALLEL": "true"})
    began = anyio.current_time()
    results = await during_purge(
        {"a": fake}, lambda: start_upload(fake, "live", "shop-20260102", 10_000), NEWEST, timeout=100
    )
    found = outcomes(results)
    assert found.pop("shop-20260102") == "kept"
    assert set(found.values()) == {"deleted"}
    assert anyio.current_time() - began < 150


async def test_a_download_that_runs_keeps_its_archive_meanwhile():
    one, two = alike(2)
    one.tables.add_table("db.t", 100)
    async with one.client() as client:
        await (await client.create_remote("shop-20260101", delete_source=True)).wait()
    one.add_remote("shop-20260120", created=datetime(2026, 1, 20))
    two.duration.download = 50

    async def download():
        async with two.client() as client:
            await client.download("shop-20260101")

    results = await during_purge({"one": one, "two": two}, download)
    assert outcomes(results) == {"shop-20260101": "deleted"}
    assert anyio.current_time() > 50


async def test_a_create_hides_its_base_so_it_is_waited_for_and_its_local_increment_found():
    one, two = alike(2, days=(1, 2))
    two.tables.add_table("db.t", 100)
    two.duration.create = 50

    async def create():
        async with two.client() as client:
            await client.create("local-increment", diff_from_remote="shop-20260101")

    results = await during_purge({"one": one, "two": two}, create)
    assert outcomes(results) == {"shop-20260101": "kept"}
    assert "needed by the local local-increment of http://two:7171" in results[0].reason


async def test_a_new_dependant_keeps_its_base():
    fake = sidecar()
    chain(fake)
    results = await during_purge({"a": fake}, lambda: fake.add_remote("new", required="shop-20260102") and None)
    assert outcomes(results) == {
        "shop-20260103": "deleted",
        "shop-20260102": "kept",
        "shop-20260101": "kept",
    }
    assert "needed by new" in results[1].reason


async def test_an_archive_made_anew_under_its_name_stays():
    fake = sidecar(days=(1, 2))
    results = await during_purge(
        {"a": fake}, lambda: fake.add_remote("shop-20260101", created=datetime(2026, 1, 30)) and fake.forget_cache()
    )
    assert outcomes(results) == {"shop-20260101": "kept"}
    assert "changed" in results[0].reason


async def test_an_archive_that_somebody_else_has_deleted_is_gone():
    fake = sidecar(days=(1, 2))
    results = await during_purge({"a": fake}, lambda: fake.remote.pop("shop-20260101") and None)
    assert outcomes(results) == {"shop-20260101": "gone"}
    assert not deletes(fake)


async def test_an_archive_that_a_partial_list_leaves_out_is_not_gone():
    fake = sidecar(days=(1, 2, 3))

    def hide():
        fake.faults.unlisted = ["shop-20260101"]

    results = await during_purge({"a": fake}, hide, timeout=60)
    assert outcomes(results) == {"shop-20260101": "kept", "shop-20260102": "deleted"}


async def test_an_outage_between_plan_and_delete_is_waited_for():
    fake = sidecar(days=(1, 2, 3))
    fake.faults.s3 = "refused"
    async with fleet_of({"a": fake}) as fleet:
        fake.faults.s3 = None
        async with fleet.purge(LAST, now=NOW) as run, anyio.create_task_group() as tasks:
            fake.faults.s3 = "refused"
            tasks.start_soon(later, 100, fake.faults.heal)
            results = [result async for result in run]
    assert set(outcomes(results).values()) == {"deleted"}
    assert set(fake.remote) == {"shop-20260103"}


async def test_a_busy_sidecar_is_gone_round():
    one, two = alike(2, days=(1, 2, 3))
    results = await during_purge({"one": one, "two": two}, lambda: start_upload(one, "live", seconds=1e5), NEWEST)
    assert set(outcomes(results).values()) == {"deleted"}
    assert not deletes(one)
    assert len(deletes(two)) == 2


async def test_a_busy_one_that_is_alone_is_waited_for():
    fake = sidecar(days=(1, 2))
    results = await during_purge({"a": fake}, lambda: start_upload(fake, "live"), NEWEST)
    assert outcomes(results) == {"shop-20260101": "deleted"}


async def test_a_broken_archive_stays_while_anything_runs_on_any_sidecar():
    one, two = alike(2, days=(3,))
    one.add_remote("shop-20260101", broken=True)
    results = await during_purge(
        {"one": one, "two": two}, lambda: start_upload(two, "live", seconds=1e5), NEWEST, broken=True, timeout=60
    )
    assert outcomes(results) == {"shop-20260101": "kept"}
    assert "create_remote live" in results[0].reason
    assert not deletes(one, two)


async def test_a_broken_archive_goes_when_nothing_runs():
    fake = sidecar(days=(3,))
    fake.add_remote("shop-20260101", broken=True)
    run, _ = await purged({"a": fake}, broken=True)
    assert run.summary.counts["deleted"] == 1
    assert set(fake.remote) == {"shop-20260103"}


async def test_a_broken_archive_stays_unless_asked():
    fake = sidecar(days=(3,))
    fake.add_remote("shop-20260101", broken=True)
    run, _ = await purged({"a": fake})
    assert run.summary.planned == 0


async def test_one_delete_at_a_time_for_each_storage():
    one, two = alike(2, days=range(1, 8))
    for fake in (one, two):
        fake.duration.delete = 5
    most = 0
    async with fleet_of({"one": one, "two": two}) as fleet, fleet.purge(LAST, now=NOW) as run:
        async for _ in run:
            running = [row for fake in (one, two) for row in fake._pod.history.rows if row.running]
            most = max(most, len(running))
    assert most <= 1
    assert anyio.current_time() >= 30


async def test_two_purges_at_once_of_one_storage_do_no_harm(version):
    one, two = alike(2, days=range(1, 8), version=version)
    for fake in (one, two):
        fake.duration.delete = 1
    found = {}

    async def purge(host, fake):
        _, found[host] = await purged({host: fake})

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(purge, "one", one)
        tasks.start_soon(purge, "two", two)
    assert set(one.remote) == {"shop-20260107"}
    for results in found.values():
        assert {result.outcome for result in results} <= {"deleted", "gone"}


@pytest.mark.parametrize("after_work", [True, False])
async def test_a_lost_reply_is_looked_into_before_anything_is_sent_again(after_work):
    fake = sidecar(days=(1, 2))
    fake.faults.lose_reply(after_work=after_work, path="/delete/")
    began = anyio.current_time()
    run, results = await purged({"a": fake})
    assert outcomes(results) == {"shop-20260101": "deleted"}
    assert run.summary.bytes_freed
    assert len(deletes(fake)) == (1 if after_work else 2)
    if not after_work:
        assert anyio.current_time() - began >= 40


async def test_a_name_made_anew_after_a_lost_reply_is_not_deleted_again():
    fake = sidecar(days=(1, 2))
    fake.faults.lose_reply(after_work=True, path="/delete/")
    real = fake.handle

    async def handle(method, path, *rest):
        try:
            return await real(method, path, *rest)
        finally:
            if "/delete/" in path:
                fake.add_remote("shop-20260101", created=datetime(2026, 1, 30))

    fake.handle = handle
    _, results = await purged({"a": fake})
    assert outcomes(results) == {"shop-20260101": "failed"}
    assert "shop-20260101" in fake.remote
    assert len(deletes(fake)) == 1


async def test_a_delete_that_takes_longer_than_its_reply_is_waited_for():
    fake = sidecar(days=(1, 2))
    fake.duration.delete = 800
    _, results = await purged({"a": fake}, timeout=600)
    assert outcomes(results) == {"shop-20260101": "deleted"}
    assert len(deletes(fake)) == 1


async def test_what_the_server_refuses_is_reported_in_its_words():
    fake = sidecar(days=(1, 2, 3))
    fake.faults.replace_reply(500, '{"status":"error","error":"no rights"}', path="/delete/remote/", times=FOREVER)
    run, results = await purged({"a": fake}, timeout=30)
    assert [result.outcome for result in results] == ["failed", "failed"]
    assert "no rights" in results[0].reason
    assert run.summary.problems == results


async def test_who_waits_for_a_place_looks_when_it_has_one():
    fakes = {"one": sidecar(days=(1, 2)), "two": sidecar(days=(1, 2))}
    for fake in fakes.values():
        fake.duration.delete = 100.0

    def increments_appear():
        for fake in fakes.values():
            fake.add_remote("live", created=datetime(2026, 1, 3), required="shop-20260101")

    async with (
        fleet_of(fakes, {"one": "a", "two": "b"}, limit=1) as fleet,
        fleet.purge(NEWEST, now=NOW) as run,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(later, 50, increments_appear)
        results = [result async for result in run]
    assert sorted(result.outcome for result in results) == ["deleted", "kept"]
