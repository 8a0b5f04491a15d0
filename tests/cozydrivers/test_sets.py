"""What a set is made of (I7): the fullest replica of every shard, further ones with rows of their own, and who stands
in for one that goes away."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.backups import delete, events, exists, followed, says
from tests.cozydrivers.checks import (
    TABLE,
    assert_refused,
    reason_of,
    slow,
    submitted,
    without,
)
from tests.cozydrivers.stage import APP, TENANT, Stage, condition, recorded

from chbackup import Action, Archive, Table, parse_archive_name
from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.api.core import Pod
from cozydrivers.controllers.audits import FIRST, SPREAD
from cozydrivers.controllers.observed import suspicious_sets
from cozydrivers.drivers.clickhouse.checkpoint import Member
from cozydrivers.drivers.clickhouse.choosing import Candidate, choose, fullest, may_move
from cozydrivers.drivers.clickhouse.cleanup import Found, decide
from cozydrivers.drivers.clickhouse.engines import own_rows, sizes
from cozydrivers.drivers.clickhouse.following import Submission
from cozydrivers.drivers.clickhouse.look import Sight
from cozydrivers.drivers.clickhouse.places import Place

pytestmark = pytest.mark.anyio
total = settings(deadline=None, max_examples=60)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
OWN = "shop.own"


async def replicated() -> Stage:
    """Two shards of two replicas each, which hold the same rows."""
    stage = Stage(replicas=2)
    await stage.set_up()
    for (shard, _), sidecar in stage.app.sidecars.items():
        sidecar.tables.add_table(TABLE, 100 + shard, engine="ReplicatedMergeTree")
    return stage


async def ready(stage: Stage, shard: int, replica: int, *, is_ready: bool) -> None:
    """Have the kubelet say that a Pod is ready, or not."""
    conditions = [{"type": "Ready", "status": str(is_ready)}]
    name = stage.app.pod_name(shard, replica)
    await stage.kube.merge_patch(Pod, name, {"status": {"conditions": conditions}}, TENANT, status=True)


async def succeeds(stage: Stage, name: str = "nightly", within: float = 900) -> BackupJob:
    job = await stage.end_of(await stage.backup(name), within=within)
    assert job.status.phase == "Succeeded", job.status.message
    return job


def spots(archives: Any) -> list[tuple[int, int, int]]:
    """Shard, replica and attempt of archives."""
    names = [parse_archive_name(archive) for archive in archives]
    return sorted((name.shard, name.replica, name.attempt) for name in names if name)


async def left_nothing(stage: Stage, name: str = "nightly") -> None:
    """What a Backup records is all that is in the store, and no sidecar has a copy."""
    assert recorded(await stage.made(name)) == stage.archives()
    assert stage.local_copies() == set()


# Which replicas


async def test_a_replica_that_lags_behind_is_not_backed_up():
    stage = await replicated()
    stage.app.sidecar(1, 1).tables.insert(TABLE, 50)
    async with stage.managed():
        await succeeds(stage)
    assert spots(recorded(await stage.made("nightly"))) == [(0, 0, 1), (1, 1, 1)]
    await left_nothing(stage)


async def test_nor_one_that_lacks_a_small_table_and_holds_more_of_a_big_one():
    stage = await replicated()
    stage.app.sidecar(0, 0).tables.insert(TABLE, 50)
    stage.app.sidecar(0, 1).tables.insert(TABLE, 50)
    stage.app.sidecar(0, 1).tables.add_table("shop.small", 1, engine="ReplicatedMergeTree")
    async with stage.managed():
        await succeeds(stage)
    assert (0, 1, 1) in spots(recorded(await stage.made("nightly")))


async def test_nor_one_that_is_not_ready_though_it_is_fuller():
    stage = await replicated()
    stage.app.sidecar(1, 0).tables.insert(TABLE, 50)
    await ready(stage, 1, 0, is_ready=False)
    async with stage.managed():
        await succeeds(stage)
    assert spots(recorded(await stage.made("nightly"))) == [(0, 0, 1), (1, 1, 1)]


async def test_a_shard_of_which_no_replica_is_ready_is_waited_for():
    stage = await replicated()
    for replica in (0, 1):
        await ready(stage, 1, replica, is_ready=False)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "ShardsMissing")
        assert "no replica of shard 1 is ready" in job.status.message
        await ready(stage, 1, 1, is_ready=True)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert spots(stage.archives()) == [(0, 0, 1), (1, 1, 1)]


async def test_one_that_takes_no_connection_is_left_out_and_named():
    stage = await replicated()
    stage.app.sidecar(0, 0).faults.refuse = True
    async with stage.managed():
        await succeeds(stage)
    assert spots(stage.archives()) == [(0, 1, 1), (1, 0, 1)]
    (event,) = await events(stage, "ReplicaLeftOut")
    assert (event.type, "shard 0 replica 0" in event.note) == ("Warning", True)


async def test_one_that_is_alive_and_does_not_answer_is_waited_for():
    stage = await replicated()
    stage.app.sidecar(0, 0).faults.replace_reply(500, "{}", times=1000)
    async with stage.managed():
        await stage.stands(await stage.backup("nightly"), "SidecarUnreachable")


# Rows of its own


async def with_rows_apart() -> Stage:
    """Replica 1 of shard 1 holds rows that no other has, as replica 0 does."""
    stage = await replicated()
    for replica in (0, 1):
        stage.app.sidecar(1, replica).tables.add_table(OWN, 3 + replica)
    return stage


async def test_a_further_replica_with_rows_of_its_own_is_a_member_of_its_own():
    stage = await with_rows_apart()
    async with stage.managed():
        job = await succeeds(stage)
    made = await stage.made("nightly")
    assert "2 of 2 shards" in job.status.message
    assert "3 archives" in job.status.message
    assert spots(recorded(made)) == [(0, 0, 1), (1, 0, 1), (1, 1, 1)]
    further = [key for key in made.spec.driver_metadata if key.startswith("clickhouse.backup/archive.1.")]
    assert len(further) == 1
    assert made.spec.driver_metadata["clickhouse.backup/shards"] == "2"
    assert made.status.artifact is not None
    await left_nothing(stage)


async def test_rows_that_one_replica_alone_holds_make_it_the_only_one_of_its_shard():
    stage = await replicated()
    stage.app.sidecar(1, 1).tables.add_table(OWN, 3)
    async with stage.managed():
        await succeeds(stage)
    assert spots(recorded(await stage.made("nightly"))) == [(0, 0, 1), (1, 1, 1)]


async def test_a_table_of_its_own_without_rows_in_an_archive_makes_no_member():
    stage = await replicated()
    stage.app.sidecar(1, 1).tables.add_table("shop.queue", 3, engine="Kafka")
    async with stage.managed():
        await succeeds(stage)
    assert spots(recorded(await stage.made("nightly"))) == [(0, 0, 1), (1, 0, 1)]


async def test_a_replica_that_held_rows_of_its_own_the_last_time_is_waited_for():
    """Nobody else has them: without it the set would be less than it seems (I7)."""
    stage = await with_rows_apart()
    async with stage.managed():
        await succeeds(stage)
        stage.app.sidecar(1, 0).faults.refuse = True
        job = await stage.stands(await stage.backup("second"), "ShardsMissing")
        assert "shard 1 replica 0 holds rows that no other replica has" in job.status.message
        stage.app.sidecar(1, 0).faults.refuse = False
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert len(recorded(await stage.made("second"))) == 3


async def test_a_set_with_further_replicas_is_all_or_none():
    stage = await with_rows_apart()
    slow(stage, 5)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        async with stage.app.sidecar(1, 1).client() as client:
            await client.kill(None)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Cancelled")
    assert (stage.archives(), stage.local_copies()) == (set(), set())


async def test_it_is_looked_up_and_deleted_whole():
    stage = await with_rows_apart()
    await says(stage, "Delete")
    async with stage.managed():
        await succeeds(stage)
        await succeeds(stage, "second")
    kept = recorded(await stage.made("second"))
    del stage.app.sidecar(0).remote[next(name for name in kept if spots([name]) == [(1, 1, 1)])]
    async with followed(stage):
        await anyio.sleep(FIRST + SPREAD + 60)
        assert condition(await stage.made("second"), "Ready").reason == "ArchiveMissing"
        await delete(stage, "nightly")
        await anyio.sleep(60)
    assert not await exists(stage, "nightly")
    assert stage.archives() < kept
    assert len(stage.archives()) == 2


# One that goes away


async def test_another_takes_the_place_of_one_that_was_asked_for_nothing():
    stage = await replicated()
    faults = stage.app.sidecar(1).faults
    busy = '{"error": "another operation is currently running"}'
    faults.replace_reply(423, busy, path="/backup/create_remote", times=1000)
    async with stage.managed():
        job = await stage.backup("nightly")
        await anyio.sleep(0.3)
        faults.refuse = True
        began = anyio.current_time()
        job = await stage.end_of(job)
        assert 60 < anyio.current_time() - began < 90
    assert job.status.phase == "Succeeded", job.status.message
    assert spots(recorded(await stage.made("nightly"))) == [(0, 0, 1), (1, 1, 2)]
    (event,) = await events(stage, "FailedOver")
    assert (event.type, "shard 1 replica 0" in event.note, "replica 1" in event.note) == ("Warning", True, True)
    assert await events(stage, "DebrisLeft") == []
    await left_nothing(stage)


async def lost_before_the_work(stage: Stage) -> BackupJob:
    """A job whose request to shard 1 got no answer, and whose sidecar is not there any more."""
    faults = stage.app.sidecar(1).faults
    faults.lose_reply(path="/backup/create_remote", after_work=False)
    job = await stage.stands(await stage.backup("nightly"), "LookingForSubmission")
    faults.refuse = True
    return job


async def test_what_may_have_been_sent_is_followed_until_it_is_gone():
    stage = await replicated()
    async with stage.managed():
        job = await lost_before_the_work(stage)
        await anyio.sleep(120)
        assert (await stage.backup_job("nightly")).status.phase == "Running"
        assert (1, 1, 2) in spots(stage.archives())
        stage.app.sidecar(1).faults.refuse = False
        job = await stage.end_of(job, within=30)
    assert job.status.phase == "Succeeded", job.status.message
    assert await events(stage, "DebrisLeft") == []
    await left_nothing(stage)


async def test_and_named_where_its_pod_stays_away():
    stage = await replicated()
    async with stage.managed():
        job = await lost_before_the_work(stage)
        await anyio.sleep(120)
        assert (await stage.backup_job("nightly")).status.phase == "Running"
        stage.later += timedelta(minutes=10)
        job = await stage.end_of(job, within=30)
    assert job.status.phase == "Succeeded", job.status.message
    (event,) = await events(stage, "DebrisLeft")
    assert "-a1-s1of2-r0" in event.note


async def test_none_takes_its_place_that_holds_less():
    stage = await replicated()
    stage.app.sidecar(1, 0).tables.insert(TABLE, 50)
    async with stage.managed():
        job = await lost_before_the_work(stage)
        await anyio.sleep(90)
        assert (await stage.stands(job, "SidecarUnreachable")).status.phase == "Running"
        stage.app.sidecar(1).faults.refuse = False
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert spots(recorded(await stage.made("nightly"))) == [(0, 0, 1), (1, 0, 2)]
    await left_nothing(stage)


async def test_nor_after_an_acknowledgement_as_long_as_the_pod_is_the_same():
    """I3: it goes on when it is back."""
    stage = await replicated()
    slow(stage, 60)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        stage.app.sidecar(1).faults.refuse = True
        await anyio.sleep(90)
        stage.app.sidecar(1).faults.refuse = False
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert set(submitted([stage.app]).values()) == {1}
    assert spots(stage.archives()) == [(0, 0, 1), (1, 0, 1)]


async def replace_pod(stage: Stage, shard: int) -> None:
    """The Pod goes with its process, and one takes its place that does not start."""
    stage.app.sidecar(shard).kill_process()
    await without(Pod, stage.app.pod_name(shard), TENANT)(stage)
    await stage.kube.create(Pod, stage.app._pod(shard, 0), TENANT)


async def test_another_takes_the_place_of_one_whose_pod_was_replaced_and_does_not_start():
    stage = await replicated()
    slow(stage, 30)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await replace_pod(stage, 1)
        await anyio.sleep(150)
        assert (1, 1, 2) in spots(stage.archives())
        stage.app.sidecar(1).start_process()
        await stage.app.report(stage.kube, 1, 0, address=stage.network.attach(stage.app.sidecar(1)))
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert spots(recorded(await stage.made("nightly"))) == [(0, 0, 1), (1, 1, 2)]
    await left_nothing(stage)


async def test_one_that_comes_back_without_its_rows_is_not_asked_again():
    stage = await replicated()
    slow(stage, 30)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        sidecar = stage.app.sidecar(1)
        sidecar.kill_process()
        sidecar.local.clear()
        sidecar.tables.drop(TABLE)
        sidecar.start_process()
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert spots(recorded(await stage.made("nightly"))) == [(0, 0, 1), (1, 1, 2)]
    await left_nothing(stage)


# A set that is oddly small


@pytest.mark.parametrize("what", ["bytes", "tables"])
async def test_a_set_under_half_of_the_last_good_one_is_suspicious(what):
    stage = Stage(shards=1)
    await stage.set_up()
    for number in range(5):
        stage.app.sidecar(0).tables.add_table(f"shop.t{number}", 1000 if number == 0 else 1)
    async with stage.managed():
        await succeeds(stage)
        await anyio.sleep(5)
        for number in [0] if what == "bytes" else [2, 3, 4]:
            stage.app.sidecar(0).tables.drop(f"shop.t{number}")
        job = await succeeds(stage, "second")
        await anyio.sleep(5)
        await succeeds(stage, "third")
    for found in (job, await stage.made("second"), await stage.made("third")):
        told = condition(found, "Suspicious")
        assert (told.status, told.reason) == ("True", "Shrunk")
        assert what in told.message
        assert "Backup nightly" in told.message
    assert {event.type for event in await events(stage, "Shrunk")} == {"Warning"}
    every = (await stage.kube.list(Backup, TENANT)).items
    assert list(suspicious_sets(every)) == [((TENANT, "ClickHouse", APP), 2)]


async def test_a_set_that_is_as_big_as_the_last_is_not():
    stage = await replicated()
    async with stage.managed():
        await succeeds(stage)
        job = await succeeds(stage, "second")
    assert [told.type for told in job.status.conditions if told.type == "Suspicious"] == []


# Settings of the sidecar


async def in_the_pod(stage: Stage, name: str, value: str) -> None:
    pod = stage.app._pod(1, 0)
    containers = pod["spec"]["containers"]
    containers[1]["env"].append({"name": name, "value": value})
    await without(Pod, stage.app.pod_name(1), TENANT)(stage)
    await stage.kube.create(Pod, pod, TENANT)
    await stage.app.report(stage.kube, 1, 0, address=stage.network.attach(stage.app.sidecar(1)))


@pytest.mark.parametrize("name", ["ALLOW_PARALLEL", "API_ALLOW_PARALLEL"])
async def test_a_sidecar_whose_environment_allows_operations_side_by_side_is_refused(name):
    stage = await replicated()
    await in_the_pod(stage, name, "true")
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert_refused(stage, job, name, stage.app.pod_name(1), "false")


async def test_so_is_one_that_does_two_things_at_once():
    stage = await replicated()
    for command in ("create_remote one", "upload two"):
        stage.app.sidecar(1).occupy(command)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert_refused(stage, job, "API_ALLOW_PARALLEL", stage.app.pod_name(1))


async def test_and_one_that_keeps_a_single_local_archive():
    stage = await replicated()
    stage.app.sidecar(1).configure(BACKUPS_TO_KEEP_LOCAL="1")
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert_refused(stage, job, "BACKUPS_TO_KEEP_LOCAL is 1", stage.app.pod_name(1))


# The decisions

ENGINES = ("ReplicatedMergeTree", "MergeTree", "Kafka")
tables = st.lists(
    st.builds(
        lambda name, engine, size: Table(database="shop", name=f"{name}{engine}", engine=engine, total_bytes=size),
        st.sampled_from(("a", "b")),
        st.sampled_from(ENGINES),
        st.sampled_from((0, 1, 100, 1000)),
    ),
    max_size=4,
    unique_by=lambda table: table.full_name,
)


@st.composite
def replicas(draw: Any) -> list[Candidate]:
    found = []
    for shard, replica in draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), max_size=5, unique=True)):
        place = Place(shard, replica, f"pod-{shard}-{replica}", "uid", "http://x", ready=draw(st.booleans()))
        found.append(Candidate(place, draw(st.none() | tables)))
    return found


def dominates(one: Candidate, other: Candidate) -> bool:
    """Whether it holds nowhere less and somewhere more."""
    here, there = sizes(one.tables or ()), sizes(other.tables or ())
    names = {*here, *there}
    return all(here.get(name, 0) >= there.get(name, 0) for name in names) and here != there and one.bytes > other.bytes


@total
@given(replicas())
def test_what_is_chosen_is_whole_ready_and_nowhere_less_than_another(found):
    choice = choose(found, 2)
    if choice.waiting:
        assert not choice.members
        return
    first = {shard: next(each for each in choice.members if each.place.shard == shard) for shard in (0, 1)}
    assert all(each.usable for each in choice.members)
    assert [each.place.shard for each in choice.members] == sorted(each.place.shard for each in choice.members)
    for each in found:
        assert not (each.usable and dominates(each, first[each.place.shard]))
        if each.tables is not None and own_rows(each.tables):
            assert each in choice.members


@total
@given(replicas(), st.tuples(st.integers(0, 1), st.integers(0, 2)))
def test_a_preferred_replica_is_chosen_where_it_holds_as_much_of_each_table(found, liked):
    of_shard = [each for each in found if each.place.shard == liked[0]]
    chosen = fullest(of_shard, {liked})
    if chosen is None or chosen.spot != liked:
        assert chosen == fullest(of_shard)
    elif chosen != fullest(of_shard):
        held = sizes(chosen.tables or ())
        others = [size for each in of_shard if each.usable for size in sizes(each.tables or ()).items()]
        assert all(held.get(name, 0) >= 0.99 * size for name, size in others)


STATES: tuple[Any, ...] = ("planned", "sending", "sought", "sent")
STAGES = ("making", "proven", "done")
YES_NO = (False, True)


def test_an_archive_moves_only_while_nothing_of_it_can_have_been_uploaded():
    moved = 0
    for state, age, away, pod in product(STATES, (0, 39, 40, 600), (None, 0, 59, 60, 600), (None, "uid", "other")):
        for stage, begun, apart, base in product(STAGES, YES_NO, YES_NO, ("", "base")):
            submission = Submission(verb="create_remote", archive="x", state=state, at=NOW - timedelta(seconds=age))
            since = None if away is None else NOW - timedelta(seconds=away)
            spot: Any = {"shard": 0, "replica": 0, "pod": "p", "pod_uid": "uid", "stage": stage, "begun": begun}
            member = Member(**spot, submission=submission, apart=apart, base=base, away_since=since)
            place = Place(0, 0, "p", pod, "", ready=False) if pod else None
            if may_move(member, Sight(place, "gone", away=True), NOW):
                moved += 1
                assert (stage, apart, base) == ("making", False, "")
                assert (away or 0) >= 60
                acknowledged = begun or state == "sent"
                assert pod == "other" if acknowledged else (state == "planned" or age >= 40)
    assert moved


OWN_NAME, OTHER = "ours", "theirs"
looks = st.builds(
    Found,
    archive=st.just(OWN_NAME),
    running=st.lists(
        st.sampled_from([Action(command=f"upload {name}", status="in progress") for name in (OWN_NAME, OTHER)]),
        max_size=1,
    ),
    stoppable=st.booleans(),
    here=st.booleans(),
    remote=st.lists(
        st.sampled_from(
            [
                Archive(name=name, location="remote", desc=desc, required=required)
                for name in (OWN_NAME, OTHER)
                for desc in ("regular", "broken")
                for required in ("", OWN_NAME)
                if required != name
            ]
        ),
        max_size=2,
    ),
    absent=st.booleans(),
    trouble=st.sampled_from(["", "", "no answer"]),
)


def test_no_remote_copy_goes_before_the_local_ones_nor_these_before_what_runs():
    there = Archive(name=OWN_NAME, location="remote", desc="regular")
    here, bare = Found(OWN_NAME, here=True, remote=[there]), Found(OWN_NAME, remote=[there])
    at_work = Found(OWN_NAME, running=[Action(command=f"upload {OWN_NAME}", status="in progress")])
    away = Found(OWN_NAME, trouble="no answer", away=True)
    assert [deed.do for deed in decide([at_work, here, bare], downloads=False)] == ["stop", "", ""]
    assert [deed.do for deed in decide([away, here, bare], downloads=False)] == ["", "delete local", ""]
    assert [deed.do for deed in decide([away, bare, bare], downloads=False)] == ["", "delete remote", "delete remote"]


@total
@given(st.lists(looks, max_size=3), st.booleans())
def test_a_run_is_cleaned_up_in_order(found, downloads):
    """Kill, then the local copies, then the remote ones; and never what something needs or what still runs."""
    deeds = decide(found, downloads=downloads)
    done = {deed.do for deed in deeds}
    assert len(done - {"", "gone"}) <= 1
    for look, deed in zip(found, deeds, strict=True):
        if deed.do.startswith("delete"):
            assert not look.running
            assert not look.trouble
        if deed.do == "delete remote":
            assert not downloads
            assert not look.here
            assert all(archive.required != OWN_NAME for archive in look.remote)
        if deed.do == "gone" and not downloads:
            assert (look.here, look.there, look.absent) == (False, None, True)
