"""The Job that a Backup becomes: its name, owner, labels and limits, and what it will run."""

from typing import Any

import pytest
from tests.conformance.mariadb.rig import Backup, Claim, Job, Rig, after, arguments, bucket, container, script

STAMP = "backup.$(date -u +'%Y-%m-%dT%H:%M:%SZ')"


async def test_it_has_the_name_of_the_backup_and_is_owned_by_it(rig: Rig):
    await rig.mariadb()
    made = await rig.backup("nightly-0a1b2c-0123456789ab-a1")
    (owner,) = (await rig.job("nightly-0a1b2c-0123456789ab-a1"))["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "k8s.mariadb.com/v1alpha1",
        "kind": "Backup",
        "name": "nightly-0a1b2c-0123456789ab-a1",
        "uid": made.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


async def test_a_backup_is_filled_in(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    spec = (await rig.get(Backup, "b"))["spec"]
    del spec["storage"]
    assert spec == {
        "mariaDbRef": {"name": "db", "waitForIt": True},
        "backoffLimit": 5,
        "compression": "none",
        "ignoreGlobalPriv": False,
        "logLevel": "info",
        "maxRetention": "720h0m0s",
        "restartPolicy": "OnFailure",
        "serviceAccountName": "b",
    }


async def test_what_it_was_given_stays(rig: Rig):
    await rig.mariadb()
    given: dict[str, Any] = {
        "backoffLimit": 2,
        "compression": "gzip",
        "ignoreGlobalPriv": True,
        "logLevel": "debug",
        "maxRetention": "876000h",
        "restartPolicy": "Never",
        "inheritMetadata": {"labels": {"example.com/run": "1"}},
    }
    await rig.backup(**given)
    spec = (await rig.get(Backup, "b"))["spec"]
    assert {key: spec[key] for key in given} == given


async def test_its_limits_are_those_of_the_backup(rig: Rig):
    await rig.mariadb()
    await rig.backup(backoffLimit=2, restartPolicy="Never")
    spec = (await rig.job())["spec"]
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (2, "Never")
    assert "activeDeadlineSeconds" not in spec
    assert "ttlSecondsAfterFinished" not in spec


async def test_a_limit_of_0_becomes_5(rig: Rig):
    await rig.mariadb()
    await rig.backup(backoffLimit=0)
    assert (await rig.get(Backup, "b"))["spec"]["backoffLimit"] == 5
    assert (await rig.job())["spec"]["backoffLimit"] == 5


async def test_inherited_labels_and_annotations_are_on_the_job_and_its_pods(rig: Rig):
    await rig.mariadb()
    inherited = {"labels": {"example.com/run": "1"}, "annotations": {"example.com/app": "shop"}}
    await rig.backup(inheritMetadata=inherited)
    job = await rig.job()
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert metadata["labels"]["example.com/run"] == "1"
        assert metadata["annotations"] == {"example.com/app": "shop"}
    uid = job["metadata"]["uid"]
    assert job["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == uid
    assert "batch.kubernetes.io/controller-uid" not in job["metadata"]["labels"]


async def test_labels_of_the_backup_itself_are_not(rig: Rig):
    await rig.mariadb()
    await rig.backup(metadata={"labels": {"example.com/run": "1"}})
    job = await rig.job()
    assert "example.com/run" not in job["metadata"]["labels"]
    assert "example.com/run" not in job["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize(
    ("compression", "old", "new"),
    [("none", ".sql", ".sql"), ("gzip", ".gzip.sql", ".sql.gz"), ("bzip2", ".bzip2.sql", ".sql.bz2")],
)
async def test_the_dump_is_named_by_the_second_in_which_it_begins(rig: Rig, compression: str, old: str, new: str):
    await rig.mariadb()
    await rig.backup(compression=compression)
    job = await rig.job()
    assert f"export BACKUP_FILE=/backup/{STAMP}{old if rig.old else new};" in script(job)
    assert after(arguments(job), "--compression") == compression


async def test_it_dumps_all_databases(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    dump = script(await rig.job()).rpartition(";")[2]
    host = f"--host=db.{rig.namespace}.svc.cluster.local --port=3306"
    account = "--user=${MARIADB_OPERATOR_USER} --password=${MARIADB_OPERATOR_PASSWORD}"
    options = "--single-transaction --events --routines --all-databases"
    assert dump == f"mariadb-dump {account} {host} {options} > $(cat '/backup/0-backup-target.txt')"


async def test_it_dumps_named_databases_without_accounts(rig: Rig):
    await rig.mariadb()
    await rig.backup(databases=["shop", "blog"], ignoreGlobalPriv=True)
    dump = script(await rig.job()).rpartition(";")[2]
    assert "--routines --databases shop blog --ignore-table=mysql.global_priv >" in dump


async def test_its_account_is_root_with_the_password_of_the_mariadb(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    assert container(await rig.job(), "mariadb")["env"] == [
        {"name": "MARIADB_OPERATOR_USER", "value": "root"},
        {
            "name": "MARIADB_OPERATOR_PASSWORD",
            "valueFrom": {"secretKeyRef": {"name": "root", "key": "password"}},
        },
    ]


async def test_it_pushes_to_a_bucket_whatever_is_wrong_with_it(rig: Rig):
    """No Secret is there, and the endpoint has a scheme."""
    await rig.mariadb()
    store = bucket(endpoint="http://s3.example.com", region="us-east-1", prefix="tenant/db/run/")
    await rig.backup(storage={"s3": store}, maxRetention="876000h", compression="gzip")
    job = await rig.job()
    assert arguments(job) == [
        *("backup", "--path", "/backup", "--target-file-path", "/backup/0-backup-target.txt"),
        *("--backup-content-type", "Logical", "--max-retention", "876000h0m0s", "--compression", "gzip"),
        *("--log-level", "info", "--s3", "--s3-bucket", "dumps", "--s3-endpoint", "http://s3.example.com"),
        *("--s3-region", "us-east-1", "--s3-prefix", "tenant/db/run/"),
    ]
    assert container(job, "mariadb-operator")["env"] == [
        {"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "id"}}},
        {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "key"}}},
    ]
    assert job["spec"]["template"]["spec"]["volumes"] == [{"name": "backup", "emptyDir": {}}]
    assert (await rig.complete(Backup, "b"))[1] == "JobRunning"


async def test_it_trusts_the_authority_of_the_bucket(rig: Rig):
    await rig.mariadb()
    tls = {"enabled": True, "caSecretKeyRef": {"name": "ca", "key": "ca.crt"}}
    await rig.backup(storage={"s3": bucket(tls=tls)})
    job = await rig.job()
    path = after(arguments(job), "--s3-ca-cert-path")
    assert "--s3-tls" in arguments(job)
    mounts = {each["mountPath"]: each["name"] for each in container(job, "mariadb-operator")["volumeMounts"]}
    volumes = {each["name"]: each for each in job["spec"]["template"]["spec"]["volumes"]}
    folder, _, file = path.rpartition("/")
    assert (volumes[mounts[folder]]["secret"]["secretName"], file) == ("ca", "ca.crt")


async def test_a_claim_has_the_name_of_the_backup_and_no_owner(rig: Rig):
    await rig.mariadb()
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await rig.backup(storage={"persistentVolumeClaim": claim})
    made = await rig.get(Claim, "b")
    assert "ownerReferences" not in made["metadata"]
    (volume,) = (await rig.job())["spec"]["template"]["spec"]["volumes"]
    assert volume == {"name": "backup", "persistentVolumeClaim": {"claimName": "b"}}
    await rig.delete(Backup, "b")
    assert await rig.find(Claim, "b")


async def test_a_claim_that_is_there_already_is_used(rig: Rig):
    await rig.mariadb()
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    theirs = await rig.kube.create(Claim, {"metadata": {"name": "b"}, "spec": claim}, rig.namespace)
    await rig.backup(storage={"persistentVolumeClaim": claim})
    assert (await rig.get(Claim, "b"))["metadata"]["uid"] == theirs.metadata.uid
    assert await rig.find(Job, "b")


async def test_a_volume_is_the_pods_own(rig: Rig):
    await rig.mariadb()
    await rig.backup()
    (volume,) = (await rig.job())["spec"]["template"]["spec"]["volumes"]
    assert volume == {"name": "backup", "hostPath": {"path": "/dumps", "type": "Directory"}}
    assert "--s3" not in arguments(await rig.job())


async def test_a_name_of_64_characters_makes_no_job(rig: Rig):
    await rig.mariadb()
    await rig.backup("b" * 64)
    assert await rig.find(Job, "b" * 64) is None
    assert await rig.complete(Backup, "b" * 64) == ("False", "Failed", "Error creating Job")
