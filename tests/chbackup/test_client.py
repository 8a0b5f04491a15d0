import anyio
import pytest

import chbackup
from chbackup.testing import FakeSidecar


async def test_archives_have_typed_times_and_sizes(fake, client):
    await (await client.create_remote("b1")).wait()
    local, remote = await client.list_all()
    assert (local.location, remote.location) == ("local", "remote")
    assert remote.created == fake.now.replace(microsecond=0)
    assert remote.created.tzinfo is None
    assert remote.size == remote.compressed_size + remote.metadata_size
    assert [await client.list_local(), await client.list_remote()] == [[local], [remote]]


async def test_broken_archives_have_no_time_and_a_reason(fake, client):
    fake.add_remote("b1", broken=True)
    (archive,) = await client.list_remote()
    assert archive.created is None
    assert archive.broken == "broken (can't stat metadata.json)"


async def test_an_archive_without_a_name_is_broken(fake, client):
    fake.add_remote("b1")
    fake.break_remote("b1", "null")
    (archive,) = await client.list_remote()
    assert (archive.name, archive.broken) == ("", "archive without a name")


async def test_live_tables_and_those_of_archives_have_one_shape(fake, client):
    await (await client.create_remote("b1")).wait()
    live = {table.full_name: table for table in await client.tables()}
    stored = {table.full_name: table for table in await client.tables(remote_backup="b1")}
    assert live["shop.orders"].engine == "MergeTree"
    assert live["shop.orders"].create_table_query.startswith("CREATE TABLE shop.orders")
    assert stored["shop.orders"].total_bytes == live["shop.orders"].total_bytes > 0
    assert stored["shop.orders"].parts == 6
    assert [table.full_name for table in await client.tables(table="shop.i*")] == ["shop.items"]


async def test_the_tables_of_an_archive_that_does_not_exist_are_not_found(client):
    with pytest.raises(chbackup.NotFound):
        await client.tables(remote_backup="nosuch")


async def test_the_history_is_numbered(client):
    await (await client.create("b1")).wait()
    await client.list_local()
    rows = await client.actions()
    assert [(row.position, row.command) for row in rows] == [(0, "create b1"), (1, "list local")]
    assert [row.command for row in await client.actions(last=1)] == ["list local"]
    assert [row.command for row in await client.actions(filter="create")] == ["create b1"]


async def test_status_without_an_id_is_anybodys_last_row(client):
    assert await client.status() is None
    operation = await client.create("b1")
    await client.list_local()
    assert (await client.status()).command == "list local"
    assert (await client.status(operation.operation_id)).command == "create b1"
    assert await client.status("00000000-0000-0000-0000-000000000000") is None


@pytest.mark.parametrize("last", [0, -1, 32768])
async def test_numbers_that_the_server_misreads_are_refused(fake, client, last):
    with pytest.raises(chbackup.InvalidInput):
        await client.actions(last=last)
    assert not fake.requests


async def test_deleting_what_is_not_there_is_not_found(client):
    with pytest.raises(chbackup.NotFound):
        await client.delete_local("b1")
    with pytest.raises(chbackup.NotFound):
        await client.delete_remote("b1")


async def test_a_base_is_deleted_by_force_where_there_is_a_guard():
    fake = FakeSidecar(version="2.8.1-dev")
    async with fake.client() as client:
        fake.add_remote("full")
        fake.add_remote("incr", required="full")
        with pytest.raises(chbackup.RequiredByOthers) as caught:
            await client.delete_remote("full")
        assert caught.value.dependents == ("incr",)
        await client.delete_remote("full", force=True)
        assert set(fake.remote) == {"incr"}


async def test_force_is_refused_where_the_server_would_ignore_it():
    fake = FakeSidecar(version="2.7.4")
    async with fake.client() as client:
        fake.add_remote("full")
        with pytest.raises(chbackup.Unsupported, match=r"force needs clickhouse-backup 2\.8\.1, the server is 2\.7\.4"):
            await client.delete_remote("full", force=True)
        assert "full" in fake.remote


async def test_the_version_is_asked_once(fake, client):
    for _ in range(3):
        await client.supports(chbackup.Feature.OPERATION_IDS)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("option", [{"local_backup": "b1"}, {"named_collections": True}, {"skip_empty_tables": True}])
async def test_options_unknown_to_an_old_server_are_refused(option):
    fake = FakeSidecar(version="2.5.29")
    async with fake.client() as client:
        call = client.tables if "local_backup" in option else lambda **option: client.restore("b1", **option)
        with pytest.raises(chbackup.Unsupported):
            await call(**option)
    assert {request.method for request in fake.requests} == {"GET"}


async def test_partitions_without_data_are_refused(fake, client):
    with pytest.raises(chbackup.InvalidInput, match="data=True"):
        await client.restore("b1", partitions=["202601"])
    assert not fake.requests


async def test_two_sources_of_tables_are_refused(client):
    with pytest.raises(chbackup.InvalidInput):
        await client.tables(local_backup="a", remote_backup="b")


@pytest.mark.parametrize("verb", ["create", "create_remote", "upload", "download", "restore", "restore_remote"])
@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\n", "x" * 300, "\ud800"])
async def test_names_that_the_server_would_change_are_refused(fake, client, verb, name):
    with pytest.raises(chbackup.InvalidInput):
        await getattr(client, verb)(name)
    with pytest.raises(chbackup.InvalidInput):
        await client.create_remote("b1", diff_from_remote=name)
    with pytest.raises(chbackup.InvalidInput):
        await client.delete_remote(name)
    with pytest.raises(chbackup.InvalidInput):
        await client.tables(remote_backup=name)
    assert not fake.requests


@pytest.mark.parametrize("name", ["--help", "a;b", "a%41", "é", "a'b"])
async def test_new_names_are_safe_ones(fake, client, name):
    with pytest.raises(chbackup.InvalidInput):
        await client.create(name)
    with pytest.raises(chbackup.InvalidInput):
        await client.create_remote(name)
    assert not fake.requests


@pytest.mark.parametrize(
    "name", ["--help", "a;b", "a%41", "a%2Fb", "é", "\U0001f468\u200d\U0001f469", 'a"b', "a'b:c", "a+b&c"]
)
async def test_existing_names_are_sent_exactly(fake, client, name):
    await client._ask("POST", ["backup", "create_remote"], [("name", name)])  # other clients make such names
    await anyio.sleep(600)
    assert [archive.name for archive in await client.list_all()] == [name, name]
    await client.delete_local(name)
    operation = await client.download(name)
    assert (await operation.wait()).operation_id == operation.operation_id
    assert len(await client.tables(remote_backup=name)) == 2
    await client.delete_local(name)
    await client.delete_remote(name)
    assert await client.list_all() == []


async def test_a_killed_operation_is_named(fake, client):
    fake.duration.create = 60
    await client.create("b1")
    assert await client.kill("create b1") == "create b1"
    with pytest.raises(chbackup.NotFound):
        await client.kill("create b1")


async def test_nothing_that_runs_is_nothing_to_kill(fake, client):
    with pytest.raises(chbackup.NotFound):
        await client.kill(None)
    await client.list_local()
    with pytest.raises(chbackup.NotFound):
        await client.kill(None)
    with pytest.raises(chbackup.InvalidInput, match="the oldest"):
        await client.kill("")


async def test_wrong_credentials_are_unauthorized(fake):
    async with fake.client() as client:
        other = chbackup.Client("http://sidecar.fake", username="x", password="y", http_client=_transport(client))
        with pytest.raises(chbackup.Unauthorized):
            await other.version()


async def test_a_timeout_bounds_the_whole_request(fake, client):
    fake.faults.delay = 100
    start = anyio.current_time()
    with pytest.raises(chbackup.ConnectionFailed) as caught:
        await client.with_options(timeout=7).list_remote()
    assert anyio.current_time() - start == pytest.approx(7)
    assert caught.value.sent


async def test_metrics_are_text(client):
    assert "clickhouse_backup_number_backups_remote" in await client.metrics()


async def test_operations_of_a_server_without_ids_are_found_by_their_place():
    fake = FakeSidecar(version="2.5.29")
    fake.tables.add_table("shop.orders", 10)
    async with fake.client() as client:
        operation = await client.create("b1")
        assert (operation.operation_id, operation.position) == ("", 0)
        assert (await operation.wait()).status == "success"


@pytest.mark.parametrize(
    "url", ["", "sidecar:7171", "ftp://a", "http://", "http://a/?x=1", "http://a/#x", "http://[::1"]
)
async def test_what_is_no_address_is_refused(url):
    with pytest.raises(chbackup.InvalidInput):
        chbackup.Client(url)


async def test_the_environment_is_read_only_when_asked(monkeypatch):
    monkeypatch.setenv("CHBACKUP_URL", "http://10.0.3.7:7171")
    monkeypatch.setenv("CHBACKUP_USERNAME", "backup")
    monkeypatch.setenv("CHBACKUP_PASSWORD", "secret-of-tests")
    async with chbackup.Client.from_env() as client:
        assert repr(client) == "<Client http://10.0.3.7:7171 username='backup'>"
    async with chbackup.Client.from_env(url="http://10.0.3.8:7171", username="other") as client:
        assert repr(client) == "<Client http://10.0.3.8:7171 username='other'>"
    async with chbackup.Client("http://10.0.3.9:7171") as client:
        assert repr(client) == "<Client http://10.0.3.9:7171 username=None>"


def _transport(client):
    return client._connection._client
