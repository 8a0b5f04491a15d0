"""What becomes of the controller's processes: the next one goes on, and nothing is sent twice."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import anyio
import httpx
import pytest
from tests.e2e import kube, objects, uploads
from tests.e2e.objects import archives
from tests.e2e.scene import Controller, Scene, leases_of
from tests.real import RealCluster
from tests.real.processes import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

LONGEST_STOP = 10.0
TAKES_OVER = 25.0
"""Seconds, of which 15 are the Lease's."""


async def _uploads(scene: Scene) -> None:
    """A job `nightly` whose first shard uploads for some seconds; returns while it does."""
    await uploads.throttle(scene)
    await uploads.begin(scene)


async def _leads(client: httpx.AsyncClient, controller: Controller, *, within: float) -> str:
    """Wait until a process leads; the name of its Lease."""
    found: set[str] = set()

    async def leads() -> bool:
        found.update(await leases_of(client, controller))
        return bool(found)

    await wait_until(leads, timeout=within, what="the controller leads")
    return found.pop()


async def _assert_done_once(scene: Scene, *jobs: str) -> None:
    """Each job has succeeded, and what its Backup names is all that was ever asked for."""
    backups = [await scene.backup_of(job) for job in jobs]
    asked = [command for shard in scene.shards for command in shard.asked("create_remote", "upload")]
    assert sorted(asked) == sorted(f"create_remote {archive}" for archive in archives(*backups))
    assert await scene.stored() == dict.fromkeys(archives(*backups), "")
    assert await scene.local_copies() == []


async def test_one_that_is_stopped_lets_go_at_once_and_the_next_goes_on(scene: Scene):
    await _uploads(scene)
    (lease,) = await leases_of(scene.client, scene.controller)
    await _stops(scene.controller)
    assert (await kube.get(scene.client, "Lease", "default", lease))["spec"]["holderIdentity"] == ""

    await scene.controller.start()
    assert await _leads(scene.client, scene.controller, within=LONGEST_STOP) == lease
    await _assert_done_once(scene, "nightly")


async def test_one_that_gets_no_answer_stops_in_time(cluster: RealCluster):
    namespace = await cluster.namespace("silent")
    async with Controller(cluster.kubeconfig(), namespace) as leader, cluster.client() as client:
        await _leads(client, leader, within=TAKES_OVER)
        cluster.apiserver.freeze()
        async with Controller(cluster.kubeconfig(), namespace) as starting:
            await _has_begun(starting)
            await anyio.sleep(2)
            for controller in (leader, starting):
                await _stops(controller)
        cluster.apiserver.thaw()


async def test_one_that_stands_by_stops_in_time(cluster: RealCluster):
    namespace = await cluster.namespace("two")
    async with Controller(cluster.kubeconfig(), namespace) as leader, cluster.client() as client:
        lease = await _leads(client, leader, within=TAKES_OVER)
        async with Controller(cluster.kubeconfig(), namespace) as other:
            await _has_begun(other)
            await anyio.sleep(2)
            await _stops(other)
        assert await leases_of(client, leader) == {lease}
        await _stops(leader)


async def _has_begun(controller: Controller) -> None:
    """Wait until it says so: from then on it hears signals."""

    async def told() -> bool:
        return controller.said("started") > 0

    await wait_until(told, timeout=30, what="the start of the controller")


async def _stops(controller: Controller) -> None:
    """SIGTERM is enough, and there is no more than that to say about it."""
    began = anyio.current_time()
    await controller.terminate()
    assert anyio.current_time() - began < LONGEST_STOP
    assert controller.said("stopping") == 1
    assert controller.said("Traceback") == 0


async def test_one_that_stands_by_takes_over_from_one_that_is_killed(scene: Scene):
    lease = await _leads(scene.client, scene.controller, within=TAKES_OVER)
    async with Controller(scene.cluster.kubeconfig(), scene.namespace) as second:
        await _uploads(scene)
        await scene.submit(objects.backup_job("hourly"))
        assert await leases_of(scene.client, scene.controller) == {lease}
        await scene.controller.kill()
        assert await _leads(scene.client, second, within=TAKES_OVER) == lease
        await _assert_done_once(replace(scene, controller=second), "nightly", "hourly")
        await second.terminate()


async def test_an_api_server_that_is_killed_and_comes_back_changes_nothing(scene: Scene):
    async with _restarted_like_a_container(scene.controller):
        await _uploads(scene)
        await scene.cluster.apiserver.kill()
        await anyio.sleep(12)  # longer than the controller may act without it
        await scene.cluster.apiserver.start()
        await wait_until(partial(_has_succeeded, scene, "nightly"), timeout=120, what="the end of nightly")
        await _assert_done_once(scene, "nightly")


@contextlib.asynccontextmanager
async def _restarted_like_a_container(controller: Controller) -> AsyncIterator[None]:
    """Start it again whenever it has ended, as a kubelet does: without an API server it may not act for long."""

    async def keep() -> None:
        while True:
            await anyio.sleep(0.5)
            if not controller.running:
                await controller.start()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep)
        yield
        tasks.cancel_scope.cancel()


async def _has_succeeded(scene: Scene, name: str) -> bool:
    job = await kube.get(scene.client, "BackupJob", scene.namespace, name)
    assert job.get("status", {}).get("phase") != "Failed", job["status"]
    return job.get("status", {}).get("phase") == "Succeeded" and not job["metadata"].get("finalizers")


async def test_nothing_is_done_beside_cozystack_s_own_controller(scene: Scene):
    for shard in scene.shards:
        await shard.fill(orders=100)
    theirs = await scene.cluster.namespace("cozy-backup-controller")
    await _leads(scene.client, scene.controller, within=TAKES_OVER)
    async with _held_by_the_reference(scene, theirs) as renewing:
        await _gives_up(scene.controller)
        await scene.controller.start()
        await scene.submit(objects.backup_job("nightly"))
        await anyio.sleep(12)
        assert scene.controller.running
        assert "status" not in await kube.get(scene.client, "BackupJob", scene.namespace, "nightly")
        assert [shard.asked("create", "create_remote") for shard in scene.shards] == [[], []]
        assert scene.controller.said(f"{theirs}/strategy.backups.cozystack.io is held by their-controller") > 0
        renewing.cancel()
        await _assert_done_once(scene, "nightly")
        lease = await kube.get(scene.client, "Lease", theirs, "strategy.backups.cozystack.io")
        assert lease["spec"]["holderIdentity"] == "cozydrivers"


async def _gives_up(controller: Controller) -> None:
    """A leader ends, with a sentence, as soon as the other is seen."""

    async def has_ended() -> bool:
        return not controller.running

    await wait_until(has_ended, timeout=LONGEST_STOP, what="end of the controller")
    assert controller.said("the leadership is lost: another controller acts on backups") == 1
    assert controller.said("Traceback") == 0


@contextlib.asynccontextmanager
async def _held_by_the_reference(scene: Scene, namespace: str) -> AsyncIterator[anyio.CancelScope]:
    """Hold its Lease and renew it each second, until that is cancelled; it is deleted in the end."""
    scope = anyio.CancelScope()

    async def renew() -> None:
        with scope:
            while True:
                now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
                await kube.apply(scene.client, objects.reference_lease("their-controller", now), namespace)
                await anyio.sleep(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(renew)
        try:
            yield scope
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await kube.clear(scene.client, "Lease", namespace)
