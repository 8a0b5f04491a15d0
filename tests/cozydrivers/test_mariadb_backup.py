"""Backups of MariaDB: what succeeds is proven by the dump, and nothing is left that could run again."""

import gzip
from datetime import datetime, timedelta
from random import Random

import anyio
import pytest
from tests.cozydrivers.checks import assert_one_sentence, assert_refused, gone, reason_of
from tests.cozydrivers.mariadb_stage import (
    BUCKET,
    CREDENTIALS,
    ROOT,
    SERVER,
    STRATEGY,
    MariaDBStage,
    metadata_of,
    staged,
)
from tests.cozydrivers.stage import TENANT, condition

from cozydrivers.api import mariadb, strategy
from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.api.batch import Job
from cozydrivers.api.core import PersistentVolumeClaim, Pod, Secret
from cozydrivers.drivers.mariadb.verify import HEAD
from cozydrivers.drivers.mariadb.work import FINALIZER
from cozydrivers.testing.buckets import FakeBucket

pytestmark = pytest.mark.anyio

CLAIM = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}


async def assert_nothing_left(stage: MariaDBStage) -> None:
    """No object that could run again, no dump that looks like a backup."""
    assert await stage.operators() == []
    assert stage.bucket.keys == []


async def assert_failed(stage: MariaDBStage, job: BackupJob, reason: str, *words: str) -> None:
    assert reason_of(job) == ("Failed", reason), job.status.message
    assert_one_sentence(job.status.message, *words)
    assert (await stage.kube.list(Backup, TENANT)).items == []


async def the_operators(stage: MariaDBStage) -> mariadb.Backup:
    [found] = (await stage.kube.list(mariadb.Backup, TENANT)).items
    return found


# What is made


@pytest.mark.parametrize("version", ["25.10.2", "26.6.0"])
async def test_a_backup_names_the_very_dump_in_the_bucket(version):
    """The reference's URI points to nothing (its defect 30), and its takenAt is not the dump's second."""
    stage = await staged(version)
    async with stage.working():
        backup = await stage.backed_up()
        assert await stage.operators() == []
    [key] = stage.bucket.keys
    record = metadata_of(backup)
    assert backup.status.artifact is not None
    assert backup.status.artifact.uri == f"s3://{BUCKET}/{key}"
    assert backup.status.artifact.size_bytes == len(stage.bucket.content(key)) == int(record["size"])
    assert key == record["prefix"] + record["file"]
    assert record["prefix"] == f"shop/{record['backup-name']}/"
    assert f"backup.{backup.spec.taken_at:%Y-%m-%dT%H:%M:%SZ}." in key
    assert (record["schema"], record["compression"]) == ("1", "gzip")
    assert condition(backup, "Verified").reason == "DumpComplete"
    assert b"shop" in gzip.decompress(stage.bucket.content(key))


async def test_the_operators_object_is_what_was_asked_for_and_what_does_no_harm():
    stage = await staged()
    await stage.template(databases=["shop"], compression="bzip2", logLevel="debug", maxRetention="720h")
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.at_work(job)
        made = await the_operators(stage)
        ran = await stage.kube.get(Job, made.metadata.name, TENANT)
        await stage.end_of(job)
        record = metadata_of(await stage.made("nightly"))
    spec = made.raw["spec"]
    assert (spec["databases"], spec["compression"], spec["logLevel"]) == (["shop"], "bzip2", "debug")
    assert (spec["restartPolicy"], spec["ignoreGlobalPriv"], spec["maxRetention"]) == ("Never", True, "876000h")
    assert "schedule" not in spec
    assert spec["storage"]["s3"]["prefix"] == f"shop/{made.metadata.name}/"
    assert made.metadata.finalizers == [FINALIZER]
    assert made.is_controlled_by(job.metadata.uid)
    assert ran.metadata.labels["cozydrivers.cozystack.io/run"] == job.metadata.uid
    assert record["databases"] == "shop"


async def test_a_dump_is_read_to_its_last_line_where_the_class_says_so():
    stage = await staged()
    await stage.parameters(verify="stream")
    async with stage.working():
        backup = await stage.backed_up()
    assert condition(backup, "Verified").reason == "DumpComplete"


async def test_a_name_of_253_characters_gets_an_object_with_a_label_s_length():
    stage = await staged()
    async with stage.working():
        job = await stage.end_of(await stage.backup("nightly.of-" + "x" * 242))
    assert job.status.phase == "Succeeded", job.status.message
    assert len(metadata_of(await stage.made_by(job))["backup-name"]) <= 52


async def test_each_dump_has_a_folder_of_its_own():
    """Two dumps of one prefix in one second are one object, and the operator's retention knows no owner (5.1)."""
    stage = await staged()
    async with stage.working():
        first = await stage.backed_up("first")
        second = await stage.backed_up("second")
    assert metadata_of(first)["prefix"] != metadata_of(second)["prefix"]
    assert len(stage.bucket.keys) == 2


# What fails


@pytest.mark.parametrize("version", ["25.10.2", "26.6.0"])
async def test_a_failed_dump_that_the_operator_calls_complete_is_a_failure(version):
    """Defect 1: the operator says Complete=True of a failed Job, and the reference takes that for success."""
    stage = await staged(version)
    stage.pods.fail("dump_fails", times=9)
    async with stage.working():
        job = await stage.end_of(await stage.backup("nightly"))
        await assert_failed(stage, job, "EngineFailed", "exit code", "Lost connection to server during query")
        await assert_nothing_left(stage)


async def test_a_failed_pod_is_tried_again_by_a_pod_of_its_own_and_leaves_no_dump():
    """5.1: a restarted container compresses what is compressed. The dump that is recorded is the second Pod's."""
    stage = await staged()
    stage.pods.fail("killed_after_upload")
    async with stage.working():
        backup = await stage.backed_up()
    pushed = [done.file for done in stage.pods.done if done.what == "pushed"]
    [key] = stage.bucket.keys
    assert key.endswith(pushed[-1])
    assert metadata_of(backup)["file"] == pushed[-1]
    assert b"-- Dump completed" in gzip.decompress(stage.bucket.content(key))


async def test_a_push_that_fails_is_not_repeated_in_its_pod():
    stage = await staged()
    stage.pods.fail("push_fails")
    async with stage.working():
        await stage.backed_up()
    [key] = stage.bucket.keys
    assert gzip.decompress(stage.bucket.content(key)).startswith((b"-- MariaDB dump", b"/*M!"))


class Twice(FakeBucket):
    """Gets what was compressed twice."""

    def put(self, key: str, content: bytes, at: datetime) -> None:
        super().put(key, gzip.compress(content), at)


@pytest.mark.parametrize("length", [0, HEAD], ids=["short", "long"])
async def test_a_dump_that_is_compressed_twice_is_no_backup(length):
    stage = await staged()
    stage.server.add("shop", "pictures", (1, Random(0).randbytes(length).hex()))
    stage.bucket.__class__ = Twice
    async with stage.working():
        job = await stage.end_of(await stage.backup("nightly"))
        await assert_failed(stage, job, "EngineFailed", "compressed twice")
        await assert_nothing_left(stage)


@pytest.mark.parametrize(
    ("fault", "verify"), [("empty_dump", "list"), ("truncated_dump", "list"), ("truncated_dump", "stream")]
)
async def test_a_dump_that_is_none_is_no_backup_though_its_job_ended_well(fault, verify):
    stage = await staged()
    await stage.parameters(verify=verify)
    stage.pods.fail(fault, times=9)
    async with stage.working():
        job = await stage.end_of(await stage.backup("nightly"))
        await assert_failed(stage, job, "EngineFailed", ".sql")
        await assert_nothing_left(stage)


@pytest.mark.parametrize(("verify", "reason"), [("list", "DumpListed"), ("stream", "DumpComplete")])
async def test_only_the_beginning_of_a_long_dump_is_looked_at_unless_all_of_it_is_asked_for(verify, reason):
    stage = await staged()
    await stage.template(compression="none")
    await stage.parameters(verify=verify)
    stage.server.add("shop", "pictures", (1, "x" * HEAD))
    async with stage.working():
        assert condition(await stage.backed_up(), "Verified").reason == reason


async def test_a_success_without_a_dump_in_the_bucket_is_a_failure():
    stage = await staged()
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.uploaded()
        stage.bucket.remove(stage.bucket.keys[0])
        await stage.stands(job, "Proving")
        stage.later += timedelta(minutes=6)
        job = await stage.end_of(job)
        await assert_failed(stage, job, "EngineFailed", "its dump is not under shop/")


async def test_a_list_that_lags_behind_is_waited_for():
    stage = await staged()
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.uploaded()
        stage.bucket.hidden.update(stage.bucket.keys)
        await stage.stands(job, "Proving")
        await anyio.sleep(60)
        stage.bucket.hidden.clear()
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_dump_that_goes_before_it_is_recorded_is_missed():
    stage = await staged()
    async with stage.working():
        job = await stage.stands(await stage.backup("nightly"), "Proven")
        for key in stage.bucket.keys:
            stage.bucket.remove(key)
        job = await stage.end_of(job)
        await assert_failed(stage, job, "Lost", "is not there any more")


async def test_a_dump_without_an_end_is_given_up_and_leaves_nothing():
    """Defect 15: no wait is without its deadline."""
    stage = await staged()
    stage.pods.fail("slow", times=99)
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.at_work(job)
        stage.later += timedelta(hours=6, minutes=1)
        job = await stage.end_of(job)
        await assert_failed(stage, job, "TimedOut", "6:00:00")
        await assert_nothing_left(stage)
        await anyio.sleep(10)
        assert await stage.jobs() == []


async def test_a_pod_that_can_t_start_is_given_up_after_half_an_hour_with_its_reason():
    stage = await staged()
    stage.pods.fail("image_pull", times=99)
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.at_work(job)
        await anyio.sleep(10)
        stage.later += timedelta(minutes=31)
        job = await stage.end_of(job)
        await assert_failed(stage, job, "TimedOut", "0:30:00", "ImagePullBackOff")
        await assert_nothing_left(stage)


async def test_a_moment_without_api_server_is_no_end():
    """Defect 14: what passes is waited out."""
    stage = await staged()
    stage.cluster.faults.break_webhook("backups")
    async with stage.working():
        job = await stage.backup("nightly")
        await anyio.sleep(20)
        stage.cluster.faults.clear()
        stage.cluster.faults.fail(status=500, seconds=20)
        await anyio.sleep(25)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert stage.dumped == 1


# What is refused or waited for, untouched


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"maxRetention": "-1h"}, ("maxRetention", "-1h")),
        ({"maxRetention": "30d"}, ("maxRetention", "30d")),
        ({"storage": {"s3": {"endpoint": "https://seaweedfs:8333"}}}, ("endpoint", "without scheme")),
        ({"storage": {"s3": {"bucket": "Ab"}}}, ("bucket", "Ab")),
        ({"storage": {"s3": None}}, ("spec.template.storage",)),
        ({"storage": {"volume": {"emptyDir": {}}}}, ("exactly one", "s3, volume")),
        ({"compression": "zstd"}, ("compression", "zstd", "gzip")),
        ({"databases": ["a b"]}, ("databases", "a b")),
    ],
)
async def test_what_the_operator_would_wait_on_for_ever_is_refused(template, words):
    stage = await staged()
    await stage.template(**template)
    async with stage.working():
        assert_refused(stage, await stage.end_of(await stage.backup("nightly")), *words)


async def test_a_parameter_that_is_unknown_is_refused():
    stage = await staged()
    await stage.parameters(verify="all")
    async with stage.working():
        assert_refused(stage, await stage.end_of(await stage.backup("nightly")), "parameters.verify", "stream")


async def test_a_strategy_that_is_executed_as_a_pod_is_refused():
    stage = await staged()
    annotations = {"cozydrivers.cozystack.io/execution": "pod"}
    await stage.kube.merge_patch(strategy.MariaDB, STRATEGY, {"metadata": {"annotations": annotations}})
    async with stage.working():
        assert_refused(stage, await stage.end_of(await stage.backup("nightly")), "mariadb-operator", "pod")


async def without_key(stage: MariaDBStage) -> None:
    await stage.kube.merge_patch(Secret, CREDENTIALS, {"data": {"AWS_SECRET_ACCESS_KEY": None}}, TENANT)


async def without_secret(stage: MariaDBStage) -> None:
    found = await stage.kube.get(Secret, ROOT, TENANT)
    await stage.kube.delete(Secret, ROOT, TENANT, uid=found.metadata.uid)


async def without_server(stage: MariaDBStage) -> None:
    found = await stage.kube.get(mariadb.MariaDB, SERVER, TENANT)
    await stage.kube.delete(mariadb.MariaDB, SERVER, TENANT, uid=found.metadata.uid)


async def suspended(stage: MariaDBStage) -> None:
    await stage.kube.merge_patch(mariadb.MariaDB, SERVER, {"spec": {"suspend": True}}, TENANT)


async def not_ready(stage: MariaDBStage) -> None:
    await stage.operator.play_ready(TENANT, SERVER, ready=False)
    await stage.operator.step()


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (without_key, "SecretMissing", "AWS_SECRET_ACCESS_KEY"),
        (without_secret, "SecretMissing", "root"),
        (without_server, "MariaDBMissing", SERVER),
        (suspended, "MariaDBSuspended", SERVER),
        (not_ready, "MariaDBNotReady", SERVER),
    ],
)
async def test_what_the_operator_s_pods_need_is_waited_for_before_anything_is_created(change, reason, words):
    stage = await staged()
    await change(stage)
    async with stage.working():
        job = await stage.stands(await stage.backup("nightly"), reason)
        stage.later += timedelta(minutes=31)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert_one_sentence(job.status.message, words)
    assert stage.touched() == []


async def test_others_at_work_on_the_server_are_waited_for():
    """Defect 17: the operator excludes nobody."""
    stage = await staged()
    reference = {"mariaDbRef": {"name": SERVER}, "restartPolicy": "Never"}
    volume = {
        "persistentVolumeClaim": {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    }
    body = {"metadata": {"name": "by-hand"}, "spec": {**reference, "storage": volume}}
    await stage.kube.create(mariadb.Backup, body, TENANT)
    stage.pods.dump_seconds = 60
    async with stage.working():
        job = await stage.stands(await stage.backup("nightly"), "MariaDBBusy")
        assert "Backup by-hand" in condition(job, "Ready").message
        assert await stage.operators() == ["by-hand"]
        job = await stage.end_of(job)
        assert await stage.operators() == ["by-hand"]
    assert job.status.phase == "Succeeded", job.status.message


async def test_two_backups_of_one_application_are_made_one_after_the_other():
    stage = await staged()
    async with stage.working():
        jobs = [await stage.backup(name) for name in ("one", "two")]
        for job in jobs:
            assert (await stage.end_of(job)).status.phase == "Succeeded"
    whats = [done.what for done in stage.pods.done]
    assert whats == ["dumped", "pushed"] * 2


# Identity


async def test_a_job_of_the_same_name_again_makes_a_dump_of_its_own():
    """Defect 16: the reference adopts the result of the job before, the operator the Job of its own (5.7)."""
    stage = await staged()
    async with stage.working():
        first = await stage.backed_up()
        job = await stage.backup_job("nightly")
        await stage.kube.delete(BackupJob, "nightly", TENANT, uid=job.metadata.uid)
        await anyio.sleep(5)
        job = await stage.end_of(await stage.backup("nightly"))
        second = await stage.made_by(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert metadata_of(first)["backup-name"] != metadata_of(second)["backup-name"]
    assert len(stage.bucket.keys) == stage.dumped == 2


async def test_an_object_of_the_name_that_is_not_ours_is_refused():
    stage = await staged()
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.at_work(job)
        made = await the_operators(stage)
        patch = {"metadata": {"labels": {"cozydrivers.cozystack.io/run": "somebody"}}}
        await stage.kube.merge_patch(mariadb.Backup, made.metadata.name, patch, TENANT)
        job = await stage.end_of(job)
        await assert_failed(stage, job, "Refused", "was not created for this job")
        assert await stage.operators() == [made.metadata.name]


async def test_a_job_that_somebody_deletes_is_not_run_again_by_us():
    """5.7: the operator runs again whatever somebody deletes the Job of."""
    stage = await staged()
    async with stage.working():
        job = await stage.backup("nightly")
        ran = await stage.at_work(job)
        await anyio.sleep(3)
        await stage.kube.delete(Job, ran.metadata.name, TENANT, uid=ran.metadata.uid)
        job = await stage.end_of(job)
        await assert_failed(stage, job, "Lost", "deleted by somebody")
        await anyio.sleep(60)
        await assert_nothing_left(stage)
        assert await stage.jobs() == []


async def test_a_job_that_is_deleted_after_a_backup_replays_nothing():
    stage = await staged()
    stage.collects = False
    async with stage.working():
        await stage.backed_up()
        for ran in await stage.jobs():
            await stage.kube.delete(Job, ran.metadata.name, TENANT, uid=ran.metadata.uid)
        await anyio.sleep(60)
        assert await stage.jobs() == []
    assert stage.dumped == 1


async def test_an_object_that_somebody_deletes_ends_the_backup():
    stage = await staged()
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.at_work(job)
        made = await the_operators(stage)
        await stage.kube.delete(mariadb.Backup, made.metadata.name, TENANT, uid=made.metadata.uid)
        job = await stage.end_of(job)
        await assert_failed(stage, job, "Cancelled", "deleted by somebody else")
        await assert_nothing_left(stage)


async def test_a_strategy_that_moves_its_storage_meanwhile_is_not_believed():
    stage = await staged()
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.at_work(job)
        await stage.template(storage={"s3": {"prefix": "elsewhere/"}})
        job = await stage.end_of(job)
        await assert_failed(stage, job, "Refused", "storage was changed")


# A run given up


@pytest.mark.parametrize("seconds", [2, 6, 9])
async def test_a_backup_that_is_deleted_midway_leaves_neither_object_nor_pod_nor_dump(seconds):
    stage = await staged()
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.at_work(job)
        await anyio.sleep(seconds)
        await stage.kube.delete(BackupJob, "nightly", TENANT, uid=job.metadata.uid)
        await gone(stage, BackupJob, "nightly")
        await assert_nothing_left(stage)
        await anyio.sleep(60)
        assert await stage.jobs() == []
        assert (await stage.kube.list(Pod, TENANT)).items == []
        await assert_nothing_left(stage)


async def test_a_dump_that_can_t_be_deleted_now_is_deleted_later():
    stage = await staged()
    stage.pods.fail("killed_after_upload", times=9)
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.uploaded()
        stage.pods.fail("dump_fails", times=9)
        stage.bucket.fault = "the object store is out"
        await anyio.sleep(300)
        assert (
            "a dump may be left in s3://db-backups/shop/"
            in condition(await stage.backup_job("nightly"), "Progressing").message
        )
        stage.bucket.fault = ""
        await stage.end_of(job)
        await assert_nothing_left(stage)


# Where nobody can look


async def test_a_store_that_is_out_of_reach_is_said():
    stage = await staged()
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.uploaded()
        stage.bucket.fault = "nobody answers"
        await stage.stands(job, "Proving")
        stage.later += timedelta(minutes=6)
        job = await stage.end_of(job)
        backup = await stage.made_by(job)
        events = await stage.events("StoreNotReadable")
    verified = condition(backup, "Verified")
    assert (verified.status, verified.reason) == ("False", "StoreNotReadable")
    assert_one_sentence(verified.message, "nobody answers")
    assert len(events) == 1
    assert "file" not in metadata_of(backup)
    [key] = stage.bucket.keys
    assert backup.status.artifact is not None
    assert f"s3://{BUCKET}/{key}".startswith(backup.status.artifact.uri)


async def test_a_moment_without_the_store_is_no_loss_of_proof():
    stage = await staged()
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.uploaded()
        stage.bucket.fault = "nobody answers"
        await anyio.sleep(120)
        stage.bucket.fault = ""
        job = await stage.end_of(job)
        assert condition(await stage.made_by(job), "Verified").reason == "DumpComplete"


async def test_a_dump_that_is_to_be_read_wholly_is_no_backup_unread():
    stage = await staged()
    await stage.parameters(verify="stream")
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.uploaded()
        stage.bucket.fault = "nobody answers"
        await stage.stands(job, "Proving")
        stage.later += timedelta(minutes=6)
        await anyio.sleep(15)
        stage.later += timedelta(minutes=31)
        await stage.stands(job, "TimedOut", within=600)
        stage.bucket.fault = ""
        job = await stage.end_of(job)
        await assert_failed(stage, job, "TimedOut", "nobody answers")


async def test_a_dump_that_nobody_can_read_is_not_asked_to_be_read():
    stage = await staged()
    await stage.parameters(verify="stream")
    await stage.template(storage={"s3": {"sessionTokenSecretKeyRef": {"name": ROOT, "key": "password"}}})
    async with stage.working():
        assert_refused(stage, await stage.end_of(await stage.backup("nightly")), "parameters.verify", "credentials")


async def test_a_dump_on_a_claim_is_recorded_with_the_claim_s_uid():
    stage = await staged()
    await stage.template(storage={"s3": None, "persistentVolumeClaim": CLAIM})
    async with stage.working():
        backup = await stage.backed_up()
        [claim] = (await stage.kube.list(PersistentVolumeClaim, TENANT)).items
    record = metadata_of(backup)
    assert (record["claim"], record["claim-uid"]) == (claim.metadata.name, claim.metadata.uid)
    assert record["claim"] == record["backup-name"]
    assert condition(backup, "Verified").reason == "VolumeEvidence"
    assert backup.status.artifact is not None
    assert backup.status.artifact.uri == f"pvc://{TENANT}/{claim.metadata.name}"
    dumped = next(done for done in stage.pods.done if done.what == "dumped")
    taken_at = backup.spec.taken_at
    assert taken_at is not None
    assert timedelta() <= dumped.at - taken_at < timedelta(seconds=10)


async def test_the_claim_of_a_failed_dump_goes():
    stage = await staged()
    await stage.template(storage={"s3": None, "persistentVolumeClaim": CLAIM})
    stage.pods.fail("dump_fails", times=9)
    async with stage.working():
        job = await stage.end_of(await stage.backup("nightly"))
        await assert_failed(stage, job, "EngineFailed")
        assert (await stage.kube.list(PersistentVolumeClaim, TENANT)).items == []


async def test_a_dump_on_a_shared_volume_is_said_to_be_unproven_and_is_never_deleted():
    stage = await staged()
    await stage.template(storage={"s3": None, "volume": {"nfs": {"server": "nas", "path": "/dumps"}}})
    async with stage.working():
        backup = await stage.backed_up()
        stage.pods.fail("dump_fails", times=9)
        job = await stage.end_of(await stage.backup("again"))
        left = await stage.events("DumpNotDeleted")
    assert condition(backup, "Verified").reason == "VolumeEvidence"
    assert backup.status.artifact is not None
    assert backup.status.artifact.uri == f"mariadb://{TENANT}/{metadata_of(backup)['backup-name']}"
    assert reason_of(job) == ("Failed", "EngineFailed")
    assert len(left) == 1
