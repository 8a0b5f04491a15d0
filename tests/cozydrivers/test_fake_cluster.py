"""The fake cluster's own controls: clock, faults, users, watches.

What a real one does too stands in the conformance suite.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.errors import ApiError, ClusterUnreachable, Conflict, Forbidden, Gone, Invalid, Unavailable
from cozydrivers.testing import FakeCluster

CRDS = Path(__file__).parents[2] / "fixtures" / "crds"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _configmap(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"a": "1"}}


async def test_time_is_that_of_the_event_loop_from_a_given_start():
    cluster = FakeCluster(now=NOW)
    await cluster.kube().list(Namespace)
    await anyio.sleep(3600)
    made = await cluster.kube().create(ConfigMap, _configmap("c"), "default")
    assert made.metadata.creation_timestamp == NOW + timedelta(hours=1)
    assert cluster.now() == NOW + timedelta(hours=1)


async def test_every_run_gives_the_same_names_and_uids():
    async def run() -> tuple[str, str]:
        made = await FakeCluster().kube().create(ConfigMap, {"metadata": {"generateName": "c-"}}, "default")
        return made.metadata.uid, made.metadata.name

    assert await run() == await run()


async def test_the_system_namespaces_are_there():
    found = await FakeCluster().kube().list(Namespace)
    assert [item.metadata.name for item in found.items] == ["default", "kube-system"]


async def test_requests_are_logged_with_method_and_path():
    cluster = FakeCluster()
    await cluster.kube().get(Namespace, "default")
    assert cluster.requests == [("GET", "/api/v1/namespaces/default")]


async def test_faults_hit_the_requests_that_they_name():
    cluster = FakeCluster()
    kube = cluster.kube()
    cluster.faults.fail(2, status=503, method="GET", path="/configmaps")
    await kube.get(Namespace, "default")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await kube.list(ConfigMap)
    await kube.list(ConfigMap)


async def test_faults_can_be_taken_back():
    cluster = FakeCluster()
    cluster.faults.fail(10)
    cluster.faults.latency = 60
    cluster.faults.clear()
    await cluster.kube().list(ConfigMap)
    assert anyio.current_time() < 60


async def _fails_for(cluster: FakeCluster, error: type[ApiError]) -> float:
    """Seconds until a request does not fail any more."""
    began = anyio.current_time()
    while True:
        try:
            await cluster.kube().get(Namespace, "default")
        except error:
            await anyio.sleep(1)
        else:
            return anyio.current_time() - began


async def test_a_fault_can_last_for_a_time():
    cluster = FakeCluster()
    cluster.faults.fail(status=500, seconds=30)
    assert await _fails_for(cluster, Unavailable) == pytest.approx(30)


async def test_one_that_asks_too_much_is_told_when_to_come_back():
    cluster = FakeCluster()
    for retry_after, told in ((None, 1), (7, 7)):
        cluster.faults.fail(status=429, retry_after=retry_after)
        with pytest.raises(Unavailable) as caught:
            await cluster.kube().list(ConfigMap)
        assert caught.value.retry_after == told


async def _events(cluster: FakeCluster, version: str, timeout: float = 290) -> list[str]:
    watch = cluster.kube().watch(ConfigMap, resource_version=version, timeout=timeout)
    return [event.object.metadata.name async for event in watch if event.type != "BOOKMARK"]


async def test_an_outage_breaks_watches_refuses_for_a_time_and_forgets_versions():
    cluster = FakeCluster()
    version = (await cluster.kube().list(ConfigMap)).resource_version

    async def stop() -> None:
        await anyio.sleep(10)
        cluster.faults.outage(30)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        with pytest.raises(ClusterUnreachable):
            await _events(cluster, version)
    assert anyio.current_time() == pytest.approx(10)
    assert await _fails_for(cluster, ClusterUnreachable) == pytest.approx(30)
    with pytest.raises(Gone):
        await _events(cluster, version)


async def test_a_silent_watch_shows_nothing_and_is_given_up_by_the_client():
    cluster = FakeCluster()
    kube = cluster.kube()
    version = (await kube.list(ConfigMap)).resource_version

    async def go_on() -> None:
        await anyio.sleep(1)
        cluster.faults.silence_watches("configmaps")
        await kube.create(ConfigMap, _configmap("c"), "default")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go_on)
        with pytest.raises(ClusterUnreachable, match="no answer in time"):
            await _events(cluster, version, timeout=60)
    assert anyio.current_time() == pytest.approx(75)
    assert await _events(cluster, version, timeout=1) == ["c"]


async def test_watches_of_another_kind_are_not_silenced():
    cluster = FakeCluster()
    version = (await cluster.kube().list(ConfigMap)).resource_version

    async def go_on() -> None:
        await anyio.sleep(1)
        cluster.faults.silence_watches("secrets")
        await cluster.kube().create(ConfigMap, _configmap("c"), "default")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go_on)
        assert await _events(cluster, version, timeout=5) == ["c"]


async def test_watches_and_cached_lists_can_be_late_while_other_reads_are_fresh():
    cluster = FakeCluster()
    kube = cluster.kube()
    version = (await kube.list(ConfigMap)).resource_version
    cluster.faults.lag = 10
    seen: list[tuple[str, float]] = []

    async def follow() -> None:
        events = kube.watch(ConfigMap, resource_version=version, timeout=30)
        seen.extend([(event.object.metadata.name, anyio.current_time()) async for event in events])

    async def cached() -> int:
        answer = await kube._transport.request("GET", "/api/v1/configmaps", {"resourceVersion": "0"}, {}, None, 30)
        return len(json.loads(answer.body)["items"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        for name in ("a", "b"):
            await anyio.sleep(2)
            await kube.create(ConfigMap, _configmap(name), "default")
        await kube.get(ConfigMap, "b", "default")
        assert (len((await kube.list(ConfigMap)).items), await cached()) == (2, 0)
        await anyio.sleep(9)
        assert await cached() == 1
    assert [(name, round(at)) for name, at in seen if name] == [("a", 12), ("b", 14)]


async def test_a_rival_makes_every_second_write_a_conflict():
    cluster = FakeCluster()
    kube = cluster.kube()
    await kube.create(ConfigMap, _configmap("c"), "default")
    cluster.faults.rival(2)
    failed = []
    for value in range(4):
        version = (await kube.get(ConfigMap, "c", "default")).metadata.resource_version
        patch = {"metadata": {"resourceVersion": version}, "data": {"a": str(value)}}
        try:
            await kube.merge_patch(ConfigMap, "c", patch, "default")
        except Conflict:
            failed.append(value)
    assert failed == [0, 2]
    assert (await kube.get(ConfigMap, "c", "default")).data == {"a": "3"}


async def test_a_rival_does_not_hinder_who_names_no_version():
    cluster = FakeCluster()
    kube = cluster.kube()
    made = await kube.create(ConfigMap, _configmap("c"), "default")
    cluster.faults.rival(1)
    await kube.merge_patch(ConfigMap, "c", {"data": {"a": "2"}}, "default")
    await kube.delete(ConfigMap, "c", "default", uid=made.metadata.uid)


async def test_a_broken_webhook_is_healed_by_clear():
    cluster = FakeCluster()
    kube = cluster.kube()
    cluster.faults.break_webhook("configmaps")
    with pytest.raises(Unavailable, match="failed calling webhook"):
        await kube.create(ConfigMap, _configmap("c"), "default")
    cluster.faults.clear()
    await kube.create(ConfigMap, _configmap("c"), "default")


async def test_what_the_cluster_does_itself_is_not_hindered_and_not_logged():
    cluster = FakeCluster()
    cluster.faults.outage(60)
    cluster.faults.break_webhook("configmaps")
    made = cluster.act("POST", "/api/v1/namespaces/default/configmaps", _configmap("c"))
    path = "/api/v1/namespaces/default/configmaps/c"
    assert cluster.act("PATCH", path, {"data": {"a": "2"}})["data"] == {"a": "2"}
    assert cluster.act("GET", path)["metadata"]["uid"] == made["metadata"]["uid"]
    assert cluster.requests == []


async def test_rights_on_a_subresource_are_rights_of_their_own():
    cluster = FakeCluster([CRDS])
    cluster.add_user("writer", "token", {("create", "*"), ("patch", "backupjobs.backups.cozystack.io")})
    writer = cluster.kube("token")
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "ch"}
    body = {"metadata": {"name": "j"}, "spec": {"applicationRef": reference, "backupClassName": "c"}}
    await writer.create(BackupJob, body, "default")
    await writer.merge_patch(BackupJob, "j", {"metadata": {"labels": {"a": "b"}}}, "default")
    with pytest.raises(Forbidden, match='cannot patch resource "backupjobs/status"'):
        await writer.merge_patch(BackupJob, "j", {"status": {"phase": "Running"}}, "default", status=True)


async def test_latency_takes_time():
    cluster = FakeCluster()
    cluster.faults.latency = 2.0
    start = anyio.current_time()
    await cluster.kube().list(ConfigMap)
    assert anyio.current_time() - start == pytest.approx(2)


async def test_dropped_watches_end_and_a_new_one_goes_on():
    cluster = FakeCluster()
    kube = cluster.kube()
    version = (await kube.list(ConfigMap)).resource_version

    async def drop() -> None:
        await anyio.sleep(10)
        cluster.drop_watches()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drop)
        assert [event async for event in kube.watch(ConfigMap, resource_version=version)] == []
    assert anyio.current_time() == pytest.approx(10, abs=1)
    await kube.create(ConfigMap, _configmap("c"), "default")
    assert (await anext(kube.watch(ConfigMap, resource_version=version))).type == "ADDED"


async def test_compaction_is_for_those_who_come_later():
    cluster = FakeCluster()
    kube = cluster.kube()
    version = (await kube.list(ConfigMap)).resource_version
    watch = kube.watch(ConfigMap, resource_version=version)
    for name in ("a", "b"):
        await kube.create(ConfigMap, _configmap(name), "default")
        if name == "a":
            assert (await anext(watch)).object.metadata.name == "a"
    cluster.compact()
    assert (await anext(watch)).object.metadata.name == "b"
    with pytest.raises(Gone):
        await anext(kube.watch(ConfigMap, resource_version=version))


async def test_a_user_may_do_what_was_allowed():
    cluster = FakeCluster([CRDS])
    cluster.add_user("viewer", "viewer-token", {("list", "*"), ("get", "configmaps")})
    viewer = cluster.kube("viewer-token")
    await viewer.list(BackupJob)
    with pytest.raises(Forbidden, match='cannot get resource "namespaces"'):
        await viewer.get(Namespace, "default")
    with pytest.raises(Forbidden, match='User "viewer" cannot create'):
        await viewer.create(ConfigMap, _configmap("c"), "default")


async def test_a_kubeconfig_holds_the_address_and_the_token(tmp_path: Path):
    cluster = FakeCluster()
    text = cluster.kubeconfig("http://127.0.0.1:1", tmp_path / "config")
    assert (tmp_path / "config").read_text() == text
    assert json.loads(text)["clusters"][0]["cluster"]["server"] == "http://127.0.0.1:1"


class Thing(KubeObject):
    resource = Resource("example.com", "v1", "Thing", "things", namespaced=True, status=False)
    keeps_raw = True


def _definition(spec: dict[str, Any]) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", **spec}}}}
    names = {"kind": "Thing", "plural": "things"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    old = {"name": "v1alpha1", "served": False, "storage": False}
    return {"spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version, old]}}


async def _create(definition: dict[str, Any], spec: dict[str, Any]) -> Thing:
    cluster = FakeCluster([_definition(definition)])
    return await cluster.kube().create(Thing, {"metadata": {"name": "t"}, "spec": spec}, "default")


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "string", "enum": ["a", "b"]}, "c", 'Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "string", "maxLength": 2}, "abc", "may not be more than 2 bytes"),
        ({"type": "string", "pattern": "^a+$"}, "b", r"should match '\^a\+\$'"),
        ({"type": "integer", "minimum": 1}, 0, "greater than or equal to 1"),
        ({"type": "integer", "maximum": 1}, 2, "less than or equal to 1"),
        ({"type": "integer"}, True, 'must be of type integer: "boolean"'),
        ({"type": "boolean"}, "true", 'must be of type boolean: "string"'),
        ({"type": "array", "items": {"type": "string"}}, ["a", 1], r"spec\.field\[1\] in body must be of type string"),
        ({"type": "array", "items": {}, "minItems": 1}, [], "at least 1 items"),
        ({"type": "array", "items": {}, "maxItems": 1}, [1, 2], "must have at most 1 items"),
        ({"type": "array", "items": {}, "x-kubernetes-list-type": "set"}, ["a", "a"], 'Duplicate value: "a"'),
        ({"x-kubernetes-int-or-string": True}, [], "must be of type integer,string"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"a": 1}, r"spec\.field\.a in body"),
    ],
)
async def test_schemas_refuse(schema: dict[str, Any], value: Any, message: str):
    with pytest.raises(Invalid, match=message):
        await _create({"properties": {"field": schema}}, {"field": value})


async def test_schemas_let_pass_what_they_say():
    properties: dict[str, Any] = {
        "port": {"x-kubernetes-int-or-string": True},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "nothing": {"type": "string", "nullable": True},
        "number": {"type": "number"},
    }
    spec = {"port": "http", "open": {"any": [{"thing": 1}]}, "nothing": None, "number": 1}
    assert (await _create({"properties": properties}, spec)).raw["spec"] == spec


async def test_defaults_reach_into_what_is_there():
    size = {"type": "object", "properties": {"bytes": {"type": "integer", "default": 7}}}
    properties = {"here": size, "absent": size, "whole": {**size, "default": {}}}
    made = await _create({"properties": properties}, {"here": {}})
    assert made.raw["spec"] == {"here": {"bytes": 7}, "whole": {"bytes": 7}}


async def test_a_definition_can_come_later():
    cluster = FakeCluster()
    cluster.add_crd(_definition({"x-kubernetes-preserve-unknown-fields": True}))
    await cluster.kube().create(Thing, {"metadata": {"name": "t"}, "spec": {"a": 1}}, "default")


async def test_a_version_that_is_not_served_is_not_there():
    cluster = FakeCluster([_definition({})])
    headers = {"Authorization": "Bearer admin"}
    for version, status in (("v1", 200), ("v1alpha1", 404)):
        answer = await cluster.handle("GET", f"/apis/example.com/{version}/things", {}, headers, b"")
        assert answer[0] == status


async def test_all_definitions_of_the_project_are_served():
    cluster = FakeCluster([CRDS])
    headers = {"Authorization": "Bearer admin"}
    found = []
    for group in ("backups.cozystack.io", "strategy.backups.cozystack.io", "apps.cozystack.io"):
        _, _, body = await cluster.handle("GET", f"/apis/{group}/v1alpha1", {}, headers, b"")
        assert isinstance(body, bytes)
        found += [item["name"] for item in json.loads(body)["resources"] if "/" not in item["name"]]
    backups = ["backupclasses", "backupjobs", "backups", "plans", "restorejobs"]
    assert found == [*backups, "altinities", "mariadbs", "clickhouses", "mariadbs"]
