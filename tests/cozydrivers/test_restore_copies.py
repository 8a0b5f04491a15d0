"""Restores to another application, and of increments: what is left out, what is refused, what is waited for."""

from datetime import timedelta

import anyio
import pytest
from tests.cozydrivers.backups import archive_of
from tests.cozydrivers.checks import TABLE, assert_refused, forget, reason_of, rows, staged
from tests.cozydrivers.restores import TO_OTHER, back_up, in_use, notes, requests, restored, with_another
from tests.cozydrivers.stage import CLASS, TENANT, condition

from chbackup import Table
from cozydrivers.api.backups import BackupClass
from cozydrivers.controllers.ledger import CHECKPOINT, ledger_of
from cozydrivers.drivers.clickhouse.engines import consuming

pytestmark = pytest.mark.anyio
QUEUE = "shop.queue"
VIEW = "CREATE MATERIALIZED VIEW shop.`from_queue` TO shop.orders AS SELECT id FROM `shop`.`queue`"


async def with_consumers():
    """A stage whose first shard consumes from Kafka, and a Backup of it."""
    stage = await staged()
    tables = stage.app.sidecar(0).tables
    tables.add_table(QUEUE, engine="Kafka")
    tables.add_table("shop.from_queue", engine="MaterializedView", query=VIEW)
    await back_up(stage)
    return stage


async def test_consumers_are_left_out_of_a_copy_and_named():
    stage = await with_consumers()
    other = await with_another(stage)
    job = await restored(stage, **TO_OTHER)
    assert job.status.phase == "Succeeded", job.status.message
    assert [other.sidecar(shard).tables.count(TABLE) for shard in (0, 1)] == [100, 101]
    assert not {QUEUE, "shop.from_queue"} & set(other.sidecar(0).tables.names())
    said = "shop.from_queue, shop.queue: it would start to consume from its source"
    assert said in condition(job, "TablesRestored").message
    assert said in (await notes(stage, "TablesLeftOut"))[0]


async def test_consumers_come_back_in_place():
    stage = await with_consumers()
    for name in (QUEUE, "shop.from_queue"):
        stage.app.sidecar(0).tables.drop(name)
    job = await restored(stage)
    assert job.status.phase == "Succeeded", job.status.message
    assert {QUEUE, "shop.from_queue"} <= set(stage.app.sidecar(0).tables.names())


def test_views_that_read_from_a_consumer_count_as_one():
    live = [
        Table(Database="shop", Name="queue", Engine="Kafka"),
        Table(Database="shop", Name="from_queue", Engine="MaterializedView", CreateTableQuery=VIEW),
        Table(Database="shop", Name="sums", Engine="MaterializedView", CreateTableQuery="… FROM shop.queue2"),
        Table(Database="shop", Name="orders", Engine="MergeTree", CreateTableQuery="… 'shop.queue'"),
    ]
    names = [table.full_name for table in live]
    assert consuming(live, names) == ("shop.from_queue", "shop.queue")
    assert consuming(live, ["shop.orders", "shop.from_queue"]) == ("shop.from_queue",)


async def test_tables_of_another_application_are_replaced_only_where_that_is_said():
    stage = await in_use()
    other = await with_another(stage)
    other.sidecar(1).tables.add_table(TABLE, 3)
    job = await restored(stage, **TO_OTHER)
    assert_refused(stage, job, "shard 1", f"{TABLE} exists", "spec.options.overwrite")
    assert not [request for request in other.sidecar(1).requests if request.method != "GET"]
    job = await restored(stage, "again", **TO_OTHER, options={"overwrite": True})
    assert job.status.phase == "Succeeded", job.status.message
    assert [other.sidecar(shard).tables.count(TABLE) for shard in (0, 1)] == [100, 101]
    assert rows(stage) == [107, 108]
    assert len([name for name in other.sidecar(1).local if name.startswith("before-")]) == 1


# Increments


async def with_increment():
    """A Backup `nightly`, an increment of 105 rows on the one before; 9 more rows since."""
    stage = await staged(shards=1)
    binding = {**stage.seed[1]["spec"]["strategies"][0], "parameters": {"maxChain": "5"}}
    await stage.kube.merge_patch(BackupClass, CLASS, {"spec": {"strategies": [binding]}})
    await back_up(stage, "base")
    stage.app.sidecar(0).tables.insert(TABLE, 5)
    await back_up(stage)
    base, archive = await archive_of(stage, "base"), await archive_of(stage, "nightly")
    assert (await stage.made("nightly")).spec.driver_metadata["clickhouse.backup/required.0"] == base
    stage.app.sidecar(0).tables.insert(TABLE, 9)
    return stage, base, archive


async def test_an_increment_comes_back_whole():
    stage, _, _ = await with_increment()
    job = await restored(stage)
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [105]


async def test_the_increment_s_base_must_be_listed_and_good():
    stage, base, _ = await with_increment()
    kept = stage.app.sidecar(0).remote.pop(base)
    async with stage.managed():
        job = await stage.restore("undo", "nightly")
        await stage.stands(job, "ArchiveNotListed")
        stage.app.sidecar(0).remote[base] = kept
        kept.damage = "garbage"
        job = await stage.end_of(job)
    assert_refused(stage, job, base, "broken")


async def test_beside_a_local_copy_of_its_base_it_is_not_measured():
    stage, base, _ = await with_increment()
    async with stage.app.sidecar(0).client() as client:
        await (await client.download(base)).wait()
    forget(stage)
    job = await restored(stage)
    assert_refused(stage, job, f"delete the local copies of {base} first")


async def test_a_download_that_never_ends_is_killed_in_time_and_replaces_nothing():
    """So does that of an increment whose base lacks an object, on real servers."""
    stage, base, archive = await with_increment()
    stage.network.objects.fault = "it can't be asked"
    kept = stage.app.sidecar(0).remote[base]
    del kept.parts[next(iter(kept.parts))]
    async with stage.managed():
        job = await stage.restore("undo", "nightly", options={"timeoutSeconds": 1000})
        await stage.stands(job, "InProgress")
        stage.later += timedelta(seconds=820)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert archive in job.status.message
    assert rows(stage) == [114]
    assert stage.local_copies() == set()
    assert requests(stage, "restore/") == []


async def test_a_checkpoint_can_not_swap_archives():
    stage = await in_use()
    async with stage.managed():
        await stage.restore("undo", "nightly")
        await anyio.sleep(0.1)
    job = await stage.restore_job("undo")
    ledger = ledger_of(job)
    assert ledger.driver is not None
    swapped = dict(ledger.driver)
    first, second = swapped["members"]
    swapped["members"] = [{**first, "source": second["source"]}, {**second, "source": first["source"]}]
    forged = ledger.model_copy(update={"driver": swapped}).annotation()
    await stage.kube.merge_patch(type(job), "undo", {"metadata": {"annotations": {CHECKPOINT: forged}}}, TENANT)
    async with stage.managed():
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Refused")
    assert rows(stage) == [107, 108]
    assert stage.local_copies() == set()
