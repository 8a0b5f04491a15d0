"""What goes wrong with restores in Cozystack's own controller or in mariadb-operator does not go wrong here."""

from contextlib import suppress
from typing import Any

import anyio
import pytest
from tests.cozydrivers.checks import reason_of
from tests.cozydrivers.mariadb_restores import (
    LATER,
    ROWS,
    assert_nothing_left,
    assert_refused,
    assert_untouched,
    backed_up,
    change,
    dump,
    loaded,
    loads,
    of_the_reference,
    recorded,
    restored,
    rows,
    until,
    until_restoring,
)
from tests.cozydrivers.mariadb_stage import APP, CREDENTIALS, SERVER, STRATEGY, metadata_of
from tests.cozydrivers.stage import TENANT, condition

from cozydrivers.api import mariadb, strategy
from cozydrivers.api.backups import Backup, RestoreJob
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Namespace, Secret
from cozydrivers.errors import NotFound

pytestmark = pytest.mark.anyio
VERSIONS = ["25.10.2", "26.6.0"]
SKIP = {"skipSafetyCopy": True}
RESTORES = f"/apis/k8s.mariadb.com/v1alpha1/namespaces/{TENANT}/restores"


@pytest.mark.parametrize("fault", ["restore_fails_midway", "disk_full"])
async def test_a_restore_whose_job_fails_is_no_success_though_it_is_complete(fault):
    async with backed_up() as stage:
        stage.pods.fail(fault, times=9)
        job = await restored(stage, options=SKIP)
        assert reason_of(job) == ("Failed", "EngineFailed"), job.status.message
        assert condition(job, "TablesRestored").reason == "HalfRestored"
        await assert_nothing_left(stage)


@pytest.mark.parametrize(
    ("change_it", "words"),
    [
        ({"status": {"phase": "Failed"}}, ["is Failed"]),
        (
            {
                "status": {
                    "conditions": [
                        {"type": "Ready", "status": "False", "reason": "ArchiveMissing", "message": "it is gone"}
                    ]
                }
            },
            ["nightly", "ArchiveMissing", "it is gone"],
        ),
    ],
)
async def test_a_backup_that_failed_or_is_lost_is_not_restored(change_it: Any, words):
    async with backed_up() as stage:
        for each in change_it["status"].get("conditions", ()):
            each["lastTransitionTime"] = "2026-11-23T00:00:00Z"
        await stage.kube.merge_patch(Backup, "nightly", change_it, TENANT)
        await assert_refused(stage, await restored(stage), *words)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_named_backup_is_restored_and_not_the_newest(version):
    async with backed_up(version) as stage:
        await stage.backed_up("newer")
        job = await restored(stage, options=SKIP)
        assert (job.status.phase, rows(stage)) == ("Succeeded", ROWS)
        job = await restored(stage, "forward", "newer", options=SKIP)
        assert (job.status.phase, rows(stage)) == ("Succeeded", LATER)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_dump_that_is_nearer_to_some_time_is_not_taken(version):
    async with backed_up(version) as stage:
        record = metadata_of(await stage.made("nightly"))
        ending = record["file"].partition("Z")[2]
        dump(stage, f"{record['prefix']}backup.2026-11-23T00:00:00Z{ending}", (7, "before"))
        dump(stage, f"{record['prefix']}backup.2026-11-23T00:00:02Z{ending}", (8, "after"))
        job = await restored(stage, options=SKIP)
        if job.status.phase == "Succeeded":
            assert rows(stage) == ROWS
        else:
            await assert_refused(stage, job)


async def test_a_dump_is_refused_that_has_a_twin_or_that_one_of_the_releases_does_not_see():
    async with backed_up() as stage:
        record = metadata_of(await stage.made("nightly"))
        plain = f"{record['prefix']}backup.{record['taken-at']}.sql"
        dump(stage, plain, (7, "twin"))
        await assert_refused(stage, await restored(stage, "one"), "same second")
        stage.bucket.remove(plain)
        for ending in (".gzip.sql", ".sql.gz"):
            dump(stage, f"{record['prefix']}backup.2026-11-22T00:00:00Z{ending}", (7, "older"))
        await assert_refused(stage, await restored(stage, "two"), "side by side")


async def test_a_dump_that_is_gone_or_was_replaced_is_refused():
    async with backed_up() as stage:
        [key] = stage.bucket.keys
        content = stage.bucket.content(key)
        stage.bucket.put(key, content + b"more", stage.now())
        await assert_refused(stage, await restored(stage, "other"), key, "bytes now")
        stage.bucket.remove(key)
        await assert_refused(stage, await restored(stage, "gone"), key, "not in the store any more")


async def test_a_passing_trouble_is_not_the_end():
    async with backed_up() as stage:
        stage.cluster.faults.fail(3, status=500, method="POST", path="/restores")
        stage.cluster.faults.fail(3, status=500, method="POST", path="/k8s.mariadb.com/v1alpha1/namespaces")
        job = await restored(stage)
        assert (job.status.phase, rows(stage)) == ("Succeeded", ROWS), job.status.message
        assert len(loads(stage)) == 1


async def test_a_restorejob_that_comes_before_its_backup_waits_for_it():
    async with backed_up() as stage:
        job = await stage.restore("undo", "later", options=SKIP)
        await stage.stands(job, "BackupNotFound")
        await stage.backed_up("later")
        assert (await stage.end_of(job)).status.phase == "Succeeded"


async def test_one_of_the_same_name_adopts_nothing_of_its_predecessor():
    async with backed_up() as stage:
        stage.collects = False
        first = await restored(stage, options={**SKIP, "repeat": "1"})
        await stage.kube.delete(RestoreJob, "undo", TENANT, uid=first.metadata.uid)
        change(stage)
        second = await restored(stage, options={**SKIP, "repeat": "2"})
        assert (second.status.phase, rows(stage)) == ("Succeeded", ROWS)
        assert len(set(loads(stage))) == 2


async def test_an_equal_restorejob_is_not_done_again():
    async with backed_up() as stage:
        first = await restored(stage, options=SKIP)
        await stage.kube.delete(RestoreJob, "undo", TENANT, uid=first.metadata.uid)
        second = await restored(stage, options=SKIP)
        assert reason_of(second) == ("Failed", "Refused")
        assert len(loads(stage)) == 1


async def test_two_restores_and_a_backup_of_one_server_come_one_after_the_other():
    async with backed_up() as stage:
        jobs = [await stage.restore(name, "nightly", options={"repeat": name}) for name in ("one", "two")]
        backup = await stage.backup("between")
        most = 0
        with anyio.move_on_after(200):
            while True:
                at_work = len(await stage.operators()) + len(await stage.operators(mariadb.Restore))
                most = max(most, at_work)
                await anyio.sleep(0.5)
        assert most == 1
        assert [(await stage.end_of(job)).status.phase for job in jobs] == ["Succeeded"] * 2
        assert (await stage.end_of(backup)).status.phase == "Succeeded"


async def test_somebody_elses_restore_at_work_is_waited_for_or_refused():
    async with backed_up() as stage:
        [key] = stage.bucket.keys
        s3 = _s3(await stage.kube.get(strategy.MariaDB, STRATEGY), key.rpartition("/")[0])
        stage.pods.load_seconds = 60
        theirs = {"mariaDbRef": {"name": SERVER}, "s3": s3}
        await stage.kube.create(mariadb.Restore, {"metadata": {"name": "theirs"}, "spec": theirs}, TENANT)
        refused = await restored(stage, "strict", options={"requireIdle": True, **SKIP})
        assert reason_of(refused) == ("Failed", "Refused")
        assert "Restore theirs" in refused.status.message
        job = await stage.stands(await stage.restore("undo", "nightly", options=SKIP), "TargetBusy")
        assert "Restore theirs" in job.status.message
        assert loads(stage) in ([], ["theirs"])
        stage.pods.load_seconds = 6
        assert (await stage.end_of(job)).status.phase == "Succeeded"
        assert next(done.job for done in stage.pods.done if done.what == "loaded") == "theirs"


async def test_a_strategy_that_keeps_dumps_elsewhere_now_is_refused_and_one_that_is_gone_is_waited_for():
    async with backed_up() as stage:
        given = await stage.kube.get(strategy.MariaDB, STRATEGY)
        await stage.template(storage={"s3": {"prefix": "elsewhere/"}})
        await assert_refused(stage, await restored(stage, "moved"), f"{APP}/", "elsewhere/")
        await stage.kube.delete(strategy.MariaDB, STRATEGY, uid=given.metadata.uid)
        job = await stage.stands(await stage.restore("undo", "nightly", options=SKIP), "StrategyNotFound")
        await stage.kube.create(strategy.MariaDB, stage.seed[0])
        assert (await stage.end_of(job)).status.phase == "Succeeded"


async def test_the_credentials_are_the_strategy_s_of_today():
    async with backed_up() as stage:
        found = await stage.kube.get(Secret, CREDENTIALS, TENANT)
        await stage.kube.create(Secret, {"metadata": {"name": "new"}, "data": found.data}, TENANT)
        await stage.kube.delete(Secret, CREDENTIALS, TENANT, uid=found.metadata.uid)
        job = await stage.stands(await stage.restore("undo", "nightly", options=SKIP), "SecretMissing")
        assert CREDENTIALS in job.status.message
        named = {"accessKeyIdSecretKeyRef": {"name": "new"}, "secretAccessKeySecretKeyRef": {"name": "new"}}
        await stage.template(storage={"s3": named})
        assert (await stage.end_of(job)).status.phase == "Succeeded"


TAMPERED = [
    ("prefix", "other/", "is recorded under other/"),
    ("file", "backup.2026-11-23T00:00:09Z.gzip.sql", "not in the store any more"),
    ("file", "../../other/backup.2026-11-23T00:00:01Z.gzip.sql", "no file's name"),
    ("storage", "s3/other/bucket/", "s3/other/bucket/"),
    ("backup-name", "nightly-000000-123456789012-dump", "another namespace"),
    ("backup-name", "anything", "none of this driver's"),
    ("taken-at", "2026-11-22T00:00:00Z", "no dump there is from"),
    ("taken-at", None, "taken-at is missing"),
    ("size", "1", "1 are recorded"),
    ("schema", "2", "reads 1"),
]


async def test_what_a_tenant_writes_into_a_record_leads_nowhere():
    async with backed_up() as stage:
        record = metadata_of(await stage.made("nightly"))
        for number, (key, value, word) in enumerate(TAMPERED):
            await recorded(stage, key, value)
            await assert_refused(stage, await restored(stage, f"undo-{number}"), word)
            await recorded(stage, key, record[key])


@pytest.mark.parametrize("version", VERSIONS)
async def test_nothing_is_left_that_runs_again_when_somebody_deletes_a_job(version):
    async with backed_up(version) as stage:
        job = await restored(stage)
        assert job.status.phase == "Succeeded"
        written = [path for _, path in stage.cluster.requests if path.endswith("/status") and "/restores/" in path]
        assert len(written) <= 5  # a Restore that waits for its Backup is written fourteen times a second
        change(stage)
        for each in await stage.jobs():
            with suppress(NotFound):
                await stage.kube.delete(Job, each.metadata.name, TENANT, uid=each.metadata.uid)
        await anyio.sleep(30)
        assert rows(stage) == LATER
        assert len(loads(stage)) == 1


async def test_a_job_that_is_deleted_while_it_restores_is_not_run_again():
    async with backed_up() as stage:
        job = await stage.restore("undo", "nightly", options=SKIP)
        await until(lambda: bool(loads(stage)))
        [found] = [each for each in await stage.jobs() if "restore" in each.metadata.name]
        await stage.kube.delete(Job, found.metadata.name, TENANT, uid=found.metadata.uid)
        ended = await stage.end_of(job)
        assert reason_of(ended) == ("Failed", "Lost"), ended.status.message
        assert condition(ended, "TablesRestored").reason == "HalfRestored"
        await assert_nothing_left(stage)
        await anyio.sleep(30)
        assert not loaded(stage)


async def test_a_restore_that_is_run_once_more_before_its_object_is_gone_is_no_success():
    async with backed_up() as stage:
        stage.cluster.faults.fail(method="DELETE", path="/restores", status=500, seconds=40)
        job = await stage.restore("undo", "nightly", options=SKIP)
        await until(lambda: bool(loaded(stage)))
        await anyio.sleep(4)
        [found] = [each for each in await stage.jobs() if "restore" in each.metadata.name]
        await stage.kube.delete(Job, found.metadata.name, TENANT, uid=found.metadata.uid)
        ended = await stage.end_of(job)
        assert reason_of(ended) == ("Failed", "Lost"), ended.status.message
        assert condition(ended, "TablesRestored").reason == "HalfRestored"
        await assert_nothing_left(stage)


async def test_a_job_of_another_object_of_its_name_is_no_witness():
    async with backed_up() as stage:
        pass
    job = await stage.restore("undo", "nightly", options=SKIP)
    home = await stage.kube.get(Namespace, TENANT)
    s3 = _s3(await stage.kube.get(strategy.MariaDB, STRATEGY), "theirs")
    name = f"undo-{home.metadata.uid[:6]}-{job.metadata.uid.replace('-', '')[:12]}-restore"
    body = {"metadata": {"name": name}, "spec": {"mariaDbRef": {"name": SERVER}, "storage": {"s3": s3}}}
    await stage.kube.create(mariadb.Backup, body, TENANT)
    async with stage.working():
        with anyio.fail_after(120):
            while True:
                theirs = await stage.kube.get(mariadb.Backup, name, TENANT)
                if (told := theirs.status.condition("Complete")) and told.reason == "JobComplete":
                    break
                await anyio.sleep(1)
        await until_restoring(stage)
        await anyio.sleep(30)
        seen = await stage.restore_job("undo")
        assert (seen.status.phase, rows(stage)) == ("Running", LATER)
        assert "belongs to another object" in seen.status.message
        await stage.kube.delete(mariadb.Backup, name, TENANT, uid=theirs.metadata.uid)
        assert (await stage.end_of(job)).status.phase == "Succeeded"
        assert rows(stage) == ROWS


def _s3(given: strategy.MariaDB, prefix: str) -> dict[str, Any]:
    """The strategy's storage, as somebody else writes it."""
    s3 = given.spec["template"]["storage"]["s3"]
    named = {
        field: {"name": CREDENTIALS, "key": s3[field]["key"]}
        for field in ("accessKeyIdSecretKeyRef", "secretAccessKeySecretKeyRef")
    }
    return {**s3, "prefix": prefix, "tls": None, **named}


# Backups of Cozystack's own controller


async def test_a_backup_that_records_no_dump_is_restored_only_where_that_is_asked_for():
    async with backed_up() as stage:
        dump(stage, f"{APP}/backup.2026-11-20T10:00:00Z.gzip.sql", (5, "older"))
        dump(stage, f"{APP}/backup.2026-11-20T12:00:00Z.gzip.sql", (6, "newer"))
        await of_the_reference(stage, "old", "2026-11-20T10:00:09Z")
        job = await restored(stage, "unasked", "old")
        await assert_refused(stage, job, "backup.2026-11-20T10:00:00Z.gzip.sql", "assumeNearest: true")
        job = await restored(stage, "asked", "old", options={"assumeNearest": True, **SKIP})
        assert (job.status.phase, rows(stage)) == ("Succeeded", [(5, "older")]), job.status.message
        [note] = await stage.events("NearestAssumed")
        assert "backup.2026-11-20T10:00:00Z.gzip.sql" in note


PLAIN = "backup.2026-11-20T10:00:00Z.sql"
UNTOLD: list[tuple[list[str], dict[str, str], str]] = [
    (["backup.2026-11-20T10:00:00Z.gzip.sql", "backup.2026-11-20T09:00:00Z.sql.gz"], {}, "side by side"),
    (["backup.2026-11-20T10:00:00Z.gzip.sql", PLAIN], {}, "same second"),
    (["backup.2026-11-20T10:00:10Z.sql"], {}, "no dump there is from"),
    ([PLAIN], {"storage-uri": "s3://other/shop/old-3-x7k2p"}, "s3://other/shop/"),
    ([PLAIN], {"backup-namespace": "elsewhere"}, "namespace elsewhere"),
]


async def test_what_can_not_be_told_is_not_assumed():
    async with backed_up() as stage:
        for number, (files, metadata, word) in enumerate(UNTOLD):
            for file in files:
                dump(stage, f"{APP}/{file}", (5, "older"))
            await of_the_reference(stage, f"old-{number}", "2026-11-20T10:00:09Z", **metadata)
            job = await restored(stage, f"undo-{number}", f"old-{number}", options={"assumeNearest": True})
            await assert_refused(stage, job, word)
            for file in files:
                stage.bucket.remove(f"{APP}/{file}")


async def test_where_the_store_can_not_be_read_nothing_is_assumed():
    async with backed_up() as stage:
        dump(stage, f"{APP}/backup.2026-11-20T10:00:00Z.sql", (5, "older"))
        await of_the_reference(stage, "old", "2026-11-20T10:00:09Z")
        stage.bucket.fault = "the fake object store is away"
        job = await stage.restore("undo", "old", options={"assumeNearest": True, **SKIP})
        await stage.stands(job, "StoreNotReadable")
        stage.bucket.fault = ""
        assert (await stage.end_of(job)).status.phase == "Succeeded"
        assert rows(stage) == [(5, "older")]


# Between the check and the restore


async def test_what_has_changed_since_the_safety_dump_is_seen():
    async with backed_up() as stage:
        [key] = stage.bucket.keys
        job = await stage.restore("undo", "nightly")
        await until(lambda: any("-safety/" in each for each in stage.bucket.keys))
        stage.bucket.remove(key)
        await assert_untouched(stage, await stage.end_of(job), "Refused", key, "not in the store any more")


async def test_a_server_that_is_suspended_meanwhile_is_waited_for():
    async with backed_up() as stage:
        stage.cluster.faults.fail(method="POST", path="/restores", status=500, seconds=20)
        job = await stage.restore("undo", "nightly", options=SKIP)
        await until(lambda: ("POST", f"{RESTORES}") in stage.cluster.requests)
        await stage.kube.merge_patch(mariadb.MariaDB, SERVER, {"spec": {"suspend": True}}, TENANT)
        await stage.stands(job, "MariaDBSuspended")
        await anyio.sleep(30)
        assert not await stage.operators(mariadb.Restore)
        await stage.kube.merge_patch(mariadb.MariaDB, SERVER, {"spec": {"suspend": False}}, TENANT)
        assert (await stage.end_of(job)).status.phase == "Succeeded"
