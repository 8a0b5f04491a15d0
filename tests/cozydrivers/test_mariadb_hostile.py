"""MariaDB where somebody means ill, or changes under way what a run has begun with: no wrong end, no wrong dump."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import anyio
import pytest
from tests.cozydrivers.checks import assert_one_sentence, reason_of
from tests.cozydrivers.mariadb_restores import (
    ROWS,
    assert_nothing_left,
    assert_refused,
    backed_up,
    loads,
    recorded,
    restored,
    rows,
    until,
)
from tests.cozydrivers.mariadb_stage import APP, CREDENTIALS, SERVER, MariaDBStage, metadata_of, staged
from tests.cozydrivers.stage import TENANT, condition

from cozydrivers.api import mariadb
from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import Resource
from cozydrivers.api.core import Namespace
from cozydrivers.testing._status import Failure
from cozydrivers.testing.cluster import Review

pytestmark = pytest.mark.anyio
SKIP = {"skipSafetyCopy": True}
RUN = "cozydrivers.cozystack.io/run"


# What the API server answers


def answering(kind: str, words: str) -> Review:
    """A webhook that answers 403 to whoever creates one of the operator's objects."""

    def review(resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Failure | None:
        theirs = old is None and (resource.group, resource.kind) == ("k8s.mariadb.com", kind)
        return Failure(403, "Forbidden", words) if theirs else None

    return review


WHOLE_SPEC = f"spec: Invalid value: {{{'x' * 2000}}}: "
DENIED = 'admission webhook "vbackup-v1alpha1.kb.io" denied the request: '


@pytest.mark.parametrize("words", ["invalid Backup: not like this", f"{WHOLE_SPEC}invalid Backup: not like this"])
async def test_what_the_operator_s_webhook_refuses_is_refused_in_its_words(words):
    """It answers 403 (25.10.2 and 26.6.0), and quotes the whole spec before it says why."""
    stage = await staged()
    stage.cluster.webhooks.append(answering("Backup", f"{DENIED}{words}"))
    async with stage.working():
        job = await stage.end_of(await stage.backup("nightly"))
    assert reason_of(job) == ("Failed", "Refused"), job.status.message
    assert "denied the request" in job.status.message
    assert_one_sentence(job.status.message, "not like this")


async def test_what_we_are_not_allowed_to_create_is_waited_for():
    stage = await staged()
    stage.cluster.webhooks.append(answering("Backup", 'backups.k8s.mariadb.com is forbidden: User "x" cannot create'))
    async with stage.working():
        job = await stage.stands(await stage.backup("nightly"), "NotAllowed")
        stage.cluster.webhooks.pop()
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


# What passes


@pytest.mark.parametrize("dump_seconds", [10, 180])
async def test_a_server_that_is_not_ready_for_long_ends_no_dump_that_is_at_work(dump_seconds):
    """The operator says `MariaDB not ready` whatever the Job does, and tells its end only later."""
    stage = await staged()
    stage.pods.dump_seconds = dump_seconds
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.at_work(job)
        await stage.operator.play_ready(TENANT, SERVER, ready=False)
        await anyio.sleep(20)
        stage.later += timedelta(minutes=31)
        await anyio.sleep(80)
        await stage.operator.play_ready(TENANT, SERVER)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


# Records


async def test_a_record_without_the_claim_that_its_dump_is_on_is_refused():
    claim = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    async with backed_up(storage={"s3": None, "persistentVolumeClaim": claim}) as stage:
        await recorded(stage, "claim", None)
        await assert_refused(stage, await restored(stage), "claim is missing")


# The strategy is changed


async def test_a_storage_that_is_moved_after_a_dump_that_nobody_saw_is_no_success():
    stage = await staged()
    stage.cluster.faults.fail(9999, method="DELETE", path="/k8s.mariadb.com", status=500)
    async with stage.working():
        job = await stage.backup("nightly")
        await stage.uploaded()
        stage.bucket.fault = "the object store is away"
        await anyio.sleep(400)
        await stage.template(storage={"s3": {"prefix": "elsewhere/"}})
        stage.cluster.faults.clear()
        stage.bucket.fault = ""
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Refused"), job.status.message
    assert_one_sentence(job.status.message, "storage was changed")


@pytest.mark.parametrize("template", [{"storage": {"s3": {"bucket": "Ab"}}}, {"compression": "zstd"}])
async def test_a_strategy_that_becomes_nonsense_ends_no_restore_that_is_at_work(template):
    async with backed_up() as stage:
        job = await stage.restore("undo", "nightly", options=SKIP)
        await until(lambda: bool(loads(stage)))
        await stage.template(**template)
        job = await stage.end_of(job)
        assert (job.status.phase, rows(stage)) == ("Succeeded", ROWS), job.status.message
        await assert_nothing_left(stage)


@pytest.mark.parametrize("options", [{"unknown": 1}, {"requireIdle": "x"}, {"database": "a b"}, {"database": "other"}])
async def test_options_that_become_nonsense_end_no_restore_that_is_at_work(options):
    async with backed_up() as stage:
        job = await stage.restore("undo", "nightly", options=SKIP)
        await until(lambda: bool(loads(stage)))
        await stage.kube.merge_patch(RestoreJob, "undo", {"spec": {"options": options}}, TENANT)
        job = await stage.end_of(job)
        assert (job.status.phase, rows(stage)) == ("Succeeded", ROWS), job.status.message
        await assert_nothing_left(stage)


async def test_another_database_than_was_saved_is_not_restored():
    async with backed_up() as stage:
        stage.server.add("blog", "posts", (1, "kept"))
        job = await stage.restore("undo", "nightly", options={"database": "shop"})
        await until(lambda: any("-safety/" in each for each in stage.bucket.keys))
        await stage.kube.merge_patch(RestoreJob, "undo", {"spec": {"options": {"database": "blog"}}}, TENANT)
        job = await stage.end_of(job)
        assert reason_of(job) == ("Failed", "Refused"), job.status.message
        assert_one_sentence(job.status.message, "spec.options.database is blog now", "shop")
        assert not loads(stage)


# Objects in a run's name


async def forged(
    stage: MariaDBStage, job: BackupJob | RestoreJob, kind: type[mariadb.Backup] | type[mariadb.Restore], **spec: Any
) -> None:
    """What a run would create, in every respect but its spec."""
    home, uid = (await stage.kube.get(Namespace, TENANT)).metadata.uid, job.metadata.uid
    purpose = "dump" if kind is mariadb.Backup else "restore"
    metadata = {
        "name": f"{job.metadata.name}-{home.replace('-', '')[:6]}-{uid.replace('-', '')[:12]}-{purpose}",
        "labels": {RUN: uid},
        "ownerReferences": [
            {
                "apiVersion": job.resource.api_version,
                "kind": job.resource.kind,
                "name": job.metadata.name,
                "uid": uid,
                "controller": True,
            }
        ],
    }
    inherited = {"inheritMetadata": {"labels": {RUN: uid}}, "restartPolicy": "Never"}
    body = {"metadata": metadata, "spec": {"mariaDbRef": {"name": SERVER}, **spec, **inherited}}
    await stage.kube.create(kind, body, TENANT)


def s3(stage: MariaDBStage, prefix: str) -> dict[str, Any]:
    """The strategy's bucket."""
    given = stage.seed[0]["spec"]["template"]["storage"]["s3"]
    fields = ("accessKeyIdSecretKeyRef", "secretAccessKeySecretKeyRef")
    keys = {field: {"name": CREDENTIALS, "key": given[field]["key"]} for field in fields}
    return {**given, **keys, "prefix": prefix, "tls": None}


async def other(stage: MariaDBStage) -> dict[str, str]:
    """Another application's server, and the reference to it."""
    await stage.deploy("other")
    stage.pods.database(TENANT, "mariadb-other").add("shop", "orders", (9, "other"))
    return {"name": "mariadb-other"}


async def test_the_dump_of_another_server_is_no_backup():
    stage = await staged()
    job = await stage.backup("nightly")
    uid, home = job.metadata.uid, (await stage.kube.get(Namespace, TENANT)).metadata.uid
    folder = f"{APP}/nightly-{home.replace('-', '')[:6]}-{uid.replace('-', '')[:12]}-dump/"
    storage = {"s3": s3(stage, folder)}
    await forged(stage, job, mariadb.Backup, mariaDbRef=await other(stage), storage=storage, compression="gzip")
    async with stage.working():
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Refused"), job.status.message
    assert (await stage.kube.list(Backup, TENANT)).items == []


@pytest.mark.parametrize("what", ["server", "dump", "folder", "second", "database"])
async def test_the_restore_of_something_else_is_no_success(what):
    async with backed_up() as stage:
        stage.server.add("blog", "posts", (1, "a"))
        await stage.backed_up("newer")
        right, wrong = metadata_of(await stage.made("nightly")), metadata_of(await stage.made("newer"))
        server = await other(stage)
    job = await stage.restore("undo", "nightly", options=SKIP)
    spec: dict[str, Any] = {"s3": s3(stage, right["prefix"]), "targetRecoveryTime": right["taken-at"]}
    changed: dict[str, dict[str, Any]] = {
        "server": {"mariaDbRef": server},
        "dump": {"s3": s3(stage, wrong["prefix"])},
        "folder": {"s3": s3(stage, f"{APP}/")},
        "second": {"targetRecoveryTime": "2030-01-01T00:00:00Z"},
        "database": {"database": "shop"},
    }
    stage.bucket.put(f"{APP}/{right['file']}", stage.bucket.content(f"{right['prefix']}{right['file']}"), stage.now())
    await forged(stage, job, mariadb.Restore, **spec | changed[what])
    async with stage.working():
        job = await stage.end_of(job)
        assert reason_of(job) == ("Failed", "Refused"), job.status.message
        await assert_nothing_left(stage) if what != "server" else None


async def test_the_restore_that_a_lost_reply_has_left_is_adopted():
    async with backed_up() as stage:
        stage.cluster.faults.lose_reply(method="POST", path="/restores")
        job = await restored(stage)
        assert (job.status.phase, rows(stage)) == ("Succeeded", ROWS), job.status.message
        assert condition(job, "TablesRestored").status == "True"
        assert len(loads(stage)) == 1
