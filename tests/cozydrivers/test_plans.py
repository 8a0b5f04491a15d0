"""Plans: what they start, when, what they leave out, and what they say."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import anyio
import pytest
from tests.cozydrivers.checks import assert_one_sentence
from tests.cozydrivers.stage import APP, CLASS, FIXTURES, TENANT
from tests.whole import whole

from cozydrivers.api.backups import Backup, BackupJob, Plan, RestoreJob
from cozydrivers.api.base import Condition, TypedReference
from cozydrivers.api.core import Namespace
from cozydrivers.api.events import Event
from cozydrivers.controllers.plan import PlanController
from cozydrivers.controllers.planning import job_name
from cozydrivers.runtime.cache import Caches
from cozydrivers.testing import FakeCluster

pytestmark = pytest.mark.anyio

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
START = datetime(2026, 11, 23, tzinfo=UTC)
"""When the cluster's clock starts: a Monday."""

APPLICATION = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": APP}
OURS = "cozydrivers.cozystack.io/"


class Timetable:
    """A cluster with a namespace, in which Plans are made and their jobs are ended by hand."""

    def __init__(self) -> None:
        self.cluster = FakeCluster(crds=[FIXTURES / "crds"])
        self.kube = self.cluster.kube()

    async def plan(self, name: str, cron: str, annotations: dict[str, str] | None = None, **metadata: Any) -> Plan:
        """Create a Plan; annotations are given without their prefix."""
        body = {
            "metadata": {"name": name, "annotations": _prefixed(annotations or {}), **metadata},
            "spec": {"applicationRef": APPLICATION, "backupClassName": CLASS, "schedule": {"cron": cron}},
        }
        return await self.kube.create(Plan, body, TENANT)

    async def annotate(self, name: str, **annotations: str | None) -> None:
        """Change a Plan's annotations."""
        written = {OURS + key.replace("_", "-"): value for key, value in annotations.items()}
        await self.kube.merge_patch(Plan, name, {"metadata": {"annotations": written}}, TENANT)

    async def reschedule(self, name: str, **schedule: str) -> None:
        """Change a Plan's schedule."""
        await self.kube.merge_patch(Plan, name, {"spec": {"schedule": schedule}}, TENANT)

    async def jobs(self) -> list[BackupJob]:
        """All BackupJobs, the oldest first."""
        found = (await self.kube.list(BackupJob, TENANT)).items
        return sorted(found, key=lambda job: (job.metadata.creation_timestamp, job.metadata.name))

    async def slots(self) -> list[str]:
        """The slots in the jobs' names, as times of day."""
        return [_time(60 * int(job.metadata.name.rpartition("-")[2])) for job in await self.jobs()]

    async def end(self, job: BackupJob, phase: str = "Succeeded", *, backup: bool = False) -> None:
        """Have a job end, with or without a Backup."""
        status: dict[str, Any] = {"phase": phase}
        if backup:
            annotations = {OURS + "job-uid": job.metadata.uid}
            body = {
                "metadata": {"name": job.metadata.name, "annotations": annotations},
                "spec": {
                    "applicationRef": APPLICATION,
                    "planRef": {"name": job.spec.plan_ref.name if job.spec.plan_ref else "x"},
                    "strategyRef": {"apiGroup": "strategy.backups.cozystack.io", "kind": "Altinity", "name": "s"},
                    "takenAt": "2026-11-23T00:00:00Z",
                },
            }
            await self.kube.create(Backup, body, TENANT)
            status["backupRef"] = {"name": job.metadata.name}
        await self.kube.merge_patch(BackupJob, job.metadata.name, {"status": status}, TENANT, status=True)

    async def end_all(self, phase: str = "Succeeded", *, backup: bool = False) -> None:
        """Have all jobs end that go on."""
        for job in await self.jobs():
            if job.status.phase not in ("Succeeded", "Failed"):
                await self.end(job, phase, backup=backup)

    async def delete(self, kind: type[BackupJob | Backup | Plan], name: str) -> None:
        """Delete an object."""
        found = await self.kube.get(kind, name, TENANT)
        await self.kube.delete(kind, name, TENANT, uid=found.metadata.uid)

    async def condition(self, name: str, kind: str) -> Condition:
        """A condition of a Plan."""
        found = await self.kube.get(Plan, name, TENANT)
        return next(condition for condition in found.status.conditions if condition.type == kind)

    async def stands(self, name: str) -> tuple[str, str]:
        """Status and reason of a Plan's condition Ready."""
        ready = await self.condition(name, "Ready")
        return ready.status, ready.reason

    async def events(self, reason: str) -> list[Event]:
        """The events of a reason."""
        return [event for event in (await self.kube.list(Event, TENANT)).items if event.reason == reason]

    async def until(self, at: str) -> None:
        """Sleep until a time of this day, or of a later one: `+1 03:00`."""
        days, _, clock = at.rpartition(" ")
        hours, minutes, *seconds = (float(part) for part in clock.split(":"))
        target = float(days or 0) * DAY + hours * HOUR + minutes * MINUTE + sum(seconds)
        await anyio.sleep(target - (self.cluster.now() - START).total_seconds())

    def controller(self, **options: Any) -> tuple[PlanController, Caches]:
        """A controller of its own, as a process would have it."""
        caches = Caches(self.kube)
        return PlanController(self.kube, caches=caches, **{"now": self.cluster.now, **options}), caches

    @asynccontextmanager
    async def controlled(self, **options: Any) -> AsyncGenerator[PlanController, None]:
        """A controller that runs as long as the block."""
        controller, caches = self.controller(**options)
        async with caches, controller, anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            yield controller
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def ending(self, *phases: str, backup: bool = False) -> AsyncGenerator[None, None]:
        """Jobs end 20 s after their creation, in turn in one of the phases, as long as the block."""
        caches, (created, to_end) = Caches(self.kube), anyio.create_memory_object_stream[BackupJob](100)
        caches.of(BackupJob).subscribe(lambda old, new: created.send_nowait(new) if new and not old else None)
        turn = cycle(phases or ("Succeeded",))

        async def end_them() -> None:
            async for job in to_end:
                await anyio.sleep(20)
                await self.end(job, next(turn), backup=backup)

        with created, to_end:
            async with caches, anyio.create_task_group() as tasks:
                tasks.start_soon(end_them)
                yield
                tasks.cancel_scope.cancel()

    def sent(self, method: str, path: str = "") -> list[str]:
        """The paths of requests of a method."""
        return [where for how, where in self.cluster.requests if how == method and path in where]


def _prefixed(annotations: dict[str, str]) -> dict[str, str]:
    return {OURS + key: value for key, value in annotations.items()}


def _time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%d %H:%M")


@pytest.fixture
async def timetable():
    """A few seconds past the full minute, so that nothing else happens at the same time as what a test does."""
    timetable = Timetable()
    await timetable.kube.create(Namespace, {"metadata": {"name": TENANT}})
    await timetable.until("00:00:07")
    return timetable


# Starting


async def test_a_slot_makes_a_job_named_after_it_which_belongs_to_the_plan(timetable):
    plan = await timetable.plan("nightly", "0 3 * * *", labels={"team": "shop"})
    async with timetable.controlled():
        await timetable.until("02:59:59")
        assert await timetable.jobs() == []
        await timetable.until("03:00:01")
        [job] = await timetable.jobs()
    assert job.metadata.name == f"nightly-{int(datetime(2026, 11, 23, 3, tzinfo=UTC).timestamp()) // 60}"
    assert job.metadata.creation_timestamp == datetime(2026, 11, 23, 3, tzinfo=UTC)
    shown = await timetable.kube.get(whole(BackupJob), job.metadata.name, TENANT)
    assert shown.raw["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "backups.cozystack.io/v1alpha1",
            "kind": "Plan",
            "name": "nightly",
            "uid": plan.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert shown.raw["spec"] == {
        "planRef": {"name": "nightly"},
        "applicationRef": APPLICATION,
        "backupClassName": CLASS,
    }
    assert job.metadata.labels == {"team": "shop"}
    assert await timetable.stands("nightly") == ("True", "Scheduled")


async def test_each_slot_of_three_days_makes_one_job(timetable):
    await timetable.plan("six", "0 */6 * * *", {"successful-jobs-history-limit": "100"})
    async with timetable.controlled(), timetable.ending():
        await timetable.until("+2 23:59")
    days = ("23", "24", "25")
    assert await timetable.slots() == [f"{day} {at}" for day in days for at in ("00:00", "06:00", "12:00", "18:00")][1:]


async def test_a_schedule_of_minutes_is_not_slowed_down(timetable):
    await timetable.plan("often", "* * * * *", {"successful-jobs-history-limit": "100"})
    async with timetable.controlled(), timetable.ending():
        await timetable.until("00:20:30")
    assert len(await timetable.jobs()) == 20


async def test_a_time_zone_is_heeded(timetable):
    await timetable.plan("berlin", "CRON_TZ=Europe/Berlin 0 3 * * *")
    async with timetable.controlled():
        await timetable.until("23:59")
    assert await timetable.slots() == ["23 02:00"]


async def test_every_counts_from_the_creation_of_the_plan(timetable):
    await anyio.sleep(100)
    await timetable.plan("each", "@every 50m", {"successful-jobs-history-limit": "100"})
    async with timetable.controlled(), timetable.ending():
        await timetable.until("01:00")
    async with timetable.controlled(), timetable.ending():
        await timetable.until("02:35")
    assert [f"{job.metadata.creation_timestamp:%H:%M:%S}" for job in await timetable.jobs()] == [
        "00:51:47",
        "01:41:47",
        "02:31:47",
    ]


async def test_a_plan_is_looked_at_when_its_next_slot_is_due_and_at_least_daily(timetable):
    await timetable.plan("soon", "30 0 * * *")
    await timetable.plan("rare", "0 0 1 1 *")
    controller, caches = timetable.controller()
    async with caches, controller:
        await timetable.until("00:10")
        assert await controller.reconcile(TENANT, "soon") == pytest.approx(20 * MINUTE, abs=1)
        assert await controller.reconcile(TENANT, "rare") == DAY
        assert await controller.reconcile(TENANT, "absent") is None


async def test_nothing_is_sent_while_nothing_is_due(timetable):
    await timetable.plan("nightly", "0 3 * * *")
    async with timetable.controlled():
        await timetable.until("00:01")
        timetable.cluster.requests.clear()
        await timetable.until("02:59")
        assert timetable.sent("POST") + timetable.sent("PATCH") + timetable.sent("DELETE") == []
        await timetable.until("03:10")
        assert len(timetable.sent("POST", "backupjobs")) == 1
        assert len(timetable.sent("PATCH")) == 1, "the last slot, and no condition"


async def test_a_long_name_leaves_room_for_the_slot(timetable):
    names = [f"{'long-' * 49}{last}" for last in "ab"]
    for name in names:
        await timetable.plan(name, "0 3 * * *")
    async with timetable.controlled():
        await timetable.until("03:01")
    jobs = await timetable.jobs()
    assert len({job.metadata.name for job in jobs}) == 2
    assert all(len(job.metadata.name) <= 253 for job in jobs)
    assert {job.spec.plan_ref.name for job in jobs if job.spec.plan_ref} == set(names)


# At most once


async def test_two_controllers_make_one_job_per_slot(timetable):
    await timetable.plan("nightly", "*/10 * * * *", {"successful-jobs-history-limit": "100"})
    async with timetable.controlled(), timetable.controlled(), timetable.ending():
        await timetable.until("01:05")
    assert len(await timetable.jobs()) == 6
    assert await timetable.stands("nightly") == ("True", "Scheduled")
    assert len(timetable.sent("POST", "backupjobs")) > 6, "both have tried"


async def test_a_stale_cache_makes_no_second_job(timetable):
    await timetable.plan("nightly", "0 3 * * *")
    stale, caches = timetable.controller()
    async with caches:
        pass
    async with timetable.controlled():
        await timetable.until("03:01")
    assert await stale.reconcile(TENANT, "nightly") == 0.2, "its Plan is stale as well"
    caches.of(Plan).put(await timetable.kube.get(Plan, "nightly", TENANT))
    assert await stale.reconcile(TENANT, "nightly") == pytest.approx(DAY - MINUTE, abs=2)
    assert len(await timetable.jobs()) == 1


async def test_a_lost_reply_makes_no_second_job(timetable):
    await timetable.plan("nightly", "0 3 * * *")
    timetable.cluster.faults.lose_reply(1, method="POST", path="backupjobs")
    async with timetable.controlled():
        await timetable.until("03:05")
    assert len(await timetable.jobs()) == 1
    assert await timetable.stands("nightly") == ("True", "Scheduled")


async def test_an_outage_shorter_than_the_starting_deadline_costs_no_slot(timetable):
    await timetable.plan("nightly", "0 3 * * *")
    timetable.cluster.faults.fail(5, status=503, method="POST", path="backupjobs")
    async with timetable.controlled():
        await timetable.until("03:05")
    assert await timetable.slots() == ["23 03:00"]


async def test_a_job_that_was_deleted_is_not_made_again(timetable):
    await timetable.plan("nightly", "0 3 * * *", {"starting-deadline": "12h"})
    async with timetable.controlled():
        await timetable.until("03:01")
        [job] = await timetable.jobs()
        await timetable.delete(BackupJob, job.metadata.name)
        await timetable.until("03:30")
        assert await timetable.jobs() == []
    async with timetable.controlled():
        await timetable.until("04:30")
    assert await timetable.jobs() == []


async def test_a_job_of_the_reference_controller_counts_as_the_slots(timetable):
    plan = await timetable.plan("nightly", "0 3 * * *")
    await timetable.until("03:00:30")
    owner = {"apiVersion": "backups.cozystack.io/v1alpha1", "kind": "Plan", "name": "nightly", "controller": True}
    name = job_name("nightly", START + timedelta(hours=3))
    body = {
        "metadata": {"name": name, "ownerReferences": [{**owner, "uid": plan.metadata.uid}]},
        "spec": {"applicationRef": APPLICATION, "backupClassName": CLASS},
    }
    await timetable.kube.create(BackupJob, body, TENANT)
    async with timetable.controlled():
        await timetable.until("03:04")
    assert timetable.sent("POST", "backupjobs") == [
        f"/apis/backups.cozystack.io/v1alpha1/namespaces/{TENANT}/backupjobs"
    ]


async def test_a_name_that_somebody_else_has_taken_is_said_and_left_alone(timetable):
    await timetable.plan("nightly", "0 3 * * *")
    name = job_name("nightly", START + timedelta(hours=3))
    body = {"metadata": {"name": name}, "spec": {"applicationRef": APPLICATION, "backupClassName": CLASS}}
    theirs = await timetable.kube.create(BackupJob, body, TENANT)
    async with timetable.controlled():
        await timetable.until("03:01")
        assert await timetable.stands("nightly") == ("False", "NameTaken")
        assert_one_sentence((await timetable.condition("nightly", "Ready")).message, name)
        assert len(await timetable.events("NameTaken")) == 1
        assert (await timetable.jobs())[0].metadata.resource_version == theirs.metadata.resource_version
        await timetable.delete(BackupJob, name)
        await timetable.until("03:02")
        assert await timetable.stands("nightly") == ("True", "Scheduled")
    assert await timetable.slots() == ["23 03:00"]


async def test_a_plan_that_was_created_anew_takes_over_no_job_of_its_predecessor(timetable):
    await timetable.plan("each", "@every 20s")
    async with timetable.controlled():
        await timetable.until("00:00:40")
        [old] = await timetable.jobs()
        await timetable.delete(Plan, "each")
        await anyio.sleep(1)
        await timetable.plan("each", "@every 10s")
        await timetable.until("00:00:55")
        assert await timetable.stands("each") == ("False", "NameTaken")
        await timetable.until("00:01:30")
    assert await timetable.stands("each") == ("True", "Scheduled")
    uids = [job.metadata.owner_references[0].uid for job in await timetable.jobs()]
    assert uids == [old.metadata.owner_references[0].uid, uids[-1]]


# Missed slots


async def test_after_hours_without_a_controller_the_latest_slot_makes_one_job(timetable):
    await timetable.plan("often", "*/10 * * * *")
    async with timetable.controlled():
        await timetable.until("00:05")
    await timetable.until("07:12")
    async with timetable.controlled():
        await timetable.until("07:15")
    assert await timetable.slots() == ["23 07:10"]


async def test_a_slot_that_was_missed_for_too_long_is_left_out_and_said(timetable):
    await timetable.plan("nightly", "0 3 * * *")
    await timetable.until("03:05:01")
    async with timetable.controlled():
        await timetable.until("03:10")
        assert await timetable.stands("nightly") == ("True", "SlotMissed")
        assert_one_sentence((await timetable.condition("nightly", "Ready")).message, "2026-11-23T03:00:00Z", "0:05:00")
        assert len(await timetable.events("SlotMissed")) == 1
        assert await timetable.jobs() == []
        await timetable.until("+1 03:01")
        assert await timetable.stands("nightly") == ("True", "Scheduled")
    assert await timetable.slots() == ["24 03:00"]


@pytest.mark.parametrize(("deadline", "slots"), [("1h", []), ("2h30m", ["23 03:00"]), ("90000s", ["23 03:00"])])
async def test_the_starting_deadline_can_be_widened(timetable, deadline, slots):
    await timetable.plan("nightly", "0 3 * * *", {"starting-deadline": deadline})
    await timetable.until("05:00")
    async with timetable.controlled():
        await timetable.until("06:00")
    assert await timetable.slots() == slots


async def test_a_slot_from_before_the_plan_makes_no_job(timetable):
    await timetable.until("03:04")
    await timetable.plan("nightly", "0 3 * * *", {"starting-deadline": "12h"})
    async with timetable.controlled():
        await timetable.until("+1 02:59")
        assert await timetable.jobs() == []
        assert await timetable.stands("nightly") == ("True", "Scheduled")


# No overlap


async def test_a_slot_waits_for_the_run_before_and_starts_if_that_ends_in_time(timetable):
    await timetable.plan("often", "*/10 * * * *")
    async with timetable.controlled():
        await timetable.until("00:22")
        [first] = await timetable.jobs()
        assert await timetable.stands("often") == ("True", "RunInProgress")
        assert_one_sentence((await timetable.condition("often", "Ready")).message, first.metadata.name, "00:20:00Z")
        assert len(await timetable.events("RunInProgress")) == 1
        await timetable.end(first, "Failed")
        await timetable.until("00:22:05")
        assert await timetable.slots() == ["23 00:10", "23 00:20"], "the latest only"
        assert await timetable.stands("often") == ("True", "Scheduled")


async def test_a_slot_is_skipped_where_the_run_before_ends_too_late(timetable):
    await timetable.plan("often", "*/10 * * * *")
    async with timetable.controlled():
        await timetable.until("00:25:30")
        assert await timetable.stands("often") == ("True", "SlotMissed")
        await timetable.end_all()
        await timetable.until("00:29")
        assert await timetable.slots() == ["23 00:10"]
        await timetable.until("00:31")
        assert await timetable.slots() == ["23 00:10", "23 00:30"]


async def test_runs_of_another_plan_are_no_overlap(timetable):
    await timetable.plan("one", "*/10 * * * *")
    await timetable.plan("two", "5 * * * *")
    async with timetable.controlled():
        await timetable.until("00:11")
    assert await timetable.slots() == ["23 00:05", "23 00:10"]


# Suspending, pausing, spreading


async def test_a_suspended_plan_starts_nothing_until_it_is_resumed(timetable):
    await timetable.plan("often", "*/10 * * * *", {"suspend": "true"})
    async with timetable.controlled():
        await timetable.until("00:31")
        assert await timetable.jobs() == []
        assert await timetable.stands("often") == ("False", "Suspended")
        await timetable.annotate("often", suspend=None)
        await timetable.until("00:32")
        assert await timetable.slots() == ["23 00:30"]
        assert await timetable.stands("often") == ("True", "Scheduled")


async def test_a_paused_plan_starts_nothing_and_goes_on_by_itself(timetable):
    asked: list[tuple[str, str]] = []
    reason = ["paused by an annotation of Namespace tenant-user"]

    def paused(namespace: str, application: TypedReference) -> str:
        asked.append((namespace, application.name))
        return reason[0]

    await timetable.plan("often", "*/10 * * * *")
    async with timetable.controlled(paused=paused):
        await timetable.until("00:31")
        assert await timetable.jobs() == []
        assert await timetable.stands("often") == ("False", "Paused")
        assert (await timetable.condition("often", "Ready")).message == reason[0]
        reason[0] = ""
        await timetable.until("00:33")
        assert await timetable.slots() == ["23 00:30"]
    assert set(asked) == {(TENANT, APP)}


async def test_jitter_spreads_plans_and_leaves_the_name_of_the_slot(timetable):
    for number in range(40):
        await timetable.plan(f"daily-{number}", "@daily", {"jitter": "1h"})
    async with timetable.controlled():
        await timetable.until("+1 01:00:01")
    jobs = await timetable.jobs()
    assert set(await timetable.slots()) == {"24 00:00"}
    assert len(jobs) == 40
    created = sorted(job.metadata.creation_timestamp for job in jobs)
    assert len(set(created)) > 30
    assert timedelta(minutes=30) < created[-1] - created[0] < timedelta(hours=1)


async def test_jitter_delays_a_plan_by_the_same_each_time(timetable):
    await timetable.plan("hourly", "@hourly", {"jitter": "45m", "successful-jobs-history-limit": "9"})
    for hour in range(1, 4):
        async with timetable.controlled():
            await timetable.until(f"{hour:02}:59")
            await timetable.end_all()
    delays = {(job.metadata.creation_timestamp - START).seconds % 3600 for job in await timetable.jobs()}
    assert len(await timetable.jobs()) == 3
    assert len(delays) == 1


# What it says


BAD_SCHEDULES = [
    ({"cron": "61 * * * *"}, ["spec.schedule.cron", "minute", "61"]),
    ({"cron": ""}, ["spec.schedule.cron", "@daily"]),
    ({"cron": "0 0 30 2 *"}, ["spec.schedule.cron", "five years"]),
    ({"cron": "CRON_TZ=Mars/Olympus @daily"}, ["spec.schedule.cron", "Mars/Olympus"]),
    ({"cron": "@daily", "type": "interval"}, ["spec.schedule.type", "interval", "cron"]),
]


@pytest.mark.parametrize(("schedule", "words"), BAD_SCHEDULES, ids=lambda value: str(value)[:40])
async def test_a_bad_schedule_is_said_in_conditions_that_the_server_accepts(timetable, schedule, words):
    await timetable.plan("odd", "@hourly")
    await timetable.reschedule("odd", **schedule)
    async with timetable.controlled():
        await timetable.until("01:01")
        error, ready = [await timetable.condition("odd", kind) for kind in ("Error", "Ready")]
        assert (error.status, error.reason, error.observed_generation) == ("True", "InvalidSchedule", 2)
        assert (ready.status, ready.reason, ready.message) == ("False", "InvalidSchedule", error.message)
        assert_one_sentence(error.message, *words)
        assert await timetable.jobs() == []
        await timetable.reschedule("odd", type="cron", cron="30 * * * *")
        await timetable.until("01:31")
        error = await timetable.condition("odd", "Error")
        assert (error.status, error.reason, error.observed_generation) == ("False", "ScheduleValid", 3)
        assert error.last_transition_time == START + timedelta(hours=1, minutes=1)
    assert await timetable.slots() == ["23 01:30"]


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("jitter", "soon", "90m"),
        ("jitter", "-5m", "90m"),
        ("jitter", "", "90m"),
        ("starting-deadline", "10", "90m"),
        ("suspend", "yes", "true nor false"),
        ("successful-jobs-history-limit", "-1", "from 0"),
        ("failed-jobs-history-limit", "many", "from 0"),
    ],
)
async def test_a_bad_annotation_is_said_and_nothing_is_made(timetable, name, value, accepted):
    await timetable.plan("odd", "@hourly", {name: value})
    async with timetable.controlled():
        await timetable.until("01:01")
        for kind in ("Error", "Ready"):
            said = await timetable.condition("odd", kind)
            assert said.reason == "InvalidAnnotation"
            assert_one_sentence(said.message, OURS + name, repr(value), accepted)
        assert await timetable.jobs() == []
        await timetable.kube.merge_patch(Plan, "odd", {"metadata": {"annotations": {OURS + name: None}}}, TENANT)
        await timetable.until("01:02")
        assert await timetable.stands("odd") == ("True", "Scheduled")


async def test_conditions_of_others_stay_and_times_change_with_the_status_only(timetable):
    await timetable.plan("nightly", "0 3 * * *")
    theirs = {
        "type": "Theirs",
        "status": "True",
        "reason": "Theirs",
        "message": "",
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    }
    await timetable.kube.merge_patch(Plan, "nightly", {"status": {"conditions": [theirs]}}, TENANT, status=True)
    async with timetable.controlled():
        await timetable.until("00:10")
        await timetable.reschedule("nightly", cron="0 4 * * *")
        await timetable.until("00:20")
    error = await timetable.condition("nightly", "Error")
    assert error.observed_generation == 2
    assert error.last_transition_time == START + timedelta(seconds=7)
    assert (await timetable.condition("nightly", "Theirs")).last_transition_time == datetime(2020, 1, 1, tzinfo=UTC)


async def test_a_job_that_the_server_refuses_is_said_and_tried_again(timetable):
    await timetable.plan("nightly", "0 3 * * *")
    await timetable.kube.merge_patch(Plan, "nightly", {"spec": {"backupClassName": ""}}, TENANT)
    async with timetable.controlled():
        await timetable.until("03:01")
        assert await timetable.stands("nightly") == ("False", "NotAllowed")
        assert_one_sentence((await timetable.condition("nightly", "Ready")).message, "backupClassName", "03:00:00Z")
        assert len(await timetable.events("NotAllowed")) == 1
        await timetable.kube.merge_patch(Plan, "nightly", {"spec": {"backupClassName": CLASS}}, TENANT)
        await timetable.until("03:02")
    assert await timetable.slots() == ["23 03:00"]


@pytest.mark.parametrize("noted", ["", "soon", "2026-11-23T03:00:00", "2999-01-01T00:00:00Z"])
async def test_a_last_slot_that_nobody_can_have_written_counts_for_nothing(timetable, noted):
    await timetable.plan("nightly", "0 3 * * *", {"last-slot": noted})
    async with timetable.controlled():
        await timetable.until("03:01")
    assert await timetable.slots() == ["23 03:00"]
    plan = await timetable.kube.get(Plan, "nightly", TENANT)
    assert plan.metadata.annotations[OURS + "last-slot"] == "2026-11-23T03:00:00Z"


async def test_a_plan_that_is_being_deleted_starts_nothing(timetable):
    await timetable.plan("nightly", "0 3 * * *", finalizers=["example.org/hold"])
    await timetable.delete(Plan, "nightly")
    async with timetable.controlled():
        await timetable.until("03:01")
    assert await timetable.jobs() == []
    assert timetable.sent("PATCH") == []


# History


async def phases(timetable: Timetable) -> list[str]:
    return [job.status.phase for job in await timetable.jobs()]


async def test_three_successful_and_one_failed_job_are_kept(timetable):
    await timetable.plan("often", "*/10 * * * *")
    async with timetable.controlled(), timetable.ending("Succeeded", "Failed"):
        await timetable.until("01:45")
    assert await timetable.slots() == ["23 00:50", "23 01:10", "23 01:30", "23 01:40"]
    assert sorted(await phases(timetable)) == ["Failed", "Succeeded", "Succeeded", "Succeeded"]


@pytest.mark.parametrize(
    ("limits", "kept"), [(("0", "0"), []), (("1", "0"), ["Succeeded"]), (("0", "2"), ["Failed"] * 2)]
)
async def test_the_limits_are_the_plans_own(timetable, limits, kept):
    names = ("successful-jobs-history-limit", "failed-jobs-history-limit")
    await timetable.plan("often", "*/10 * * * *", dict(zip(names, limits, strict=True)))
    async with timetable.controlled(), timetable.ending("Succeeded", "Failed"):
        await timetable.until("01:45")
    assert sorted(await phases(timetable)) == kept
    assert len(timetable.sent("POST", "backupjobs")) == 10, "no slot has fired again"


async def test_jobs_whose_backups_exist_are_kept_and_do_not_count(timetable):
    await timetable.plan("often", "*/10 * * * *", {"successful-jobs-history-limit": "1"})
    async with timetable.controlled(), timetable.ending(backup=True):
        await timetable.until("00:45")
        jobs = await timetable.jobs()
        assert len(jobs) == 4
        for job in jobs[:3]:
            await timetable.delete(Backup, job.metadata.name)
        await anyio.sleep(30)
        left = await timetable.jobs()
    assert [job.metadata.name for job in left] == [jobs[2].metadata.name, jobs[3].metadata.name]


async def test_a_backup_that_the_cache_does_not_show_yet_keeps_its_job(timetable):
    await timetable.plan("often", "*/10 * * * *", {"successful-jobs-history-limit": "0"})
    async with timetable.controlled():
        await timetable.until("00:11")
    controller, caches = timetable.controller()
    async with caches:
        pass
    [job] = await timetable.jobs()
    await timetable.end(job, backup=True)
    caches.of(BackupJob).put(await timetable.kube.get(BackupJob, job.metadata.name, TENANT))
    await controller.reconcile(TENANT, "often")
    assert len(await timetable.jobs()) == 1
    await timetable.delete(Backup, job.metadata.name)
    await controller.reconcile(TENANT, "often")
    assert await timetable.jobs() == []


async def test_jobs_that_go_on_or_are_cleaned_up_and_those_of_others_are_never_deleted(timetable):
    await timetable.plan(
        "often", "*/10 * * * *", {f"{kind}-jobs-history-limit": "0" for kind in ("successful", "failed")}
    )
    body = {"metadata": {"name": "mine"}, "spec": {"applicationRef": APPLICATION, "backupClassName": CLASS}}
    await timetable.end(await timetable.kube.create(BackupJob, body, TENANT))
    restore = await timetable.kube.create(
        RestoreJob, {"metadata": {"name": "back"}, "spec": {"backupRef": {"name": "nightly"}}}, TENANT
    )
    status = {"status": {"phase": "Failed"}}
    await timetable.kube.merge_patch(RestoreJob, restore.metadata.name, status, TENANT, status=True)
    async with timetable.controlled():
        await timetable.until("00:11")
        [_, first] = await timetable.jobs()
        held = {"metadata": {"finalizers": [OURS + "cleanup"]}}
        await timetable.kube.merge_patch(BackupJob, first.metadata.name, held, TENANT)
        await timetable.end(first, "Failed")
        await timetable.until("00:21")
        assert [job.status.phase for job in await timetable.jobs()] == ["Succeeded", "Failed", ""]
        await timetable.kube.merge_patch(BackupJob, first.metadata.name, {"metadata": {"finalizers": None}}, TENANT)
        await timetable.until("00:22")
        assert [job.status.phase for job in await timetable.jobs()] == ["Succeeded", ""]
    await timetable.kube.get(RestoreJob, "back", TENANT)


async def test_a_paused_plan_deletes_nothing(timetable):
    await timetable.plan("often", "*/10 * * * *", {"successful-jobs-history-limit": "0"})
    reason = [""]
    async with timetable.controlled(paused=lambda namespace, application: reason[0]):
        await timetable.until("00:11")
        reason[0] = "paused"
        await timetable.end_all()
        await timetable.until("00:15")
        assert len(await timetable.jobs()) == 1
