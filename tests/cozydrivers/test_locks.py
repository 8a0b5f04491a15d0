import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.lock import lock, locks_of, target_of, unlock, wanted
from cozydrivers.errors import ClusterUnreachable, Conflict, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime import Lock, Locks, lock_name
from cozydrivers.runtime.cache import Caches
from cozydrivers.runtime.locks import LABEL, STORAGE_NAMESPACE, Holder, micro_time, storage_lock, target_lock
from cozydrivers.testing import FakeCluster

CRDS = Path(__file__).parents[2] / "fixtures" / "crds"
NOW = datetime(2026, 11, 23, 12, 30, 1, 500, tzinfo=UTC)
LOCK = Lock("storage", "default", lock_name("storage", "https://s3", "bucket", "path"))
NAME = LOCK.name
FIRST = Holder("BackupJob", "1-a", "default", "one")
SECOND = Holder("RestoreJob", "2-b", "default", "two")
THIRD = Holder("BackupJob", "3-c", "elsewhere", "one")


async def nobody_ended(holder: Holder) -> bool:
    return False


async def all_ended(holder: Holder) -> bool:
    return True


def locks(kube: KubeClient, is_finished=nobody_ended) -> Locks:
    """The locks of a process of its own."""
    return Locks(kube, is_finished)


async def take(kube: KubeClient, holder: Holder, is_finished=nobody_ended) -> bool:
    """Take the lock as a process that remembers nothing."""
    return await locks(kube, is_finished).acquire(LOCK, holder, NOW)


async def release(kube: KubeClient, holder: Holder) -> None:
    """Give it back as a process that remembers nothing."""
    await locks(kube).release(LOCK, holder)


async def holder_of(kube: KubeClient) -> str | None:
    try:
        return (await kube.get(Lease, NAME, "default")).spec.holder_identity or None
    except NotFound:
        return None


def methods(cluster: FakeCluster) -> list[str]:
    return [method for method, _ in cluster.requests]


async def test_one_holder_at_a_time():
    kube = FakeCluster().kube()
    assert await take(kube, FIRST)
    assert not await take(kube, SECOND)
    await release(kube, FIRST)
    assert await take(kube, SECOND)
    assert await holder_of(kube) == "RestoreJob/default/two/2-b"


async def test_a_free_lock_costs_one_request_to_take_one_to_give_back_and_none_to_keep():
    cluster = FakeCluster()
    mine = locks(cluster.kube())
    assert await mine.acquire(LOCK, FIRST, NOW)
    assert await mine.acquire(LOCK, FIRST, NOW)
    await mine.release(LOCK, FIRST)
    assert methods(cluster) == ["POST", "PATCH"]


async def test_what_is_held_is_remembered_for_its_holder_only():
    mine = locks(FakeCluster().kube())
    assert await mine.acquire(LOCK, FIRST, NOW)
    assert not await mine.acquire(LOCK, SECOND, NOW)


async def test_after_a_restart_it_is_found_to_be_ours_without_a_write():
    cluster = FakeCluster()
    assert await take(cluster.kube(), FIRST)
    mine = locks(cluster.kube())
    assert await mine.acquire(LOCK, FIRST, NOW)
    assert await mine.acquire(LOCK, FIRST, NOW)
    assert methods(cluster) == ["POST", "POST", "GET"]


async def test_one_that_was_given_back_keeps_what_is_told_in_it_and_is_taken_with_one_request():
    cluster = FakeCluster()
    mine = locks(cluster.kube())
    assert await mine.acquire(LOCK, FIRST, NOW)
    await cluster.kube().merge_patch(Lease, NAME, {"metadata": {"annotations": {"seen": "it"}}}, "default")
    await mine.release(LOCK, FIRST)
    before = len(cluster.requests)
    assert await mine.acquire(LOCK, SECOND, NOW)
    assert methods(cluster)[before:] == ["PATCH"]
    assert (await cluster.kube().get(Lease, NAME, "default")).metadata.annotations == {"seen": "it"}


async def test_it_passes_from_one_of_ours_to_the_next_with_one_request():
    cluster = FakeCluster()
    mine = locks(cluster.kube(), all_ended)
    assert await mine.acquire(LOCK, FIRST, NOW)
    assert await mine.acquire(LOCK, SECOND, NOW)
    assert methods(cluster) == ["POST", "PATCH"]
    lease = await cluster.kube().get(Lease, NAME, "default")
    assert (lease.spec.holder_identity, lease.spec.lease_transitions) == (str(SECOND), 1)


async def test_what_somebody_else_took_meanwhile_does_not_pass_on():
    kube = FakeCluster().kube()

    async def first_ended(holder: Holder) -> bool:
        return holder == FIRST

    mine = locks(kube, first_ended)
    assert await mine.acquire(LOCK, FIRST, NOW)
    assert await take(kube, THIRD, all_ended)
    assert not await mine.acquire(LOCK, SECOND, NOW)
    assert await holder_of(kube) == str(THIRD)


async def test_a_backup_locks_its_storage_paths_and_a_restore_the_application_as_well():
    target, path = target_of(application()), storage_lock("path")
    assert wanted(BackupJob(), application(), ["path", "path"]) == [path]
    assert wanted(BackupJob(), application(), []) == [target]
    assert wanted(RestoreJob(), application(), ["path"]) == [target, path]
    assert wanted(Backup(), application(), ["path"]) == [target, path]


async def test_all_locks_are_taken_or_none():
    kube = FakeCluster().kube()
    mine = locks(kube)
    paths = [storage_lock("a"), storage_lock("b")]
    assert await mine.acquire(paths[1], FIRST, NOW)
    one = BackupJob.decode({"metadata": {"name": "one", "namespace": "tenant", "uid": "4-d"}})
    assert not await lock(mine, one, paths, NOW)
    held = {lease.metadata.name: lease.spec.holder_identity for lease in (await kube.list(Lease)).items}
    assert held == {paths[0].name: "", paths[1].name: str(FIRST)}


async def test_it_is_not_taken_away_by_time():
    kube = FakeCluster().kube()
    assert await take(kube, FIRST)
    assert not await locks(kube).acquire(LOCK, SECOND, NOW + timedelta(days=365))


async def test_it_is_taken_over_from_a_holder_that_has_ended():
    kube = FakeCluster().kube()
    asked = []

    async def ended(holder: Holder) -> bool:
        asked.append(holder)
        return holder == FIRST

    assert await take(kube, FIRST)
    assert await take(kube, SECOND, ended)
    assert not await take(kube, THIRD, ended)
    lease = await kube.get(Lease, NAME, "default")
    assert (lease.spec.holder_identity, lease.spec.lease_transitions, asked) == (str(SECOND), 1, [FIRST, SECOND])
    assert lease.spec.acquire_time == NOW


async def test_a_lease_without_a_holder_is_free_and_gets_the_label():
    kube = FakeCluster().kube()
    await kube.create(Lease, {"metadata": {"name": NAME}}, "default")
    assert await take(kube, FIRST)
    assert (await kube.get(Lease, NAME, "default")).metadata.labels == {LABEL: "storage"}


async def test_a_holder_that_is_nothing_we_write_keeps_it():
    kube = FakeCluster().kube()
    await kube.create(Lease, {"metadata": {"name": NAME}, "spec": {"holderIdentity": "somebody"}}, "default")
    assert not await take(kube, FIRST)


async def test_of_those_who_take_over_at_once_one_wins():
    kube = FakeCluster().kube()
    assert await take(kube, FIRST)
    won = []

    async def ended(holder: Holder) -> bool:
        await anyio.sleep(1)
        return True

    async def try_it(holder: Holder) -> None:
        if await take(kube, holder, ended):
            won.append(str(holder))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(try_it, SECOND)
        tasks.start_soon(try_it, THIRD)
    assert [await holder_of(kube)] == won


async def test_of_those_who_create_it_at_once_one_wins():
    cluster = FakeCluster()
    cluster.faults.latency = 1
    kube = cluster.kube()
    won = []

    async def try_it(holder: Holder) -> None:
        if await take(kube, holder):
            won.append(str(holder))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(try_it, FIRST)
        tasks.start_soon(try_it, SECOND)
    assert [await holder_of(kube)] == won


async def test_one_that_is_released_meanwhile_is_taken_at_the_next_try():
    kube = FakeCluster().kube()
    assert await take(kube, FIRST)

    async def ended(holder: Holder) -> bool:
        await release(kube, FIRST)
        return True

    assert not await take(kube, SECOND, ended)
    assert await take(kube, SECOND, ended)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_after_a_lost_reply_the_next_try_finds_that_it_is_ours(method):
    cluster = FakeCluster()
    kube = cluster.kube()
    if method == "PATCH":
        assert await take(kube, SECOND)
    mine = locks(kube, all_ended)
    cluster.faults.lose_reply(method=method)
    with pytest.raises(ClusterUnreachable):
        await mine.acquire(LOCK, FIRST, NOW)
    assert await mine.acquire(LOCK, FIRST, NOW)


@pytest.mark.parametrize("lose", ["lose_reply", "refuse"])
async def test_a_release_without_an_answer_can_be_tried_again(lose):
    cluster = FakeCluster()
    mine = locks(cluster.kube())
    assert await mine.acquire(LOCK, FIRST, NOW)
    getattr(cluster.faults, lose)(method="PATCH")
    with pytest.raises(ClusterUnreachable):
        await mine.release(LOCK, FIRST)
    await mine.release(LOCK, FIRST)
    assert await holder_of(cluster.kube()) is None


async def test_nobody_releases_what_another_holds():
    kube = FakeCluster().kube()
    await release(kube, FIRST)
    assert await take(kube, SECOND)
    await release(kube, FIRST)
    assert await holder_of(kube) == str(SECOND)


async def test_what_was_changed_by_others_but_not_taken_is_released():
    kube = FakeCluster().kube()
    mine = locks(kube)
    assert await mine.acquire(LOCK, FIRST, NOW)
    await kube.merge_patch(Lease, NAME, {"metadata": {"labels": {"seen": "yes"}}}, "default")
    await mine.release(LOCK, FIRST)
    assert await holder_of(kube) is None


async def test_a_memory_that_is_wrong_never_removes_anothers_lock():
    kube = FakeCluster().kube()
    mine = locks(kube)
    assert await mine.acquire(LOCK, FIRST, NOW)
    assert await take(kube, SECOND, all_ended)
    await mine.release(LOCK, FIRST)
    assert await holder_of(kube) == str(SECOND)


async def test_a_release_never_removes_the_lock_of_who_took_it_over_meanwhile():
    cluster = FakeCluster()
    kube = cluster.kube()
    assert await take(kube, FIRST)
    cluster.faults.latency = 1

    async def let_go() -> None:
        with pytest.raises(Conflict):
            await release(kube, FIRST)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, kube, SECOND, all_ended)
        await anyio.sleep(1.5)
        tasks.start_soon(let_go)
    assert await holder_of(kube) == str(SECOND)


# What an older version wrote


async def test_a_lock_in_the_older_form_stays_its_holders_own():
    kube = FakeCluster().kube()
    await kube.create(Lease, {"metadata": {"name": NAME}, "spec": {"holderIdentity": "BackupJob/1-a"}}, "default")
    assert not await take(kube, SECOND)
    assert await take(kube, FIRST)
    await release(kube, FIRST)
    assert await holder_of(kube) is None


# Jobs as holders


async def jobs_cluster() -> FakeCluster:
    cluster = FakeCluster([CRDS])
    for name in ("tenant", "other"):
        await cluster.kube().create(Namespace, {"metadata": {"name": name}})
    return cluster


def jobs_locks(kube: KubeClient) -> Locks:
    """The locks of a process of its own, whose caches are empty."""
    return locks_of(kube, Caches(kube))


async def lock_target(mine: Locks, obj: KubeObject, application: KubeObject, now: datetime) -> bool:
    return await lock(mine, obj, wanted(obj, application, ()), now)


async def unlock_target(mine: Locks, obj: KubeObject, application: KubeObject) -> None:
    await unlock(mine, obj, wanted(obj, application, ()))


async def lock_storage(mine: Locks, obj: KubeObject, storage: str, now: datetime) -> bool:
    return await lock(mine, obj, [storage_lock(storage)], now)


async def job(kube: KubeClient, name: str, namespace: str = "tenant", *finalizers: str) -> BackupJob:
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "ch"}
    body = {
        "metadata": {"name": name, "finalizers": list(finalizers)},
        "spec": {"applicationRef": reference, "backupClassName": "default"},
    }
    return await kube.create(BackupJob, body, namespace)


def application(namespace: str = "tenant") -> ClickHouse:
    return ClickHouse.decode({"metadata": {"name": "ch", "namespace": namespace, "uid": "u"}})


async def remove(kube: KubeClient, obj: KubeObject) -> None:
    metadata = obj.metadata
    await kube.delete(type(obj), metadata.name, metadata.namespace, uid=metadata.uid)


async def finish(kube: KubeClient, job: BackupJob) -> None:
    status = {"status": {"phase": "Failed"}}
    await kube.merge_patch(BackupJob, job.metadata.name, status, job.metadata.namespace, status=True)


async def test_a_target_is_locked_in_its_namespace_with_a_label():
    kube = (await jobs_cluster()).kube()
    assert await lock_target(jobs_locks(kube), await job(kube, "one"), application(), NOW)
    (lease,) = (await kube.list(Lease, label_selector=f"{LABEL}=target")).items
    assert (lease.metadata.namespace, lease.metadata.name) == ("tenant", target_of(application()).name)


async def test_the_lock_of_a_job_passes_on_when_it_is_gone():
    kube = (await jobs_cluster()).kube()
    one, two = await job(kube, "one"), await job(kube, "two")
    mine = jobs_locks(kube)
    assert await lock_target(mine, one, application(), NOW)
    assert not await lock_target(mine, two, application(), NOW)
    await remove(kube, one)
    assert await lock_target(mine, two, application(), NOW)


async def test_a_job_made_anew_under_the_same_name_is_another_holder():
    """I11."""
    kube = (await jobs_cluster()).kube()
    one = await job(kube, "one")
    assert await lock_target(jobs_locks(kube), one, application(), NOW)
    await remove(kube, one)
    again = await job(kube, "one")
    await unlock_target(jobs_locks(kube), again, application())
    assert (await kube.list(Lease, "tenant")).items != []
    assert await lock_target(jobs_locks(kube), again, application(), NOW)


async def test_a_job_at_its_end_holds_it_until_it_is_cleaned_up():
    kube = (await jobs_cluster()).kube()
    one, two = await job(kube, "one", "tenant", "cozydrivers.cozystack.io/cleanup"), await job(kube, "two")
    assert await lock_target(jobs_locks(kube), one, application(), NOW)
    await finish(kube, one)
    assert not await lock_target(jobs_locks(kube), two, application(), NOW)
    await kube.merge_patch(BackupJob, "one", {"metadata": {"finalizers": None}}, "tenant")
    assert await lock_target(jobs_locks(kube), two, application(), NOW)


async def test_the_older_form_of_a_job_is_found_in_the_namespace_of_the_lock():
    kube = (await jobs_cluster()).kube()
    one, two = await job(kube, "one"), await job(kube, "two")
    spec = {"holderIdentity": f"BackupJob/{one.metadata.uid}"}
    await kube.create(Lease, {"metadata": {"name": target_of(application()).name}, "spec": spec}, "tenant")
    assert not await lock_target(jobs_locks(kube), two, application(), NOW)
    await finish(kube, one)
    assert await lock_target(jobs_locks(kube), two, application(), NOW)


async def test_a_storage_path_has_one_user_in_all_namespaces():
    cluster = await jobs_cluster()
    kube = cluster.kube()
    here, there = await job(kube, "one"), await job(kube, "one", "other")
    mine = jobs_locks(kube)
    assert await lock_storage(mine, here, "s3://bucket/path", NOW)
    assert await lock_storage(mine, there, "s3://bucket/elsewhere", NOW)
    before = len(cluster.requests)
    assert not await lock_storage(mine, there, "s3://bucket/path", NOW)
    assert methods(cluster)[before:] == ["GET", "GET", "GET"]
    await unlock(mine, here, [storage_lock("s3://bucket/path")])
    assert await lock_storage(mine, there, "s3://bucket/path", NOW)
    leases = (await kube.list(Lease, STORAGE_NAMESPACE, label_selector=f"{LABEL}=storage")).items
    assert {lease.metadata.name for lease in leases} == {
        storage_lock(path).name for path in ("s3://bucket/path", "s3://bucket/elsewhere")
    }


@pytest.mark.parametrize("kind", [RestoreJob, Backup])
async def test_other_kinds_hold_locks_until_they_are_gone(kind: type[RestoreJob | Backup]):
    kube = (await jobs_cluster()).kube()
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "ch"}
    spec = (
        {"backupRef": {"name": "b"}}
        if kind is RestoreJob
        else {"applicationRef": reference, "strategyRef": reference, "takenAt": "2026-01-01T00:00:00Z"}
    )
    metadata = {"name": "one", "finalizers": ["cozydrivers.cozystack.io/archive"] if kind is Backup else []}
    one = await kube.create(kind, {"metadata": metadata, "spec": spec}, "other")
    two = await job(kube, "two")
    if kind is Backup:  # it holds locks while it is deleted
        await remove(kube, one)
    assert await lock_storage(jobs_locks(kube), one, "path", NOW)
    assert not await lock_storage(jobs_locks(kube), two, "path", NOW)
    if kind is Backup:
        await kube.merge_patch(kind, "one", {"metadata": {"finalizers": None}}, "other")
    else:
        await remove(kube, one)
    assert await lock_storage(jobs_locks(kube), two, "path", NOW)


# Names


@pytest.mark.parametrize("lock", [target_lock("ClickHouse", "tenant", "ch"), storage_lock("path")])
def test_a_locks_name_tells_what_it_is_for(lock: Lock):
    assert lock.name.startswith(f"cozydrivers-{lock.purpose}-")


@given(st.text(), st.lists(st.text()))
def test_names_are_labels(kind, parts):
    name = lock_name(kind, *parts)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= 63


def test_names_stay_the_same_and_tell_their_parts_apart():
    assert lock_name("storage", "a", "bc") == "storage-6da682c56c401f387f36"
    assert (
        len({lock_name("x", *parts) for parts in [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ("abc", "")]})
        == 5
    )
    assert lock_name("a b", "c") != lock_name("a-b", "c")


def test_times_have_six_digits_in_utc():
    assert micro_time(NOW) == "2026-11-23T12:30:01.000500Z"
    assert micro_time(NOW.replace(microsecond=0)) == "2026-11-23T12:30:01.000000Z"


# One that lasts

COMMAND = Holder("Purge", "4-d", "", "laptop")


async def test_one_that_lasts_passes_on_when_it_has_not_been_renewed_for_that_long():
    kube = FakeCluster().kube()
    assert await locks(kube).acquire(LOCK, COMMAND, NOW, lasts=120)
    waiting = locks(kube)
    for _ in range(12):
        assert not await waiting.acquire(LOCK, FIRST, NOW)
        await anyio.sleep(10)
    assert await waiting.acquire(LOCK, FIRST, NOW)
    lease = await kube.get(Lease, NAME, "default")
    assert (lease.spec.lease_duration_seconds, lease.spec.renew_time) == (0, None)


async def test_one_that_is_renewed_in_time_is_kept():
    kube = FakeCluster().kube()
    mine, waiting = locks(kube), locks(kube)
    assert await mine.acquire(LOCK, COMMAND, NOW, lasts=120)
    for number in range(1, 6):
        assert not await waiting.acquire(LOCK, FIRST, NOW)
        await anyio.sleep(100)
        assert await mine.renew(LOCK, COMMAND, NOW + number * timedelta(seconds=100), lasts=120)
    assert not await waiting.acquire(LOCK, FIRST, NOW)
    await mine.release(LOCK, COMMAND)
    assert (await kube.get(Lease, NAME, "default")).spec.lease_duration_seconds == 0
    assert await waiting.acquire(LOCK, FIRST, NOW)


async def test_one_that_was_lost_is_not_renewed_even_when_it_is_free_again():
    kube = FakeCluster().kube()
    mine = locks(kube)
    assert await mine.acquire(LOCK, COMMAND, NOW, lasts=120)
    assert await take(kube, FIRST, is_finished=all_ended)
    assert not await mine.renew(LOCK, COMMAND, NOW, lasts=120)
    await release(kube, FIRST)
    assert not await mine.renew(LOCK, COMMAND, NOW, lasts=120)
    assert await holder_of(kube) is None


async def test_a_lock_without_a_duration_stays_its_holders_however_long_it_does_not_change():
    kube = FakeCluster().kube()
    waiting = locks(kube)
    assert await take(kube, FIRST)
    for _ in range(3):
        assert not await waiting.acquire(LOCK, SECOND, NOW)
        await anyio.sleep(80_000)
