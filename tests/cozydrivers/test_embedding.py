"""Controllers inside somebody else's program, which calls `reconcile` when it likes: too early, twice, cut off."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from tests.cozydrivers.checks import drop, rows, slow, staged
from tests.cozydrivers.stage import TENANT, Stage

from cozydrivers import ApiError, BackupJobController, ClickHouseDriver, RestoreJobController
from cozydrivers.api.backups import BackupJob, RestoreJob
from cozydrivers.controllers.ledger import FINALIZER
from cozydrivers.controllers.services import Services
from cozydrivers.drivers import base
from cozydrivers.runtime.cache import Caches
from cozydrivers.testing import FakeCluster

pytestmark = pytest.mark.anyio
Embedded = BackupJobController | RestoreJobController


@pytest.fixture
async def stage():
    return await staged()


@asynccontextmanager
async def embedded(
    stage: Stage, driver: ClickHouseDriver | None = None, namespace: str | None = None
) -> AsyncGenerator[BackupJobController, None]:
    """A controller that nobody runs."""
    drivers = [driver or stage.driver()]
    async with BackupJobController(stage.kube, drivers=drivers, namespace=namespace, now=stage.now) as controller:
        yield controller


async def blind(stage: Stage) -> None:
    """Have the controller's watches see nothing for some moments."""
    stage.cluster.drop_watches()
    await anyio.sleep(0.01)


async def follow(controller: Embedded, name: str) -> None:
    """Come back when told so, as long as there is anything to do."""
    with anyio.fail_after(600):
        while (again := await controller.reconcile(TENANT, name)) is not None:  # noqa: ASYNC110
            await anyio.sleep(again)


def writes(stage: Stage) -> list[tuple[str, str]]:
    return [request for request in stage.cluster.requests if request[0] != "GET"]


class Watched(ClickHouseDriver):
    """Counts the steps that are taken at once, each of them slow."""

    steps = most = inside = 0

    async def backup(self, run: base.BackupRun) -> base.Outcome:
        self.steps, self.inside = self.steps + 1, self.inside + 1
        self.most = max(self.most, self.inside)
        try:
            await anyio.sleep(0.3)
            return await super().backup(run)
        finally:
            self.inside -= 1


async def test_it_is_followed_from_its_beginning_to_its_end(stage):
    async with embedded(stage) as controller:
        await stage.backup("nightly")
        await follow(controller, "nightly")
    job = await stage.backup_job("nightly")
    assert (job.status.phase, job.metadata.finalizers) == ("Succeeded", [])


async def test_a_job_that_the_watch_has_not_shown_yet_is_worked_on(stage):
    async with embedded(stage) as controller:
        await blind(stage)
        await stage.backup("nightly")
        assert await controller.reconcile(TENANT, "nightly") is not None
    assert (await stage.backup_job("nightly")).metadata.finalizers == [FINALIZER]
    assert stage.touched()


async def test_the_watch_that_shows_it_afterwards_changes_nothing(stage):
    async with embedded(stage) as controller:
        await blind(stage)
        await stage.backup("nightly")
        await controller.reconcile(TENANT, "nightly")
        await anyio.sleep(5)
        await follow(controller, "nightly")
    assert (await stage.backup_job("nightly")).status.phase == "Succeeded"
    assert len(stage.archives()) == 2


async def test_a_job_that_is_created_anew_is_told_from_the_one_that_the_watch_still_shows(stage):
    async with embedded(stage) as controller:
        old = await stage.backup("nightly")
        await follow(controller, "nightly")
        await blind(stage)
        await stage.kube.delete(BackupJob, "nightly", TENANT, uid=old.metadata.uid)
        new = await stage.backup("nightly")
        assert await controller.reconcile(TENANT, "nightly", old.metadata.uid) is None
        assert await controller.reconcile(TENANT, "nightly", new.metadata.uid) is not None
        await follow(controller, "nightly")
    assert (await stage.backup_job("nightly")).status.backup_ref.name == f"nightly-{new.metadata.uid[:8]}"


async def test_a_job_that_is_known_is_not_read_from_the_server(stage):
    async with embedded(stage) as controller:
        job = await stage.backup("nightly")
        await follow(controller, "nightly")
        stage.cluster.requests.clear()
        for uid in ("", job.metadata.uid):
            assert await controller.reconcile(TENANT, "nightly", uid) is None
    assert stage.cluster.requests == []


async def test_a_job_that_does_not_exist_needs_no_other_look(stage):
    async with embedded(stage) as controller:
        job = await stage.backup("nightly")
        await blind(stage)
        await stage.kube.delete(BackupJob, "nightly", TENANT, uid=job.metadata.uid)
        await anyio.sleep(5)
        stage.cluster.requests.clear()
        assert await controller.reconcile(TENANT, "nightly") is None
    assert writes(stage) == []


async def test_a_kind_that_is_not_served_has_no_jobs(stage):
    kube = FakeCluster().kube()
    async with BackupJobController(kube, drivers=[stage.driver()], now=stage.now) as controller:
        assert await controller.reconcile(TENANT, "nightly") is None


async def test_a_job_of_another_namespace_is_not_its_own(stage):
    async with embedded(stage, namespace="elsewhere") as controller:
        await stage.backup("nightly")
        stage.cluster.requests.clear()
        assert await controller.reconcile(TENANT, "nightly") is None
    assert writes(stage) == []


async def test_a_job_that_the_selector_leaves_out_is_not_its_own(stage):
    services = Services(stage.kube, Caches(stage.kube, selector="team=a"), stage.now)
    controller = BackupJobController(stage.kube, drivers=[stage.driver()], services=services)
    async with services.caches:
        await stage.backup("nightly")
        assert await controller.reconcile(TENANT, "nightly") is None
        labels = {"metadata": {"labels": {"team": "a"}}}
        await blind(stage)
        await stage.kube.merge_patch(BackupJob, "nightly", labels, TENANT)
        assert await controller.reconcile(TENANT, "nightly") is not None


async def test_calls_for_the_same_job_take_turns(stage):
    driver = Watched(connect=stage.network.connect, objects=stage.network.objects.open)
    async with embedded(stage, driver) as controller, anyio.create_task_group() as tasks:
        await stage.backup("nightly")
        for _ in range(5):
            tasks.start_soon(follow, controller, "nightly")
    job = await stage.backup_job("nightly")
    assert (job.status.phase, len(stage.archives())) == ("Succeeded", 2)
    assert (driver.most, driver.steps > 5) == (1, True)


async def test_calls_for_different_jobs_do_not_wait_for_each_other(stage):
    driver = Watched(connect=stage.network.connect, objects=stage.network.objects.open)
    async with embedded(stage, driver) as controller, anyio.create_task_group() as tasks:
        for name in ("a", "b"):
            await stage.backup(name)
            tasks.start_soon(controller.reconcile, TENANT, name)
    assert driver.most == 2


async def test_a_call_beside_run_waits_for_its_turn_too(stage):
    driver = Watched(connect=stage.network.connect, objects=stage.network.objects.open)
    async with embedded(stage, driver) as controller, anyio.create_task_group() as tasks:
        tasks.start_soon(controller.run)
        job = await stage.backup("nightly")
        await follow(controller, "nightly")
        job = await stage.end_of(job)
        tasks.cancel_scope.cancel()
    assert (job.status.phase, driver.most, len(stage.archives())) == ("Succeeded", 1, 2)


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.4, 0.7, 1.3])
async def test_a_call_that_is_cut_off_is_taken_up_by_the_next(stage, moment):
    slow(stage, 1)
    async with embedded(
        stage, Watched(connect=stage.network.connect, objects=stage.network.objects.open)
    ) as controller:
        await stage.backup("nightly")
        with anyio.move_on_after(moment):
            await follow(controller, "nightly")
        await follow(controller, "nightly")
    assert (await stage.backup_job("nightly")).status.phase == "Succeeded"
    assert stage.local_copies() == set()


@pytest.mark.parametrize("trouble", [{"status": 500}, {"status": 429, "retry_after": 1}, {"status": 503}])
async def test_a_trouble_of_the_api_server_is_raised_and_passes(stage, trouble):
    async with embedded(stage) as controller:
        await stage.backup("nightly")
        stage.cluster.faults.fail(method="PATCH", path="backupjobs", **trouble)
        with pytest.raises(ApiError, match=r"planned|429"):
            await follow(controller, "nightly")
        await follow(controller, "nightly")
    assert (await stage.backup_job("nightly")).status.phase == "Succeeded"


async def test_the_look_at_the_server_may_fail_as_any_other(stage):
    async with embedded(stage) as controller:
        await blind(stage)
        await stage.backup("nightly")
        stage.cluster.faults.refuse(method="GET", path="backupjobs")
        with pytest.raises(ApiError):
            await controller.reconcile(TENANT, "nightly")
        assert await controller.reconcile(TENANT, "nightly") is not None


async def test_nothing_is_sent_while_it_does_not_lead(stage):
    async with embedded(stage) as controller:
        controller.services.leading = lambda: False
        await stage.backup("nightly")
        await controller.reconcile(TENANT, "nightly")
        assert stage.touched() == []
        controller.services.leading = lambda: True
        await follow(controller, "nightly")
    assert (await stage.backup_job("nightly")).status.phase == "Succeeded"


async def test_both_kinds_of_job_share_one_set_of_caches(stage):
    drivers = [stage.driver()]
    backups = BackupJobController(stage.kube, drivers=drivers, now=stage.now)
    restores = RestoreJobController(stage.kube, drivers=drivers, services=backups.services)
    async with backups, restores:
        listed = stage.cluster.requests.count(("GET", BackupJob.resource.path()))
        await stage.backup("nightly")
        await follow(backups, "nightly")
        drop(stage)
        await stage.restore("back", "nightly")
        await follow(restores, "back")
    assert (await stage.restore_job("back")).status.phase == "Succeeded"
    assert (rows(stage), listed) == ([100, 101], 2)  # a list and a watch


async def test_a_deleted_job_is_cleaned_up(stage):
    slow(stage, 60)
    async with embedded(stage) as controller:
        job = await stage.backup("nightly")
        await controller.reconcile(TENANT, "nightly")
        await stage.kube.delete(BackupJob, "nightly", TENANT, uid=job.metadata.uid)
        await follow(controller, "nightly")
    assert (await stage.kube.list(BackupJob, TENANT)).items == []
    assert (stage.archives(), stage.local_copies()) == (set(), set())


async def test_a_restore_that_the_watch_has_not_shown_yet_is_worked_on(stage):
    async with RestoreJobController(stage.kube, drivers=[stage.driver()], now=stage.now) as controller:
        await blind(stage)
        await stage.restore("back", "absent")
        assert await controller.reconcile(TENANT, "back") is not None
    assert (await stage.kube.get(RestoreJob, "back", TENANT)).status.phase == "Pending"
