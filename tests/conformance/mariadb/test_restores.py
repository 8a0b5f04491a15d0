"""What a Restore restores: from where, to which time, and what it does not look at."""

from typing import Any

import pytest
from tests.conformance.mariadb.rig import FOLDER, Backup, Job, Restore, Rig, after, arguments, bucket, container, script

TIME = "2026-08-21T10:00:00Z"


async def test_it_is_filled_in(rig: Rig):
    await rig.mariadb()
    await rig.restore(**FOLDER)
    spec = (await rig.get(Restore, "r"))["spec"]
    assert spec == {
        **FOLDER,
        "mariaDbRef": {"name": "db", "waitForIt": True},
        "backoffLimit": 5,
        "logLevel": "info",
        "restartPolicy": "OnFailure",
        "serviceAccountName": "r",
    }


async def test_its_limits_and_labels_are_given_on(rig: Rig):
    await rig.mariadb()
    labels = {"labels": {"example.com/run": "1"}}
    made = await rig.restore(**FOLDER, backoffLimit=1, restartPolicy="Never", inheritMetadata=labels)
    job = await rig.job("r")
    assert (job["spec"]["backoffLimit"], job["spec"]["template"]["spec"]["restartPolicy"]) == (1, "Never")
    assert job["metadata"]["labels"]["example.com/run"] == "1"
    assert job["spec"]["template"]["metadata"]["labels"]["example.com/run"] == "1"
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Restore", made.metadata.uid, True)


async def test_from_a_bucket(rig: Rig):
    await rig.mariadb()
    await rig.restore(s3=bucket(region="us-east-1", prefix="tenant/db/run/"), targetRecoveryTime=TIME)
    job = await rig.job("r")
    assert arguments(job) == [
        *("backup", "restore", "--path", "/backup", "--target-time", TIME),
        *("--target-file-path", "/backup/0-backup-target.txt", "--backup-content-type", "Logical"),
        *("--log-level", "info", "--s3", "--s3-bucket", "dumps", "--s3-endpoint", "s3.example.com:9000"),
        *("--s3-region", "us-east-1", "--s3-prefix", "tenant/db/run/"),
    ]
    assert [each["name"] for each in job["spec"]["template"]["spec"]["initContainers"]] == ["mariadb-operator"]
    host = f"--host=db.{rig.namespace}.svc.cluster.local --port=3306"
    account = "--user=${MARIADB_OPERATOR_USER} --password=${MARIADB_OPERATOR_PASSWORD}"
    assert script(job).rpartition(";")[2] == f"mariadb {account} {host}  < $(cat '/backup/0-backup-target.txt')"


@pytest.mark.parametrize(
    "source", [FOLDER, {"volume": {"persistentVolumeClaim": {"claimName": "b"}}}], ids=["folder", "claim"]
)
async def test_from_a_volume(rig: Rig, source: dict[str, Any]):
    await rig.mariadb()
    await rig.restore(**source, targetRecoveryTime=TIME)
    job = await rig.job("r")
    assert job["spec"]["template"]["spec"]["volumes"] == [{"name": "backup", **source["volume"]}]
    assert "--s3" not in arguments(job)
    assert container(job, "mariadb")["volumeMounts"] == [{"name": "backup", "mountPath": "/backup"}]


@pytest.mark.parametrize(
    ("given", "told"),
    [("2026-08-21T12:00:00+02:00", TIME), ("2026-08-21T10:00:00.9Z", TIME), ("2099-01-01T00:00:00Z",) * 2],
)
async def test_the_time_is_told_to_the_second_and_in_utc(rig: Rig, given: str, told: str):
    await rig.mariadb()
    await rig.restore(**FOLDER, targetRecoveryTime=given)
    assert after(arguments(await rig.job("r")), "--target-time") == told


async def test_one_database(rig: Rig):
    await rig.mariadb()
    await rig.restore(**FOLDER, database="shop")
    assert "--port=3306 --one-database shop <" in script(await rig.job("r"))


async def test_of_a_backup_it_takes_the_storage_alone(rig: Rig):
    await rig.mariadb()
    await rig.backup(storage={"s3": bucket(prefix="x/")}, compression="gzip")
    await rig.end("b")
    await rig.restore(backupRef={"name": "b"})
    spec = (await rig.get(Restore, "r"))["spec"]
    assert spec["s3"] == bucket(prefix="x/", region="")
    assert spec["volume"] == {"emptyDir": {}}
    assert "targetRecoveryTime" not in spec
    assert after(arguments(await rig.job("r")), "--s3-prefix") == "x/"


async def test_a_failed_backup_is_restored_too(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    await rig.end("b", failed=True)
    await rig.restore(backupRef={"name": "b"})
    assert (await rig.complete(Restore, "r"))[1] == "JobRunning"


async def test_a_bucket_goes_before_a_backup_that_is_not_even_there(rig: Rig):
    await rig.mariadb()
    await rig.restore(backupRef={"name": "missing"}, s3=bucket())
    assert (await rig.complete(Restore, "r"))[1] == "JobRunning"


@pytest.mark.parametrize("exists", [True, False])
async def test_a_backup_that_is_not_complete_is_waited_for(rig: Rig, exists: bool):
    await rig.mariadb()
    if exists:
        await rig.backup()
    await rig.restore(backupRef={"name": "b"})
    status, reason, message = await rig.complete(Restore, "r")
    assert (status, reason) == ("False", "Failed")
    assert ("Backup not complete" if exists else "not found") in message
    assert await rig.find(Job, "r") is None


async def test_a_backup_that_completes_starts_it(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    await rig.restore(backupRef={"name": "b"})
    await rig.end("b")
    assert (await rig.complete(Backup, "b"))[1] == "JobComplete"
    assert await rig.find(Job, "r")
