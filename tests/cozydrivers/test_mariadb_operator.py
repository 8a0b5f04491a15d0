"""mariadb-operator's simulator does what the operator does: adoption, replays, and failures that look complete."""

import gzip
import re
from typing import Any

import pytest
from tests.cozydrivers.mariadbs import FAILED, RUNNING, S3, SPACE, SUCCEEDED, Scene

from cozydrivers.api.batch import Job
from cozydrivers.api.core import Pod
from cozydrivers.api.mariadb import Backup, MariaDB, PhysicalBackup, Restore
from cozydrivers.errors import ApiError, Forbidden, Invalid
from cozydrivers.testing.mariadb import CronJob, PersistentVolumeClaim, Version, admission

pytestmark = pytest.mark.anyio

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@pytest.fixture(params=["25.10.2", "26.6.0"])
async def scene(request: pytest.FixtureRequest) -> Scene:
    return await _scene(request.param)


async def _scene(version: Version = "25.10.2") -> Scene:
    scene = Scene(version)
    await scene.set_up()
    return scene


async def test_a_backup_becomes_a_dump_in_the_bucket_and_a_restore_loads_it(scene):
    await scene.backup()
    await scene.run()
    assert await scene.told(Backup, "b1") == SUCCEEDED
    (key,) = scene.bucket.keys
    assert "-- Dump completed on " in gzip.decompress(scene.bucket.content(key)).decode().splitlines()[-1]
    scene.server.databases["shop"]["orders"] = [(3, "wrong")]
    scene.server.add("shop", "later", (1,))
    await scene.restore()
    await scene.run()
    assert await scene.told(Restore, "r1") == SUCCEEDED
    assert scene.server.rows("shop", "orders") == [(1, "a"), (2, "it's b")]
    assert scene.server.rows("shop", "later") == [(1,)]


# Backups


async def test_what_a_spec_lacks_is_written_into_it():
    scene = await _scene()
    await scene.backup(compression=None, backoffLimit=0)
    await scene.operator.step()
    spec = await scene.spec(Backup, "b1")
    assert {key: spec[key] for key in ("compression", "backoffLimit", "maxRetention", "serviceAccountName")} == {
        "compression": "none",
        "backoffLimit": 5,
        "maxRetention": "720h0m0s",
        "serviceAccountName": "b1",
    }


async def test_a_backup_waits_for_a_mariadb_that_is_absent_or_not_ready_or_suspended():
    scene = await _scene()
    await scene.backup("lost", mariaDbRef={"name": "nope"})
    await scene.mariadb("other")
    await scene.backup("early", mariaDbRef={"name": "other"})
    await scene.run(3)
    assert await scene.told(Backup, "lost") == ("False", "Failed", "MariaDB not found")
    assert await scene.told(Backup, "early") == ("False", "Failed", "MariaDB not ready")
    await scene.operator.play_ready(SPACE, "other")
    await scene.kube.merge_patch(MariaDB, "other", {"spec": {"suspend": True}}, SPACE)
    await scene.run(3)
    assert await scene.told(Backup, "early") == ("False", "Failed", "MariaDB not ready")
    await scene.restore("eager", mariaDbRef={"name": "other"}, s3=S3)
    await scene.kube.merge_patch(MariaDB, "other", {"spec": {"suspend": False}}, SPACE)
    await scene.run(2)
    assert await scene.told(Backup, "early") == RUNNING


async def test_a_restore_does_not_wait_for_its_mariadb():
    scene = await _scene()
    await scene.kube.merge_patch(MariaDB, "mdb", {"spec": {"suspend": True}}, SPACE)
    await scene.restore(s3=S3)
    await scene.run(2)
    assert await scene.told(Restore, "r1") == RUNNING


async def test_a_failed_job_makes_it_complete(scene):
    scene.pods.fail("dump_fails", times=99)
    await scene.backup(restartPolicy="Never", backoffLimit=1)
    await scene.run(25)
    assert await scene.told(Backup, "b1") == FAILED
    assert scene.bucket.keys == []


async def test_labels_come_to_the_job_and_its_pods_by_inherit_metadata_alone():
    scene = await _scene()
    inherited = {"labels": {"example.com/run": "7"}}
    await scene.backup(metadata={"labels": {"own": "1"}}, inheritMetadata=inherited)
    await scene.run(2)
    job = await scene.job("b1")
    (pod,) = (await scene.kube.list(Pod, SPACE, label_selector="example.com/run=7")).items
    assert job.metadata.labels["example.com/run"] == "7"
    assert "own" not in job.metadata.labels
    assert "own" not in pod.metadata.labels


async def test_a_job_of_its_name_is_taken_for_its_own(scene):
    await scene.backup()
    await scene.run()
    first = await scene.job("b1")
    backup = await scene.get(Backup, "b1")
    await scene.kube.delete(Backup, "b1", SPACE, uid=backup.metadata.uid)
    await scene.backup()
    await scene.operator.step()
    assert await scene.told(Backup, "b1") == SUCCEEDED
    assert (await scene.job("b1")).metadata.owner_references[0].uid == backup.metadata.uid
    await scene.run(2)
    assert await scene.told(Backup, "b1") == RUNNING, "the old Job has gone, so a new one runs"
    assert (await scene.job("b1")).metadata.uid != first.metadata.uid


async def test_a_job_that_is_deleted_is_made_again_and_runs_again():
    scene = await _scene()
    await scene.backup()
    await scene.run()
    await scene.delete(Job, "b1")
    await scene.run(2)
    assert await scene.told(Backup, "b1") == RUNNING
    await scene.run()
    assert len(scene.bucket.keys) == 2


async def test_a_job_is_made_again_even_for_what_is_being_deleted():
    scene = await _scene()
    await scene.backup(metadata={"finalizers": ["example.com/held"]})
    await scene.run()
    await scene.delete(Backup, "b1")
    old = await scene.job("b1")
    await scene.delete(Job, "b1")
    await scene.run(2)
    assert (await scene.job("b1")).metadata.uid != old.metadata.uid


async def test_a_restore_whose_job_is_deleted_is_done_again(scene):
    await scene.backup()
    await scene.run()
    await scene.restore()
    await scene.run()
    scene.server.add("shop", "orders", (3, "new"))
    await scene.delete(Job, "r1")
    await scene.run()
    assert await scene.told(Restore, "r1") == SUCCEEDED
    assert scene.server.rows("shop", "orders") == [(1, "a"), (2, "it's b")]


async def test_a_job_that_is_suspended_loses_its_pods_and_says_so():
    scene = await _scene()
    scene.pods.fail("slow")
    await scene.backup()
    await scene.run(3)
    await scene.kube.merge_patch(Job, "b1", {"spec": {"suspend": True}}, SPACE)
    await scene.run(5)
    assert await scene.told(Backup, "b1") == ("False", "JobSuspended", "Suspended")
    assert (await scene.kube.list(Pod, SPACE)).items == []
    assert scene.bucket.keys == []


async def test_a_name_that_no_job_can_have_ends_nowhere():
    scene = await _scene()
    await scene.backup("x" * 64)
    await scene.restore("y" * 64, s3=S3)
    await scene.run(2)
    assert await scene.told(Backup, "x" * 64) == ("False", "Failed", "Error creating Job")
    assert await scene.told(Restore, "y" * 64) == ("", "", "")


# Schedules and volumes


async def test_a_schedule_becomes_a_cron_job_and_takes_the_success_back():
    scene = await _scene()
    await scene.backup()
    await scene.run()
    await scene.kube.merge_patch(Backup, "b1", {"spec": {"schedule": {"cron": "0 3 * * *"}}}, SPACE)
    await scene.run(2)
    assert await scene.told(Backup, "b1") == ("False", "CronJobScheduled", "Scheduled")
    cron = await scene.get(CronJob, "b1")
    assert (cron.raw["spec"]["schedule"], cron.raw["spec"]["concurrencyPolicy"]) == ("0 3 * * *", "Forbid")


async def test_a_claim_has_the_name_of_its_backup_and_outlives_it():
    scene = await _scene()
    await scene.backup(storage={"persistentVolumeClaim": CLAIM}, compression="bzip2")
    await scene.run()
    assert await scene.told(Backup, "b1") == SUCCEEDED
    claim = await scene.get(PersistentVolumeClaim, "b1")
    assert claim.metadata.owner_references == []
    await scene.delete(Backup, "b1")
    await scene.run(3)
    scene.server.databases["shop"]["orders"] = []
    await scene.restore(volume={"persistentVolumeClaim": {"claimName": "b1"}})
    await scene.run()
    assert await scene.told(Restore, "r1") == SUCCEEDED
    assert scene.server.rows("shop", "orders") == [(1, "a"), (2, "it's b")]


async def test_a_failed_dump_stays_on_its_claim_and_a_restore_takes_it():
    scene = await _scene()
    scene.pods.fail("empty_dump")
    await scene.backup(storage={"persistentVolumeClaim": CLAIM}, compression="none")
    await scene.run()
    scene.server.databases["shop"]["orders"] = []
    await scene.restore()
    await scene.run()
    assert await scene.told(Restore, "r1") == SUCCEEDED
    assert scene.server.rows("shop", "orders") == []


# Restores


async def test_a_restore_ahead_of_its_backup_is_written_without_end():
    scene = await _scene()
    await scene.restore()
    seen: list[str] = []
    for _ in range(3):
        before = (await scene.get(Restore, "r1")).metadata.resource_version
        await scene.operator.step()
        seen += [(await scene.told(Restore, "r1"))[2]]
        assert int((await scene.get(Restore, "r1")).metadata.resource_version) >= int(before) + 2
    assert all("Backup.k8s.mariadb.com" in message and "not found" in message for message in seen)
    await scene.backup()
    await scene.run(2)
    assert "Backup not complete" in (await scene.told(Restore, "r1"))[2]
    await scene.run(18)
    assert await scene.told(Restore, "r1") == SUCCEEDED


async def test_a_restore_of_a_failed_backup_is_accepted(scene):
    scene.pods.fail("push_fails", times=99, job="b1")
    scene.bucket.put("t1/mdb/backup.2026-11-22T00:00:00Z.sql", b"", scene.cluster.now())
    await scene.backup(restartPolicy="Never", backoffLimit=1)
    await scene.run(25)
    await scene.restore()
    await scene.run()
    assert await scene.told(Backup, "b1") == FAILED
    assert await scene.told(Restore, "r1") == SUCCEEDED


async def test_a_restore_of_the_name_of_a_backup_succeeds_without_restoring(scene):
    await scene.backup()
    await scene.run()
    scene.server.databases["shop"]["orders"] = []
    await scene.restore("b1")
    await scene.run(1)
    assert await scene.told(Restore, "b1") == SUCCEEDED
    assert scene.server.rows("shop", "orders") == []


async def test_with_s3_its_backup_is_not_looked_at():
    scene = await _scene()
    await scene.restore(backupRef={"name": "nope"}, s3=S3)
    await scene.run(2)
    assert await scene.told(Restore, "r1") == RUNNING


async def test_without_a_target_time_it_is_the_operators_own_clock_at_each_job():
    scene = await _scene()
    await scene.restore(s3=S3)
    await scene.run(2)
    first = _target_time(await scene.job("r1"))
    await scene.delete(Job, "r1")
    await scene.run(2)
    assert first < _target_time(await scene.job("r1"))


async def test_the_target_time_is_cut_to_seconds_in_utc():
    scene = await _scene()
    await scene.restore(s3=S3, targetRecoveryTime="2026-11-20T12:00:00.9+02:00")
    await scene.run(2)
    assert _target_time(await scene.job("r1")) == "2026-11-20T10:00:00Z"


def _target_time(job: Job) -> str:
    args = job.raw["spec"]["template"]["spec"]["initContainers"][0]["args"]
    return str(args[args.index("--target-time") + 1])


# Physical backups


async def test_a_physical_backup_names_its_job_and_its_file_by_one_stamp():
    scene = await _scene()
    body = {"metadata": {"name": "p1"}, "spec": {"mariaDbRef": {"name": "mdb"}, "storage": {"s3": S3}}}
    await scene.kube.create(PhysicalBackup, body, SPACE)
    await scene.run()
    assert await scene.told(PhysicalBackup, "p1") == SUCCEEDED
    (job,) = (await scene.kube.list(Job, SPACE)).items
    stamp = job.metadata.name.removeprefix("p1-")
    assert scene.bucket.keys == [f"t1/mdb/physicalbackup-{stamp}.xb"]
    await scene.delete(Job, job.metadata.name)
    await scene.run()
    assert len(scene.bucket.keys) == 2


# Webhooks


REFUSED: list[tuple[type[Backup | Restore], dict[str, Any], str]] = [
    (Backup, {"storage": {}}, "exactly one storage type should be provided"),
    (Backup, {"storage": {"s3": S3, "volume": {"emptyDir": {}}}}, "exactly one storage type should be provided"),
    (
        Backup,
        {"storage": {"volume": {"emptyDir": {}}}, "stagingStorage": {"volume": {"emptyDir": {}}}},
        "'spec.stagingStorage' may only be specified when 'spec.storage.s3' is set",
    ),
    (Backup, {"storage": {"s3": S3}, "schedule": {"cron": "x y"}}, "expected exactly 5 fields, found 2: [x y]"),
    (Restore, {}, "invalid restore: unable to determine restore source"),
]


@pytest.mark.parametrize(("kind", "spec", "why"), REFUSED)
async def test_what_the_webhook_refuses(kind: type[Backup | Restore], spec: dict[str, Any], why: str):
    scene = await _scene()
    scene.cluster.webhooks.append(admission)
    body = {"metadata": {"name": "x"}, "spec": {"mariaDbRef": {"name": "mdb"}, **spec}}
    with pytest.raises(Forbidden, match=re.escape(why)) as refused:
        await scene.kube.create(kind, body, SPACE)
    assert f'admission webhook "v{kind.resource.kind.lower()}-v1alpha1.kb.io" denied the request: ' in str(
        refused.value
    )


async def test_what_is_set_once_and_for_all():
    scene = await _scene()
    scene.cluster.webhooks.append(admission)
    await scene.backup()
    await scene.restore(targetRecoveryTime="2026-11-20T10:00:00Z")
    changes: list[tuple[type[Backup | Restore], str, dict[str, Any]]] = [
        (Backup, "b1", {"storage": {"s3": {"prefix": "other"}}}),
        (Restore, "r1", {"targetRecoveryTime": "2026-11-21T10:00:00Z"}),
    ]
    for kind, name, change in changes:
        with pytest.raises(Invalid, match=f"'spec.{next(iter(change))}' field is inmutable"):
            await scene.kube.merge_patch(kind, name, {"spec": change}, SPACE)
    await scene.run(18)
    assert await scene.told(Restore, "r1") == SUCCEEDED, "the operator's own writes pass"


@pytest.mark.parametrize("retention", ["-1h", "1s"])
async def test_a_retention_that_spares_nothing_is_admitted_and_deletes_the_dump_itself(retention):
    scene = await _scene()
    scene.cluster.webhooks.append(admission)
    await scene.backup(maxRetention=retention)
    await scene.run()
    assert await scene.told(Backup, "b1") == SUCCEEDED
    assert scene.bucket.keys == []


async def test_a_retention_in_days_is_none():
    scene = await _scene()
    scene.cluster.webhooks.append(admission)
    with pytest.raises(ApiError, match="invalid duration"):
        await scene.backup(maxRetention="30d")
