import anyio
import pytest
from tests.chbackup.fleets import LAST, NOW, alike, deletes, fleet_of, outcomes, purged, sidecar, target

import chbackup


async def test_each_storage_is_purged_once(version):
    one, two = alike(2, days=(1, 2, 3), version=version)
    other = sidecar(days=(4, 5), version=version)
    run, results = await purged({"one": one, "two": two, "other": other})
    assert outcomes(results) == dict.fromkeys(("shop-20260101", "shop-20260102", "shop-20260104"), "deleted")
    assert set(one.remote) == {"shop-20260103"}
    assert set(other.remote) == {"shop-20260105"}
    assert len(deletes(one, two, other)) == 3
    assert run.summary.ok
    assert run.summary.planned == run.summary.counts["deleted"] == 3
    assert run.summary.bytes_freed == run.plan.bytes_freed > 3000


async def test_a_dry_run_only_reads():
    fake = sidecar(days=(1, 2, 3))
    run, results = await purged({"a": fake}, dry_run=True)
    assert results == []
    assert [decision.archive.name for decision in run.plan.delete] == ["shop-20260101", "shop-20260102"]
    assert not deletes(fake)


async def test_nothing_is_deleted_before_the_first_result_is_asked_for():
    fake = sidecar(days=(1, 2))
    async with fleet_of({"a": fake}) as fleet, fleet.purge(LAST, now=NOW) as run:
        await anyio.sleep(60)
        assert len(run.plan.delete) == 1
    assert len(fake.remote) == 2


async def test_leaving_the_loop_stops():
    fake = sidecar(days=range(1, 20))
    async with fleet_of({"a": fake}) as fleet, fleet.purge(LAST, now=NOW) as run:
        async for _ in run:
            break
    assert 17 <= len(fake.remote) <= 18
    assert run.summary.counts["deleted"] == 1


async def test_an_error_of_the_caller_comes_out_as_it_is():
    async with fleet_of({"a": sidecar(days=(1, 2))}) as fleet:
        with pytest.raises(LookupError):
            async with fleet.purge(LAST, now=NOW):
                raise LookupError


async def test_at_most_so_many_requests_at_once():
    fakes = {f"h{number}": sidecar(days=(1, 2)) for number in range(12)}
    busy = most = 0
    for fake in fakes.values():
        handle = fake.handle

        async def counted(*request, handle=handle):
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            try:
                await anyio.sleep(1)
                return await handle(*request)
            finally:
                busy -= 1

        fake.handle = counted
    await purged(fakes, limit=5)
    assert most == 5


async def test_one_storage_is_asked_by_few_at_once():
    fakes = {f"h{number}": fake for number, fake in enumerate(alike(12, days=(1, 2)))}
    for fake in fakes.values():
        fake.faults.delay = 1
    began = anyio.current_time()
    async with fleet_of(fakes, dict.fromkeys(fakes, "s"), per_storage=2) as fleet, fleet.purge(LAST, now=NOW):
        assert anyio.current_time() - began == pytest.approx(12, abs=0.1)  # 12 sidecars, twice each, 2 at once


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([], "there are none"),
        ([target("a"), target("a")], r"targets\[1\].url"),
        ([target("a"), chbackup.Target("http://user:word@b:7171")], r"targets\[1\]: url must not hold credentials"),
    ],
)
def test_bad_targets_are_named(targets, words):
    with pytest.raises(chbackup.InvalidInput, match=words) as caught:
        chbackup.Fleet(targets)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_shares_purge_each_storage_once(count):
    fakes = {f"h{number}": sidecar(days=(1, 2, 3)) for number in range(6)}
    names = {host: f"storage-{host}" for host in fakes}
    runs = [(await purged({**fakes}, storages=names, shard=(number, count)))[0] for number in range(count)]
    assert sum(run.summary.planned for run in runs) == 12
    for fake in fakes.values():
        assert len(deletes(fake)) == 2


async def test_a_share_needs_the_names_of_the_storages():
    with pytest.raises(chbackup.InvalidInput, match=r"targets\[0\].storage"):
        await purged({"a": sidecar()}, shard=(0, 2))


async def test_no_secret_in_what_is_told():
    fakes = {"a": sidecar(days=(1, 2)), "b": sidecar(days=(1, 2))}
    fakes["b"]._credentials = ("u", "another")
    run, results = await purged(fakes)
    assert "secret-of-tests" not in repr((run.plan, run.summary, results))
