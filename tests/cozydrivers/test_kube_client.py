"""KubeClient: what it sends, how it fails, and what it never says."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.whole import whole

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.api.core import ConfigMap, Namespace, Pod, Secret
from cozydrivers.errors import (
    AlreadyExists,
    ApiError,
    ClusterUnreachable,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    InvalidInput,
    NotFound,
    Unauthorized,
    Unavailable,
)
from cozydrivers.kube import KubeClient
from cozydrivers.kube.transport import Response, Stream, Transport, connect
from cozydrivers.testing import FakeCluster

CRDS = Path(__file__).parents[2] / "fixtures" / "crds"
SECRET = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}


@pytest.fixture
async def cluster() -> FakeCluster:
    cluster = FakeCluster([CRDS])
    await cluster.kube().create(Namespace, {"metadata": {"name": "tenant"}})
    return cluster


@pytest.fixture
def kube(cluster: FakeCluster) -> KubeClient:
    return cluster.kube()


def _configmap(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"a": "1"}}


class Canned:
    """A transport that always gives the same answer."""

    def __init__(self, status: int, body: str, **headers: str) -> None:
        self._response = Response(status, headers, body.encode())

    async def request(self, *request: Any) -> Response:
        return self._response

    @asynccontextmanager
    async def stream(self, *request: Any) -> AsyncIterator[Stream]:
        async def lines() -> AsyncIterator[bytes]:
            for line in self._response.body.split(b"\n"):
                yield line

        yield Stream(self._response.status, self._response.headers, lines())


class Between:
    """A transport that lets something happen after each request."""

    def __init__(self, inner: Transport, then: Callable[[], Awaitable[Any]]) -> None:
        self._inner = inner
        self._then = then

    async def request(self, *request: Any) -> Response:
        response = await self._inner.request(*request)
        await self._then()
        return response

    def stream(self, *request: Any) -> Any:
        return self._inner.stream(*request)


async def test_the_kind_is_added_to_a_body_that_lacks_it(kube: KubeClient):
    made = await kube.create(whole(ConfigMap), _configmap("c"), "tenant")
    assert (made.raw["apiVersion"], made.raw["kind"]) == ("v1", "ConfigMap")


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (405, "MethodNotAllowed", ApiError),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable),
        (504, "Timeout", Unavailable),
    ],
)
async def test_every_refusal_has_a_class(status: int, reason: str, expected: type[ApiError]):
    body = {"kind": "Status", "message": "because", "reason": reason, "code": status}
    with pytest.raises(ApiError, match="because") as caught:
        await KubeClient(Canned(status, json.dumps(body))).get(ConfigMap, "c", "tenant")
    assert type(caught.value) is expected
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert caught.value.retryable is (status == 429 or status >= 500)


async def test_when_to_come_back(cluster: FakeCluster, kube: KubeClient):
    cluster.faults.fail(status=429, retry_after=5)
    with pytest.raises(Unavailable) as caught:
        await kube.get(Namespace, "tenant")
    assert caught.value.retry_after == 5.0


@pytest.mark.parametrize("status", [200, 502])
async def test_an_answer_of_something_else_is_unavailable(status: int):
    with pytest.raises(Unavailable):
        await KubeClient(Canned(status, "<html>bad gateway</html>")).get(ConfigMap, "c", "tenant")


async def test_an_object_of_an_unknown_shape_is_named_without_its_values():
    body = {"metadata": {"name": "s"}, "data": {"password": {"hunter2": 1}}}
    with pytest.raises(ApiError, match=r"Secret 's' has values of an unknown shape in: data\.password") as caught:
        await KubeClient(Canned(200, json.dumps(body))).get(Secret, "s", "tenant")
    assert "hunter2" not in str(caught.value)


async def test_nulls_are_the_same_as_nothing():
    body = {"metadata": {"name": "p", "labels": None, "finalizers": None}, "spec": None, "status": {"conditions": None}}
    pod = await KubeClient(Canned(200, json.dumps(body))).get(Pod, "p", "tenant")
    assert (pod.metadata.labels, pod.spec.containers, pod.status.conditions, pod.ready) == ({}, [], [], False)


async def test_a_refused_connection_did_nothing(cluster: FakeCluster, kube: KubeClient):
    cluster.faults.refuse(method="POST")
    with pytest.raises(ClusterUnreachable):
        await kube.create(ConfigMap, _configmap("c"), "tenant")
    with pytest.raises(NotFound):
        await kube.get(ConfigMap, "c", "tenant")


async def test_after_a_lost_reply_the_work_may_be_done(cluster: FakeCluster, kube: KubeClient):
    cluster.faults.lose_reply(method="POST")
    with pytest.raises(ClusterUnreachable):
        await kube.create(ConfigMap, _configmap("c"), "tenant")
    assert (await kube.get(ConfigMap, "c", "tenant")).metadata.name == "c"


async def test_a_server_that_hangs_is_given_half_a_minute(cluster: FakeCluster, kube: KubeClient):
    cluster.faults.hang()
    start = anyio.current_time()
    with pytest.raises(ClusterUnreachable, match="no answer in time"):
        await kube.get(Namespace, "tenant")
    assert anyio.current_time() - start == pytest.approx(30)


async def test_a_list_whose_page_has_expired_is_read_anew(cluster: FakeCluster, kube: KubeClient):
    for i in range(4):
        await kube.create(ConfigMap, _configmap(f"c-{i}"), "tenant")
    done: list[str] = []

    async def expire_once() -> None:
        if not done:
            done.append("compacted")
            await kube.create(ConfigMap, _configmap("c-9"), "tenant")
            cluster.compact()

    listed = await KubeClient(Between(kube._transport, expire_once)).list(ConfigMap, "tenant", limit=2)
    assert [item.metadata.name for item in listed.items] == ["c-0", "c-1", "c-2", "c-3", "c-9"]


async def test_a_list_whose_pages_expire_all_the_time_is_gone(cluster: FakeCluster, kube: KubeClient):
    for i in range(4):
        await kube.create(ConfigMap, _configmap(f"c-{i}"), "tenant")

    async def expire() -> None:
        await kube.merge_patch(ConfigMap, "c-0", {"data": {"at": str(len(cluster.requests))}}, "tenant")
        cluster.compact()

    with pytest.raises(Gone):
        await KubeClient(Between(kube._transport, expire)).list(ConfigMap, "tenant", limit=2)


async def test_a_quiet_watch_lasts_until_the_server_ends_it(kube: KubeClient):
    version = (await kube.list(ConfigMap, "tenant")).resource_version
    start = anyio.current_time()
    assert [event async for event in kube.watch(ConfigMap, "tenant", resource_version=version)] == []
    assert anyio.current_time() - start == pytest.approx(290)


async def test_a_watch_that_hangs_is_given_up_after_its_time(cluster: FakeCluster, kube: KubeClient):
    cluster.faults.hang()
    start = anyio.current_time()
    with pytest.raises(ClusterUnreachable):
        await anext(kube.watch(ConfigMap, "tenant", resource_version="1"))
    assert anyio.current_time() - start == pytest.approx(305)


async def test_bookmarks_come_once_a_minute(kube: KubeClient):
    version = (await kube.list(ConfigMap, "tenant")).resource_version
    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:

        async def change() -> None:
            await anyio.sleep(1)
            await kube.create(ConfigMap, _configmap("c"), "tenant")

        tasks.start_soon(change)
        seen = [event.type async for event in kube.watch(ConfigMap, "tenant", resource_version=version)]
    assert seen == ["ADDED", "BOOKMARK", "BOOKMARK", "BOOKMARK", "BOOKMARK", "BOOKMARK"]
    assert anyio.current_time() - start == pytest.approx(290)


async def test_a_watch_that_is_refused(cluster: FakeCluster, kube: KubeClient):
    cluster.faults.fail(status=500)
    with pytest.raises(Unavailable):
        await anext(kube.watch(ConfigMap, "tenant", resource_version="1"))


async def test_a_watch_whose_line_is_cut_off():
    watch = KubeClient(Canned(200, '{"type": "ADDED", "object": {"metad')).watch(ConfigMap, resource_version="1")
    with pytest.raises(Unavailable):
        await anext(watch)


async def test_what_can_not_be_asked_is_not_sent(cluster: FakeCluster, kube: KubeClient):
    before = len(cluster.requests)
    with pytest.raises(InvalidInput, match="without a UID"):
        await kube.delete(ConfigMap, "c", "tenant", uid="")
    with pytest.raises(InvalidInput, match="name and namespace"):
        await kube.get(ConfigMap, "", "tenant")
    with pytest.raises(InvalidInput, match="name and namespace"):
        await kube.create(ConfigMap, _configmap("c"))
    with pytest.raises(InvalidInput, match="field selector"):
        await kube.list(ConfigMap, field_selector="metadata.namespace=tenant")
    assert len(cluster.requests) == before


async def test_names_can_not_leave_their_place_in_a_path(cluster: FakeCluster, kube: KubeClient):
    with pytest.raises(NotFound):
        await kube.get(ConfigMap, "../secrets/s", "tenant")
    assert cluster.requests[-1][1].endswith("/configmaps/..%2Fsecrets%2Fs")


async def test_secrets_do_not_show(kube: KubeClient):
    made = await kube.create(Secret, SECRET, "tenant")
    assert made.value("password") == "hunter2"
    assert made.value("absent") is None
    env = {"env": [{"name": "PASSWORD", "value": "hunter2"}]}
    pod = Pod.decode({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", **env}]}})
    application = ClickHouse.decode({"spec": {"users": {"u": {"password": "hunter2"}}}})
    backup = Backup.decode({"status": {"underlyingResources": {"users": {"u": {"password": "hunter2"}}}}})
    for shown in (repr(made), str(made), made.model_dump_json(), repr(pod), repr(application), repr(backup)):
        assert "hunter2" not in shown
        assert "aHVudGVyMg" not in shown


def test_a_served_cluster_is_reached_by_its_kubeconfig(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        cluster = FakeCluster([CRDS])
        async with cluster.serve() as url:
            file = tmp_path / "kubeconfig"
            cluster.kubeconfig(url, file)
            async with KubeClient.connect(kubeconfig=str(file), context="fake") as kube:
                await _exercise(kube)

    asyncio.run(main())
    assert "hunter2" not in caplog.text
    assert "aHVudGVyMg" not in caplog.text


async def _exercise(kube: KubeClient) -> None:
    await kube.create(Namespace, {"metadata": {"name": "tenant"}})
    version = (await kube.list(Secret, "tenant")).resource_version
    made = await kube.create(Secret, SECRET, "tenant")
    with pytest.raises(NotFound):
        await kube.get(BackupJob, "absent", "tenant")
    async with aclosing(kube.watch(Secret, "tenant", resource_version=version)) as watch:
        event = await anext(watch)
    assert event.object.value("password") == "hunter2"
    applied = await kube.apply(ConfigMap, "c", {"data": {"a": "1"}}, "tenant", field_manager="tests")
    await kube.merge_patch(ConfigMap, "c", {"data": {"a": "2"}}, "tenant")
    await kube.delete(ConfigMap, "c", "tenant", uid=applied.metadata.uid)
    await kube.delete(Secret, "s", "tenant", uid=made.metadata.uid)
    async with aclosing(kube.watch(Secret, "tenant", resource_version=version)) as watch:
        assert [(await anext(watch)).type, (await anext(watch)).type] == ["ADDED", "DELETED"]


def test_a_token_of_a_plugin_is_renewed_when_it_has_expired(tmp_path: Path):
    counter = tmp_path / "asked"
    status = {"token": "token-%s", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    script = f"echo x >> {counter}; printf '{json.dumps(credential)}' $(wc -l < {counter})"
    exec_plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script]}

    async def main() -> None:
        cluster = FakeCluster()
        cluster.add_user("first", "token-1")
        cluster.add_user("later", "token-2", [("get", "namespaces")])
        async with cluster.serve() as url:
            config = json.loads(cluster.kubeconfig(url))
            config["users"][0]["user"] = {"exec": exec_plugin}
            (tmp_path / "kubeconfig").write_text(json.dumps(config))
            async with KubeClient.connect(kubeconfig=str(tmp_path / "kubeconfig")) as kube:
                await kube.get(Namespace, "default")

    asyncio.run(main())


def test_open_watches_can_not_use_up_the_connections(tmp_path: Path):
    async def main() -> int:
        FakeCluster().kubeconfig("http://127.0.0.1:1", tmp_path / "kubeconfig")
        async with connect(str(tmp_path / "kubeconfig"), None) as transport:
            connector = transport._session.connector
            assert connector is not None
            return connector.limit

    assert asyncio.run(main()) == 0


def test_a_server_that_goes_away_is_unreachable(tmp_path: Path):
    async def main() -> None:
        cluster = FakeCluster()
        async with cluster.serve() as url:
            cluster.kubeconfig(url, tmp_path / "kubeconfig")
        async with KubeClient.connect(kubeconfig=str(tmp_path / "kubeconfig")) as kube:
            with pytest.raises(ClusterUnreachable):
                await kube.get(Namespace, "default")
            with pytest.raises(ClusterUnreachable):
                await anext(kube.watch(Namespace, resource_version="1"))

    asyncio.run(main())


def test_an_outage_over_the_wire(tmp_path: Path):
    async def main() -> None:
        cluster = FakeCluster()
        async with cluster.serve() as url:
            cluster.kubeconfig(url, tmp_path / "kubeconfig")
            async with KubeClient.connect(kubeconfig=str(tmp_path / "kubeconfig")) as kube:
                async with aclosing(kube.watch(Namespace, resource_version="0")) as watch:
                    await anext(watch)
                    cluster.faults.outage(3600)
                    with pytest.raises(ClusterUnreachable):
                        [event async for event in watch]
                with pytest.raises(ClusterUnreachable):
                    await kube.get(Namespace, "default")
                cluster.faults.clear()
                await kube.get(Namespace, "default")

    asyncio.run(main())


def test_a_reply_that_never_comes_over_the_wire(tmp_path: Path):
    async def main() -> None:
        cluster = FakeCluster()
        async with cluster.serve() as url:
            cluster.kubeconfig(url, tmp_path / "kubeconfig")
            async with KubeClient.connect(kubeconfig=str(tmp_path / "kubeconfig")) as kube:
                cluster.faults.lose_reply()
                with pytest.raises(ClusterUnreachable, match="no answer in time"):
                    await kube._transport.request("GET", "/version", {}, {}, None, 0.05)

    asyncio.run(main())


@pytest.mark.parametrize("text", [None, "{}", "kind: Config\nclusters: []\n"])
def test_a_kubeconfig_that_is_none(tmp_path: Path, text: str | None):
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)

    async def main() -> None:
        async with KubeClient.connect(kubeconfig=str(file)):
            pass

    with pytest.raises(InvalidInput, match=r"kubeconfig|configuration"):
        asyncio.run(main())


def test_the_kubeconfig_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def main() -> str:
        cluster = FakeCluster()
        async with cluster.serve() as url:
            cluster.kubeconfig(url, tmp_path / "kubeconfig")
            monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
            async with KubeClient.connect() as kube:
                return (await kube.get(Namespace, "default")).metadata.name

    assert asyncio.run(main()) == "default"


def test_the_proxy_is_that_of_the_environment_and_no_netrc_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    async def name() -> str:
        async with KubeClient.connect(kubeconfig=str(tmp_path / "kubeconfig")) as kube:
            return (await kube.get(Namespace, "default")).metadata.name

    async def main() -> None:
        fake = FakeCluster()
        async with fake.serve() as url:
            fake.kubeconfig(url, tmp_path / "kubeconfig")
            assert await name() == "default"
            monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
            with pytest.raises(ClusterUnreachable):
                await name()
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            assert await name() == "default"

    asyncio.run(main())
