"""Leases, as the elector and the locks take, keep and give them back."""

from datetime import UTC, datetime

import anyio
from tests.conformance.kube.rig import Rig

from cozydrivers.api.coordination import Lease
from cozydrivers.runtime import Lock, Locks
from cozydrivers.runtime.elector import Elector
from cozydrivers.runtime.locks import Holder

NOW = datetime(2026, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC)


def _elector(rig: Rig, identity: str) -> Elector:
    return Elector(rig.kube, rig.namespace, "cozydrivers", identity, now=lambda: NOW)


async def test_what_one_elector_gives_up_the_next_one_takes_at_once(rig: Rig):
    led: list[tuple[str, int]] = []

    async def lead() -> None:
        spec = (await rig.kube.get(Lease, "cozydrivers", rig.namespace)).spec
        led.append((spec.holder_identity, spec.lease_transitions))

    for identity in ("a", "b"):
        with anyio.fail_after(10):
            await _elector(rig, identity).run(lead)
    spec = (await rig.kube.get(Lease, "cozydrivers", rig.namespace)).spec
    assert led == [("a", 0), ("b", 1)]
    assert (spec.holder_identity, spec.lease_duration_seconds, spec.renew_time) == ("", 1, NOW)


async def test_an_elector_that_waits_sees_the_lease_given_up(rig: Rig):
    led: list[str] = []
    waiting = anyio.Event()

    async def first() -> None:
        led.append("a")
        tasks.start_soon(_elector(rig, "b").run, second)
        await anyio.sleep(3)
        waiting.set()

    async def second() -> None:
        assert waiting.is_set()
        led.append("b")

    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            await _elector(rig, "a").run(first)
    assert led == ["a", "b"]


async def test_a_lock_is_taken_passed_on_and_given_back(rig: Rig):
    lock = Lock("target", rig.namespace, "cozydrivers-target-1")
    one, two = Holder("BackupJob", "u-1", "t", "one"), Holder("RestoreJob", "u-2", "t", "two")
    over: set[str] = set()

    async def finished(holder: Holder) -> bool:
        return holder.uid in over

    ours, others = Locks(rig.kube, finished), Locks(rig.kube, finished)
    assert await ours.acquire(lock, one, NOW)
    assert not await others.acquire(lock, two, NOW)
    over.add("u-1")
    assert await others.acquire(lock, two, NOW)
    seen = await rig.kube.get(Lease, lock.name, lock.namespace)
    assert (seen.spec.holder_identity, seen.spec.lease_transitions) == ("RestoreJob/t/two/u-2", 1)
    await ours.release(lock, one)
    assert not await ours.acquire(lock, one, NOW)
    await others.release(lock, two)
    free = await rig.kube.get(Lease, lock.name, lock.namespace)
    assert (free.metadata.uid, free.spec.holder_identity) == (seen.metadata.uid, "")
    assert await ours.acquire(lock, one, NOW)
    assert (await rig.kube.get(Lease, lock.name, lock.namespace)).spec.lease_transitions == 2
