"""Identity (I1, I11, I12): a job works on what is its own by UID; what a tenant can write is a hint."""

import json
from dataclasses import replace

import anyio
import pytest
from tests.cozydrivers.checks import (
    TABLE,
    assert_one_sentence,
    assert_refused,
    backed_up,
    forget,
    gone,
    patched,
    reason_of,
    rows,
    slow,
    staged,
    without,
)
from tests.cozydrivers.stage import APP, CLASS, TENANT, recorded

from chbackup import parse_archive_name
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.base import TypedReference
from cozydrivers.api.coordination import Lease
from cozydrivers.controllers.ledger import CHECKPOINT, FINALIZER, JOB_UID, Ledger, ledger_of
from cozydrivers.testing.operators import Installation

pytestmark = pytest.mark.anyio

PREFIX = "clickhouse.backup/"


def uids(archives):
    return {name.uid for archive in archives if (name := parse_archive_name(archive))}


def hex_uid(job):
    return job.metadata.uid.replace("-", "")[:12]


# A job of the same name


async def test_a_job_created_anew_makes_archives_and_a_backup_of_its_own():
    stage = await staged()
    async with stage.managed():
        first = await stage.end_of(await stage.backup("nightly"))
        before = await stage.made("nightly")
        await without(BackupJob, "nightly", TENANT)(stage)
        second = await stage.end_of(await stage.backup("nightly"))
    assert second.status.phase == "Succeeded", second.status.message
    made = await stage.made_by(second)
    assert made.metadata.name == f"nightly-{second.metadata.uid[:8]}"
    assert uids(recorded(made)) == {hex_uid(second)}
    assert await stage.made("nightly") == before
    assert uids(stage.archives()) == {hex_uid(first), hex_uid(second)}
    assert len(stage.archives()) == 4


async def test_a_job_created_anew_adopts_nothing_of_one_that_was_running():
    stage = await staged()
    slow(stage, 10)
    async with stage.managed():
        first = await stage.stands(await stage.backup("nightly"), "InProgress")
        await without(BackupJob, "nightly", TENANT)(stage)
        await gone(stage, BackupJob, "nightly")
        second = await stage.end_of(await stage.backup("nightly"))
    assert second.status.phase == "Succeeded", second.status.message
    assert uids(stage.archives()) == {hex_uid(second)} != {hex_uid(first)}
    assert stage.local_copies() == set()


async def test_an_annotation_copied_from_another_job_counts_for_nothing():
    stage = await staged()
    async with stage.managed():
        await stage.end_of(await stage.backup("first"))
        copied = (await stage.backup_job("first")).metadata.annotations[CHECKPOINT]
        forget(stage)
        job = await stage.backup("second")
        await stage.kube.merge_patch(BackupJob, "second", {"metadata": {"annotations": {CHECKPOINT: copied}}}, TENANT)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert uids(recorded(await stage.made("second"))) == {hex_uid(job)}
    assert len(stage.archives()) == 4


# A checkpoint that a tenant has written


async def forged(stage, kind, name, change):
    """Give a job that waits, and our finalizer on it, a checkpoint as a tenant could have written it."""
    job = await stage.kube.get(kind, name, TENANT)
    application = TypedReference(api_group="apps.cozystack.io", kind="ClickHouse", name=APP)
    ledger = Ledger(uid=job.metadata.uid, application=application, driver=change(job))
    metadata = {"annotations": {CHECKPOINT: ledger.annotation()}, "finalizers": [FINALIZER]}
    return await stage.kube.merge_patch(kind, name, {"metadata": metadata}, TENANT)


def checkpoint_of(job):
    return ledger_of(job).driver


async def with_a_backup_and_a_waiting_job():
    """A Backup `nightly` with its archives, and a BackupJob `other` that waits for its BackupClass."""
    stage = await staged()
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
    await without(BackupClass, CLASS)(stage)
    await stage.backup("other")
    forget(stage)
    return stage


async def bring_class(stage):
    await stage.kube.create(BackupClass, stage.seed[1])


def with_members(driver, **changes):
    return {**driver, "members": [{**member, **changes} for member in driver["members"]]}


def with_submissions(driver, **changes):
    members = [{**member, "submission": {**member["submission"], **changes}} for member in driver["members"]]
    return {**driver, "members": members}


def own_names(driver, job):
    """The checkpoint with the names that the job's own archives have."""
    text = json.dumps(driver)
    for uid in uids(text.split('"')):
        text = text.replace(uid, hex_uid(job))
    taken = job.metadata.creation_timestamp.strftime("%Y%m%dT%H%M%SZ")
    names = [name for part in text.split('"') if (name := parse_archive_name(part))]
    return json.loads(text.replace(names[0].taken.strftime("%Y%m%dT%H%M%SZ"), taken))


FORGERIES = {
    "foreign archives": lambda driver, job: driver,
    "foreign debris": lambda driver, job: {
        **own_names(driver, job),
        "debris": [{"shard": 0, "replica": 0, "archive": driver["members"][0]["submission"]["archive"]}],
    },
    "of a restore": lambda driver, job: {**driver, "kind": "restore"},
    "one shard of two": lambda driver, job: {
        **own_names(driver, job),
        "members": own_names(driver, job)["members"][:1],
    },
    "no shard": lambda driver, job: {**driver, "members": []},
    "no attempt": lambda driver, job: with_submissions(driver, attempt=0),
    "a time without a zone": lambda driver, job: with_submissions(own_names(driver, job), at="2026-11-23T00:00:00"),
    "another stage": lambda driver, job: with_members(own_names(driver, job), stage="restoring"),
    "no checkpoint": lambda driver, job: {"version": 1},
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_checkpoint_that_the_run_can_not_have_made_is_refused(forge):
    stage = await with_a_backup_and_a_waiting_job()
    source = checkpoint_of(await stage.backup_job("nightly"))
    await forged(stage, BackupJob, "other", lambda job: forge(source, job))
    await bring_class(stage)
    archives = stage.archives()
    async with stage.managed():
        job = await stage.end_of(await stage.backup_job("other"), within=60)
    assert_refused(stage, job, "checkpoint")
    assert stage.archives() == archives


@pytest.mark.parametrize("debris", [False, True], ids=["as members", "as debris"])
@pytest.mark.parametrize("kind", ["backup", "restore"])
async def test_cleaning_up_after_a_forged_checkpoint_deletes_nothing_foreign(kind, debris):
    stage = await with_a_backup_and_a_waiting_job()
    driver = {**checkpoint_of(await stage.backup_job("nightly")), "kind": kind}
    if debris:
        names = [(member["shard"], member["submission"]["archive"]) for member in driver["members"]]
        left = [{"shard": shard, "replica": 0, "archive": name} for shard, name in names]
        driver = {**driver, "members": [], "debris": left}
    await forged(stage, BackupJob, "other", lambda job: driver)
    archives = stage.archives()
    async with stage.managed():
        await without(BackupJob, "other", TENANT)(stage)
        await gone(stage, BackupJob, "other")
    assert stage.archives() == archives
    assert stage.touched() == []


@pytest.mark.parametrize("debris", [False, True], ids=["as members", "as debris"])
async def test_cleaning_up_after_a_forged_restore_deletes_nothing_remote(debris):
    stage = await with_a_backup_and_a_waiting_job()
    await stage.restore("undo", "other")
    driver = {**checkpoint_of(await stage.backup_job("nightly")), "kind": "restore"}
    if debris:
        names = [(member["shard"], member["submission"]["archive"]) for member in driver["members"]]
        left = [{"shard": shard, "replica": 0, "archive": name} for shard, name in names]
        driver = {**driver, "members": [], "debris": left}
    await forged(stage, RestoreJob, "undo", lambda job: driver)
    archives = stage.archives()
    async with stage.managed():
        await without(RestoreJob, "undo", TENANT)(stage)
        await gone(stage, RestoreJob, "undo")
    assert stage.archives() == archives
    assert stage.touched() == []


# A Backup that a tenant has edited


def edited(**changes):
    return {"spec": {"driverMetadata": {PREFIX + key: value for key, value in changes.items()}}}


def archive(backup, shard):
    return backup.spec.driver_metadata[f"{PREFIX}archive.{shard}"]


def renamed(backup, **parts):
    """The name of shard 0's archive with other parts."""
    name = parse_archive_name(archive(backup, 0))
    assert name is not None
    return edited(**{"archive.0": str(replace(name, **parts))})


EDITS = {
    "another application's archive": (
        lambda backup: renamed(backup, app="other"),
        ("not an archive of ClickHouse my-clickhouse", "shard 0"),
    ),
    "another namespace's archive": (
        lambda backup: renamed(backup, namespace_hash="000000"),
        ("not an archive of ClickHouse my-clickhouse", "shard 0"),
    ),
    "another shard's archive": (
        lambda backup: edited(**{"archive.0": archive(backup, 1)}),
        ("not an archive", "shard 0 of 2"),
    ),
    "archives of two sets": (
        lambda backup: renamed(backup, uid="0123456789ab"),
        ("not of one set",),
    ),
    "an archive of no set": (lambda backup: edited(**{"archive.1": "by-hand"}), ("by-hand is not an archive",)),
    "one archive too many": (
        lambda backup: edited(**{"archive.2": archive(backup, 1)}),
        (f"{PREFIX}archive.2", "beyond its 2 shards"),
    ),
    "a newer schema": (lambda backup: edited(schema="2"), (f"{PREFIX}schema is 2", "reads 1")),
    "no schema": (lambda backup: edited(schema=None), (f"no {PREFIX}schema",)),
    "no archive": (lambda backup: edited(**{"archive.1": None}), (f"no {PREFIX}archive.1",)),
    "no size": (lambda backup: edited(**{"data-size.1": None}), (f"no {PREFIX}data-size.1",)),
    "no tables": (lambda backup: edited(**{"tables.1": None}), (f"no {PREFIX}tables.1",)),
    "another size": (lambda backup: edited(**{"data-size.1": "12"}), ("shard 1", "the Backup records 12")),
    "a word for a size": (lambda backup: edited(**{"data-size.1": "big"}), (f"{PREFIX}data-size.1", "'big'")),
    "a number without an end": (lambda backup: edited(**{"data-size.1": "9" * 5000}), (f"{PREFIX}data-size.1",)),
    "other tables": (
        lambda backup: edited(**{"tables.1": '{"count": 1, "hash": "0123456789abcdef"}'}),
        ("shard 1", "not the 1 that the Backup records"),
    ),
    "tables that can't be read": (lambda backup: edited(**{"tables.0": "[]"}), (f"{PREFIX}tables.0 can't be read",)),
    "tables without an end": (lambda backup: edited(**{"tables.0": "[" * 9999}), (f"{PREFIX}tables.0 can't be read",)),
}


@pytest.mark.parametrize(("edit", "words"), EDITS.values(), ids=EDITS.keys())
async def test_a_backup_whose_record_was_edited_is_refused_and_says_what_is_wrong(edit, words):
    stage = await backed_up()
    await patched(Backup, "nightly", edit(await stage.made("nightly")), TENANT)(stage)
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly"), within=60)
    assert_refused(stage, job, *words)
    assert rows(stage) == [0, 0]


# An object of the Backup's name


def foreign_backup(name, annotations=None):
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": APP}
    strategy = {"apiGroup": "strategy.backups.cozystack.io", "kind": "Altinity", "name": "x"}
    return {
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "applicationRef": reference,
            "strategyRef": strategy,
            "takenAt": "2026-01-01T00:00:00Z",
            "driverMetadata": {f"{PREFIX}archive.0": "foreign"},
        },
    }


async def test_an_object_of_the_backup_s_name_that_is_not_ours_is_not_adopted():
    stage = await staged()
    await stage.kube.create(Backup, foreign_backup("nightly"), TENANT)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made("nightly")) == {"foreign"}
    assert recorded(await stage.made_by(job)) == stage.archives()


async def test_one_that_says_it_is_ours_is_not_adopted_either():
    stage = await staged()
    slow(stage, 5)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await stage.kube.create(Backup, foreign_backup("nightly", {JOB_UID: job.metadata.uid}), TENANT)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made("nightly")) == {"foreign"}
    assert recorded(await stage.made_by(job)) == stage.archives()


async def test_a_job_whose_backup_finds_no_name_ends_and_leaves_no_archive():
    stage = await staged()
    slow(stage, 5)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        for name in ("nightly", f"nightly-{job.metadata.uid[:8]}"):
            await stage.kube.create(Backup, foreign_backup(name), TENANT)
        job = await stage.end_of(job, within=60)
    assert reason_of(job) == ("Failed", "Refused")
    assert_one_sentence(job.status.message, "Backup", "nightly")
    assert (stage.archives(), stage.local_copies()) == (set(), set())


# What another controller has begun, or what has none


async def test_a_running_backup_without_our_intent_is_left_alone():
    stage = await staged()
    await stage.backup("nightly")
    await stage.kube.merge_patch(BackupJob, "nightly", {"status": {"phase": "Running"}}, TENANT, status=True)
    before = await stage.backup_job("nightly")
    async with stage.managed():
        await anyio.sleep(60)
    assert await stage.backup_job("nightly") == before
    assert [request for sidecar in stage.app.sidecars.values() for request in sidecar.requests] == []
    assert (await stage.kube.list(Lease, TENANT)).items == []


async def test_a_running_restore_without_our_intent_is_failed_untouched():
    stage = await backed_up()
    await stage.restore("undo", "nightly")
    await stage.kube.merge_patch(RestoreJob, "undo", {"status": {"phase": "Running"}}, TENANT, status=True)
    async with stage.managed():
        job = await stage.end_of(await stage.restore_job("undo"), within=60)
    assert_refused(stage, job, "not begun by this controller", "create a new RestoreJob")
    assert rows(stage) == [0, 0]


async def test_kinds_without_a_driver_get_no_status():
    stage = await staged()
    postgres = {"apiGroup": "apps.cozystack.io", "kind": "Postgres", "name": "db"}
    job = await stage.backup("nightly", applicationRef=postgres)
    backup = foreign_backup("weekly")
    backup["spec"] |= {"applicationRef": postgres}
    await stage.kube.create(Backup, {**backup, "status": {"phase": "Ready"}}, TENANT)
    undo = await stage.restore("undo", "weekly")
    async with stage.managed():
        await anyio.sleep(60)
    assert await stage.backup_job("nightly") == job
    assert await stage.restore_job("undo") == undo


async def test_a_strategy_of_another_kind_gets_no_status():
    stage = await staged()
    velero = {"apiGroup": "strategy.backups.cozystack.io", "kind": "Velero", "name": "x"}
    clickhouse = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse"}
    bound = {"spec": {"strategies": [{"application": clickhouse, "strategyRef": velero}]}}
    await patched(BackupClass, CLASS, bound)(stage)
    job = await stage.backup("nightly")
    async with stage.managed():
        await anyio.sleep(60)
    assert await stage.backup_job("nightly") == job


# Another application


async def with_another_application():
    stage = await backed_up()
    other = Installation(stage.network, namespace=TENANT, name="other")
    await other.deploy(stage.kube)
    return stage, other


TO_OTHER = {"targetApplicationRef": {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "other"}}


async def test_a_target_whose_sidecars_do_not_list_the_archive_is_refused_with_the_field_that_would_do():
    stage, other = await with_another_application()
    other.sidecar(0).add_remote("its-own")
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly", **TO_OTHER), within=60)
    assert_refused(stage, job, "shard 0", "backup.s3PathOverride")
    assert all(request.method == "GET" for request in other.sidecar(0).requests)


async def test_a_target_that_lists_the_archives_gets_the_rows():
    stage, other = await with_another_application()
    other.sidecar(0).remote.update(stage.app.sidecar(0).remote)
    async with stage.managed():
        job = await stage.end_of(await stage.restore("copy", "nightly", **TO_OTHER))
    assert job.status.phase == "Succeeded", job.status.message
    assert [other.sidecar(shard).tables.count(TABLE) for shard in (0, 1)] == [100, 101]
    assert rows(stage) == [0, 0]
    assert stage.touched() == []
