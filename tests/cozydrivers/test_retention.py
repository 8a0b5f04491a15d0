"""A Backup that its strategy keeps no longer is deleted, as by hand, and never the newest good one."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.pantry import AGE, DAY, Canning, Larder, Pantry
from tests.cozydrivers.stage import TENANT

from cozydrivers import Manager
from cozydrivers.api.backups import Backup, BackupClass, BackupSpec, BackupStatus, RestoreJob
from cozydrivers.api.base import Condition, Metadata
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.ageing import LOOK, Expiry, expiry
from cozydrivers.controllers.deletion import ARCHIVE_FINALIZER, DELETION_POLICY
from cozydrivers.controllers.ledger import EXECUTION, PAUSE
from cozydrivers.controllers.services import Services
from cozydrivers.drivers.base import Finding
from cozydrivers.runtime.cache import Caches

pytestmark = pytest.mark.anyio

OLD = Backup.resource.path(TENANT, "old")


@pytest.fixture
async def pantry():
    made = Pantry()
    await made.set_up()
    return made


def says(kind: str, status: str, reason: str) -> dict[str, str]:
    at = "2026-01-01T00:00:00Z"
    return {"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": at}


# What goes


async def test_those_that_are_too_old_go_with_their_archives_the_oldest_first(pantry):
    for age in (1, 3, 8, 9, 10):
        await pantry.holds(f"day-{age}", age * DAY)
    async with pantry.followed():
        await anyio.sleep(60)
    assert await pantry.left() == {"day-1", "day-3"}
    lines = [line for line in pantry.lines if line["outcome"] == "done"]
    gone = ["day-10", "day-9", "day-8"]
    assert [(line["name"], line.get("archive", "")) for line in lines] == [
        told for name in gone for told in ((name, ""), (name, name))
    ]  # the object, then its archive, and only then the next Backup
    assert {event.regarding.name for event in await pantry.events("ArchiveDeleted")} == set(gone)


async def test_before_one_goes_it_is_said_by_which_rule(pantry):
    old, _ = await pantry.holds("old", 8 * DAY), await pantry.holds("new", DAY)
    async with pantry.followed():
        await anyio.sleep(60)
    (event,) = await pantry.events("Expired")
    assert event.regarding.uid == old.metadata.uid
    words = ["Canning cold", "7 days", f"{old.spec.taken_at:%Y-%m-%dT%H:%M:%SZ}", "Backup new"]
    assert all(word in event.note for word in words), event.note
    first, second, *_ = pantry.lines
    assert [first["outcome"], second["outcome"]] == ["about to", "done"]
    assert first["uid"] == old.metadata.uid
    assert "Canning cold keeps a Backup for 7 days" in first["rule"]
    assert "Backup new" in first["evidence"]


async def test_one_goes_at_the_moment_when_it_is_old_enough_and_not_before(pantry):
    await pantry.holds("nearly", AGE - timedelta(minutes=10))
    await pantry.holds("new", DAY)
    async with pantry.followed():
        await anyio.sleep(595)
        assert await pantry.left() == {"nearly", "new"}
        await anyio.sleep(15)
        assert await pantry.left() == {"new"}


async def test_the_newest_good_one_stays_until_there_is_another(pantry):
    await pantry.holds("only", 100 * DAY)
    async with pantry.followed():
        await anyio.sleep(3 * LOOK)
        assert await pantry.left() == {"only"}
        await pantry.holds("new", timedelta())
        await anyio.sleep(30)
        assert await pantry.left() == {"new"}


@pytest.mark.parametrize(
    "unlike",
    [
        {"conditions": [says("Ready", "False", "ArchiveMissing")]},
        {"conditions": [says("Verified", "False", "StoreNotReadable")]},
        {"conditions": [says("Suspicious", "True", "Empty")]},
        {"phase": "Failed"},
        {"recorded": {"jar": None}},
    ],
    ids=["missing", "unproven", "empty", "failed", "not ours"],
)
async def test_one_that_is_not_good_pushes_none_out_and_stays_where_it_is_newer(pantry, unlike):
    recorded = {key: value for key, value in unlike.get("recorded", {}).items() if value}
    await pantry.holds("good", 20 * DAY)
    newer = await pantry.holds("newer", 10 * DAY, **unlike | {"recorded": recorded})
    if "recorded" in unlike:
        await pantry.kube.merge_patch(Backup, "newer", {"spec": {"driverMetadata": {"jar": None}}}, TENANT)
    async with pantry.followed():
        await anyio.sleep(LOOK)
    assert await pantry.left() == {"good", newer.metadata.name}


async def test_another_application_s_backup_pushes_none_out(pantry):
    await pantry.holds("old", 8 * DAY)
    await pantry.holds("other", DAY)
    await pantry.kube.merge_patch(Backup, "other", {"spec": {"applicationRef": {"name": "pickles"}}}, TENANT)
    async with pantry.followed():
        await anyio.sleep(LOOK)
    assert await pantry.left() == {"old", "other"}


# What stays although it is old


async def unchanged(pantry):
    return


async def class_retains(pantry):
    await pantry.kube.merge_patch(BackupClass, "daily", {"spec": {"strategies": [pantry.bound("Retain")]}}, None)


async def class_is_gone(pantry):
    found = await pantry.kube.get(BackupClass, "daily")
    await pantry.kube.delete(BackupClass, "daily", uid=found.metadata.uid)


async def class_binds_another_strategy(pantry):
    bound = pantry.bound()
    bound["strategyRef"]["name"] = "hot"
    await pantry.kube.merge_patch(BackupClass, "daily", {"spec": {"strategies": [bound]}})


async def application_is_gone(pantry):
    found = await pantry.kube.get(Larder, "jam", TENANT)
    await pantry.kube.delete(Larder, "jam", TENANT, uid=found.metadata.uid)


async def strategy_keeps_all(pantry):
    await pantry.kube.merge_patch(Canning, "cold", {"spec": {"keepDays": 0}})


async def strategy_is_for_pods(pantry):
    await pantry.kube.merge_patch(Canning, "cold", {"metadata": {"annotations": {EXECUTION: "pod"}}})


async def is_paused(pantry):
    await pantry.kube.merge_patch(Namespace, TENANT, {"metadata": {"annotations": {PAUSE: "true"}}})


async def is_restored(pantry):
    await pantry.restore("old")


async def is_needed(pantry):
    await pantry.kube.merge_patch(Backup, "new", {"spec": {"driverMetadata": {"needs": "old"}}}, TENANT)


async def is_out_of_reach(pantry):
    pantry.driver.away = "the store does not answer"


STAYS: list[tuple[Any, dict[str, Any]]] = [
    (class_retains, {}),
    (class_is_gone, {}),
    (class_binds_another_strategy, {}),
    (application_is_gone, {}),
    (strategy_keeps_all, {}),
    (strategy_is_for_pods, {}),
    (is_paused, {}),
    (is_restored, {}),
    (is_needed, {}),
    (is_out_of_reach, {}),
    (unchanged, {"annotations": {DELETION_POLICY: "Retain"}}),
    (unchanged, {"finalizers": []}),
    (unchanged, {"recorded": {"cluster": "another"}}),
    (unchanged, {"conditions": [says("Verified", "False", "Imported")]}),
    (unchanged, {"phase": "Failed"}),
]


@pytest.mark.parametrize(("happens", "changes"), STAYS, ids=lambda value: getattr(value, "__name__", str(value)))
async def test_one_stays_where_a_deletion_by_hand_would_not_delete_its_archives_now(pantry, happens, changes):
    await pantry.holds("old", 8 * DAY, **changes)
    await pantry.holds("new", DAY)
    await happens(pantry)
    async with pantry.followed():
        await anyio.sleep(2 * LOOK)
    assert await pantry.left() == {"old", "new"}
    assert (await pantry.kube.get(Backup, "old", TENANT)).metadata.deletion_timestamp is None
    assert pantry.lines == []


async def test_what_stays_does_not_hold_up_the_others(pantry):
    await pantry.holds("oldest", 20 * DAY)
    await pantry.holds("kept", 10 * DAY, annotations={DELETION_POLICY: "Retain"})
    await pantry.holds("lost", 9 * DAY)
    pantry.driver.lost = {"lost"}
    await pantry.holds("old", 8 * DAY)
    await pantry.holds("new", DAY, recorded={"needs": "oldest"})
    async with pantry.followed():
        await anyio.sleep(60)
    assert await pantry.left() == {"oldest", "kept", "lost", "new"}


async def test_an_engine_that_is_out_of_reach_is_asked_for_a_minute_each_hour(pantry):
    for age in (1, 8, 9, 10, 11):
        await pantry.holds(f"day-{age}", age * DAY)
    pantry.driver.away = "the store does not answer"
    async with pantry.followed():
        await anyio.sleep(3 * LOOK - 60)
        assert pantry.driver.asked == 3 * 2
        pantry.driver.away = ""
        await anyio.sleep(LOOK + 60)
    assert await pantry.left() == {"day-1"}


async def test_it_goes_when_what_was_in_the_way_is_over(pantry):
    await pantry.holds("old", 8 * DAY)
    await pantry.holds("new", DAY)
    job = await pantry.restore("old")
    async with pantry.followed():
        await anyio.sleep(LOOK)
        assert await pantry.left() == {"old", "new"}
        await pantry.kube.merge_patch(
            RestoreJob, job.metadata.name, {"status": {"phase": "Succeeded"}}, TENANT, status=True
        )
        await anyio.sleep(LOOK + 60)
        assert await pantry.left() == {"new"}


async def test_who_does_not_lead_deletes_nothing(pantry):
    await pantry.holds("old", 8 * DAY)
    await pantry.holds("new", DAY)
    services = Services(pantry.kube, Caches(pantry.kube), pantry.now, leading=lambda: False)
    async with pantry.followed(services):
        await anyio.sleep(LOOK)
    assert await pantry.left() == {"old", "new"}


async def test_a_retention_that_is_nonsense_deletes_nothing_and_is_told_once(pantry):
    """I12."""
    await pantry.holds("old", 8 * DAY)
    newest = await pantry.holds("new", DAY)
    await pantry.kube.merge_patch(Canning, "cold", {"spec": {"keepDays": -1}})
    async with pantry.followed():
        await anyio.sleep(5 * LOOK)
        assert await pantry.left() == {"old", "new"}
        (event,) = await pantry.events("InvalidRetention")
        assert (event.type, event.regarding.uid) == ("Warning", newest.metadata.uid)
        assert "spec.keepDays is -1" in event.note
        assert event.series is None
        await pantry.kube.merge_patch(Canning, "cold", {"spec": {"keepDays": 7}})
        await anyio.sleep(LOOK + 60)
        assert await pantry.left() == {"new"}


async def test_a_newest_good_one_that_goes_while_it_is_looked_up_pushes_none_out(pantry, monkeypatch):
    """I4: what then is the newest good one was not looked up."""
    await pantry.holds("old", 9 * DAY)
    await pantry.holds("mid", 8 * DAY)
    new = await pantry.holds("new", DAY, finalizers=[])
    asked = []

    async def audit(run):
        asked.append([each.metadata.name for each in run.backups])
        if asked == [["new"]]:
            await pantry.kube.delete(Backup, "new", TENANT, uid=new.metadata.uid)
            pantry.driver.jars.discard("new")
            return {new.metadata.uid: Finding()}
        return {}

    monkeypatch.setattr(pantry.driver, "audit", audit)
    async with pantry.followed():
        await anyio.sleep(60)
    assert asked[0] == ["new"]
    assert await pantry.left() == {"old", "mid"}


# Accidents


async def test_without_an_audit_log_nothing_is_deleted(pantry):
    await pantry.holds("old", 8 * DAY)
    await pantry.holds("new", DAY)

    def full(line: Mapping[str, Any]) -> None:
        raise OSError("no space left on device")

    async with pantry.followed(audit=full):
        await anyio.sleep(LOOK)
    assert await pantry.left() == {"old", "new"}
    assert ("DELETE", OLD) not in (request[:2] for request in pantry.cluster.requests)


@pytest.mark.parametrize(("fault", "outcome"), [("fail", "failed"), ("lose_reply", "unknown")])
async def test_a_deletion_that_is_not_acknowledged_is_told_so_and_made_good(pantry, fault, outcome):
    """I6."""
    await pantry.holds("old", 8 * DAY)
    await pantry.holds("new", DAY)
    getattr(pantry.cluster.faults, fault)(method="DELETE", path="backups/old")
    async with pantry.followed():
        await anyio.sleep(LOOK + 60)
    assert await pantry.left() == {"new"}
    assert [line["outcome"] for line in pantry.lines][:2] == ["about to", outcome]


async def test_one_that_a_tenant_changes_at_the_last_moment_stays(pantry):
    """I4: it is deleted only as it was read."""
    await pantry.holds("old", 8 * DAY)
    await pantry.holds("new", DAY)

    def keep(line: Mapping[str, Any]) -> None:
        """The line is written right before the request is sent."""
        pantry.cluster.act("PATCH", OLD, {"metadata": {"annotations": {DELETION_POLICY: "Retain"}}})
        pantry.lines.append(line)

    async with pantry.followed(audit=keep):
        await anyio.sleep(2 * LOOK)
    assert [line["outcome"] for line in pantry.lines] == ["about to", "failed"]
    assert await pantry.left() == {"old", "new"}


async def test_a_clock_of_its_own_that_jumps_deletes_nothing(pantry):
    ahead = timedelta()
    await pantry.holds("old", 5 * DAY)
    await pantry.holds("new", DAY)
    async with anyio.create_task_group() as tasks:
        manager = Manager(pantry.kube, drivers=[pantry.driver], now=lambda: pantry.now() + ahead)
        tasks.start_soon(manager.run)
        await anyio.sleep(60)
        ahead = 30 * DAY
        await anyio.sleep(3 * LOOK)
        assert await pantry.left() == {"old", "new"}
        ahead = timedelta()
        await anyio.sleep(3 * LOOK)
        assert await pantry.left() == {"old", "new"}
        tasks.cancel_scope.cancel()


async def test_a_backup_of_the_future_is_left_alone(pantry):
    await pantry.holds("old", 8 * DAY)
    await pantry.holds("future", -DAY)
    async with pantry.followed():
        await anyio.sleep(LOOK)
        assert await pantry.left() == {"old", "future"}


async def test_time_that_both_clocks_have_slept_through_counts_within_the_hour(pantry):
    await pantry.holds("old", 5 * DAY)
    await pantry.holds("new", DAY)
    async with pantry.followed():
        await anyio.sleep(60)
        pantry.cluster.ahead = 3 * DAY
        await anyio.sleep(LOOK)
        assert await pantry.left() == {"new"}


# The decision

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RETAINED = {DELETION_POLICY: "Retain"}
CONDITIONS = [
    Condition(type="Ready", status="False", reason="ArchiveMissing"),
    Condition(type="Verified", status="False", reason="StoreNotReadable"),
    Condition(type="Verified", status="False", reason="Imported"),
    Condition(type="Verified", status="True", reason="Proven"),
    Condition(type="Suspicious", status="True", reason="Shrunk"),
]


def made(number: int, taken: datetime | None, **changes: Any) -> Backup:
    metadata = Metadata(
        name=f"b{number}",
        uid=f"uid-{number}",
        finalizers=changes.get("finalizers", [ARCHIVE_FINALIZER]),
        annotations=changes.get("annotations", {DELETION_POLICY: "Delete"}),
        deletion_timestamp=changes.get("deleted"),
    )
    status = BackupStatus(phase=changes.get("phase", "Ready"), conditions=changes.get("conditions", []))
    return Backup(metadata=metadata, spec=BackupSpec(taken_at=taken), status=status)


days = st.integers(-20, 5)
usual = {
    "finalizers": st.sampled_from([[ARCHIVE_FINALIZER]] * 4 + [[]]),
    "annotations": st.sampled_from([{DELETION_POLICY: "Delete"}] * 4 + [RETAINED]),
    "phase": st.sampled_from(["Ready"] * 4 + ["Failed"]),
    "deleted": st.sampled_from([None] * 5 + [NOW]),
    "conditions": st.lists(st.sampled_from(CONDITIONS), max_size=1),
}
kinds: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({"day": st.none() | days, **usual})


@st.composite
def larders(draw: st.DrawFn) -> tuple[list[Backup], dict[str, timedelta]]:
    found = [
        made(number, None if each["day"] is None else NOW + each.pop("day") * DAY, **each)
        for number, each in enumerate(draw(st.lists(kinds, max_size=6)))
    ]
    ages = {each.metadata.uid: draw(st.none() | st.integers(1, 15)) for each in found}
    return found, {uid: age * DAY for uid, age in ages.items() if age is not None}


def taken_at(backup: Backup) -> datetime:
    assert backup.spec.taken_at is not None
    return backup.spec.taken_at


def is_good(backup: Backup, now: datetime) -> bool:
    taken, deleted = backup.spec.taken_at, backup.metadata.deletion_timestamp
    bad = {("Ready", "False"), ("Verified", "False"), ("Suspicious", "True")}
    alarm = any((each.type, each.status) in bad for each in backup.status.conditions)
    return backup.status.phase == "Ready" and not alarm and not deleted and taken is not None and taken <= now


def names(found: Expiry) -> set[str]:
    return {each.metadata.name for each in found.going}


@given(larders())
@settings(max_examples=200, deadline=None)
def test_never_the_newest_good_one_nor_one_that_is_younger_than_the_age(larder):
    backups, ages = larder
    found = expiry(backups, ages, NOW)
    good = [taken_at(each) for each in backups if is_good(each, NOW)]
    assert bool(good) == (found.kept is not None)
    for each in found.going:
        assert NOW - taken_at(each) >= ages[each.metadata.uid]
        assert taken_at(each) < max(good)
        assert each.status.phase == "Ready"
        assert each.metadata.annotations[DELETION_POLICY] == "Delete"
        assert each.metadata.finalizers
        assert not each.metadata.deletion_timestamp
        assert "Imported" not in {condition.reason for condition in each.status.conditions}
    assert [*map(taken_at, found.going)] == sorted(map(taken_at, found.going))


@given(larders(), st.integers(0, 25))
@settings(max_examples=200, deadline=None)
def test_what_goes_now_goes_later_too_and_nothing_before_the_wait_is_over(larder, later):
    backups, ages = larder
    now, then = expiry(backups, ages, NOW), expiry(backups, ages, NOW + later * DAY)
    assert names(now) <= names(then)
    future = any(each.spec.taken_at and each.spec.taken_at > NOW for each in backups)
    if now.wait is not None:
        assert now.wait > timedelta()
        assert names(expiry(backups, ages, NOW + now.wait)) > names(now)
    if not future and (now.wait is None or later * DAY < now.wait):
        assert names(then) == names(now)


def test_of_two_of_one_second_none_pushes_the_other_out():
    twins = [made(number, NOW - 10 * DAY) for number in range(2)]
    ages = {each.metadata.uid: DAY for each in twins}
    assert names(expiry(twins, ages, NOW)) == set()
    assert names(expiry([*twins, made(2, NOW)], ages, NOW)) == {"b0", "b1"}


def test_one_of_the_future_neither_goes_nor_pushes_another_out():
    pair = [made(0, NOW - 10 * DAY), made(1, NOW + 10 * DAY)]
    ages = {each.metadata.uid: DAY for each in pair}
    assert expiry(pair, ages, NOW) == Expiry((), pair[0], None, ages)
    assert names(expiry(pair, ages, NOW + 10 * DAY)) == {"b0"}
