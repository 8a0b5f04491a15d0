"""What may happen to a backup of MariaDB: one dump under one name that is whole, or nothing that looks like one."""

import gzip
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from tests.e2e import kube
from tests.e2e.mariadb_objects import RECORD, dump_of, recorded, server_of, told
from tests.e2e.mariadb_scene import BACKUPS, MariaDBScene
from tests.e2e.objects import Manifest, conditions

from cozydrivers.drivers.mariadb.verify import HEAD

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.newest]

BROKEN = "CREATE TABLE gone (id INT); CREATE VIEW sees AS SELECT id FROM gone; DROP TABLE gone"
"""mariadb-dump can't read a view whose table is gone, and ends there."""
ONCE = [("mariadb", 0), ("mariadb-operator", 0)]
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


async def _assert_failed(scene: MariaDBScene, reason: str, *words: str) -> None:
    """The job says why, and nothing is there that looks like a backup, or could run once more."""
    job = await scene.ended("BackupJob", "nightly")
    assert (job["status"]["phase"], conditions(job)["Ready"]) == ("Failed", f"False:{reason}"), job["status"]
    assert all(each in job["status"]["message"] for each in words), job["status"]["message"]
    assert await kube.names(scene.client, "Backup", scene.namespace) == set()
    assert await kube.names(scene.client, BACKUPS, scene.namespace) == set()
    assert await scene.stored() == {}


async def test_a_dump_that_fails_is_no_backup_though_the_operator_calls_it_complete(mariadb: MariaDBScene):
    await mariadb.fill(orders=100)
    await mariadb.sql(BROKEN)
    storage = {"s3": mariadb.storage("by-hand")}
    await mariadb.by_hand("Backup", "by-hand", storage=storage, backoffLimit=1, restartPolicy="Never")
    await mariadb.says(BACKUPS, "by-hand", "JobFailed")
    complete = told(await kube.get(mariadb.client, BACKUPS, mariadb.namespace, "by-hand"), "Complete")
    assert (complete["status"], complete["reason"]) == ("True", "JobFailed")
    await mariadb.forget(BACKUPS, "by-hand")

    await mariadb.begin("nightly")
    await _assert_failed(mariadb, "EngineFailed", "backoff limit", "container mariadb ended with exit code")
    assert [code for _, code in mariadb.ran("dump")] == [mariadb.ran("dump")[0][1]] * 3


async def test_a_great_dump_is_read_to_its_last_line_where_the_class_asks_for_it(mariadb: MariaDBScene):
    await mariadb.fill(orders=120_000)
    listed = await mariadb.back_up("listed")
    await mariadb.strategy(parameters={"verify": "stream"})
    read = await mariadb.back_up("read")
    assert int(recorded(read, "size")) > HEAD
    assert [told(each, "Verified")["reason"] for each in (listed, read)] == ["DumpListed", "DumpComplete"]
    assert (await mariadb.read(dump_of(read))).startswith(b"\x1f\x8b")


async def test_a_job_of_the_same_name_makes_a_dump_of_its_own(mariadb: MariaDBScene):
    await mariadb.fill(orders=100)
    rows = await mariadb.rows()
    first = await mariadb.back_up("nightly")
    await kube.delete(mariadb.client, "BackupJob", mariadb.namespace, "nightly")
    await mariadb.gone("BackupJob", "nightly")
    await mariadb.fill(orders=1)
    second = await mariadb.back_up("nightly")

    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert set(await mariadb.stored()) == {dump_of(first), dump_of(second)}
    assert recorded(first, "prefix") != recorded(second, "prefix")
    assert mariadb.ran("dump") == ONCE * 2
    await mariadb.restored("back", first)
    assert await mariadb.rows() == rows


async def test_a_job_of_the_operator_that_somebody_deletes_is_a_loss_and_not_made_good_by_another(
    mariadb: MariaDBScene,
):
    await mariadb.fill(orders=100)
    async with mariadb.locked("orders"):
        await mariadb.begin("nightly")
        await mariadb.waits("SELECT")
        await _delete_job(mariadb, "dump")
        job = await mariadb.ended("BackupJob", "nightly")
        assert "was deleted by somebody" in job["status"]["message"]
    await _assert_failed(mariadb, "Lost")
    assert mariadb.ran("dump") == []


async def test_a_job_that_is_deleted_in_the_middle_of_its_dump_leaves_nothing(mariadb: MariaDBScene):
    await mariadb.fill(orders=100)
    async with mariadb.locked("orders"):
        await mariadb.begin("nightly")
        await mariadb.waits("SELECT")
        await kube.delete(mariadb.client, "BackupJob", mariadb.namespace, "nightly")
        await mariadb.gone("BackupJob", "nightly")
        assert await kube.names(mariadb.client, BACKUPS, mariadb.namespace) == set()
    assert await mariadb.stored() == {}
    assert await kube.names(mariadb.client, "Backup", mariadb.namespace) == set()


async def test_a_controller_killed_in_the_middle_of_a_dump_adopts_it(mariadb: MariaDBScene):
    await mariadb.fill(orders=100)
    async with mariadb.locked("orders"):
        await mariadb.begin("nightly")
        await mariadb.waits("SELECT")
        before = (await mariadb.job_of("dump"))["metadata"]["uid"]
        await mariadb.controller.kill()
        await mariadb.controller.start()
        await anyio.sleep(3)
        assert (await mariadb.job_of("dump"))["metadata"]["uid"] == before
    backup = await mariadb.backup_of("nightly")
    assert set(await mariadb.stored()) == {dump_of(backup)}
    assert mariadb.ran("dump") == ONCE


async def test_a_server_that_is_suspended_and_a_secret_that_is_missing_are_waited_for(mariadb: MariaDBScene):
    await mariadb.fill(orders=100)
    secret = "shop-mariadb-backup-creds"
    (held,) = [each for each in await kube.listed(mariadb.client, "Secret", mariadb.namespace) if _is(each, secret)]
    await _suspend(mariadb, suspended=True)
    await kube.delete(mariadb.client, "Secret", mariadb.namespace, secret)
    await mariadb.begin("nightly")
    await mariadb.says("BackupJob", "nightly", "is suspended")
    await _suspend(mariadb, suspended=False)
    await mariadb.says("BackupJob", "nightly", f"Secret {mariadb.namespace}/{secret} does not exist")
    assert await mariadb.operators() == set()
    back = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "data": held["data"]}
    await kube.apply(mariadb.client, back, mariadb.namespace)
    backup = await mariadb.backup_of("nightly")
    assert set(await mariadb.stored()) == {dump_of(backup)}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"maxRetention": "-1h"}, "maxRetention must be a duration"),
        ({"endpoint": "http://127.0.0.1:1"}, "endpoint must be host or host:port"),
    ],
)
async def test_what_the_operator_would_take_and_wait_on_for_ever_is_refused(
    mariadb: MariaDBScene, template: Manifest, words: str
):
    s3 = {key: template.pop(key) for key in ("endpoint",) if key in (template := dict(template))}
    await mariadb.strategy(s3=s3, **template)
    await mariadb.begin("nightly")
    await _assert_failed(mariadb, "Refused", words)
    assert mariadb.ran("dump") == []


async def test_a_backup_that_is_deleted_takes_its_own_dump_with_it(mariadb: MariaDBScene):
    await mariadb.strategy(parameters={"deletionPolicy": "Delete"})
    await mariadb.fill(orders=100)
    await mariadb.back_up("monday")
    kept = await mariadb.back_up("tuesday")
    await kube.delete(mariadb.client, "Backup", mariadb.namespace, "monday")
    await mariadb.gone("Backup", "monday")
    assert set(await mariadb.stored()) == {dump_of(kept)}


async def test_what_is_too_old_goes_with_its_dump_and_the_newest_stays_however_old(mariadb: MariaDBScene):
    await mariadb.strategy(parameters={"deletionPolicy": "Delete"}, maxRetention="1h")
    await mariadb.fill(orders=100)
    await mariadb.back_up("monday")
    kept = await mariadb.back_up("tuesday")
    await _age(mariadb, "monday", hours=3)
    await mariadb.gone("Backup", "monday")
    await _age(mariadb, "tuesday", hours=2)
    await anyio.sleep(2)
    assert await kube.names(mariadb.client, "Backup", mariadb.namespace) == {"tuesday"}
    assert set(await mariadb.stored()) == {dump_of(kept)}


async def test_a_dump_on_a_claim_of_its_own_is_restored_from_there(mariadb: MariaDBScene):
    await mariadb.strategy(storage={"persistentVolumeClaim": CLAIM})
    await mariadb.fill(orders=100)
    rows = await mariadb.rows()
    backup = await mariadb.back_up("nightly")
    assert (told(backup, "Verified")["status"], told(backup, "Verified")["reason"]) == ("False", "VolumeEvidence")
    claim = backup["spec"]["driverMetadata"][f"{RECORD}claim"]
    assert claim in await kube.names(mariadb.client, "PersistentVolumeClaim", mariadb.namespace)
    (file,) = [each for each in mariadb.pods.volumes.rglob("backup.*") if claim in str(each)]
    assert gzip.decompress(file.read_bytes()).splitlines()[-1].startswith(b"-- Dump completed")
    await mariadb.sql("DELETE FROM orders")
    await mariadb.restored("back", backup)
    assert await mariadb.rows() == rows


async def _delete_job(scene: MariaDBScene, purpose: str) -> None:
    """Delete a Job of the operator's; returns when the operator has made another."""
    job = await scene.job_of(purpose)
    await kube.delete(scene.client, "Job", scene.namespace, job["metadata"]["name"])


async def _suspend(scene: MariaDBScene, *, suspended: bool) -> None:
    change = {"spec": {"suspend": suspended}}
    await kube.patch(scene.client, "MariaDB.k8s.mariadb.com", scene.namespace, server_of("shop"), change)


async def _age(scene: MariaDBScene, backup: str, *, hours: int) -> None:
    """Have a Backup be taken so long ago."""
    taken_at = f"{datetime.now(UTC) - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
    await kube.patch(scene.client, "Backup", scene.namespace, backup, {"spec": {"takenAt": taken_at}})


def _is(obj: Manifest, name: str) -> bool:
    return bool(obj["metadata"]["name"] == name)
