"""A restore in place: the tables of the archive are replaced, after everything is here and a copy of them is kept."""

import json
from datetime import timedelta

import anyio
import pytest
from tests.cozydrivers.backups import archive_of
from tests.cozydrivers.checks import TABLE, assert_refused, authorization, forget, reason_of, rows, slow
from tests.cozydrivers.fate import Fate, FatedNetwork, fated_kube
from tests.cozydrivers.restores import back_up, in_use, notes, requests, restored, safety_copies
from tests.cozydrivers.stage import condition

from cozydrivers import ClickHouseDriver, Manager

pytestmark = pytest.mark.anyio


async def test_tables_are_replaced_and_can_be_brought_back(caplog):
    stage = await in_use()
    stage.app.sidecar(0).tables.add_table("shop.younger", 3)
    job = await restored(stage)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]
    assert stage.app.sidecar(0).tables.count("shop.younger") == 3
    lines = [json.loads(each.message) for each in caplog.records if each.name == "cozydrivers.audit"]
    overwrites = [(line["action"], line["outcome"], line["name"]) for line in lines]
    assert overwrites == [("overwrite", outcome, "undo") for outcome in ("about to", "about to", "done", "done")]
    assert {line["archive"] for line in lines} == stage.archives()
    (copy,) = safety_copies(stage)
    told = condition(job, "SafetyCopy")
    assert f"POST /backup/restore/{copy}" in told.message
    assert "MergeTree" in told.message
    for shard in (0, 1):
        asked = await stage.app.sidecar(shard).handle("POST", f"/backup/restore/{copy}", "", authorization(), b"")
        assert asked[0] == 200
    await anyio.sleep(5)
    assert rows(stage) == [107, 108]


async def test_what_will_be_replaced_is_told_before_and_after():
    stage = await in_use()
    stage.app.sidecar(1).tables.drop(TABLE)
    job = await restored(stage)
    found = condition(job, "TargetChecked")
    assert found.reason == "TablesToReplace"
    assert f"shard 0 replica 0: to be replaced: {TABLE} (" in found.message
    assert "shard 1 replica 0: 1 of cozy-" in found.message
    (note,) = await notes(stage, "TablesToReplace")
    assert "bytes" in note
    assert "shard 1" not in note
    assert "shard 1 replica 0: 1 tables of" in condition(job, "TablesRestored").message
    assert len(safety_copies(stage)) == len(requests(stage, "create?")) == 1


async def test_nothing_is_changed_before_all_is_here_and_copied():
    stage = await in_use()
    stage.app.sidecar(1).duration.download = 20
    stage.app.sidecar(0).duration.create = 20
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        await anyio.sleep(18)
        assert requests(stage, "create?") == []
        await anyio.sleep(12)
        assert len(requests(stage, "create?")) == 2
        assert requests(stage, "restore/") == []
        assert rows(stage) == [107, 108]
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_without_a_copy_that_is_told():
    stage = await in_use(shards=1)
    job = await restored(stage, options={"skipSafetyCopy": True})
    assert job.status.phase == "Succeeded", job.status.message
    assert (condition(job, "SafetyCopy").status, condition(job, "SafetyCopy").reason) == ("False", "Skipped")
    assert rows(stage) == [100]
    assert stage.local_copies() == set()


async def test_a_copy_is_kept_for_a_day_and_deleted_by_the_next_job():
    stage = await in_use(shards=1)
    await restored(stage)
    (copy,) = safety_copies(stage)
    stage.later += timedelta(hours=23)
    await restored(stage, "look", options={"repeat": "now"})
    assert copy in safety_copies(stage)
    stage.later += timedelta(hours=2)
    await back_up(stage, "third")
    assert copy not in safety_copies(stage)
    assert len(safety_copies(stage)) == 1


async def test_a_table_without_rows_in_the_archive_is_left_as_it_is():
    stage = await in_use(shards=1)
    stage.app.sidecar(0).tables.add_table("shop.log", 4, engine="Log")
    await back_up(stage, "second")
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "second"))
    assert job.status.phase == "Succeeded", job.status.message
    assert stage.app.sidecar(0).tables.count("shop.log") == 4
    assert "shop.log: only its schema is in the archive" in condition(job, "TablesRestored").message
    assert any("shop.log" in note for note in await notes(stage, "TablesLeftOut"))


async def test_a_table_that_was_not_there_when_it_was_checked_is_not_replaced():
    stage = await in_use()
    stage.app.sidecar(1).tables.drop(TABLE)
    slow(stage, 5)
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        stage.app.sidecar(1).tables.add_table(TABLE, 9)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Refused")
    assert "TargetChecked" in job.status.message
    assert rows(stage) == [107, 9]


async def test_a_shorter_list_of_tables_is_an_outage():
    stage = await in_use(shards=1)
    slow(stage, 5)
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        stage.app.sidecar(0).tables.drop(TABLE)
        await stage.stands(job, "TablesNotListed")
        stage.app.sidecar(0).tables.add_table(TABLE, 11)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_sidecar_that_deletes_local_archives_by_itself_is_refused():
    stage = await in_use(shards=1)
    async with stage.managed():
        for name, keep in (("one", "1"), ("none", "-1")):
            stage.app.sidecar(0).configure(BACKUPS_TO_KEEP_LOCAL=keep)
            job = await stage.end_of(await stage.restore(name, "nightly"))
            assert_refused(stage, job, f"BACKUPS_TO_KEEP_LOCAL is {keep}", "set it to 0")


async def test_a_failure_in_the_middle_says_what_is_half_restored_and_how_to_go_back():
    stage = await in_use()
    stage.app.sidecar(0).duration.restore = 1
    stage.app.sidecar(1).duration.restore = 60
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        await anyio.sleep(20)
        await stage.app.sidecar(1).handle("GET", "/backup/kill", "", authorization(), b"")
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Cancelled")
    (copy,) = safety_copies(stage)
    assert f"POST /backup/restore/{copy}" in job.status.message
    told = condition(job, "TablesRestored")
    assert (told.status, told.reason) == ("False", "HalfRestored")
    assert "shard 0 replica 0: restored" in told.message
    assert "shard 1 replica 0: begun" in told.message
    assert stage.local_copies() == {copy}


async def test_a_copy_that_fails_ends_the_restore_untouched():
    stage = await in_use()
    for sidecar in stage.app.sidecars.values():
        sidecar.duration.create = 30
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        await anyio.sleep(10)
        await stage.app.sidecar(1).handle("GET", "/backup/kill", "", authorization(), b"")
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Cancelled")
    assert rows(stage) == [107, 108]
    assert requests(stage, "restore/") == []
    assert stage.local_copies() == set()


async def test_a_good_local_copy_that_is_there_is_taken():
    stage = await in_use()
    name = next(name for name in stage.archives() if "s0of2" in name)
    async with stage.app.sidecar(0).client() as client:
        await (await client.download(name)).wait()
    forget(stage)
    job = await restored(stage)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]
    assert len(requests(stage, "download/")) == 1


async def test_a_partial_local_copy_of_the_same_size_is_not_taken():
    stage = await in_use(shards=1)
    stage.app.sidecar(0).tables.add_table("shop.items", 0)
    await back_up(stage, "second")
    name = await archive_of(stage, "second")
    async with stage.app.sidecar(0).client() as client:
        await (await client.download(name, tables="shop.o*")).wait()
    forget(stage)
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "second"))
    assert job.status.phase == "Succeeded", job.status.message
    assert len(requests(stage, "download/")) == 1


async def test_a_sidecar_that_dies_with_the_reply_in_the_middle_of_a_restore_is_no_end():
    """Neither reply nor history tell that it had begun; its tables are the job's to replace until it ends."""
    stage = await in_use(shards=1)
    sidecar = stage.app.sidecar(0)
    sidecar.duration.restore = 30
    sidecar.faults.lose_reply(path="/backup/restore/")
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        while not requests(stage, "restore/"):  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.01)
        assert TABLE not in sidecar.tables
        sidecar.kill_process()
        sidecar.start_process()
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100]
    assert len(requests(stage, "restore/")) == 2


async def test_what_others_make_while_a_lost_request_is_looked_for_is_not_replaced():
    stage = await in_use(shards=1)
    stage.app.sidecar(0).tables.drop(TABLE)
    stage.app.sidecar(0).faults.lose_reply(after_work=False, path="/backup/restore/")
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "LookingForSubmission")
        await anyio.sleep(10)
        stage.app.sidecar(0).tables.add_table(TABLE, 3)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Refused")
    assert rows(stage) == [3]


# Accidents at the writes that copy and replace

INTENDS_COPIES, COPIES, INTENDS_RESTORES, RESTORES, FOLLOWS = 11, 12, 18, 19, 21
ACCIDENTS = {
    "death before the first copy": (INTENDS_COPIES, True),
    "death after the first copy is sent": (COPIES, True),
    "a copy's reply is lost": (COPIES + 1, False),
    "death before the first restore": (INTENDS_RESTORES, True),
    "death after the first restore is sent": (RESTORES, True),
    "a restore's reply is lost": (RESTORES + 1, False),
    "death while it restores": (FOLLOWS, True),
}


@pytest.mark.parametrize(("number", "dies"), ACCIDENTS.values(), ids=ACCIDENTS.keys())
async def test_a_replacing_restore_survives_an_accident(number, dies):
    stage = await in_use()
    fate = Fate(number, dies=dies)
    job = await stage.restore("undo", "nightly")
    driver = ClickHouseDriver(connect=FatedNetwork(stage.network, fate).connect)
    manager = Manager(fated_kube(stage, fate), drivers=[driver], now=stage.now)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(manager.run)
        await fate.struck.wait()
        if not dies:
            job = await stage.end_of(job)
        tasks.cancel_scope.cancel()
    async with stage.managed():
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", f"{fate.where}: {job.status.message}"
    assert rows(stage) == [100, 101], fate.where
    assert stage.local_copies() == safety_copies(stage)
    for sidecar in stage.app.sidecars.values():
        asked = [request.query for request in sidecar.requests if request.path == "/backup/create"]
        assert len(asked) == len(set(asked)), fate.where
