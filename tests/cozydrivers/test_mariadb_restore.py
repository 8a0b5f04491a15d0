"""Restores of MariaDB: the dump that the Backup names, after a safety dump, and nothing that could run once more."""

import gzip

import anyio
import pytest
from tests.cozydrivers.checks import gone, reason_of
from tests.cozydrivers.mariadb_restores import (
    LATER,
    ROWS,
    assert_nothing_left,
    assert_untouched,
    backed_up,
    change,
    loaded,
    loads,
    recorded,
    restored,
    rows,
    specs,
    until_restoring,
)
from tests.cozydrivers.mariadb_stage import APP, BUCKET, SERVER, metadata_of
from tests.cozydrivers.stage import TENANT, condition

from cozydrivers.api.backups import RestoreJob
from cozydrivers.api.core import PersistentVolumeClaim, Secret

pytestmark = pytest.mark.anyio
VERSIONS = ["25.10.2", "26.6.0"]
SKIP = {"skipSafetyCopy": True}


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_dump_of_the_backup_comes_back_and_what_it_replaces_is_dumped_before(version):
    async with backed_up(version) as stage:
        job = await restored(stage)
        assert job.status.phase == "Succeeded", job.status.message
        await assert_nothing_left(stage)
        assert rows(stage) == ROWS
        assert stage.server.rows("shop", "later") == [(1,)]
        record = metadata_of(await stage.made("nightly"))
        key = record["prefix"] + record["file"]
        for word in (f"s3://{BUCKET}/{key}", f"({record['size']} bytes)", record["taken-at"]):
            assert word in job.status.message
        assert condition(job, "TargetChecked").reason == "DumpFound"
        assert condition(job, "TablesRestored").reason == "Restored"
        [safety] = [key for key in stage.bucket.keys if "-safety/" in key]
        assert f"s3://{BUCKET}/{safety}" in condition(job, "SafetyCopy").message
        assert [safety in note for note in await stage.events("SafetyCopy")] == [True]
        [note] = await stage.events("Restoring")
        assert "tables created since then stay" in note


async def test_what_the_operator_is_told_leaves_it_no_choice():
    async with backed_up(databases=["shop"], logLevel="debug") as stage:
        record = metadata_of(await stage.made("nightly"))
        job = await stage.restore("undo", "nightly", options={"database": "shop", **SKIP})
        await until_restoring(stage)
        [spec] = await specs(stage)
        assert spec["s3"]["prefix"] == record["prefix"]
        assert spec["targetRecoveryTime"] == record["taken-at"]
        assert (spec["restartPolicy"], spec["backoffLimit"]) == ("Never", 1)
        assert (spec["database"], spec["logLevel"]) == ("shop", "debug")
        assert spec["mariaDbRef"]["name"] == SERVER
        assert "backupRef" not in spec
        assert (await stage.end_of(job)).status.phase == "Succeeded"


async def test_what_was_replaced_can_be_brought_back_from_the_safety_dump():
    async with backed_up() as stage:
        await restored(stage)
        [safety] = [key for key in stage.bucket.keys if "-safety/" in key]
        nightly = await stage.made("nightly")
        record = metadata_of(nightly)
        folder, _, file = safety.rpartition("/")
        changed = {
            "prefix": f"{folder}/",
            "file": file,
            "size": str(len(stage.bucket.content(safety))),
            "backup-name": folder.rpartition("/")[2],
            "taken-at": file.split(".")[1],
        }
        metadata = {f"k8s.mariadb.com/{key}": value for key, value in {**record, **changed}.items()}
        spec = {**nightly.spec.model_dump(mode="json", by_alias=True, exclude_none=True), "driverMetadata": metadata}
        body = {"metadata": {"name": "before"}, "spec": spec, "status": {"phase": "Ready"}}
        await stage.kube.create(type(nightly), body, TENANT)
        job = await restored(stage, "redo", "before")
        assert job.status.phase == "Succeeded", job.status.message
        assert rows(stage) == LATER


async def test_without_a_safety_dump_that_is_said():
    async with backed_up() as stage:
        job = await restored(stage, options=SKIP)
        assert (job.status.phase, rows(stage)) == ("Succeeded", ROWS)
        assert condition(job, "SafetyCopy").reason == "Skipped"
        assert not [key for key in stage.bucket.keys if "-safety/" in key]


@pytest.mark.parametrize("fault", ["dump_fails", "empty_dump"])
async def test_nothing_is_replaced_without_a_good_safety_dump(fault):
    async with backed_up() as stage:
        stage.pods.fail(fault, times=9, job="-safety")
        job = await restored(stage)
        await assert_untouched(stage, job, "EngineFailed", "nothing was replaced", "safety dump")


async def test_the_safety_dump_is_of_all_that_is_replaced():
    async with backed_up() as stage:
        stage.server.add("other", "items", (1, "x"))
        await stage.template(databases=["shop"])
        job = await restored(stage)
        assert job.status.phase == "Succeeded", job.status.message
        [safety] = [key for key in stage.bucket.keys if "-safety/" in key]
        assert "`other`" in gzip.decompress(stage.bucket.content(safety)).decode()


async def test_a_dump_is_restored_into_another_application():
    async with backed_up() as stage:
        copy = stage.pods.database(TENANT, "mariadb-copy")
        for name in ("creds", "ca"):
            data = (await stage.kube.get(Secret, f"{APP}-mariadb-backup-{name}", TENANT)).data
            body = {"metadata": {"name": f"copy-mariadb-backup-{name}"}, "data": data}
            await stage.kube.create(Secret, body, TENANT)
        await stage.deploy("copy")
        job = await restored(stage, targetApplicationRef={"kind": "MariaDB", "name": "copy"})
        assert job.status.phase == "Succeeded", job.status.message
        assert copy.rows("shop", "orders") == ROWS
        assert rows(stage) == LATER
        assert [key.split("/")[0] for key in stage.bucket.keys if "-safety/" in key] == ["copy"]


async def test_a_dry_run_checks_everything_and_does_nothing():
    async with backed_up() as stage:
        job = await restored(stage, options={"dryRun": True})
        assert job.status.phase == "Succeeded"
        assert "would be restored" in job.status.message
        assert stage.touched() == []
        assert (rows(stage), loads(stage)) == (LATER, [])


async def test_only_the_database_that_is_asked_for_is_restored():
    async with backed_up() as stage:
        pass
    stage.server.add("other", "items", (1, "x"))
    async with stage.working():
        await stage.backed_up("both")
        change(stage)
        stage.server.databases["other"]["items"] = [(2, "y")]
        job = await restored(stage, backup="both", options={"database": "other"})
        assert job.status.phase == "Succeeded", job.status.message
        assert (rows(stage), stage.server.rows("other", "items")) == (LATER, [(1, "x")])


@pytest.mark.parametrize(("storage", "version"), [("persistentVolumeClaim", "26.6.0"), ("volume", "25.10.2")])
async def test_a_dump_on_a_volume_is_restored_and_what_is_assumed_is_said(storage, version):
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    place = claim if storage == "persistentVolumeClaim" else {"nfs": {"server": "nas", "path": "/dumps"}}
    async with backed_up(version, storage={"s3": None, storage: place}) as stage:
        job = await restored(stage)
        assert job.status.phase == "Succeeded", job.status.message
        assert rows(stage) == ROWS
        assert condition(job, "TargetChecked").reason == "DumpAssumed"
        assert len(await stage.events("DumpAssumed")) == 1


async def test_a_claim_that_is_another_one_now_is_refused():
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    async with backed_up(storage={"s3": None, "persistentVolumeClaim": claim}) as stage:
        name = metadata_of(await stage.made("nightly"))["claim"]
        found = await stage.kube.get(PersistentVolumeClaim, name, TENANT)
        await stage.kube.delete(PersistentVolumeClaim, name, TENANT, uid=found.metadata.uid)
        job = await restored(stage)
        await assert_untouched(stage, job, "Refused", name, "gone")
        await stage.kube.create(PersistentVolumeClaim, {"metadata": {"name": name}, "spec": claim}, TENANT)
        job = await restored(stage, "again")
        await assert_untouched(stage, job, "Refused", name, "not the one any more")


async def test_where_the_store_can_not_be_read_the_dump_is_assumed_and_still_just_that_one_restored():
    async with backed_up("26.6.0") as stage:
        stage.bucket.outside = "the object store can't be reached"
        job = await restored(stage, options=SKIP)
        assert (job.status.phase, rows(stage)) == ("Succeeded", ROWS)
        [note] = await stage.events("DumpAssumed")
        assert "can't be reached" in note


async def test_a_dump_that_nobody_has_seen_is_found_by_its_folder():
    async with backed_up("26.6.0") as stage:
        [key] = stage.bucket.keys
        for field in ("file", "size"):
            await recorded(stage, field, None)
        stage.bucket.outside = "the object store can't be reached"
        job = await restored(stage, "unseen", options=SKIP)
        assert (job.status.phase, rows(stage)) == ("Succeeded", ROWS)
        change(stage)
        stage.bucket.outside = ""
        job = await restored(stage, "seen", options={**SKIP, "repeat": "seen"})
        assert (job.status.phase, rows(stage)) == ("Succeeded", ROWS)
        assert key in job.status.message


async def test_a_restore_that_fails_says_what_it_may_have_done_and_how_to_go_back():
    async with backed_up() as stage:
        stage.pods.fail("restore_fails_midway", times=9)
        job = await restored(stage)
        await assert_nothing_left(stage)
        assert reason_of(job) == ("Failed", "EngineFailed"), job.status.message
        [safety] = [key for key in stage.bucket.keys if "-safety/" in key]
        told = condition(job, "TablesRestored")
        assert (told.status, told.reason) == ("False", "HalfRestored")
        for word in (safety, "cozydrivers import", "half restored"):
            assert word in told.message
        assert "Lost connection" in job.status.message


async def test_a_restore_that_is_deleted_is_stopped_and_says_so():
    async with backed_up() as stage:
        job = await stage.restore("undo", "nightly")
        await until_restoring(stage)
        await stage.kube.delete(RestoreJob, "undo", TENANT, uid=job.metadata.uid)
        await gone(stage, RestoreJob, "undo")
        await assert_nothing_left(stage)
        await anyio.sleep(30)
        assert not loaded(stage)
        [note] = await stage.events("HalfRestored")
        assert "cozydrivers import" in note
