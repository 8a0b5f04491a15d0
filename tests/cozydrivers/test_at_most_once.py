"""At most once (I3), whatever happens to a sidecar, its history, its Pod, or who else is at work there.

Each archive's name is asked for once, and the job ends well, or for a true reason and leaves nothing.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest
from tests.cozydrivers.checks import (
    Change,
    assert_one_sentence,
    authorization,
    backed_up,
    pod_name,
    reason_of,
    rows,
    slow,
    staged,
    submitted,
    without,
)
from tests.cozydrivers.stage import TENANT, Stage, recorded

from chbackup import Action, Client
from chbackup.testing import FakeSidecar
from chbackup.testing._transport import FakeTransport, client_over
from cozydrivers import ClickHouseDriver, Manager
from cozydrivers.api.backups import BackupJob, RestoreJob
from cozydrivers.api.core import Pod
from cozydrivers.controllers.backupjob import BackupJobController
from cozydrivers.drivers.clickhouse import act
from cozydrivers.drivers.clickhouse.checkpoint import Member
from cozydrivers.drivers.clickhouse.following import Rows, Submission, Verdict, judge
from cozydrivers.drivers.clickhouse.look import Sight, open_eyes
from cozydrivers.drivers.clickhouse.steps import Hold
from cozydrivers.testing.operators import Network

pytestmark = pytest.mark.anyio

OLD, NEW = "2.7.4", "newest"
both = pytest.mark.parametrize("version", [OLD, NEW])


async def slowly(*, create: float = 2, upload: float = 8, **installation: str) -> Stage:
    """A stage on which a backup takes a while."""
    stage = await staged(**installation)
    for sidecar in stage.app.sidecars.values():
        sidecar.duration.create, sidecar.duration.upload = create, upload
        for number in range(3):
            sidecar.tables.add_table(f"shop.items_{number}", 10)  # so that a part is in the store soon
    return stage


async def to_restore() -> Stage:
    """A Backup whose tables are gone, and on which a restore takes a while."""
    stage = await backed_up()
    slow(stage, 8)
    return stage


def asked(stage: Stage) -> Counter[str]:
    return submitted([stage.app])


async def assert_once(stage: Stage, job: BackupJob, attempts: str = "a1") -> None:
    """It ends well, each name was asked for once, and shard 1's archive is of that attempt."""
    job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made(job.metadata.name)) == stage.archives()
    assert all(archive.good for archive in stage.app.sidecar(0).remote.values())
    assert set(asked(stage).values()) == {1}
    assert {name.rsplit("-", 3)[1] for name in stage.archives() if "-s1of2" in name} == {attempts}
    assert stage.local_copies() == set()


async def assert_restored(stage: Stage, job: RestoreJob) -> None:
    job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]
    assert stage.local_copies() == set()
    made = [each for each in stage.touched() if "/restore/" in each]
    assert len(made) == len(set(made))


async def assert_nothing_left(stage: Stage, job: BackupJob, reason: str, *words: str) -> None:
    job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", reason), job.status.message
    assert_one_sentence(job.status.message, *words)
    assert (stage.archives(), stage.local_copies()) == (set(), set())
    assert set(asked(stage).values()) == {1}


async def restart_server(stage: Stage, shard: int = 1) -> None:
    """`POST /restart`: what runs is cancelled and every row rewritten; nothing is resumed."""
    await stage.app.sidecar(shard).handle("POST", "/restart", "", authorization(), b"")


# A sidecar that runs out of memory, again and again


async def killed_at(stage: Stage, *moments: float) -> None:
    """Shard 1's process is killed so many seconds after it was last started, and is back after two."""
    for moment in moments:
        await anyio.sleep(moment)
        await stage.app.restart(stage.kube, 1, after=2)


async def test_lost_creates_are_made_anew_and_resumed_uploads_are_followed_however_often():
    stage = await slowly()
    async with stage.managed():
        job = await stage.backup("nightly")
        await killed_at(stage, 1)
        await killed_at(stage, 6)  # 5 s of quiet, then in the second create
        await killed_at(stage, 8, 1, 1, 1, 1)  # in the third's upload
        await assert_once(stage, job, "a3")


async def test_a_create_that_is_lost_three_times_is_the_end_and_says_so():
    stage = await slowly()
    async with stage.managed():
        job = await stage.backup("nightly")
        await killed_at(stage, 1, 6, 6)
        await assert_nothing_left(stage, job, "Lost", "shard 1 replica 0", "restarted", "3 attempts")


async def test_an_upload_that_no_server_resumes_is_gone_on_with_however_often():
    stage = await slowly()
    stage.app.sidecar(1).configure(API_COMPLETE_RESUMABLE_AFTER_RESTART="false")
    async with stage.managed():
        job = await stage.backup("nightly")
        await killed_at(stage, 4, 8, 8)
        await assert_once(stage, job)


async def test_downloads_and_restores_go_on_as_well():
    stage = await to_restore()
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        await killed_at(stage, 2, 1, 1, 1)  # in the download
        await killed_at(stage, 15, 8)  # in the restore
        await assert_restored(stage, job)


# A history that was rewritten or trimmed


async def test_an_upload_outlives_any_number_of_restarts_of_the_server():
    stage = await slowly()
    async with stage.managed():
        job = await stage.backup("nightly")
        for moment in (4, 8, 8):
            await anyio.sleep(moment)
            await restart_server(stage)
        await assert_once(stage, job)
    assert len([each for each in stage.touched() if "/upload/" in each]) == 3


async def test_a_download_and_a_restore_outlive_a_restart_of_the_server():
    stage = await to_restore()
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        for moment in (2, 7, 15):
            await anyio.sleep(moment)
            await restart_server(stage)
        await assert_restored(stage, job)


@both
async def test_a_resumed_upload_outlives_a_restart_of_the_server(version: str):
    """Up to 2.8.0 a row without an id says `cancel` and goes on: nothing may be sent beside it."""
    stage = await slowly(upload=24, version=version)
    async with stage.managed():
        job = await stage.backup("nightly")
        await killed_at(stage, 7)
        await anyio.sleep(1)
        await restart_server(stage)
        await assert_once(stage, job)
    assert len([each for each in stage.touched() if "/upload/" in each]) == (0 if version == OLD else 1)


async def test_a_success_that_a_restart_of_the_server_has_rewritten_is_a_success():
    stage = await slowly(upload=1)
    stage.app.sidecar(0).duration.upload = 20
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(3.05)
        await restart_server(stage)
        await assert_once(stage, job)


@pytest.mark.parametrize("moment", [5.0, 10.05])
async def test_rows_that_a_server_has_forgotten_prove_nothing(moment: float):
    """A server from 2.8.1 on trims its history: an id that is unknown is not that of a lost operation."""
    stage = await slowly(version=NEW)
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(moment)
        stage.app.sidecar(1).forget_history()
        await assert_once(stage, job)


def test_what_a_server_has_resumed_late_is_followed_and_not_sent_beside_it():
    now = datetime(2026, 11, 23, tzinfo=UTC)
    planned = Submission(verb="upload", archive="x", at=now, after="the row before")
    resumed = Action(command="upload --resumable=1 x", status="in progress")
    assert judge(planned, Rows(resumed, [resumed]), now=now, fresh=True) is Verdict.RUNNING
    assert judge(planned, Rows(None, []), now=now, fresh=True) is Verdict.PLANNED


# A Pod that is not the same any more


@pytest.mark.parametrize("moment", [1.0, 5.0])
async def test_a_pod_created_anew_on_its_volume_goes_on(moment: float):
    """Another UID, another address, the same data."""
    stage = await slowly()
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(moment)
        await stage.app.replace_pod(stage.kube, 1, after=10)
        await assert_once(stage, job, "a2" if moment == 1.0 else "a1")


async def test_a_pod_created_anew_on_an_empty_volume_makes_another_archive():
    stage = await slowly()
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(5)
        former = stage.app.sidecar(1)
        await stage.app.replace_pod(stage.kube, 1, after=10, keeps_volume=False)
        stage.app.sidecar(1).tables.add_table("shop.orders", 7)
        await assert_once(stage, job, "a2")
    assert asked(stage).keys().isdisjoint(names_asked(former))


def names_asked(sidecar: FakeSidecar) -> set[str]:
    return {part for each in sidecar.requests for part in each.query.split("&")}


async def test_a_pod_that_was_replaced_while_it_answered_is_not_believed_and_its_row_is_found():
    stage = await slowly()
    stage.app.sidecar(1).faults.delay = 1.0
    async with stage.managed():
        job = await stage.backup("nightly")
        with anyio.fail_after(60):
            while not asked(stage):  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.05)
        stage.app.sidecar(1).faults.delay = 0.0
        await without(Pod, pod_name(1), TENANT)(stage)
        await stage.app.start_pod(stage.kube, 1)
        await assert_once(stage, job)


async def test_two_addresses_that_are_swapped_are_followed_to_their_pods():
    stage = await slowly()
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(4)
        await swap(stage)
        await assert_once(stage, job)


async def swap(stage: Stage) -> None:
    """Give each of the two Pods the other's address, and tell so."""
    known = stage.network._sidecars
    one, other = [(await stage.kube.get(Pod, pod_name(shard), TENANT)).status.pod_ip for shard in (0, 1)]
    known[one], known[other] = known[other], known[one]
    await stage.app.report(stage.kube, 0, 0, address=other)
    await stage.app.report(stage.kube, 1, 0, address=one)


async def create_anew(stage: Stage) -> None:
    await without(Pod, pod_name(0), TENANT)(stage)
    await stage.app.start_pod(stage.kube, 0)


@pytest.mark.parametrize("change", [swap, create_anew])
async def test_nothing_is_sent_to_what_is_not_the_pod_of_the_intent_any_more(change: Change):
    """The cache of Pods may be a moment old, addresses are used again, and one password fits all shards."""
    stage = await staged()
    job = await stage.backup("nightly")
    async with stage.driver() as driver:
        controller = BackupJobController(stage.kube, drivers=[driver], now=stage.now)
        eyes = await open_eyes(await controller.run_of(job, await controller.resolve(job)), driver._access)
        place = next(place for place in eyes.places if place.shard == 0)
        submission = Submission(verb="create_remote", archive="x", state="sending", at=stage.now())
        member = Member(shard=0, replica=0, pod=place.pod, pod_uid=place.pod_uid, submission=submission, stage="making")
        await change(stage)
        held = await act.submit(eyes, member, Sight(place), act.create_remote)
    assert isinstance(held, Hold)
    assert (held.reason, held.member.submission.state) == ("SidecarUnreachable", "planned")
    assert stage.touched() == []


# Two controllers


class SlowWay(Network):
    """The sidecars, as one reaches them whose submissions are on their way for a while."""

    def __init__(self, real: Network, seconds: float) -> None:
        super().__init__()
        self._sidecars = real._sidecars
        self._seconds = seconds

    def connect(self, url: str, /, *, username: str, password: str, timeout: float) -> Client:
        sidecar = self._sidecars[httpx.URL(url).host]

        async def handle(method: str, path: str, query: str, headers: Any, body: bytes) -> Any:
            await anyio.sleep(self._seconds if path == "/backup/create_remote" else 0)
            return await sidecar.handle(method, path, query, headers, body)

        http_client = client_over(FakeTransport(handle))
        return Client(url, username=username, password=password, timeout=timeout, http_client=http_client)


async def test_two_controllers_without_an_election_do_one_job_once():
    """The other one sees the intent while the first one's request is still on its way."""
    stage = await slowly(create=0.5, upload=3)
    stage.cluster.faults.latency = 0.05
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            driver = ClickHouseDriver(connect=SlowWay(stage.network, 3).connect)
            tasks.start_soon(Manager(stage.kube, drivers=[driver], now=stage.now).run)
        await assert_once(stage, await stage.backup("nightly"))
        tasks.cancel_scope.cancel()


async def test_two_controllers_restore_once():
    stage = await backed_up()
    stage.cluster.faults.latency = 0.02
    async with stage.managed(), stage.managed():
        await assert_restored(stage, await stage.restore("undo", "nightly"))


# Somebody who works by hand


async def by_hand(stage: Stage, method: str, path: str, query: str = "", shard: int = 1) -> int:
    status, _, _ = await stage.app.sidecar(shard).handle(method, path, query, authorization(), b"")
    return status


BY_HAND = {
    "/backup/create": "name=by-hand-2",
    "/backup/create_remote": "name=by-hand-3",
    "/backup/upload/by-hand": "",
    "/backup/delete/remote/by-hand-1": "",
}


@pytest.mark.parametrize("moment", [0.0, 5.0])
async def test_work_by_hand_on_other_archives_is_waited_for_or_kept_out(moment: float):
    stage = await slowly()
    for sidecar in stage.app.sidecars.values():
        sidecar.add_local("by-hand")
        sidecar.add_remote("by-hand-1")
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(moment)
        answers = [await by_hand(stage, "POST", path, query) for path, query in BY_HAND.items()]
        assert answers == ([201, 423, 423, 423] if moment == 0.0 else [423] * 4)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made("nightly")) <= stage.archives()
    assert set(asked(stage).values()) == {1}


async def test_a_clean_by_hand_makes_an_archive_unproven_and_is_named():
    stage = await slowly()
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(5)
        await by_hand(stage, "POST", "/backup/clean/remote_broken", shard=0)
        await assert_nothing_left(stage, job, "EngineFailed", "not proven", pod_name(0), "clean_remote_broken")


async def test_a_kill_by_hand_is_decided_once_and_only_when_nothing_runs_any_more():
    stage = await slowly()
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(5)
        await by_hand(stage, "POST", "/backup/kill")
        await anyio.sleep(4)
        told = await stage.backup_job("nightly")
        assert_one_sentence(told.status.message, "shard 1 replica 0: the operation was killed", "waiting until")
        assert told.status.phase == "Running"
        await assert_nothing_left(stage, job, "Cancelled", "shard 1 replica 0", "killed")
        await anyio.sleep(60)
    assert (await stage.backup_job("nightly")).status.phase == "Failed"
    assert (stage.archives(), stage.local_copies()) == (set(), set())


async def test_a_killed_upload_that_its_server_resumes_after_all_goes_on():
    """A process that starts resumes what was killed before: the last word is the engine's."""
    stage = await slowly()
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(5)
        await by_hand(stage, "POST", "/backup/kill")
        await anyio.sleep(2)
        await stage.app.restart(stage.kube, 1)
        await assert_once(stage, job)


async def test_a_killed_resume_is_waited_out_where_a_kill_does_not_stop_it():
    """Up to 2.8.0 a row without an id says `cancel` at once, and its upload goes on to the end."""
    stage = await slowly(upload=16)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await killed_at(stage, 4)
        await stage.stands(job, "InProgress")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(by_hand, stage, "POST", "/backup/kill")
            await anyio.sleep(8)
            assert (await stage.backup_job("nightly")).status.phase == "Running"
            await assert_nothing_left(stage, job, "Cancelled", "shard 1 replica 0", "killed")
        await anyio.sleep(120)
    assert (stage.archives(), stage.local_copies()) == (set(), set())


async def test_a_job_that_is_deleted_waits_for_what_a_kill_does_not_stop():
    stage = await slowly(upload=24)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await killed_at(stage, 7)
        await anyio.sleep(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(by_hand, stage, "POST", "/backup/kill")
            await anyio.sleep(1)
            await without(BackupJob, "nightly", TENANT)(stage)
        await anyio.sleep(120)
    assert (stage.archives(), stage.local_copies()) == (set(), set())
    assert job.metadata.finalizers
