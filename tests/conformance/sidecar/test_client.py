"""`chbackup.Client` method by method, on what the suite runs against."""

import contextlib
from urllib.parse import quote

import pytest
from tests.conformance.sidecar.rig import Rig

import chbackup


@pytest.fixture
def sidecar(rig: Rig) -> chbackup.Client:
    """A client over the rig's own connections, which have the credentials."""
    return chbackup.Client(str(rig.http.base_url), http_client=rig.http, timeout=60)


async def done(operation: chbackup.Operation) -> chbackup.Action:
    return await operation.wait(timeout=60)


async def test_it_tells_its_version_and_health(rig: Rig, sidecar: chbackup.Client):
    assert await sidecar.health() == "OK"
    assert chbackup.parse_version(await sidecar.version())
    assert await sidecar.supports(chbackup.Feature.OPERATION_IDS)
    assert await sidecar.supports(chbackup.Feature.REBASE) is rig.since(2, 8, 0)
    assert "clickhouse_backup_number_backups_remote_expected" in await sidecar.metrics()


async def test_a_round_trip(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100, partitions=2)
    made = await done(await sidecar.create_remote("b1", tables="demo.*"))
    local, remote = await sidecar.list_all()
    assert made.archive == local.name == remote.name == "b1"
    assert (local.location, remote.location, remote.broken) == ("local", "remote", None)
    assert local.created
    assert remote.created
    assert local.data_size == remote.data_size > 0
    await sidecar.delete_local("b1")
    await done(await sidecar.download("b1"))
    await rig.drop_table("demo.events")
    await done(await sidecar.restore("b1"))
    assert await rig.count("demo.events") == 100
    await sidecar.delete_local("b1")
    await done(await sidecar.restore_remote("b1", tables="demo.*"))
    assert await rig.count("demo.events") == 100
    await sidecar.delete_remote("b1")
    assert [archive.location for archive in await sidecar.list_all()] == ["local"]


async def test_partitions_are_replaced_and_nothing_else(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100, partitions=2)
    await done(await sidecar.create("b1"))
    await rig.insert("demo.events", 100)
    await done(await sidecar.restore("b1", tables="demo.events", partitions=["0"], data=True))
    assert await rig.counts("demo.events", 2) == {0: 50, 1: 100}


async def test_a_table_is_restored_under_another_name(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    await done(await sidecar.create("b1"))
    await done(await sidecar.restore("b1", tables="demo.events", table_mapping={"events": "copied"}))
    assert (await rig.count("demo.events"), await rig.count("demo.copied")) == (100, 100)


async def test_switches_that_are_off_are_off(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    row = await done(await sidecar.create("b1", schema=False, rbac=False, configs=False, resume=False))
    assert row.command == "create b1"
    await done(await sidecar.upload("b1", delete_source=False))
    assert {archive.location for archive in await sidecar.list_all()} == {"local", "remote"}


async def test_switches_that_are_on_are_on(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    row = await done(await sidecar.create_remote("b1", schema=True, delete_source=True))
    assert set(row.command.split()) == {"create_remote", "--schema", "--delete-source", "b1"}
    (archive,) = await sidecar.list_all()
    assert (archive.location, archive.data_size) == ("remote", 0)


async def test_an_increment_names_its_base(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    await done(await sidecar.create_remote("b1"))
    await rig.insert("demo.events", 10)
    await done(await sidecar.create_remote("b2", diff_from_remote="b1"))
    required = {archive.name: archive.required for archive in await sidecar.list_remote()}
    assert required == {"b1": "", "b2": "b1"}
    if not rig.since(2, 8, 1):
        return
    with pytest.raises(chbackup.RequiredByOthers) as caught:
        await sidecar.delete_remote("b1")
    assert caught.value.dependents == ("b2",)
    await done(await sidecar.rebase("b2"))
    assert {archive.required for archive in await sidecar.list_remote()} == {""}
    await sidecar.delete_remote("b1")


async def test_force_is_for_servers_that_know_it(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    await done(await sidecar.create_remote("b1"))
    await done(await sidecar.create_remote("b2", diff_from_remote="b1"))
    if rig.since(2, 8, 1):
        await sidecar.delete_remote("b1", force=True)
        assert [archive.name for archive in await sidecar.list_remote()] == ["b2"]
    else:
        with pytest.raises(chbackup.Unsupported):
            await sidecar.delete_remote("b1", force=True)
        assert len(await sidecar.list_remote()) == 2


async def test_absent_archives_are_not_found(sidecar: chbackup.Client):
    for delete in (sidecar.delete_local, sidecar.delete_remote):
        with pytest.raises(chbackup.NotFound):
            await delete("nosuch")
    for call in (sidecar.tables(local_backup="nosuch"), sidecar.tables(remote_backup="nosuch")):
        with pytest.raises(chbackup.NotFound):
            await call


@pytest.mark.parametrize(
    "name", ["--help", "a;b", "a%41", "a%2Fb", "é", "a'b", 'a"b', "a:b", "$x", "a+b&c=d", "x" * 233]
)
async def test_existing_names_are_read_as_they_are_sent(rig: Rig, sidecar: chbackup.Client, name: str):
    await rig.create_table("demo.events", 100)
    await rig.run(f"/backup/create_remote?name={quote(name, safe='')}")
    assert [archive.name for archive in await sidecar.list_all()] == [name, name]
    await sidecar.delete_local(name)
    await done(await sidecar.download(name))
    assert [table.full_name for table in await sidecar.tables(remote_backup=name)] == ["demo.events"]
    await done(await sidecar.restore(name, tables="demo.events"))
    await sidecar.delete_local(name)
    await sidecar.delete_remote(name)
    assert await sidecar.list_all() == []
    assert await rig.count("demo.events") == 100


async def test_tables_live_and_archived(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100, partitions=2)
    await done(await sidecar.create_remote("b1"))
    (live,) = await sidecar.tables("demo.*")
    (stored,) = await sidecar.tables(remote_backup="b1")
    assert (live.full_name, live.engine_family, live.parts) == ("demo.events", "MergeTree", 0)
    assert (stored.full_name, stored.total_bytes, stored.parts) == ("demo.events", live.total_bytes, 2)
    assert live.create_table_query
    assert live.create_table_query not in repr(live)
    (local,) = await sidecar.tables(local_backup="b1")
    assert local.full_name == "demo.events"


async def test_tables_in_detail(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100, partitions=2)
    if not rig.since(2, 8, 0):
        with pytest.raises(chbackup.Unsupported):
            await sidecar.tables(list_parts=True)
        return
    (table,) = await sidecar.tables("demo.*", list_parts=True)
    assert sum(part.total_bytes for part in table.parts_list) == table.total_bytes
    (table,) = await sidecar.tables("demo.*", list_partitions=True)
    assert [partition.partition_id for partition in table.partitions] == ["0", "1"]


async def test_the_history_is_numbered_and_filtered(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    operation = await sidecar.create("b1")
    await done(operation)
    await sidecar.list_local()
    assert [(row.position, row.verb) for row in await sidecar.actions()] == [(0, "create"), (1, "list")]
    assert [row.verb for row in await sidecar.actions(last=1)] == ["list"]
    assert [row.archive for row in await sidecar.actions(filter="success") if row.verb == "create"] == ["b1"]
    row = await sidecar.status(operation.operation_id)
    assert row
    assert (row.status, row.start is not None, row.finish is not None) == ("success", True, True)
    assert await sidecar.status("00000000-0000-0000-0000-000000000000") is None


async def test_a_busy_sidecar_names_its_holder(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    await rig.slow_create()
    operation = await sidecar.create("b1")
    for call in (sidecar.create("b2"), sidecar.delete_remote("b2"), sidecar.submit("create b2")):
        with pytest.raises(chbackup.Busy) as caught:
            await call
        assert caught.value.holder
        assert caught.value.holder.command == "create b1"
    with pytest.raises(chbackup.Busy):
        await sidecar.clean()
    await done(operation)


async def test_nothing_to_kill_and_a_kill(rig: Rig, sidecar: chbackup.Client):
    with pytest.raises(chbackup.NotFound):
        await sidecar.kill(None)
    await rig.create_table("demo.events", 100)
    with pytest.raises(chbackup.NotFound):
        await sidecar.kill("create nosuch")
    await rig.slow(30)
    operation = await sidecar.create_remote("b1")
    await rig.until("/backup/list/local", name="b1")
    assert await sidecar.kill("create_remote b1", timeout=60) == "create_remote b1"
    row = await sidecar.status(operation.operation_id)
    assert row
    assert row.status == "cancel"


async def test_a_restart_rewrites_the_history(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    await done(await sidecar.create("b1"))
    with contextlib.suppress(chbackup.ConnectionFailed):  # the server may close the connection too early
        await sidecar.restart()
    await rig.until("/backup/actions", status="cancel")
    assert {row.status for row in await sidecar.actions()} == {"cancel"}


async def test_cleaning_an_idle_sidecar(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    await done(await sidecar.create_remote("b1"))
    await rig.write_metadata("b1", "garbage")
    await rig.forget_cache()
    await rig.break_local("b1")
    assert all(archive.broken for archive in await sidecar.list_all())
    await sidecar.clean()
    await sidecar.clean_local_broken()
    await sidecar.clean_remote_broken()
    assert await sidecar.list_all() == []


async def test_a_watch_backs_up_until_it_is_killed(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    command = await sidecar.watch(
        watch_interval="1h", full_interval="24h", name_template="w-{type}-{time:20060102150405}", tables="demo.*"
    )
    await rig.until("/backup/list/remote", name="w-full-", desc="tar, regular")
    with pytest.raises(chbackup.Busy):
        await sidecar.create("b1")
    assert await sidecar.kill(command, timeout=60) == command


async def test_submitted_commands(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    operation = await sidecar.submit("create_remote --tables=demo.* b1")
    assert operation
    assert operation.operation_id == ""
    assert (await done(operation)).command == "create_remote --tables=demo.* b1"
    assert await sidecar.submit("delete local b1") is None
    with pytest.raises(chbackup.NotFound):
        await sidecar.submit("delete local b1")
    assert await sidecar.submit("list remote") is None
    await rig.idle()
    assert await sidecar.submit("clean_remote_broken") is None
    assert [archive.location for archive in await sidecar.list_all()] == ["remote"]


async def test_a_submitted_watch_does_not_end_the_process(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    assert await sidecar.submit("watch --watch-interval 1h --full-interval 24h --tables demo.*") is None
    row = await rig.until("/backup/actions", command="watch", status="in progress")
    assert await rig.alive()
    with contextlib.suppress(chbackup.ConnectionFailed):
        await sidecar.kill(row["command"], timeout=5)


async def test_a_rebalance_is_started(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    await done(await sidecar.create("b1"))
    if not rig.since(2, 8, 0):
        with pytest.raises(chbackup.Unsupported):
            await sidecar.rebalance("b1")
        return
    operation = await sidecar.rebalance("b1", tables="demo.*", dry_run=True)
    with pytest.raises(chbackup.OperationFailed, match=r"disk_name.*upgrade ClickHouse"):  # the one here is too old
        await done(operation)
    row = await sidecar.status(operation.operation_id)
    assert row
    assert (row.verb, row.archive) == ("rebalance", "b1")


async def test_rows_are_of_the_names_that_were_asked_for(rig: Rig, sidecar: chbackup.Client):
    await rig.create_table("demo.events", 100)
    rows = [await done(await call) for call in (sidecar.create("b1"), sidecar.upload("b1"))]
    assert [(row.verb, row.archive, bool(row.operation_id)) for row in rows] == [
        ("create", "b1", True),
        ("upload", "b1", True),
    ]
