"""A Backup that is deleted takes its archives with it where its class says so, and never one that something needs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.backups import (
    archive_of,
    change,
    delete,
    deletions,
    events,
    exists,
    followed,
    increment_on,
    leases,
    says,
    with_backups,
)
from tests.cozydrivers.checks import assert_refused, forget, gone, patched, slow, staged, without, without_pod
from tests.cozydrivers.stage import APP, CLASS, TENANT, recorded
from tests.cozydrivers.test_decisions import NAMES, name

from chbackup import Action, Archive
from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupClass, ClassApplication, ClassStrategy, RestoreJob
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.deletion import (
    ARCHIVE_FINALIZER,
    DELETION_POLICY,
    Circumstances,
    policy_of,
    why_retained,
)
from cozydrivers.controllers.ledger import PAUSE
from cozydrivers.drivers.base import DeleteRun, Intent, Record, Running
from cozydrivers.drivers.clickhouse.deleting import Look, decide
from cozydrivers.drivers.clickhouse.following import Rows
from cozydrivers.drivers.clickhouse.look import Sight
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.record import Claims, Recorded, Tables
from cozydrivers.errors import InvalidInput
from cozydrivers.runtime.cache import Caches
from cozydrivers.runtime.locks import storage_lock

pytestmark = pytest.mark.anyio


async def retained(stage, *words, kind="Warning"):
    """The Backup `nightly` is gone, its archives are all there, and the one event says why."""
    await gone(stage, Backup, "nightly")
    (event,) = await events(stage, "ArchiveRetained")
    assert event.type == kind
    assert all(word in event.note for word in words), event.note
    assert deletions(stage) == []
    assert await events(stage, "ArchiveDeleted") == []


# What the class says


async def test_archives_go_with_their_backup_where_its_class_says_so():
    stage = await with_backups("older", "nightly")
    kept, going = recorded(await stage.made("older")), recorded(await stage.made("nightly"))
    lines: list[Any] = []
    async with followed(stage, audit=lines.append):
        await delete(stage, "nightly")
        await gone(stage, Backup, "nightly")
    assert stage.archives() == kept
    assert stage.local_copies() == set()
    assert [event.type for event in await events(stage, "ArchiveDeleted")] == ["Normal"]
    assert await leases(stage) == []
    assert {(line["outcome"], line["archive"]) for line in lines} == {
        (outcome, archive) for outcome in ("about to", "done") for archive in going
    }
    assert all(line["bytes"] > 0 and line["name"] == "nightly" and CLASS in line["rule"] for line in lines)


async def test_the_policy_is_latched_and_our_finalizer_is_there_only_where_there_is_something_to_clean():
    stage = await with_backups("nightly")
    made = await stage.made("nightly")
    assert made.metadata.finalizers == [ARCHIVE_FINALIZER]
    assert made.metadata.annotations[DELETION_POLICY] == "Delete"
    await says(stage, None)
    async with stage.managed():
        await stage.end_of(await stage.backup("second"))
    made = await stage.made("second")
    assert made.metadata.finalizers == []
    assert made.metadata.annotations[DELETION_POLICY] == "Retain"
    assert made.metadata.owner_references == []


@pytest.mark.parametrize("policy", [None, "Retain"])
async def test_archives_stay_by_default(policy):
    stage = await with_backups("nightly", policy=policy)
    archives = stage.archives()
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(60)
    assert not await exists(stage, "nightly")
    assert stage.archives() == archives != set()


@pytest.mark.parametrize("policy", ["delete", "", "Keep"])
async def test_a_policy_that_is_none_is_refused_naming_the_field(policy):
    """I12."""
    stage = await staged()
    binding = {**stage.seed[1]["spec"]["strategies"][0], "parameters": {"deletionPolicy": policy}}
    await stage.kube.merge_patch(BackupClass, CLASS, {"spec": {"strategies": [binding]}})
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert_refused(stage, job, CLASS, "parameters.deletionPolicy", repr(policy), "Delete", "Retain")


async def test_a_tenant_can_tighten_it():
    stage = await with_backups("nightly")
    await change(stage, "nightly", annotations={DELETION_POLICY: "Retain"})
    async with followed(stage):
        await delete(stage, "nightly")
        await retained(stage, DELETION_POLICY, kind="Normal")


async def test_and_not_loosen_it():
    """I12: what a tenant can write is never an authority."""
    stage = await with_backups("nightly", policy=None)
    await change(stage, "nightly", annotations={DELETION_POLICY: "Delete"}, finalizers=[ARCHIVE_FINALIZER])
    async with followed(stage):
        await delete(stage, "nightly")
        await retained(stage, "BackupClass", "Retain", kind="Normal")


async def of_another_strategy(stage):
    other = {"apiGroup": "strategy.backups.cozystack.io", "kind": "Altinity", "name": "other"}
    await change(stage, "nightly", spec={"strategyRef": other})


async def of_no_driver(stage):
    await change(stage, "nightly", spec={"strategyRef": {"kind": "Velero", "name": "other"}})


async def of_a_newer_version(stage):
    await change(stage, "nightly", recorded={"clickhouse.backup/schema": "2"})


async def of_another_cluster(stage):
    await change(stage, "nightly", recorded={"clickhouse.backup/cluster": "another"})


async def of_another_application(stage):
    forged = (await archive_of(stage, "nightly")).replace(APP, "another")
    await change(stage, "nightly", recorded={"clickhouse.backup/archive.0": forged})


async def of_another_storage(stage):
    await change(stage, "nightly", recorded={"clickhouse.backup/storage": "0123"})


async def of_another_size(stage):
    await change(stage, "nightly", recorded={"clickhouse.backup/data-size.0": "1"})


async def with_nothing_of_ours(stage):
    metadata = (await stage.made("nightly")).spec.driver_metadata
    await change(stage, "nightly", recorded=dict.fromkeys(metadata) | {"some": "thing"})


async def of_another_class(stage):
    await change(stage, "nightly", annotations={"cozydrivers.cozystack.io/backup-class": "of-mine"})


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (without(BackupClass, CLASS), [f"{CLASS} does not exist"]),
        (of_another_class, ["of-mine", "does not exist"]),
        (of_another_strategy, ["another strategy", CLASS]),
        (of_no_driver, ["no driver"]),
        (without(ClickHouse, APP, TENANT), ["application does not exist"]),
        (of_a_newer_version, ["schema is 2"]),
        (of_another_cluster, ["another cluster"]),
        (of_another_application, ["is not an archive of ClickHouse"]),
        (of_another_storage, ["storage 0123"]),
        (of_another_size, ["recorded are 1"]),
        (with_nothing_of_ours, ["no archives of ours"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
async def test_archives_stay_whenever_anything_speaks_against_their_deletion(happens, words):
    stage = await with_backups("nightly")
    archives = stage.archives()
    await happens(stage)
    async with followed(stage):
        await delete(stage, "nightly")
        await retained(stage, *words)
    assert stage.archives() == archives


async def test_a_class_that_retains_now_is_no_surprise():
    stage = await with_backups("nightly")
    await says(stage, "Retain")
    async with followed(stage):
        await delete(stage, "nightly")
        await retained(stage, "Retain now", kind="Normal")


# The namespace


async def test_a_namespace_that_is_deleted_goes_and_the_archives_stay():
    stage = await with_backups("nightly")
    async with followed(stage):
        await leave(stage)
        await delete(stage, "nightly")
        await anyio.sleep(1)
    assert not await exists(stage, "nightly")
    assert len(stage.archives()) == 2
    assert deletions(stage) == []


async def test_also_a_backup_that_was_waiting_goes_with_it_at_once():
    stage = await with_backups("nightly")
    await increment_on(stage, await archive_of(stage, "nightly"), "by-hand")
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(3 * 3600)
        assert await exists(stage, "nightly")
        await leave(stage)
        await anyio.sleep(1)
    assert not await exists(stage, "nightly")
    assert len(stage.archives()) == 3


# Chains stay whole (I8)


async def test_an_archive_that_a_listed_one_requires_waits_and_so_does_its_whole_set():
    stage = await with_backups("nightly")
    await increment_on(stage, await archive_of(stage, "nightly", 1), "by-hand", 1)
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(2 * 3600)
        waiting = await stage.made("nightly")
        assert [(told.reason, told.status) for told in waiting.status.conditions if told.type == "Progressing"] == [
            ("RequiredByOthers", "False")
        ]
        assert await events(stage, "RequiredByOthers")
        assert len(stage.archives()) == 3
        async with stage.app.sidecar(0).client() as client:
            await client.delete_remote("by-hand")
        await anyio.sleep(3700)
    assert not await exists(stage, "nightly")
    assert stage.archives() == set()


async def test_it_waits_no_longer_than_a_day():
    stage = await with_backups("nightly")
    await increment_on(stage, await archive_of(stage, "nightly"), "by-hand")
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(23 * 3600)
        assert await exists(stage, "nightly")
        await anyio.sleep(2 * 3600)
        await retained(stage, "given up", "by-hand")


async def test_what_another_backup_records_is_a_requirement_even_where_no_list_shows_it():
    stage = await with_backups("nightly", "later")
    base = await archive_of(stage, "nightly")
    await change(stage, "later", recorded={"clickhouse.backup/required.0": base})
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(600)
        assert await events(stage, "RequiredByOthers")
        assert deletions(stage) == []
        await delete(stage, "later")
        await gone(stage, Backup, "later")
        await gone(stage, Backup, "nightly")
    assert stage.archives() == set()


async def test_nor_can_a_partial_list_hide_what_lies_between():
    stage = await with_backups("nightly", "later")
    base = await archive_of(stage, "nightly")
    await increment_on(stage, base, "between")
    await increment_on(stage, "between", "top")
    await change(stage, "later", recorded={"clickhouse.backup/archive.0": "top"})
    stage.app.sidecar(0).faults.unlisted = stage.app.sidecar(1).faults.unlisted = ["between"]
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(600)
        assert await events(stage, "ChainNotListed")
    assert deletions(stage) == []


async def test_an_archive_that_another_backup_records_as_well_stays():
    stage = await with_backups("nightly", "twin")
    await change(stage, "twin", recorded=dict((await stage.made("nightly")).spec.driver_metadata))
    async with followed(stage):
        await delete(stage, "nightly")
        await retained(stage, "twin")


async def test_a_backup_of_a_newer_version_may_require_anything():
    stage = await with_backups("nightly", "newer")
    await change(stage, "newer", recorded={"clickhouse.backup/schema": "2"})
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(600)
        assert await events(stage, "RecordNotReadable")
    assert deletions(stage) == []


# What else is in the way


async def test_nothing_is_deleted_on_one_shard_while_another_cannot_be_asked():
    stage = await with_backups("nightly")
    stage.app.sidecar(1).faults.refuse = True
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(600)
        assert await events(stage, "SidecarUnreachable")
        assert deletions(stage) == []
        stage.app.sidecar(1).faults.heal()
        await anyio.sleep(3600)
    assert (await exists(stage, "nightly"), stage.archives()) == (False, set())


async def test_nor_while_a_shard_has_no_pod():
    stage = await with_backups("nightly")
    await without_pod(stage)
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(600)
        assert await events(stage, "ShardsMissing")
    assert deletions(stage) == []


@pytest.mark.parametrize("outage", ["refused", "denied"])
async def test_an_empty_list_is_no_proof_that_they_are_gone(outage):
    stage = await with_backups("nightly")
    for sidecar in stage.app.sidecars.values():
        sidecar.faults.s3 = outage
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(1800)
        assert await events(stage, "ArchiveNotListed")
        assert await exists(stage, "nightly")
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.heal()
        await anyio.sleep(3600)
    assert (await exists(stage, "nightly"), stage.archives()) == (False, set())


async def test_archives_that_are_gone_already_are_no_trouble():
    stage = await with_backups("nightly")
    for archive in stage.archives():
        del stage.app.sidecar(0).remote[archive]
    async with followed(stage):
        await delete(stage, "nightly")
        await gone(stage, Backup, "nightly")
    assert await events(stage, "ArchiveDeleted")


async def test_an_archive_that_a_running_row_names_waits():
    stage = await with_backups("nightly")
    slow(stage, 300)
    async with stage.app.sidecar(0).client() as client:
        await client.download(await archive_of(stage, "nightly"))
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(200)
        assert await events(stage, "SidecarBusy")
        assert deletions(stage) == []
        await anyio.sleep(3600)
    assert (await exists(stage, "nightly"), stage.archives(), stage.local_copies()) == (False, set(), set())


async def test_a_broken_one_waits_while_anything_runs_anywhere():
    stage = await with_backups("nightly")
    broken = await archive_of(stage, "nightly")
    stage.app.sidecar(0).break_remote(broken)
    stage.app.sidecar(1).duration.create = 300
    async with stage.app.sidecar(1).client() as client:
        await client.create("other")
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(200)
        assert len(stage.archives()) == 2
        await anyio.sleep(3600)
    assert (await exists(stage, "nightly"), stage.archives()) == (False, set())


async def test_local_copies_go_first():
    stage = await with_backups("nightly")
    async with stage.app.sidecar(0).client() as client:
        await (await client.download(await archive_of(stage, "nightly"))).wait()
    forget(stage)
    async with followed(stage):
        await delete(stage, "nightly")
        await gone(stage, Backup, "nightly")
    own = [asked for asked in deletions(stage) if "-s0of" in asked]
    assert ["local" in asked for asked in own] == [True, False]
    assert (stage.archives(), stage.local_copies()) == (set(), set())


async def test_an_archive_that_a_local_increment_requires_waits():
    stage = await with_backups("nightly")
    stage.app.sidecar(0).tables.insert("shop.orders", 5)
    async with stage.app.sidecar(0).client() as client:
        await (await client.create("by-hand", diff_from_remote=await archive_of(stage, "nightly"))).wait()
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(600)
        assert await events(stage, "RequiredByOthers")
    assert deletions(stage) == []


async def paused(stage, value):
    await patched(Namespace, TENANT, {"metadata": {"annotations": {PAUSE: value}}})(stage)


async def test_nothing_is_deleted_while_paused():
    stage = await with_backups("nightly")
    await paused(stage, "true")
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(120)
        stage.later = timedelta(hours=30)
        await anyio.sleep(120)
        (event, *_) = await events(stage, "Paused")
        assert f"the annotation {PAUSE} of Namespace {TENANT}" in event.note
        assert deletions(stage) == []
        await paused(stage, None)
        await gone(stage, Backup, "nightly")
    assert stage.archives() == set()


async def test_a_pause_does_not_count_into_the_day():
    stage = await with_backups("nightly")
    await increment_on(stage, await archive_of(stage, "nightly"), "by-hand")
    await paused(stage, "true")
    async with followed(stage):
        await delete(stage, "nightly")
        stage.later = timedelta(hours=30)
        await anyio.sleep(120)
        await paused(stage, None)
        stage.later += timedelta(hours=20)
        await anyio.sleep(120)
        assert await exists(stage, "nightly")
        stage.later += timedelta(hours=6)
        await anyio.sleep(3600)
    assert not await exists(stage, "nightly")


async def test_nor_while_a_job_works_on_the_application():
    stage = await with_backups("nightly", "other")
    slow(stage, 300)
    async with stage.managed(), followed(stage):
        await without_rows(stage)
        job = await stage.stands(await stage.restore("undo", "other"), "InProgress")
        await delete(stage, "nightly")
        await anyio.sleep(30)
        assert await events(stage, "TargetLocked")
        assert len(stage.archives()) == 4
        await stage.end_of(job, within=3600)
        await anyio.sleep(3600)
    assert not await exists(stage, "nightly")
    assert (await stage.kube.get(RestoreJob, "undo", TENANT)).status.phase == "Succeeded"


async def without_rows(stage):
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.drop("shop.orders")


async def test_nor_while_somebody_holds_the_storage():
    stage = await with_backups("nightly")
    identity = (await stage.made("nightly")).spec.driver_metadata["clickhouse.backup/storage"]
    lock = storage_lock(identity)
    await stage.kube.merge_patch(Lease, lock.name, {"spec": {"holderIdentity": "Purge/1"}}, lock.namespace)
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(600)
        assert await events(stage, "StorageLocked")
    assert deletions(stage) == []


# Accidents


async def test_a_lost_reply_is_no_trouble():
    stage = await with_backups("nightly")
    stage.app.sidecar(0).faults.lose_reply(path="/backup/delete/")
    async with followed(stage):
        await delete(stage, "nightly")
        await gone(stage, Backup, "nightly")
    assert stage.archives() == set()


async def test_a_deletion_that_takes_long_is_followed_and_not_sent_again():
    stage = await with_backups("nightly")
    stage.app.sidecar(0).duration.delete = 600
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(2 * 3600)
    assert not await exists(stage, "nightly")
    assert stage.archives() == set()
    assert len([asked for asked in deletions(stage) if "-s0of" in asked]) == 1


async def test_what_was_changed_since_it_was_decided_on_is_not_deleted():
    """I4, I11: right before a deletion is sent the Backup is read again."""
    stage = await with_backups("nightly")
    await delete(stage, "nightly")
    backup = await stage.made("nightly")
    run = await delete_run(stage, backup)
    async with stage.driver() as driver:
        intent = await driver.delete(run)
        assert isinstance(intent, Intent)
        await change(stage, "nightly", annotations={DELETION_POLICY: "Retain"})
        outcome = await driver.delete(replace(run, fresh=True, checkpoint=intent.checkpoint))
    assert isinstance(outcome, Running)
    assert deletions(stage) == []


async def class_retains(stage):
    await says(stage, "Retain")


async def leave(stage):
    namespace = await stage.kube.get(Namespace, TENANT)
    await stage.kube.delete(Namespace, TENANT, uid=namespace.metadata.uid)


@pytest.mark.parametrize("happens", [class_retains, leave, without(ClickHouse, APP, TENANT)])
async def test_nor_when_it_may_not_go_any_more_after_a_long_look(happens):
    stage = await with_backups("nightly")
    for sidecar in stage.app.sidecars.values():
        sidecar.duration.list = 10
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(5)
        await happens(stage)
        await gone(stage, Backup, "nightly")
    assert deletions(stage) == []


async def test_and_never_without_a_fresh_intent():
    stage = await with_backups("nightly")
    await delete(stage, "nightly")
    run = await delete_run(stage, await stage.made("nightly"))
    async with stage.driver() as driver:
        intent = await driver.delete(run)
        assert isinstance(intent, Intent)
        assert isinstance(await driver.delete(replace(run, checkpoint=intent.checkpoint)), Intent)
    assert set(intent.checkpoint["archives"]) == stage.archives()
    assert deletions(stage) == []


async def delete_run(stage, backup):
    return DeleteRun(
        kube=stage.kube,
        reader=Caches(stage.kube),
        namespace=TENANT,
        namespace_uid=(await stage.kube.get(Namespace, TENANT)).metadata.uid,
        cluster_uid="",
        application=await stage.kube.get(ClickHouse, APP, TENANT),
        strategy={},
        name=backup.metadata.name,
        uid=backup.metadata.uid,
        created=stage.now(),
        now=stage.now(),
        backup=backup,
    )


# What is decided, for whatever is found

RECORD = Record("cluster", ["s"], ["a"])
texts = st.sampled_from(["Delete", "Retain", "", "delete"])


@given(
    st.builds(
        Circumstances,
        latch=texts,
        class_policy=texts,
        class_problem=st.sampled_from(["", "gone"]),
        record=st.sampled_from([None, RECORD]),
        record_problem=st.sampled_from(["", "damaged"]),
        application=st.booleans(),
        cluster=st.sampled_from(["", "cluster", "another"]),
    )
)
@settings(max_examples=300)
def test_archives_go_only_when_all_speaks_for_it(found: Circumstances):
    goes = (
        (found.latch, found.class_policy, found.class_problem) == ("Delete", "Delete", "")
        and found.record is not None
        and found.application
        and found.cluster == found.record.cluster
    )
    assert (why_retained(found) is None) == goes


@given(st.dictionaries(st.sampled_from(["deletionPolicy", "other"]), st.text()))
def test_a_policy_is_one_of_two_or_an_error(parameters: dict[str, str]):
    bound = ClassStrategy(application=ClassApplication(kind="ClickHouse"), parameters=parameters)
    wanted = parameters.get("deletionPolicy", "Retain")
    if wanted in ("Delete", "Retain"):
        assert policy_of(bound) == wanted
        return
    with pytest.raises(InvalidInput, match=r"parameters\.deletionPolicy"):
        policy_of(bound)


ENTRY = Recorded(shard=0, archive=name(0), data_size=1, tables=Tables(count=0, hash=""))
PLACES = [Place(shard, 0, f"p{shard}", "u", "http://p", ready=True) for shard in (0, 1)]
POOL: Any = {
    location: [
        Archive(name=listed, data_size=size, location=location, required=required, desc=desc)
        for listed in (*NAMES[:3], "by-hand", "")
        for size in (1, 2)
        for required in ("", name(0), "by-hand")
        for desc in ("regular", "broken (can't stat metadata.json)")
    ]
    for location in ("local", "remote")
}
RUNNING = [
    Action(command=f"{verb} {archive}", status=status)
    for verb in ("download", "create_remote", "create", "list", "delete remote")
    for archive in (name(0), "by-hand")
    for status in ("in progress", "success")
]


def some(pool: Any) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(st.sampled_from(pool), max_size=3)


sights = st.builds(
    Sight,
    place=st.sampled_from(PLACES),
    trouble=st.sampled_from(["", "", "", "away"]),
    rows=st.builds(Rows, st.none(), some(RUNNING)),
    local=some(POOL["local"]),
    remote=some(POOL["remote"]),
)
looks = st.builds(Look, st.lists(sights, max_size=2), st.sets(st.sampled_from([name(0), "by-hand"])).map(tuple))
some_claims = st.builds(
    Claims,
    st.dictionaries(st.sampled_from([name(0), "by-hand"]), st.just("other"), max_size=1),
    st.lists(st.sampled_from(POOL["remote"]), max_size=2),
    st.sampled_from(["", "", "newer"]),
)


@given(looks, some_claims)
@settings(max_examples=500, deadline=None)
def test_no_archive_goes_that_anything_needs_uses_or_hides(look: Look, claims: Claims):
    step = decide(ENTRY, look, claims)
    assert step.archive == ENTRY.archive
    if step.do in ("keep", "wait"):
        assert step.message
        return
    lists = [*look.remote, *look.local]
    assert look.sights
    assert all(sight.trouble == "" and sight.rows.all is not None for sight in look.sights)
    assert all(sight.remote is not None and sight.local is not None for sight in look.sights)
    assert all(archive.name for archive in lists)
    others = [archive for archive in (*lists, *claims.archives) if archive.name != ENTRY.archive]
    assert not any(archive.required == ENTRY.archive for archive in others)
    assert ENTRY.archive not in claims.holders
    assert not claims.newer
    assert not any(ENTRY.archive in row.names or row.verb == "create" for row in look.running)
    copies = [archive for archive in look.remote if archive.name == ENTRY.archive]
    if any(copy.broken for copy in copies):
        assert not look.running
    if step.do == "gone":
        assert not any(archive.name == ENTRY.archive for archive in lists)
        assert ENTRY.archive in look.denied
    else:
        assert step.place is not None
