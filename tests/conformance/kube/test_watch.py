"""Watches: what comes, what does not, and how they end."""

from contextlib import aclosing

import anyio
import pytest
from tests.conformance.kube.rig import Rig

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.errors import Gone, Unavailable
from cozydrivers.kube import WatchEvent


async def test_changes_come_in_order_from_a_version_on(rig: Rig):
    before = await rig.version()
    made = await rig.job()
    await rig.kube.merge_patch(BackupJob, "nightly", {"status": {"phase": "Running"}}, rig.namespace, status=True)
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    seen = await rig.events(BackupJob, 3, before)
    assert [(event.type, event.object.status.phase) for event in seen] == [
        ("ADDED", ""),
        ("MODIFIED", "Running"),
        ("DELETED", "Running"),
    ]
    versions = [int(event.object.metadata.resource_version) for event in seen]
    assert versions == sorted(set(versions))


async def test_a_watch_from_the_version_of_a_list_misses_nothing(rig: Rig):
    await rig.job("first")
    version = (await rig.kube.list(BackupJob, rig.namespace)).resource_version
    await rig.job("second")
    (event,) = await rig.events(BackupJob, 1, version)
    assert event.object.metadata.name == "second"


async def test_a_change_comes_while_the_watch_is_open(rig: Rig):
    version = await rig.version()
    seen: list[WatchEvent[BackupJob]] = []

    async def follow() -> None:
        seen.extend(await rig.events(BackupJob, 1, version))

    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.sleep(0.5)
            await rig.job()
    assert [event.type for event in seen] == ["ADDED"]


async def test_a_deleted_object_carries_the_version_of_its_deletion(rig: Rig):
    version = await rig.version()
    made = await rig.job()
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    _, deleted = await rig.events(BackupJob, 2, version)
    assert int(deleted.object.metadata.resource_version) > int(made.metadata.resource_version)


async def test_leaving_a_selector_is_a_deletion_and_entering_it_an_addition(rig: Rig):
    version = await rig.version()
    await rig.configmap("c")
    for value in ("on", None, "on"):
        await rig.kube.merge_patch(ConfigMap, "c", {"metadata": {"labels": {"sel": value}}}, rig.namespace)
    seen = await rig.events(ConfigMap, 3, version, "sel=on")
    assert [event.type for event in seen] == ["ADDED", "DELETED", "ADDED"]
    assert seen[1].object.metadata.labels == {"sel": "on"}


async def test_leases_of_one_name_in_all_namespaces(rig: Rig):
    version = await rig.version()
    name = f"elected-{rig.namespace}"
    other = (await rig.kube.create(Namespace, {"metadata": {"generateName": "other-"}})).metadata.name
    for place in (rig.namespace, other):
        for each in (f"{name}-2", name):
            await rig.kube.create(Lease, {"metadata": {"name": each}, "spec": {"holderIdentity": "one"}}, place)
    patch = {"spec": {"holderIdentity": ""}}
    await rig.kube.merge_patch(Lease, name, patch, rig.namespace)
    lease = await rig.kube.get(Lease, name, other)
    await rig.kube.delete(Lease, name, other, uid=lease.metadata.uid)
    seen: list[tuple[str, str, str]] = []
    watch = rig.kube.watch(Lease, resource_version=version, field_selector=f"metadata.name={name}", timeout=20)
    with anyio.fail_after(15):
        async with aclosing(watch):
            async for event in watch:
                seen += [(event.type, event.object.metadata.namespace, event.object.spec.holder_identity)]
                assert event.object.metadata.name == name
                if len(seen) == 4:
                    break
    assert seen == [
        ("ADDED", rig.namespace, "one"),
        ("ADDED", other, "one"),
        ("MODIFIED", rig.namespace, ""),
        ("DELETED", other, "one"),
    ]


async def test_a_finalizer_shows_as_a_change_before_the_end(rig: Rig):
    version = await rig.version()
    made = await rig.job(finalizers=["example.com/held"])
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"finalizers": None}}, rig.namespace)
    seen = await rig.events(BackupJob, 3, version)
    assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[1].object.metadata.deletion_timestamp is not None
    assert seen[2].object.metadata.finalizers == ["example.com/held"]


async def test_a_selector_of_a_key_alone(rig: Rig):
    version, key = await rig.version(), "cozydrivers.cozystack.io/run"
    await rig.configmap("c", labels={key: ""})
    for labels in ({key: "1", "team": "a"}, {key: None}):
        await rig.kube.merge_patch(ConfigMap, "c", {"metadata": {"labels": labels}}, rig.namespace)
    seen = await rig.events(ConfigMap, 3, version, key)
    assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event.type for event in await rig.events(ConfigMap, 2, version, f"team,{key}")] == ["ADDED", "DELETED"]


async def test_other_namespaces_stay_out(rig: Rig):
    version = await rig.version()
    other = await rig.kube.create(Namespace, {"metadata": {"generateName": "other-"}})
    await rig.kube.create(ConfigMap, {"metadata": {"name": "there"}}, other.metadata.name)
    await rig.configmap("here")
    (event,) = await rig.events(ConfigMap, 1, version)
    assert event.object.metadata.name == "here"


async def test_without_a_version_it_starts_with_what_is_there(rig: Rig):
    await rig.configmap("c")
    (event,) = await rig.events(ConfigMap, 1, "0")
    assert (event.type, event.object.metadata.name) == ("ADDED", "c")


async def test_it_ends_when_its_time_is_up(rig: Rig):
    version = await rig.version()
    with anyio.fail_after(10):
        watch = rig.kube.watch(BackupJob, rig.namespace, resource_version=version, timeout=1)
        assert [event async for event in watch if event.type != "BOOKMARK"] == []


async def test_a_bookmark_comes_before_the_end_if_the_kind_has_changed_meanwhile(rig: Rig):
    version = await rig.version()
    seen: list[WatchEvent[BackupJob]] = []

    async def follow() -> None:
        watch = rig.kube.watch(BackupJob, rig.namespace, resource_version=version, label_selector="sel=on", timeout=5)
        seen.extend([event async for event in watch])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await anyio.sleep(1)
        made = await rig.job(labels={"sel": "off"})
    assert {event.type for event in seen} == {"BOOKMARK"}
    assert seen[-1].object.metadata.resource_version == made.metadata.resource_version


async def test_no_bookmark_comes_for_a_kind_that_has_not_changed(rig: Rig):
    version = await rig.version()
    await rig.job(labels={"sel": "off"})
    await rig.configmap("c")
    watch = rig.kube.watch(BackupJob, rig.namespace, resource_version=version, label_selector="sel=on", timeout=5)
    assert [event async for event in watch] == []


async def test_a_version_that_is_too_old(rig: Rig):
    last = await rig.job()
    await rig.forget(int(last.metadata.resource_version))
    with pytest.raises(Gone, match="too old resource version"):
        await rig.events(BackupJob, 1, "1")


async def test_a_version_that_is_no_number(rig: Rig):
    with pytest.raises(Unavailable, match="invalid syntax"):
        await rig.events(BackupJob, 1, "abc")


async def test_leaving_a_watch_early_leaves_nothing_open(rig: Rig):
    version = await rig.version()
    await rig.job()
    watch = rig.kube.watch(BackupJob, rig.namespace, resource_version=version)
    async with aclosing(watch):
        async for _ in watch:
            break


async def _seen(rig: Rig, path: str, selector: str, version: str) -> list[tuple[str, str, str]]:
    lines = await rig.watched(path, fieldSelector=selector, resourceVersion=version)
    metadata = [(line["type"], line["object"]["metadata"]) for line in lines]
    return [(kind, each["namespace"], each["name"]) for kind, each in metadata]


async def test_a_field_selector_narrows_it_to_a_name(rig: Rig):
    version = await rig.version()
    for name in ("a", "b"):
        made = await rig.configmap(name)
        await rig.kube.merge_patch(ConfigMap, name, {"data": {"a": "2"}}, rig.namespace)
    await rig.kube.delete(ConfigMap, "b", rig.namespace, uid=made.metadata.uid)
    path, here = ConfigMap.resource.path(rig.namespace), rig.namespace
    only_b = [("ADDED", here, "b"), ("MODIFIED", here, "b"), ("DELETED", here, "b")]
    assert await _seen(rig, path, "metadata.name=b", version) == only_b
    assert await _seen(rig, path, "metadata.name==b", version) == only_b
    assert await _seen(rig, path, "metadata.name!=a", version) == only_b
    assert await _seen(rig, path, "metadata.name=b,metadata.name=a", version) == []
    assert await _seen(rig, path, "metadata.name=a", "0") == [("ADDED", here, "a")]


async def test_a_field_selector_narrows_it_to_a_namespace(rig: Rig):
    other = (await rig.kube.create(Namespace, {"metadata": {"generateName": "other-"}})).metadata.name
    version, here = await rig.version(), rig.namespace
    for namespace in (here, other):
        for name in ("a", "b"):
            await rig.kube.create(ConfigMap, {"metadata": {"name": name}}, namespace)
    path, own = ConfigMap.resource.path(), ConfigMap.resource.path(here)
    assert await _seen(rig, path, f"metadata.namespace={other}", version) == [
        ("ADDED", other, "a"),
        ("ADDED", other, "b"),
    ]
    assert await _seen(rig, path, f"metadata.namespace={other},metadata.name=b", version) == [("ADDED", other, "b")]
    assert await _seen(rig, path, "metadata.name=b", version) == [("ADDED", here, "b"), ("ADDED", other, "b")]
    assert await _seen(rig, own, f"metadata.namespace={other}", version) == []


async def test_a_field_selector_narrows_custom_resources_too(rig: Rig):
    version = await rig.version()
    for name in ("a", "b"):
        await rig.job(name)
    path = BackupJob.resource.path()
    selector = f"metadata.namespace={rig.namespace},metadata.name=a"
    assert await _seen(rig, path, selector, version) == [("ADDED", rig.namespace, "a")]


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("spec.x=a", '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("metadata.name in (a)", "invalid selector: 'metadata.name in (a)'; can't understand 'metadata.name in (a)'"),
    ],
)
async def test_a_field_selector_that_is_none(rig: Rig, selector: str, message: str):
    (line,) = await rig.watched(ConfigMap.resource.path(rig.namespace), fieldSelector=selector)
    assert (line["code"], line["message"]) == (400, message)


async def test_it_goes_on_from_its_last_event_after_it_has_ended(rig: Rig):
    version, names = await rig.version(), list[str]()
    for name in ("a", "b", "c"):
        await rig.job(name)
        (event,) = await rig.events(BackupJob, 1, version)
        names.append(event.object.metadata.name)
        version = event.object.metadata.resource_version
    assert names == ["a", "b", "c"]


async def test_it_goes_on_from_the_version_of_another_kind(rig: Rig):
    """All kinds share one sequence, so the version of a list or of a bookmark is as good as an event's."""
    made = await rig.configmap("c")
    await rig.job()
    (event,) = await rig.events(BackupJob, 1, made.metadata.resource_version)
    assert event.type == "ADDED"


async def test_a_limit_has_no_effect_on_it(rig: Rig):
    for name in ("a", "b"):
        await rig.configmap(name)
    lines = await rig.watched(ConfigMap.resource.path(rig.namespace), resourceVersion="0", limit="1")
    assert [line["object"]["metadata"]["name"] for line in lines] == ["a", "b"]


async def test_a_namespace_that_is_not_there_is_silent(rig: Rig):
    assert await rig.watched(ConfigMap.resource.path("absent"), resourceVersion="0") == []


async def test_a_version_of_the_future_waits(rig: Rig):
    assert await rig.watched(ConfigMap.resource.path(rig.namespace), resourceVersion="99999999") == []
