"""Every option as it is sent: by name, only when it is set, and not to a server that would ignore it."""

import httpx
import pytest

import chbackup

URL = "http://10.0.3.7:7171"

MAKES = ["schema", "rbac", "rbac_only", "configs", "configs_only", "named_collections", "named_collections_only"]
SWITCHES = {
    "create": [*MAKES, "skip_check_parts_columns", "resume"],
    "create_remote": [*MAKES, "skip_check_parts_columns", "resume", "delete_source"],
    "upload": ["schema", "rbac_only", "configs_only", "named_collections_only", "resume", "delete_source"],
    "download": [
        *["schema", "rbac_only", "configs_only", "named_collections_only", "resume", "hardlink_exists_files"],
    ],
    "restore": [
        *[*MAKES, "data", "ignore_dependencies", "skip_empty_tables", "restore_schema_as_attach"],
        *["replicated_copy_to_detached", "resume"],
    ],
    "restore_remote": [
        *[*MAKES, "ignore_dependencies", "skip_empty_tables", "restore_schema_as_attach"],
        *["replicated_copy_to_detached", "resume", "hardlink_exists_files"],
    ],
    "rebalance": ["dry_run"],
}
TEXTS = {
    "create": {"diff_from_remote": "b0", "skip_projections": "a.b:*", "tables": "a.*,b.*", "callback": "http://a/b"},
    "create_remote": {"diff_from": "b0", "diff_from_remote": "b0", "skip_projections": "a.b:*", "tables": "a.*"},
    "upload": {"diff_from": "b0", "diff_from_remote": "b0", "skip_projections": "a.b:*", "tables": "a.*"},
    "download": {"tables": "a.*"},
    "restore": {"tables": "a.*", "skip_projections": "a.b:*"},
    "restore_remote": {"tables": "a.*", "skip_projections": "a.b:*"},
    "rebalance": {"tables": "a.*"},
}
SPELLED = {"tables": "table"}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


class Server:
    """Says yes to everything, and remembers the last submission and how often it was asked."""

    def __init__(self, version):
        self.version = version
        self.asked = []

    def __call__(self, request):
        self.asked.append(request.url.path)
        if request.url.path == "/backup/version":
            return httpx.Response(200, json={"version": self.version})
        if request.url.path == "/backup/tables":
            return httpx.Response(200, text="")
        self.query = dict(request.url.params.multi_items())
        self.raw = request.url.query.decode()
        _, _, verb, *name = request.url.path.split("/")
        backup_name = name[-1] if name else self.query.pop("name", "b1")
        answer = {"status": "acknowledged", "operation": verb, "backup_name": backup_name, "operation_id": "1"}
        return httpx.Response(200, json=answer | {"command": verb})


async def ask(version, call):
    server = Server(version)
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as http_client:
        await call(chbackup.Client(URL, http_client=http_client))
    return server


@pytest.mark.parametrize(("verb", "option"), [(verb, option) for verb in SWITCHES for option in SWITCHES[verb]])
async def test_a_switch_is_sent_when_true_and_only_then(verb, option):
    on = await ask("2.8.1", lambda sidecar: getattr(sidecar, verb)("b1", **{option: True}))
    assert on.query == {option.replace("_", "-"): "1"}
    off = await ask("2.8.1", lambda sidecar: getattr(sidecar, verb)("b1", **{option: False}))
    assert off.query == {}
    assert len(off.asked) == 1


@pytest.mark.parametrize(("verb", "option"), [(verb, option) for verb in TEXTS for option in TEXTS[verb]])
async def test_a_text_is_sent_as_it_is(verb, option):
    value = TEXTS[verb][option]
    sent = await ask("2.8.1", lambda sidecar: getattr(sidecar, verb)("b1", **{option: value}))
    expected = "http%3A%2F%2Fa%2Fb" if option == "callback" else value
    assert sent.query == {SPELLED.get(option, option.replace("_", "-")): expected}


@pytest.mark.parametrize("verb", [*SWITCHES, "rebase"])
async def test_a_callback_is_encoded_twice_and_wakes(verb):
    url = "http://10.0.0.1/hook?tok=a%2Fb+c&x=1;2"
    callback = chbackup.Callback(url)
    operations = []

    async def call(sidecar):
        operations.append(await getattr(sidecar, verb)("b1", callback=callback))

    sent = await ask("2.8.1", call)
    once = httpx.QueryParams(sent.raw)["callback"]
    assert httpx.QueryParams(f"u={once}")["u"] == url
    assert operations[0].wake is callback


@pytest.mark.parametrize(
    ("version", "verb", "options"),
    [
        ("2.2.1", "create", {"callback": "http://a/b"}),
        ("2.4.9", "upload", {"delete_source": True}),
        ("2.4.9", "create", {"diff_from_remote": "b0"}),
        ("2.4.9", "restore", {"partitions": ["1"], "data": True}),
        ("2.5.19", "restore", {"table_mapping": {"a": "b"}}),
        ("2.5.29", "create", {"rbac_only": True}),
        ("2.5.29", "restore", {"configs_only": True}),
        ("2.6.2", "create", {"resume": True}),
        ("2.6.5", "upload", {"skip_projections": "*"}),
        ("2.6.5", "restore", {"restore_schema_as_attach": True}),
        ("2.6.5", "restore", {"replicated_copy_to_detached": True}),
        ("2.6.29", "download", {"hardlink_exists_files": True}),
        ("2.6.33", "create_remote", {"named_collections_only": True}),
        ("2.6.41", "restore_remote", {"skip_empty_tables": True}),
        ("dev", "restore", {"skip_empty_tables": True}),
        ("2.7.4", "watch", {"schedule": ["0 * * * *"]}),
        ("2.7.4", "delete_local", {"force": True}),
        ("2.7.4", "tables", {"list_partitions": True}),
        ("2.7.4", "tables", {"list_parts": True}),
        ("2.6.44", "tables", {"local_backup": "b1"}),
        ("2.4.9", "tables", {"remote_backup": "b1"}),
    ],
)
async def test_what_the_server_would_ignore_is_not_sent(version, verb, options):
    async def call(sidecar):
        with pytest.raises(chbackup.Unsupported, match=f"the server is {version}"):
            await getattr(sidecar, verb)(*([] if verb in ("tables", "watch") else ["b1"]), **options)

    server = await ask(version, call)
    assert server.asked == ["/backup/version"]


async def test_when_the_version_cannot_be_asked_nothing_was_sent():
    def answer(request):
        assert request.url.path == "/backup/version"
        raise httpx.ReadTimeout("late")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http_client:
        with pytest.raises(chbackup.ConnectionFailed) as caught:
            await chbackup.Client(URL, http_client=http_client).create("b1", callback="http://a/b")
    assert not caught.value.sent


async def test_a_build_that_tells_no_version_is_taken_for_a_new_one():
    sent = await ask("dev", lambda sidecar: sidecar.create("b1", named_collections=True))
    assert sent.query == {"named-collections": "1"}


async def test_the_version_is_not_asked_without_need():
    async def call(sidecar):
        await sidecar.create("b1", tables="a.*", partitions=["1"], schema=True, rbac=True)
        await sidecar.restore("b1", tables="a.*", data=True)
        await sidecar.delete_remote("b1")
        await sidecar.tables("a.*")

    server = await ask("2.7.4", call)
    assert "/backup/version" not in server.asked


@pytest.mark.parametrize(
    ("verb", "options", "field"),
    [
        ("create", {"tables": 'a"b'}, "tables"),
        ("create", {"tables": "a\nb"}, "tables"),
        ("create", {"tables": ""}, "tables"),
        ("create", {"partitions": ["1,2"]}, "partitions"),
        ("create", {"partitions": ["a:b:c"]}, "partitions"),
        ("create", {"partitions": [""]}, "partitions"),
        ("create", {"partitions": "202601"}, "partitions"),
        ("upload", {"skip_projections": "a\tb"}, "skip_projections"),
        ("restore", {"database_mapping": {"a,b": "c"}}, "database_mapping"),
        ("restore", {"database_mapping": {"a": ""}}, "database_mapping"),
        ("restore_remote", {"table_mapping": {"a": "b:c"}}, "table_mapping"),
        ("restore", {"partitions": ["1"]}, "partitions"),
        ("restore", {"partitions": ["1"], "data": True, "schema": True}, "partitions"),
        ("create", {"callback": "ftp://a/b"}, "callback"),
        ("create", {"callback": "http://"}, "callback"),
        ("create", {"callback": "http://user:pass@a/b"}, "callback"),
        ("create", {"callback": "http://a/ b"}, "callback"),
        ("create", {"callback": "http://[a"}, "callback"),
    ],
)
async def test_what_would_be_misread_is_refused_by_field(verb, options, field):
    async def call(sidecar):
        with pytest.raises(chbackup.InvalidInput, match=field):
            await getattr(sidecar, verb)("b1", **options)

    assert not (await ask("2.8.1", call)).asked


@pytest.mark.parametrize("partition", ["202601", "shop.orders:202601", "(2026,'x')", "shop.*:(2026,'a:b')"])
async def test_partitions_are_sent_one_by_one(partition):
    sent = await ask("2.8.1", lambda sidecar: sidecar.restore("b1", partitions=[partition], data=True))
    assert sent.query == {"partitions": partition, "data": "1"}


async def test_an_address_that_is_too_long_is_refused():
    async def call(sidecar):
        with pytest.raises(chbackup.InvalidInput, match="too long"):
            await sidecar.create("b1", tables="x" * 100_000)
        with pytest.raises(chbackup.InvalidInput, match="surrogate"):
            await sidecar.actions(filter="\ud800")

    assert not (await ask("2.8.1", call)).asked


async def test_a_watch_is_acknowledged_with_its_command():
    commands = []

    async def call(sidecar):
        commands.append(
            await sidecar.watch(
                watch_interval="1h",
                full_interval="24h",
                name_template="{type}-{time:20060102}",
                schedule=["0 * * * *"],
                tables="shop.*",
                schema=True,
                named_collections=True,
                delete_source=True,
                skip_check_parts_columns=True,
            )
        )

    sent = await ask("2.8.1", call)
    assert commands == ["watch"]
    assert sent.query == {
        "watch_interval": "1h",
        "full_interval": "24h",
        "watch_backup_name_template": "{type}-{time:20060102}",
        "schedule": "0 * * * *",
        "table": "shop.*",
        "schema": "1",
        "named-collections": "1",
        "delete_source": "1",
        "skip_check_parts_columns": "1",
    }


@pytest.mark.parametrize("interval", ["", "1", "1d", "-1h", "0s", "1h ", "h", "1,5h", "\u0661h", "9" * 400 + "h"])
async def test_intervals_that_go_cannot_read_are_refused(interval):
    async def call(sidecar):
        with pytest.raises(chbackup.InvalidInput, match="watch_interval"):
            await sidecar.watch(watch_interval=interval)

    assert not (await ask("2.8.1", call)).asked


async def test_the_full_interval_is_the_longer_one():
    async def call(sidecar):
        with pytest.raises(chbackup.InvalidInput, match="full_interval"):
            await sidecar.watch(watch_interval="1h30m", full_interval="90m")
        await sidecar.watch(watch_interval="1h29m59.5s", full_interval="90m")

    await ask("2.8.1", call)
