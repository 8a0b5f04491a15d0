"""Replicated tables: whole on one replica, bare on the others, and only where they are alive on none."""

from datetime import timedelta

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cozydrivers.checks import TABLE, assert_refused, drop, forget, reason_of, staged, without
from tests.cozydrivers.fate import Fate, FatedNetwork, fated_kube
from tests.cozydrivers.restores import TO_OTHER, back_up, notes, requests, restored, with_another
from tests.cozydrivers.stage import APP, TENANT, condition
from tests.cozydrivers.test_decisions import NOW, run_of

from chbackup import Table
from cozydrivers import ClickHouseDriver, Manager
from cozydrivers.api.backups import Backup
from cozydrivers.api.core import Pod
from cozydrivers.drivers.base import RestoreRun
from cozydrivers.drivers.clickhouse import restore
from cozydrivers.drivers.clickhouse.checkpoint import Member, State
from cozydrivers.drivers.clickhouse.engines import shared_by
from cozydrivers.drivers.clickhouse.following import Submission
from cozydrivers.drivers.clickhouse.look import Scene, Sight
from cozydrivers.drivers.clickhouse.options import Options
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.record import Recorded, Tables, tables_hash
from cozydrivers.drivers.clickhouse.replicated import alive, apart, is_late, may_share, parts
from cozydrivers.drivers.clickhouse.selecting import Asked, choose
from cozydrivers.drivers.clickhouse.steps import Done, End, Hold

EVENTS = "shop.events"
ENGINE = "ReplicatedMergeTree('/clickhouse/tables/{shard}/events', '{replica}')"


async def with_events(**installation):
    """One shard of two replicas: `shop.events` on both, `shop.orders` on the first, and a Backup of them."""
    stage = await staged(shards=1, replicas=2, **installation)
    for replica in (0, 1):
        stage.app.sidecar(0, replica).tables.add_table(EVENTS, engine=ENGINE)
    stage.app.sidecar(0).tables.insert(EVENTS, 50)
    await anyio.sleep(20)
    await back_up(stage)
    return stage


def drop_events(stage, *replicas):
    for replica in replicas or (0, 1):
        stage.app.sidecar(0, replica).tables.drop(EVENTS)


def events(stage):
    sidecars = [stage.app.sidecar(0, replica) for replica in (0, 1)]
    return [sidecar.tables.count(EVENTS) if EVENTS in sidecar.tables else None for sidecar in sidecars]


@pytest.mark.anyio
async def test_they_come_back_once_on_every_replica():
    stage = await with_events()
    drop_events(stage)
    drop(stage)
    job = await restored(stage)
    assert job.status.phase == "Succeeded", job.status.message
    assert events(stage) == [50, 50]
    assert stage.app.sidecar(0).tables.count(TABLE) == 100
    assert TABLE not in stage.app.sidecar(0, 1).tables
    (bare,) = [asked for asked in requests(stage, "restore/") if "schema" in asked]
    assert "table=shop.events" in bare
    assert stage.local_copies() == set()
    assert "as bare tables" in condition(job, "TablesRestored").message


@pytest.mark.anyio
@pytest.mark.parametrize("dropped", [(), (0,), (1,)], ids=["alive on both", "on the other", "on the first"])
async def test_what_is_alive_on_any_replica_is_refused_whatever_overwrite_says(dropped):
    stage = await with_events()
    for replica in dropped:
        drop_events(stage, replica)
    job = await restored(stage, options={"overwrite": True})
    assert_refused(stage, job, "DROP TABLE shop.events ON CLUSTER '{cluster}' SYNC", "every replica")


@pytest.mark.anyio
async def test_the_others_can_be_restored_beside_them():
    stage = await with_events()
    stage.app.sidecar(0).tables.insert(TABLE, 5)
    job = await restored(stage, options={"tables": [TABLE]})
    assert job.status.phase == "Succeeded", job.status.message
    assert stage.app.sidecar(0).tables.count(TABLE) == 100
    assert events(stage) == [50, 50]


@pytest.mark.anyio
async def test_a_replica_without_a_pod_counts_as_one_where_they_are_alive():
    stage = await with_events()
    drop_events(stage)
    await without(Pod, stage.app.pod_name(0, 1), TENANT)(stage)
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "ReplicasMissing")
    assert "1 of its 2 replicas" in job.status.message
    assert stage.touched() == []


@pytest.mark.anyio
async def test_a_table_that_comes_alive_meanwhile_is_not_joined():
    stage = await with_events()
    drop_events(stage)
    stage.app.sidecar(0, 1).duration.download = 30
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        stage.app.sidecar(0, 1).tables.add_table(EVENTS, 3, engine=ENGINE)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Refused")
    assert requests(stage, "restore/") == []
    assert events(stage) == [None, 3]


@pytest.mark.anyio
async def test_an_entry_that_was_left_in_zookeeper_is_no_success():
    stage = await with_events()
    drop_events(stage, 0)
    stage.app.sidecar(0, 1).tables.lose(EVENTS)
    job = await restored(stage)
    assert reason_of(job) == ("Failed", "EngineFailed")
    assert "another path in ZooKeeper" in job.status.message
    assert "SYSTEM DROP REPLICA" in job.status.message
    assert condition(job, "TablesRestored").reason == "HalfRestored"


@pytest.mark.anyio
async def test_they_are_not_copied_to_another_application():
    stage = await with_events()
    other = await with_another(stage, shards=1, replicas=2, zookeeper=stage.app.zookeeper)
    job = await restored(stage, **TO_OTHER)
    assert_refused(stage, job, EVENTS, "ZooKeeper", "spec.options.tables")
    job = await restored(stage, "again", **TO_OTHER, options={"tables": [TABLE]})
    assert job.status.phase == "Succeeded", job.status.message
    assert other.sidecar(0).tables.count(TABLE) == 100
    assert EVENTS not in other.sidecar(0).tables


SHARES, DROPS_ARCHIVE = 26, 25


@pytest.mark.anyio
@pytest.mark.parametrize(("number", "dies"), [(DROPS_ARCHIVE, True), (SHARES, True), (SHARES, False)])
async def test_an_accident_around_the_bare_tables_doubles_no_rows(number, dies):
    stage = await with_events()
    drop_events(stage)
    fate = Fate(number, dies=dies)
    job = await stage.restore("undo", "nightly")
    driver = ClickHouseDriver(connect=FatedNetwork(stage.network, fate).connect)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Manager(fated_kube(stage, fate), drivers=[driver], now=stage.now).run)
        await fate.struck.wait()
        job = job if dies else await stage.end_of(job)
        tasks.cancel_scope.cancel()
    async with stage.managed():
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", f"{fate.where}: {job.status.message}"
    assert ("/restore/" in fate.where) == (number == SHARES)
    assert events(stage) == [50, 50]
    assert stage.local_copies() == {name for name in stage.local_copies() if name.startswith("before-")}


# Several replicas of a shard with rows of their own


async def with_own_rows():
    """As above, and a second archive: of the second replica, which has rows of `shop.orders` too."""
    stage = await with_events()
    backup = await stage.made("nightly")
    first = backup.spec.driver_metadata["clickhouse.backup/archive.0"]
    second = first.removesuffix("-r0") + "-r1"
    sidecar = stage.app.sidecar(0, 1)
    sidecar.tables.add_table(TABLE, 77)
    async with sidecar.client() as client:
        await (await client.create_remote(second)).wait()
        archive = next(each for each in await client.list_remote() if each.name == second)
        await client.delete_local(second)
    recorded = {
        "archive": second,
        "data-size": str(archive.data_size),
        "required": "",
        "tables": backup.spec.driver_metadata["clickhouse.backup/tables.0"],
    }
    metadata = {f"clickhouse.backup/{key}.0.1": value for key, value in recorded.items()}
    await stage.kube.merge_patch(Backup, "nightly", {"spec": {"driverMetadata": metadata}}, TENANT)
    forget(stage)
    return stage


def orders(stage):
    return [stage.app.sidecar(0, replica).tables.count(TABLE) for replica in (0, 1)]


@pytest.mark.anyio
async def test_each_replica_gets_its_own_rows_and_what_is_shared_once():
    stage = await with_own_rows()
    drop_events(stage)
    for replica in (0, 1):
        stage.app.sidecar(0, replica).tables.insert(TABLE, 9)
    job = await restored(stage)
    assert job.status.phase == "Succeeded", job.status.message
    assert events(stage) == [50, 50]
    assert orders(stage) == [100, 77]
    assert all(name.startswith("before-") for name in stage.local_copies())
    assert len(await notes(stage, "SafetyCopyKept")) == 1
    assert condition(job, "SafetyCopy").message.count("POST /backup/restore/before-") == 2


@pytest.mark.anyio
async def test_what_is_not_shared_is_restored_on_each_replica_beside_what_is_alive():
    stage = await with_own_rows()
    for replica in (0, 1):
        stage.app.sidecar(0, replica).tables.insert(TABLE, 9)
    job = await restored(stage, options={"tables": [TABLE]})
    assert job.status.phase == "Succeeded", job.status.message
    assert orders(stage) == [100, 77]
    assert events(stage) == [50, 50]


@pytest.mark.anyio
async def test_an_archive_that_nobody_recorded_brings_them_back_on_every_replica():
    stage = await with_events()
    name = f"clickhouse-{APP}-20261123T100000Z"
    async with stage.app.sidecar(0).client() as client:
        await (await client.create_remote(name)).wait()
        await client.delete_local(name)
    backup = await stage.made("nightly")
    nothing = {"spec": {"driverMetadata": dict.fromkeys(backup.spec.driver_metadata)}}
    await stage.kube.merge_patch(Backup, "nightly", nothing, TENANT)
    drop_events(stage)
    drop(stage)
    job = await restored(stage, options={"archive": name})
    assert job.status.phase == "Succeeded", job.status.message
    assert events(stage) == [50, 50]
    assert TABLE not in stage.app.sidecar(0, 1).tables


# The rules, for whatever is seen

NAMES = ("shop.a", "shop.b", "shop.c")
names = st.sets(st.sampled_from(NAMES))
lives = st.lists(
    st.builds(
        Table,
        database=st.just("shop"),
        name=st.sampled_from("abc"),
        engine=st.sampled_from(("MergeTree", "ReplicatedMergeTree", "Log")),
    ),
    max_size=4,
)
IN_PLACE = Asked(Options(), elsewhere=False)


def recorded_as(replicated, schema_only=(), *, unknown=False):
    known = Tables(
        count=3, hash=tables_hash(NAMES), replicated=tuple(sorted(replicated)), schema_only=tuple(sorted(schema_only))
    )
    tables = Tables(count=0, hash="") if unknown else known
    return Recorded(shard=0, archive="x", data_size=1, tables=tables)


ARCHIVED = [Table(database="shop", name=name) for name in "abc"]


@given(names, names, lives)
def test_every_table_is_restored_on_a_replica_once_or_left_out(replicated, lossy, live):
    entry = recorded_as(replicated, lossy)
    schema, own = (choose(entry, ARCHIVED, part, IN_PLACE, here=live) for part in ("schema", "own"))
    whole = choose(entry, ARCHIVED, "whole", IN_PLACE, here=live)
    assert not set(schema.tables) & set(own.tables)
    assert set(schema.tables) | set(own.tables) == set(whole.tables)
    assert set(whole.tables) | set(whole.left_out) == set(NAMES)
    assert set(schema.tables).isdisjoint(set(NAMES) - replicated - {t.full_name for t in live})
    assert not set(own.tables) & replicated


@given(names, names, lives, st.booleans())
def test_nothing_that_is_alive_is_made_once_more(replicated, chosen, live, unknown):
    entry = recorded_as(replicated, unknown=unknown)
    found = alive(entry, chosen, live)
    for table in live:
        shared = table.engine.startswith("Replicated") or (not unknown and table.full_name in replicated)
        assert (table.full_name in found) or not (shared and table.full_name in chosen)
    if found:
        assert may_share(entry, chosen, live)


@given(st.integers(1, 4), st.integers(0, 3), st.booleans(), st.sets(st.integers(0, 3)))
def test_one_replica_gets_all_and_each_other_one_its_part(count, first, shared, own):
    places = [Place(0, number, f"pod-{number}", "", "", ready=True) for number in range(count)]
    start = places[min(first, count - 1)]
    entries = [recorded_as(()), *(recorded_as(()).model_copy(update={"replica": number}) for number in sorted(own))]
    plan = parts(entries, start, places, shared=shared)
    assert [each for each in plan if each[1] == "whole"] == [(entries[0], "whole", start)]
    assert {place.replica for _, part, place in plan if part == "schema"} == (
        {place.replica for place in places} - {start.replica} if shared else set()
    )
    for place in places:
        kinds = [part for _, part, where in plan if where == place]
        assert kinds in (["whole"], ["schema", "own"], ["schema"], ["own"], [])


def test_a_path_that_is_another_one_is_seen():
    def table(path):
        query = f"CREATE TABLE shop.r (d Date) ENGINE = ReplicatedMergeTree('{path}', '{{replica}}', d, (d), 8192)"
        return Table(Database="shop", Name="r", Engine="ReplicatedMergeTree", CreateTableQuery=query)

    here, there = table("/clickhouse/tables/{shard}/r"), table("/clickhouse/tables/{cluster}/{shard}/shop/r")
    assert apart([here], {"shop.r": shared_by(here)}, {}) == []
    assert apart([there], {"shop.r": shared_by(here)}, {}) == ["shop.r"]
    assert apart([there], {}, {"shop.r": shared_by(here)}) == ["shop.r"]
    assert apart([there], {}, {}) == []


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_replica_is_late_until_it_has_about_as_much_as_the_first(here, there):
    one, first = (Table(database="shop", name="r", total_bytes=size) for size in (here, there))
    assert not is_late(one, None)
    assert is_late(one, first) == (here < 0.9 * there)


@pytest.mark.parametrize(("missed", "says"), [(None, "RowsArriving"), (9, "RowsArriving"), (11, "is it connected")])
def test_rows_that_do_not_arrive_are_waited_for_and_no_success(missed, says):
    query = f"CREATE TABLE {EVENTS} (id UInt64) ENGINE = {ENGINE}"
    archived = [Table(database="shop", name="events", total_bytes=10)]
    entry = Recorded(
        shard=0,
        archive="x",
        data_size=10,
        tables=Tables(count=1, hash=tables_hash([EVENTS]), replicated=(EVENTS,)),
    )
    sights = []
    for replica, size in ((0, 10), (1, 0)):
        live = [
            Table(Database="shop", Name="events", Engine="ReplicatedMergeTree", CreateTableQuery=query, TotalBytes=size)
        ]
        place = Place(0, replica, f"pod-{replica}", "", "", ready=True)
        sights.append(Sight(place=place, archived=archived, live=live))
    doubted = NOW - timedelta(minutes=missed) if missed else None
    members = [
        Member(
            shard=0,
            replica=replica,
            pod=f"pod-{replica}",
            pod_uid="",
            submission=Submission(verb="restore", archive="x", at=NOW),
            stage="done",
            part="schema" if replica else "whole",
            doubted=doubted if replica else None,
        )
        for replica in (0, 1)
    ]
    state = State(kind="restore", shards=1, members=tuple(members))
    scene = Scene(sights, {f"pod-{number}": sight for number, sight in enumerate(sights)})
    first, other = restore.decide(restore.cases(state, scene, run_of(RestoreRun), [entry], IN_PLACE))
    assert isinstance(first, Done)
    assert isinstance(other, Hold | End)
    assert says in f"{other.reason} {other.message}"
    assert EVENTS in other.message
