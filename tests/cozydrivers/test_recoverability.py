"""What an application can be restored from: looked up in the store; what can't be read is never taken for absent."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.backups import archive_of, change, delete, increment_on, with_backups
from tests.cozydrivers.checks import forget, staged, without, without_pod
from tests.cozydrivers.stage import APP, TENANT
from tests.cozydrivers.test_decisions import NOW, TABLES, name, run_of

from chbackup import Archive
from cozydrivers.admin.recoverability import recoverability
from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.api.core import Secret
from cozydrivers.drivers.base import Inspection
from cozydrivers.drivers.clickhouse.auditing import Listing
from cozydrivers.drivers.clickhouse.look import Sight
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.record import Recorded, Tables
from cozydrivers.drivers.clickhouse.recoverability import Known, View, decide, lost

pytestmark = pytest.mark.anyio


async def look(stage, *names):
    """What is found of the one application; nothing was changed for it."""
    forget(stage)
    (found,) = await recoverability(stage.kube, [stage.driver()], namespace=TENANT, names=names, now=stage.now())
    assert stage.touched() == []
    return found.found


def lose(stage, archive):
    del stage.app.sidecar(0).remote[archive]


async def test_the_newest_whole_backup_is_the_last_good_one():
    stage = await with_backups("first", "second")
    found = await look(stage)
    assert [each.backup for each in found.good] == ["second", "first"]
    made = await stage.made("second")
    assert found.last.taken_at == made.spec.taken_at
    assert made.status.artifact is not None
    assert found.last.size == made.status.artifact.size_bytes
    assert (found.last.chain, found.last.verified) == (1, True)
    assert found.window == ((await stage.made("first")).spec.taken_at, made.spec.taken_at)
    assert found.is_sound
    assert len(found.lost_now) == 1
    assert "everything written since" in found.lost_now[0]


async def test_tables_that_no_archive_holds_are_named():
    stage = await with_backups("nightly")
    stage.app.sidecar(1).tables.add_table("shop.new", 5)
    stage.app.sidecar(0).tables.add_table("shop.log", 5, engine="Log")
    new, bare = (await look(stage)).lost_now[1:]
    assert "shop.log, shop.new" in new
    assert "shop.log" in bare
    assert "only the schema" in bare


async def test_a_backup_whose_archive_is_gone_or_broken_does_not_count():
    stage = await with_backups("first", "second", "third")
    lose(stage, await archive_of(stage, "third", 1))
    stage.app.sidecar(0).break_remote(await archive_of(stage, "second"))
    found = await look(stage)
    assert [each.backup for each in found.good] == ["first"]
    assert [(each.name, "not in the store" in each.reason) for each in found.broken] == [
        ("second", False),
        ("third", True),
    ]
    assert not found.is_sound


async def test_the_length_of_a_chain_and_its_base():
    stage = await with_backups("first", "second")
    base, archive = await archive_of(stage, "first"), await archive_of(stage, "second")
    lose(stage, archive)
    async with stage.app.sidecar(0).client() as client:
        await client.list_remote()
    await increment_on(stage, base, archive)
    listed = stage.app.sidecar(0).remote[archive].metadata
    assert listed is not None
    recorded = {"data-size.0": str(listed.data_size), "required.0": base}
    await change(stage, "second", recorded={f"clickhouse.backup/{key}": value for key, value in recorded.items()})
    assert [each.chain for each in (await look(stage)).good] == [2, 1]


@pytest.mark.parametrize("outage", ["refused", "denied"])
async def test_an_outage_of_the_store_is_a_problem_and_nothing_is_gone(outage):
    stage = await with_backups("nightly")
    for sidecar in stage.app.sidecars.values():
        sidecar.faults.s3 = outage
    found = await look(stage)
    assert (found.good, found.broken, found.is_sound) == ([], [], False)
    assert "can't be told" in found.problems[0]


async def test_a_shard_that_can_t_be_asked_is_a_problem():
    stage = await with_backups("nightly")
    await without_pod(stage, 1)
    found = await look(stage)
    assert found.good  # its archives are listed by the other shard's sidecar, on the same storage path
    assert any("shard 1" in problem for problem in found.problems)
    assert not found.is_sound


async def test_a_sidecar_of_which_the_secret_is_gone_is_a_problem():
    stage = await with_backups("nightly")
    await without(Secret, f"clickhouse-{APP}-backup-api-auth", TENANT)(stage)
    found = await look(stage)
    assert found.good == ()
    assert "Secret" in found.problems[0]


async def test_an_application_without_a_backup_would_lose_everything():
    found = await look(await staged())
    assert (found.last, found.window, found.is_sound) == (None, None, False)
    assert found.lost_now == ["there is no good backup: everything would be lost"]
    assert found.problems == []


async def test_what_no_backup_names_is_an_orphan_or_debris():
    stage = await with_backups("first", "second", policy=None)
    archive = await archive_of(stage, "second")
    whole = (await archive_of(stage, "first")).rpartition("-a")[0]
    await without(Backup, "first", TENANT)(stage)
    async with stage.app.sidecar(0).client() as client:
        await (await client.create_remote(archive.replace("-a1-", "-a2-"))).wait()
        await client.delete_local(archive.replace("-a1-", "-a2-"))
        await (await client.create("before-0123456789ab-20261123T120000Z")).wait()
        await (await client.create(archive)).wait()
        await (await client.create("by-hand")).wait()
    found = await look(stage)
    assert [(each.name, each.reason) for each in found.orphans] == [(whole, "whole, and no Backup names it")]
    assert found.orphans[0].size > 0
    assert [each.name for each in found.safety_copies] == ["before-0123456789ab-20261123T120000Z on shard 0 replica 0"]
    assert [each.name for each in found.debris] == [
        archive.replace("-a1-", "-a2-"),
        f"{archive} on shard 0 replica 0",
    ]
    assert found.is_sound


async def test_what_is_being_deleted_is_neither_good_nor_an_orphan():
    stage = await with_backups("nightly")
    await delete(stage, "nightly")  # its finalizer holds it: no controller is there
    found = await look(stage)
    assert (found.good, found.orphans, found.broken, found.suspicious) == ([], [], [], [])


async def test_what_a_job_is_making_is_nobody_s_leftover():
    stage = await with_backups("nightly", policy=None)
    job = await stage.backup_job("nightly")
    await without(Backup, "nightly", TENANT)(stage)
    await stage.kube.merge_patch(BackupJob, job.metadata.name, {"status": {"phase": "Running"}}, TENANT, status=True)
    assert (await look(stage)).orphans == []


async def test_what_is_suspicious_or_of_others_does_not_count():
    stage = await with_backups("empty", "of-a-pod", "of-the-reference", "nightly")
    conditions = [{"type": "Suspicious", "status": "True", "reason": "Empty", "message": "the set holds no table"}]
    conditions[0]["lastTransitionTime"] = "2026-11-23T10:00:00Z"
    await change(stage, "empty", status={"conditions": conditions})
    await change(stage, "of-a-pod", recorded={"clickhouse.backup/execution": "pod"})
    keys = (await stage.made("of-the-reference")).spec.driver_metadata
    await change(stage, "of-the-reference", recorded=dict.fromkeys(keys))
    found = await look(stage)
    assert [each.backup for each in found.good] == ["nightly"]
    assert [each.name for each in found.suspicious] == ["empty", "of-a-pod", "of-the-reference"]
    assert found.suspicious[0].reason == "Empty: the set holds no table"


# Decided for whatever is seen

NAMES = [name(shard, attempt) for shard, attempt in product((0, 1), (1, 2))]
POOL = [
    Archive(name=archive, location="remote", desc=desc, data_size=size, required=base)
    for archive, desc, size, base in product(
        [*NAMES, "by-hand", ""], ("regular", "broken (bad metadata.json)"), (1, 2), ("", "by-hand", name(0))
    )
]
lists = st.lists(st.sampled_from(POOL), max_size=5)
PODS = [Place(shard, 0, f"pod-{shard}", f"uid-{shard}", "http://127.0.0.1:7171", ready=True) for shard in (0, 1)]
SET = [Recorded(shard=shard, archive=name(shard), data_size=1, tables=Tables(count=0, hash="")) for shard in (0, 1)]


def backup_of(entries: Any, phase: str = "Ready") -> Known:
    """A Backup that records these, taken an hour ago."""
    metadata = {f"clickhouse.backup/archive.{entry.shard}": entry.archive for entry in entries}
    spec = {"takenAt": (NOW - timedelta(hours=1)).isoformat(), "driverMetadata": metadata}
    raw = {"metadata": {"name": "nightly"}, "spec": spec, "status": {"phase": phase}}
    return Known(Backup.decode(raw), entries)


@st.composite
def views(draw: Any) -> View:
    sights = [
        Sight(place, draw(st.sampled_from(["", "down"])), remote=draw(st.none() | lists), local=draw(st.none() | lists))
        for place in PODS
    ]
    denied = draw(st.lists(st.sampled_from(NAMES), max_size=2))
    listings = {
        sight.place.shard: Listing(sight.remote, [each for each in denied if each not in _names(sight.remote)])
        for sight in sights
        if sight.place and sight.remote is not None
    }
    known = draw(st.sampled_from([[], [backup_of(SET)], [backup_of(SET, "Pending")]]))
    return View(sights, known, listings)


def _holds(remote: Any, entry: Recorded) -> bool:
    return any((each.name, each.data_size, each.broken) == (entry.archive, 1, None) for each in remote)


def _names(remote: Any) -> set[str]:
    return {archive.name for archive in remote}


@settings(deadline=None, max_examples=100)
@given(views(), st.booleans())
def test_what_is_not_seen_whole_is_never_good_and_what_is_not_denied_is_never_broken(view, busy):
    run = replace(run_of(Inspection), busy=[run_of(Inspection).uid] if busy else [])
    found = decide(view, run)
    if found.good:
        assert all(_holds(view.listings[entry.shard].remote, entry) for entry in SET)
    if found.broken:
        denied = {archive for listed in view.listings.values() for archive in listed.denied}
        assert {entry.archive for entry in SET} & (denied | _names(view.remote))
    named = {entry.archive for known in view.known for entry in known.recorded}
    assert not named & {each.name for each in found.debris}
    if busy:
        assert [*found.orphans, *found.debris] == []
    if any(sight.trouble for sight in view.sights):
        assert found.problems
    told = len(found.good) + len(found.broken) + len(found.suspicious)
    assert told or not view.known or found.problems


tables = st.none() | st.lists(st.sampled_from(TABLES), max_size=3)


@settings(deadline=None, max_examples=60)
@given(tables, tables)
def test_a_table_is_said_to_be_lost_only_when_both_sides_were_read(live, archived):
    known = backup_of(SET)
    view = View([Sight(PODS[0], live=live), Sight(PODS[1], live=[])], [known])
    listings = {0: Listing([Archive(name=name(0), location="remote", desc="regular", data_size=1)])}
    listings[1] = Listing([Archive(name=name(1), location="remote", desc="regular", data_size=1)])
    (last,) = decide(replace(view, listings=listings), run_of(Inspection)).good
    said = "; ".join(lost(last, view, {0: archived, 1: []}, 2))
    names = {table.full_name for table in archived or ()}
    new = {table.full_name for table in live or () if table.full_name not in names}
    assert ("does not have:" in said) == bool(archived is not None and new)
    assert ("only the schema" in said) == any(table.engine == "Log" for table in live or ())
