"""What may happen to a restore of MariaDB: what is named comes back, or what is half done is said, with a way back."""

import anyio
import pytest
from tests.e2e import kube
from tests.e2e import mariadb_objects as objects
from tests.e2e.mariadb_objects import dump_of, recorded, told
from tests.e2e.mariadb_scene import BACKUPS, RESTORES, MariaDBScene
from tests.e2e.objects import Manifest, conditions

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.newest]

PAST = "2020-01-01T00:00:00Z"
ONCE = [("mariadb-operator", 0), ("mariadb", 0)]


async def _backed_up(scene: MariaDBScene) -> tuple[Manifest, dict[str, str]]:
    """A Backup, the rows that it holds, and other rows since."""
    await scene.fill(orders=1000, zebras=10)
    rows = dict(await scene.rows())
    backup = await scene.back_up("nightly")
    await scene.fill(orders=5, zebras=1)
    return backup, rows


async def _assert_refused(scene: MariaDBScene, job: str, *words: str) -> None:
    ended = await scene.ended("RestoreJob", job)
    assert (ended["status"]["phase"], conditions(ended)["Ready"]) == ("Failed", "False:Refused"), ended["status"]
    assert all(each in ended["status"]["message"] for each in words), ended["status"]["message"]


async def test_what_cannot_be_done_is_refused_before_anything_is_touched(mariadb: MariaDBScene):
    backup, _ = await _backed_up(mariadb)
    rows, stored = await mariadb.rows(), await mariadb.stored()
    asked = {"unknown": ({"datbase": "shop"}, "datbase"), "late": ({"notAfter": PAST}, "notAfter")}
    for name, (options, words) in asked.items():
        await mariadb.submit(objects.restore_job(name, backup["metadata"]["name"], **options))
        await _assert_refused(mariadb, name, words)
    job = await mariadb.restored("dry", backup, dryRun=True)
    assert "a dry run, nothing was done" in job["status"]["message"]
    assert await mariadb.stored() == stored
    await mariadb.s3.delete(dump_of(backup))
    await mariadb.submit(objects.restore_job("lost", backup["metadata"]["name"]))
    await _assert_refused(mariadb, "lost", "is not in the store any more")
    assert await mariadb.rows() == rows
    assert await mariadb.stored() == {}
    assert [mariadb.ran(purpose) for purpose in ("safety", "restore")] == [[], []]


async def test_a_restore_that_fails_midway_says_so_and_the_safety_dump_brings_everything_back(mariadb: MariaDBScene):
    backup, rows = await _backed_up(mariadb)
    await mariadb.sql("DROP TABLE zebras; CREATE VIEW zebras AS SELECT 1 AS id")  # which stops the client
    before = await mariadb.rows()
    job = await mariadb.restore("back", backup)
    assert conditions(job)["Ready"] == "False:EngineFailed"
    assert told(job, "TablesRestored")["reason"] == "HalfRestored"
    assert "cozydrivers import" in job["status"]["message"]
    assert (await mariadb.rows())["orders"] == rows["orders"]

    code, imported = await mariadb.typed("import", "MariaDB/shop", f"--class={mariadb.name}", "--yes")
    assert (code, sorted(each["action"] for each in imported)) == (0, ["imported", "skipped"])
    found = await kube.listed(mariadb.client, "Backup", mariadb.namespace)
    (safety,) = [each for each in found if recorded(each, "backup-name").endswith("-safety")]
    await mariadb.restored("way-back", safety)
    assert await mariadb.rows() == before
    assert await mariadb.server.query("SELECT * FROM shop.zebras") == "1"


async def test_a_job_of_the_operator_that_somebody_deletes_is_not_run_to_a_success(mariadb: MariaDBScene):
    backup, rows = await _backed_up(mariadb)
    async with mariadb.locked("zebras", "READ"):
        await mariadb.submit(objects.restore_job("back", backup["metadata"]["name"]))
        await mariadb.waits("DROP TABLE")
        name = (await mariadb.job_of("restore"))["metadata"]["name"]
        await kube.delete(mariadb.client, "Job", mariadb.namespace, name)
        job = await mariadb.ended("RestoreJob", "back")
        assert conditions(job)["Ready"] == "False:Lost", job["status"]
        assert told(job, "TablesRestored")["reason"] == "HalfRestored"
        assert await mariadb.operators() == set()
    assert (await mariadb.rows())["orders"] == rows["orders"]
    assert ("mariadb", 0) not in mariadb.ran("restore")


async def test_after_its_end_nothing_is_left_that_runs_again(mariadb: MariaDBScene):
    backup, rows = await _backed_up(mariadb)
    await mariadb.restored("back", backup)
    assert await kube.names(mariadb.client, RESTORES, mariadb.namespace) == set()
    assert await kube.names(mariadb.client, BACKUPS, mariadb.namespace) == set()
    for name in await kube.names(mariadb.client, "Job", mariadb.namespace):  # if the garbage collector has left one
        await kube.delete(mariadb.client, "Job", mariadb.namespace, name)
    await mariadb.fill(orders=2)
    written = await mariadb.rows()
    await anyio.sleep(3)
    assert await mariadb.rows() == written != rows
    assert mariadb.ran("restore") == ONCE


async def test_a_controller_killed_in_the_middle_of_a_restore_adopts_it(mariadb: MariaDBScene):
    backup, rows = await _backed_up(mariadb)
    async with mariadb.locked("zebras", "READ"):
        await mariadb.submit(objects.restore_job("back", backup["metadata"]["name"]))
        await mariadb.waits("DROP TABLE")
        before = (await mariadb.job_of("restore"))["metadata"]["uid"]
        await mariadb.controller.kill()
        await mariadb.controller.start()
        await anyio.sleep(3)
        assert (await mariadb.job_of("restore"))["metadata"]["uid"] == before
    job = await mariadb.ended("RestoreJob", "back")
    assert job["status"]["phase"] == "Succeeded", job["status"]
    assert await mariadb.rows() == rows
    assert mariadb.ran("restore") == ONCE


async def test_somebody_at_work_on_the_target_is_waited_for_or_refused(mariadb: MariaDBScene):
    backup, rows = await _backed_up(mariadb)
    async with mariadb.locked("orders"):
        await mariadb.by_hand("Backup", "by-hand", storage={"s3": mariadb.storage("by-hand")})
        await mariadb.waits("SELECT")
        await mariadb.submit(objects.restore_job("at-once", backup["metadata"]["name"], requireIdle=True))
        await _assert_refused(mariadb, "at-once", "Backup by-hand", "is at work", "requireIdle")
        await mariadb.submit(objects.restore_job("later", backup["metadata"]["name"]))
        await mariadb.says("RestoreJob", "later", "Backup by-hand")
        assert mariadb.ran("safety") == []
    job = await mariadb.ended("RestoreJob", "later")
    assert job["status"]["phase"] == "Succeeded", job["status"]
    assert await mariadb.rows() == rows
    await mariadb.forget(BACKUPS, "by-hand")


async def test_a_backup_of_cozystack_s_own_controller_is_restored_only_if_one_may_assume_it(mariadb: MariaDBScene):
    await mariadb.fill(orders=1000)
    rows = await mariadb.rows()
    storage = {"s3": mariadb.storage(mariadb.prefix)}
    await mariadb.by_hand("Backup", "nightly-x7k2p", storage=storage, compression="gzip", databases=["shop"])
    await mariadb.says(BACKUPS, "nightly-x7k2p", "JobComplete")
    theirs = await kube.get(mariadb.client, "Job", mariadb.namespace, "nightly-x7k2p")
    uri = f"s3://{mariadb.s3.bucket}/{mariadb.prefix}"
    backup = objects.reference_backup("nightly", "nightly-x7k2p", theirs["status"]["completionTime"], mariadb.name, uri)
    await mariadb.submit(backup)
    await mariadb.forget(BACKUPS, "nightly-x7k2p")
    (key,) = await mariadb.stored()
    await mariadb.fill(orders=5)

    await mariadb.submit(objects.restore_job("named", "nightly"))
    await _assert_refused(mariadb, "named", "records no dump", key, "assumeNearest")
    await mariadb.restored("assumed", backup, assumeNearest=True)
    assert await mariadb.rows() == rows


async def test_status_shows_what_there_is_and_what_somebody_has_left_that_runs_again(mariadb: MariaDBScene):
    backup, rows = await _backed_up(mariadb)
    source = {"s3": mariadb.storage(recorded(backup, "prefix"))}
    await mariadb.by_hand("Restore", "undo", **source, targetRecoveryTime=recorded(backup, "taken-at"))
    await mariadb.says(RESTORES, "undo", "JobComplete")
    assert await mariadb.rows() == rows
    code, (found,) = await mariadb.typed("status", "MariaDB/shop")
    assert (code, found["sound"], found["problems"]) == (0, True, []), found
    assert [each["backup"] for each in found["good"]] == ["nightly"]
    (replay,) = found["replays"]
    assert (replay["name"], "over the live data" in replay["reason"]) == ("Restore undo", True)
    await mariadb.forget(RESTORES, "undo")
