"""I10: how many jobs run at once, and whose turn it is."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cozydrivers.checks import many, slow, staged
from tests.cozydrivers.stage import Stage

from cozydrivers import Manager
from cozydrivers.api.backups import BackupJob
from cozydrivers.runtime.admission import Admission, Candidate, Limits, admit

START = datetime(2026, 11, 26, tzinfo=UTC)

candidates = st.lists(
    st.builds(
        Candidate,
        uid=st.uuids().map(str),
        namespace=st.sampled_from("abcd"),
        created=st.integers(0, 50).map(lambda minutes: START + timedelta(minutes=minutes)),
        is_restore=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda candidate: candidate.uid,
)
running = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 6))
limits = st.builds(Limits, total=st.integers(0, 12), per_namespace=st.integers(0, 5))


@given(candidates, running, limits)
def test_no_limit_is_passed_and_no_slot_is_wasted(waiting, counts, limit):
    admitted = admit(waiting, counts, limit)
    total = Counter(counts)
    for candidate in admitted:
        total[candidate.namespace] += 1
        assert total[candidate.namespace] <= limit.per_namespace
    assert len(admitted) <= max(limit.total - sum(counts.values()), 0)
    left = [candidate for candidate in waiting if candidate not in admitted]
    free = limit.total - sum(total.values())
    assert free <= 0 or all(total[candidate.namespace] >= limit.per_namespace for candidate in left)


@given(candidates, running, limits)
def test_a_backup_starts_only_where_no_restore_could(waiting, counts, limit):
    admitted = admit(waiting, counts, limit)
    total = Counter(counts) + Counter(candidate.namespace for candidate in admitted)
    if any(not candidate.is_restore for candidate in admitted):
        left = [candidate for candidate in waiting if candidate.is_restore and candidate not in admitted]
        assert all(total[candidate.namespace] >= limit.per_namespace for candidate in left)


@given(candidates, running, limits)
def test_within_a_namespace_the_older_comes_first(waiting, counts, limit):
    admitted = admit(waiting, counts, limit)
    for namespace in "abcd":
        for is_restore in (True, False):
            alike = [one for one in waiting if (one.namespace, one.is_restore) == (namespace, is_restore)]
            let_in = [one for one in admitted if one in alike]
            assert let_in == sorted(alike, key=lambda one: (one.created, one.uid))[: len(let_in)]


@given(candidates, limits)
def test_no_namespace_is_two_ahead_of_one_that_waits(waiting, limit):
    backups = [candidate for candidate in waiting if not candidate.is_restore]
    admitted = admit(backups, {}, limit)
    counts = Counter(candidate.namespace for candidate in admitted)
    for candidate in backups:
        if candidate not in admitted and counts[candidate.namespace] < limit.per_namespace:
            assert max(counts.values(), default=0) <= counts[candidate.namespace] + 1


def test_a_thousand_jobs_of_one_tenant_do_not_hold_up_another():
    flood = [Candidate(f"{number:04}", "busy", START) for number in range(1000)]
    late = Candidate("late", "quiet", START + timedelta(hours=1))
    assert late in admit([*flood, late], {"busy": 1}, Limits(total=2))


@pytest.mark.anyio
async def test_who_leaves_makes_room():
    woken: list[str] = []
    admission = Admission(Limits(total=1), dict)
    first, second = (Candidate(name, "tenant", START) for name in ("first", "second"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(admission.run)
        assert not admission.ask(first, lambda: woken.append("first"))
        await anyio.sleep(1)
        assert admission.ask(first, lambda: None)
        assert not admission.ask(second, lambda: woken.append("second"))
        await anyio.sleep(1)
        assert (woken, admission.place("second")) == (["first"], 1)
        assert admission.waited("second") == pytest.approx(1)
        admission.leave("first")
        await anyio.sleep(1)
        assert woken == ["first", "second"]
        tasks.cancel_scope.cancel()


# Through the manager


async def phases(stage: Stage) -> Counter[str]:
    return Counter(job.status.phase for job in (await stage.kube.list(BackupJob)).items)


async def most_running(stage: Stage, manager: Manager, jobs: int) -> tuple[int, int]:
    """How many were Running at once, at the most: in total, and in one namespace."""
    total, one = 0, 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(manager.run)
        with anyio.fail_after(1000):
            while (await phases(stage))["Succeeded"] < jobs:
                found = [job for job in (await stage.kube.list(BackupJob)).items if job.status.phase == "Running"]
                spaces = Counter(job.metadata.namespace for job in found)
                total, one = max(total, len(found)), max(one, *spaces.values(), 0)
                await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()
    return total, one


@pytest.mark.anyio
async def test_jobs_beyond_the_limit_wait_and_all_are_done_in_the_end():
    stage = await staged(shards=1)
    await many(stage, 7)
    manager = Manager(stage.kube, drivers=[stage.driver()], limits=Limits(total=3), now=stage.now)
    assert await most_running(stage, manager, 7) == (3, 1)


@pytest.mark.anyio
async def test_jobs_beyond_the_limit_of_a_namespace_wait():
    stage = await staged(shards=1)
    await many(stage, 5, "one-for-all")
    manager = Manager(stage.kube, drivers=[stage.driver()], limits=Limits(per_namespace=2), now=stage.now)
    assert await most_running(stage, manager, 5) == (2, 2)


@pytest.mark.anyio
async def test_jobs_that_run_when_a_controller_starts_count():
    stage = await staged(shards=1)
    await many(stage, 4)

    def manager() -> Manager:
        return Manager(stage.kube, drivers=[stage.driver()], limits=Limits(total=2), now=stage.now)

    with anyio.move_on_after(5):
        await manager().run()
    assert (await phases(stage))["Running"] == 2
    assert await most_running(stage, manager(), 4) == (2, 1)


@pytest.mark.anyio
async def test_a_job_without_a_slot_says_so_and_a_restore_goes_first():
    stage = await staged(shards=1)
    async with stage.managed():
        await stage.end_of(await stage.backup("older"))
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.drop("shop.orders")
    slow(stage, 20)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Manager(stage.kube, drivers=[stage.driver()], limits=Limits(total=0), now=stage.now).run)
        job = await stage.stands(await stage.backup("nightly"), "WaitingForSlot")
        assert (job.status.phase, job.metadata.finalizers) == ("Pending", [])
        tasks.cancel_scope.cancel()
    async with anyio.create_task_group() as tasks:
        restore = await stage.restore("undo", "older")
        tasks.start_soon(Manager(stage.kube, drivers=[stage.driver()], limits=Limits(total=1), now=stage.now).run)
        restore, job = await stage.end_of(restore), await stage.end_of(job)
        tasks.cancel_scope.cancel()
    assert (restore.status.phase, job.status.phase) == ("Succeeded", "Succeeded")
    assert restore.status.completed_at
    assert job.status.started_at
    assert restore.status.completed_at <= job.status.started_at
