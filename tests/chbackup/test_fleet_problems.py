"""Sidecars that cannot be asked, and lists that cannot be trusted: their storage stays, the others are purged."""

import anyio
import pytest
from tests.chbackup.fleets import LAST, NOW, alike, deletes, fleet_of, outcomes, purged, sidecar

import chbackup

FOREVER = float("inf")


def hanging(fake):
    fake.faults.delay = 1e6


def unauthorized(fake):
    fake._credentials = ("u", "another")


def failing(fake):
    fake.faults.replace_reply(500, '{"status":"error","error":"bad config"}', times=FOREVER)


def down(fake):
    fake.faults.refuse = True


def outage(fake):
    fake.faults.s3 = "refused"


def nameless(fake):
    fake.add_remote("odd")
    fake.break_remote("odd", "null")


def dangling(fake):
    fake.add_remote("increment", required="nowhere")


TROUBLES = [hanging, unauthorized, failing, down, outage]


@pytest.mark.parametrize("trouble", [*TROUBLES, nameless, dangling])
async def test_one_that_cannot_be_purged_holds_nobody_back(trouble):
    fakes = {"good": sidecar(days=(1, 2)), "bad": sidecar(days=(3, 4))}
    trouble(fakes["bad"])
    before = set(fakes["bad"].remote)
    began = anyio.current_time()
    run, results = await purged(fakes)
    assert anyio.current_time() - began < 120
    assert outcomes(results)["shop-20260101"] == "deleted"
    expected = "refused" if trouble in (nameless, dangling) else "unreachable"
    assert outcomes(results)["http://bad:7171"] == expected
    assert set(fakes["bad"].remote) == before
    assert not deletes(fakes["bad"])
    assert not run.summary.ok
    assert run.summary.problems == list(run.problems)


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_storage_is_not_touched_when_one_of_its_sidecars_does_not_answer(trouble):
    one, two = alike(2, days=(1, 2, 3))
    trouble(two)
    _, results = await purged({"one": one, "two": two}, storages={"one": "s3", "two": "s3"})
    assert outcomes(results) == {"s3": "unreachable"}
    assert not deletes(one, two)


@pytest.mark.parametrize("trouble", [hanging, failing, down, outage])
async def test_trouble_that_passes_is_waited_for(trouble):
    fake = sidecar(days=(1, 2, 3))
    trouble(fake)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_heal, fake)
        run, _ = await purged({"a": fake})
    assert run.summary.ok
    assert set(fake.remote) == {"shop-20260103"}


async def _heal(fake):
    await anyio.sleep(20)
    fake.faults.heal()


async def test_an_unreachable_one_is_reported_when_it_fails_between_plan_and_delete():
    fake = sidecar(days=(1, 2, 3))
    async with fleet_of({"a": fake}) as fleet, fleet.purge(LAST, now=NOW) as run:
        fake.faults.refuse = True
        results = [result async for result in run]
    assert [result.outcome for result in results] == ["unreachable", "unreachable"]
    assert "refused" in results[0].reason
    assert len(fake.remote) == 3


async def test_an_empty_list_in_an_outage_is_no_storage_without_archives():
    fake = sidecar(days=(1, 2))
    fake.faults.s3 = "denied"
    _, results = await purged({"a": fake})
    assert "the remote list is empty" in results[0].reason


async def test_a_new_sidecar_without_archives_is_fine():
    run, results = await purged({"new": sidecar()})
    assert results == []
    assert run.summary.ok


async def test_a_list_that_changes_is_read_until_it_is_the_same_twice():
    fake = sidecar(days=(1, 2, 3))
    fake.faults.unlisted = ["shop-20260102"]
    healed = fake.handle

    async def handle(*request):
        answer = await healed(*request)
        fake.faults.unlisted = ()
        return answer

    fake.handle = handle
    run, _ = await purged({"a": fake})
    assert run.summary.planned == 2
    assert run.summary.ok


async def test_a_list_that_never_settles_is_refused():
    fake = sidecar(days=(1, 2, 3))
    real = fake.handle

    async def handle(*request):
        fake.faults.unlisted = () if fake.faults.unlisted else ["shop-20260102"]
        return await real(*request)

    fake.handle = handle
    _, results = await purged({"a": fake})
    assert outcomes(results) == {"http://a:7171": "refused"}


@pytest.mark.parametrize("storages", [{}, {"one": "s3", "two": "s3"}])
async def test_sidecars_of_one_storage_that_list_differently_are_refused(storages):
    one, two = alike(2, days=(1, 2, 3))
    two.faults.unlisted = ["shop-20260103"]  # the newest: planned by this list, d02 would be kept and d03 not known
    _, results = await purged({"one": one, "two": two}, storages=storages)
    assert [result.outcome for result in results] == ["refused"]
    assert "shop-20260103" in results[0].reason
    assert not deletes(one, two)


async def test_a_broken_archive_stays_when_any_sidecar_of_an_unknown_storage_does_not_answer():
    one, two = alike(2, days=(1, 2))
    one.add_remote("shop-20251231", broken=True)
    two.faults.refuse = True
    _, results = await purged({"one": one, "two": two}, chbackup.Retention(keep_last=2), broken=True)
    assert outcomes(results) == {"http://two:7171": "unreachable", "shop-20251231": "kept"}


async def test_an_unsound_timeout_of_nothing_still_reads_once():
    fake = sidecar(days=(1, 2))
    run, _ = await purged({"a": fake}, timeout=0)
    assert run.summary.ok
