"""Backups rebuilt from the store alone, for a cluster that is gone; and whose archives they may never name."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.backups import archive_of, change, with_backups
from tests.cozydrivers.checks import TABLE, forget, gone, patched, rows, staged, without_pod
from tests.cozydrivers.stage import APP, CLASS, TENANT, Stage, condition, recorded
from tests.cozydrivers.test_decisions import name, run_of
from tests.cozydrivers.test_recoverability import POOL

from chbackup import Archive, Table
from chbackup.testing import FakeStorage
from cozydrivers.admin.importing import carry_out, plan_import, planned
from cozydrivers.api.backups import Backup, BackupClass, BackupJob
from cozydrivers.api.core import Namespace, Secret
from cozydrivers.controllers.deletion import DELETION_POLICY
from cozydrivers.controllers.ledger import FORMER
from cozydrivers.drivers.base import Inspection
from cozydrivers.drivers.clickhouse import record
from cozydrivers.drivers.clickhouse.importing import Stock, candidate, judge
from cozydrivers.drivers.clickhouse.sets import find_sets
from cozydrivers.errors import InvalidInput

pytestmark = pytest.mark.anyio


async def plan_of(stage, **options):
    forget(stage)
    plan = await plan_import(stage.kube, [stage.driver()], TENANT, APP, now=stage.now(), **options)
    assert stage.touched() == []
    return plan


async def imported(stage, **options):
    """What has become of each set, by its name."""
    plan = await plan_of(stage, **options)
    return {each.set: each for each in await carry_out(stage.kube, plan)}


async def namespace(stage):
    return await stage.kube.get(Namespace, TENANT)


async def after_the_loss(*names, first=Secret):
    """A stage that has nothing of an older one but its store, and the older one.

    UIDs go by the order in which things are made: an object of the kind `first` has that of the older namespace.
    """
    storage = FakeStorage()
    old = await with_backups(*names, storage=storage)
    new = Stage(storage=storage)
    await new.kube.create(first, {"metadata": {"name": "tenant-other"}}, "default" if first is Secret else None)
    await new.set_up()
    assert (await namespace(old)).metadata.uid != (await namespace(new)).metadata.uid
    return old, new


async def test_what_is_left_is_imported_and_restored():
    old, new = await after_the_loss("first", "second")
    was = await old.made("second")
    done = await imported(new)
    assert [each.action for each in done.values()] == ["imported", "imported"]
    assert (await namespace(new)).metadata.annotations[FORMER] == (await namespace(old)).metadata.uid[:6]
    made = next(each for each in (await new.kube.list(Backup, TENANT)).items if recorded(each) == recorded(was))
    assert made.spec.application_ref == was.spec.application_ref
    assert made.spec.strategy_ref == was.spec.strategy_ref
    assert made.status.artifact.size_bytes == was.status.artifact.size_bytes
    assert made.metadata.annotations[DELETION_POLICY] == "Retain"
    assert (condition(made, "Verified").status, condition(made, "Verified").reason) == ("False", "Imported")
    same = {key: value for key, value in was.spec.driver_metadata.items() if "server-version" not in key}
    same["clickhouse.backup/cluster"] = "unknown"
    assert same.items() <= made.spec.driver_metadata.items()
    async with new.managed():
        job = await new.end_of(await new.restore("back", made.metadata.name))
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(new) == [100, 101]


async def test_a_second_time_nothing_is_made_twice():
    _, new = await after_the_loss("nightly")
    plan = await plan_of(new)
    first = await carry_out(new.kube, plan)
    before = (await new.kube.list(Backup, TENANT)).items
    assert [each.action for each in await carry_out(new.kube, replace(plan, namespace=await namespace(new)))] == [
        "unchanged"
    ]
    (again,) = (await imported(new)).values()
    assert again.action == "skipped"
    assert again.reason == f"Backup {first[0].backup} records it already"
    assert (await new.kube.list(Backup, TENANT)).items == before


async def test_a_backup_of_that_name_with_another_record_is_left_alone():
    _, new = await after_the_loss("nightly")
    plan = await plan_of(new)
    (first,) = await carry_out(new.kube, plan)
    await change(new, first.backup, recorded={"clickhouse.backup/data-size.0": "1"})
    (again,) = await carry_out(new.kube, replace(plan, namespace=await namespace(new)))
    assert (again.action, "another record" in again.reason) == ("failed", True)


async def test_a_plan_changes_nothing():
    _, new = await after_the_loss("nightly")
    (one,) = planned(await plan_of(new))
    assert one.action == "import"
    assert (await new.kube.list(Backup, TENANT)).items == []
    assert FORMER not in (await namespace(new)).metadata.annotations


async def test_incomplete_broken_hollow_and_foreign_ones_are_told_and_not_imported():
    old, new = await after_the_loss("incomplete", "broken", "hollow", "whole")
    sidecar = new.app.sidecar(0)
    sets = {each: (await archive_of(old, each)).rpartition("-a")[0] for each in ("incomplete", "broken", "hollow")}
    del sidecar.remote[await archive_of(old, "incomplete", 1)]
    sidecar.break_remote(await archive_of(old, "broken"))
    sidecar.remote[await archive_of(old, "hollow")].tables.clear()
    other = (await archive_of(old, "whole")).replace(APP, "other")
    sidecar.tables.add_table(TABLE, 1)
    async with sidecar.client() as client:
        for each in ("by-hand", other):
            await (await client.create_remote(each)).wait()
    done = await imported(new)
    assert "shard 1 of 2 is not listed" in done[sets["incomplete"]].reason
    assert "broken" in done[sets["broken"]].reason
    assert "bytes" in done[sets["hollow"]].reason
    assert "not one that a BackupJob gives" in done["by-hand"].reason
    assert "of the application other" in done[other].reason
    (made,) = (await new.kube.list(Backup, TENANT)).items
    assert recorded(made) == recorded(await old.made("whole"))


# Whose archives (I12)


async def test_a_tenant_can_t_write_itself_a_right_to_archives_of_another_namespace():
    old, new = await after_the_loss("nightly")
    body = {
        "metadata": {"name": "mine", "annotations": {FORMER: (await namespace(old)).metadata.uid[:6]}},
        "spec": (was := await old.made("nightly")).spec.model_dump(mode="json", by_alias=True, exclude_none=True),
        "status": {"phase": "Ready"},
    }
    await new.kube.create(Backup, body, TENANT)
    assert was.spec.driver_metadata
    async with new.managed():
        job = await new.end_of(await new.restore("back", "mine"))
    assert job.status.phase == "Failed"
    assert "in this namespace, but of another one" in job.status.message
    assert new.touched() == []


async def test_what_a_namespace_that_exists_has_made_is_not_imported():
    _, new = await after_the_loss("nightly", first=Namespace)
    (told,) = (await imported(new)).values()
    assert (told.action, told.reason) == ("skipped", "it is of the namespace tenant-other, which exists")


async def test_an_imported_backup_is_deleted_without_its_archives():
    old, new = await after_the_loss("nightly")
    (done,) = (await imported(new)).values()
    binding = {**new.seed[1]["spec"]["strategies"][0], "parameters": {"deletionPolicy": "Delete"}}
    await patched(BackupClass, CLASS, {"spec": {"strategies": [binding]}})(new)
    cluster = (await new.kube.get(Namespace, "kube-system")).metadata.uid
    annotations, archives = {DELETION_POLICY: "Delete"}, new.archives()
    tampered = {"clickhouse.backup/cluster": cluster}
    finalizers = ["cozydrivers.cozystack.io/archive"]
    await change(new, done.backup, annotations=annotations, recorded=tampered, finalizers=finalizers)
    forget(new)
    async with new.managed():
        backup = await new.made(done.backup)
        await new.kube.delete(Backup, done.backup, TENANT, uid=backup.metadata.uid)
        await gone(new, Backup, done.backup)
    assert new.archives() == archives != set()
    assert old.archives() == archives


# What is asked for


async def test_the_class_must_be_told_where_several_bind_the_kind():
    _, new = await after_the_loss("nightly")
    await new.kube.create(BackupClass, {**new.seed[1], "metadata": {"name": "second"}})
    with pytest.raises(InvalidInput, match=f"{CLASS}, second; say which one with --class"):
        await plan_of(new)
    (done,) = (await imported(new, class_name="second")).values()
    assert done.action == "imported"


@pytest.mark.parametrize(
    ("app", "class_name", "words"),
    [("nothing", "", "there is no application nothing"), (APP, "absent", "BackupClass absent does not exist")],
)
async def test_what_does_not_exist_is_said(app, class_name, words):
    stage = await staged()
    with pytest.raises(InvalidInput, match=words):
        await plan_import(stage.kube, [stage.driver()], TENANT, app, class_name=class_name, now=stage.now())


async def test_a_store_that_can_t_be_read_is_a_problem():
    _, new = await after_the_loss("nightly")
    for shard in (0, 1):
        await without_pod(new, shard)  # so that its address is counted, where nobody listens
    plan = await plan_of(new)
    assert plan.wanted == []
    assert len(plan.problems) == 2


async def test_a_set_of_a_job_that_is_not_over_is_left_to_it():
    stage = await with_backups("nightly", policy=None)
    made = await stage.made("nightly")
    await stage.kube.delete(Backup, "nightly", TENANT, uid=made.metadata.uid)
    await stage.kube.merge_patch(BackupJob, "nightly", {"status": {"phase": "Running"}}, TENANT, status=True)
    assert [each.reason for each in (await plan_of(stage)).sets] == ["its job is not over"]


# Decided for whatever is listed

SHARDS = {0: [name(0, attempt) for attempt in (1, 2)], 1: [name(1, attempt) for attempt in (1, 2)]}


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(POOL), max_size=6, unique_by=lambda each: each.name))
def test_a_set_is_imported_only_with_every_shard_whole(listed):
    run = run_of(Inspection)
    stock = Stock(listed, {0: listed, 1: listed})
    for found in find_sets(listed, "shop"):
        assert bool(found.gap) != bool(found.members)
        if judge(found, stock, run):
            continue
        assert [each.name.shard for each in found.members] == [0, 1]
        for each in found.members:
            assert each.archive.broken is None
            better = [other for other in SHARDS[each.name.shard] if other > each.archive.name]
            assert not any(other.name in better for other in listed)
        tables = {each.archive.name: [Table(database="a", name="b", total_bytes=1)] for each in found.members}
        told = candidate(found, tables, stock, run, "")
        fits = all(each.archive.data_size == 1 for each in found.members)
        assert bool(told.artifact) == fits
        assert candidate(found, {}, stock, run, "").artifact is None


def test_a_replica_that_was_given_up_is_left_out_and_a_further_one_is_kept():
    def archive(attempt, replica, size, desc="regular"):
        of = name(0, attempt).replace("s0of2-r0", f"s0of1-r{replica}")
        return Archive(name=of, location="remote", desc=desc, data_size=size)

    given_up = archive(1, 0, 1, "broken (can't stat metadata.json)")
    (found,) = find_sets([given_up, archive(2, 1, 5)], "shop")
    assert [each.name.replica for each in found.members] == [1]
    (found,) = find_sets([archive(1, 0, 1), archive(1, 1, 5)], "shop")
    assert [each.name.replica for each in found.members] == [1, 0]
    tables = {
        each.archive.name: [Table(database="a", name="b", total_bytes=each.archive.data_size)] for each in found.members
    }
    artifact = candidate(found, tables, Stock(), run_of(Inspection), "").artifact
    assert artifact is not None
    read = record.read(artifact.driver_metadata, run_of(Inspection), "shop")
    assert [(entry.shard, entry.replica, entry.data_size) for entry in read] == [(0, 1, 5), (0, 0, 1)]
    (found,) = find_sets([given_up, archive(1, 1, 5)], "shop")
    assert "is not whole" in found.gap
