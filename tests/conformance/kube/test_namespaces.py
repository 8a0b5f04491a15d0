"""Namespaces: how they come and how they go."""

from contextlib import aclosing
from typing import Any

import pytest
from tests.conformance.kube.rig import Answer, Rig, job, new_event
from tests.whole import whole

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.api.events import Event
from cozydrivers.errors import Forbidden, NotFound
from cozydrivers.kube import WatchEvent

FINALIZER = "cozydrivers.cozystack.io/cleanup"


def _path(rig: Rig) -> str:
    return Namespace.resource.path(None, rig.namespace)


async def _leave(rig: Rig) -> dict[str, Any]:
    space = await rig.kube.get(Namespace, rig.namespace)
    await rig.kube.delete(Namespace, rig.namespace, uid=space.metadata.uid)
    left: dict[str, Any] = (await rig.send("GET", _path(rig))).body
    return left


async def _finalize(rig: Rig, space: dict[str, Any], **spec: Any) -> Answer:
    return await rig.send("PUT", f"{_path(rig)}/finalize", {**space, "spec": spec})


async def test_one_is_active_and_knows_its_name(rig: Rig):
    found = await rig.kube.get(whole(Namespace), rig.namespace)
    assert found.status.phase == "Active"
    assert found.metadata.labels["kubernetes.io/metadata.name"] == rig.namespace
    assert found.raw["spec"] == {"finalizers": ["kubernetes"]}


async def test_a_leaving_one_takes_nothing_new(rig: Rig):
    left = await _leave(rig)
    assert (left["status"], left["spec"]) == ({"phase": "Terminating"}, {"finalizers": ["kubernetes"]})
    bodies: list[tuple[Any, dict[str, Any]]] = [
        (BackupJob, job("new")),
        (ConfigMap, {"metadata": {"name": "new"}}),
        (Lease, {"metadata": {"name": "new"}}),
        (Event, new_event("new", rig.namespace)),
    ]
    for kind, body in bodies:
        with pytest.raises(Forbidden) as caught:
            await rig.kube.create(kind, body, rig.namespace)
        why = f"unable to create new content in namespace {rig.namespace} because it is being terminated"
        assert caught.value.message.endswith(f'"new" is forbidden: {why}')
        (cause,) = caught.value.causes
        assert (cause.reason, cause.field) == ("NamespaceTerminating", "metadata.namespace")
        assert cause.message == f"namespace {rig.namespace} is being terminated"


async def test_nothing_new_is_applied_into_a_leaving_one_either(rig: Rig):
    await _leave(rig)
    with pytest.raises(Forbidden):
        await rig.kube.apply(BackupJob, "new", job("new"), rig.namespace, field_manager="test")


async def test_what_is_in_a_leaving_one_can_be_changed_and_deleted(rig: Rig):
    made = await rig.job()
    await _leave(rig)
    await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"labels": {"a": "1"}}}, rig.namespace)
    patch = {"status": {"phase": "Failed"}}
    await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace, status=True)
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)


async def test_a_second_deletion_changes_nothing(rig: Rig):
    first = await _leave(rig)
    assert await _leave(rig) == first


async def test_a_deletion_of_many_leaves_what_a_finalizer_holds(rig: Rig):
    await rig.job("free")
    await rig.job("held", finalizers=[FINALIZER])
    await _leave(rig)
    answer = await rig.send("DELETE", BackupJob.resource.path(rig.namespace))
    assert [item["metadata"]["name"] for item in answer.body["items"]] == ["free", "held"]
    (held,) = (await rig.kube.list(BackupJob, rig.namespace)).items
    assert held.metadata.name == "held"
    assert held.metadata.deletion_timestamp is not None


async def test_it_is_gone_once_it_is_finalized(rig: Rig):
    left = await _leave(rig)
    assert (await _finalize(rig, left, finalizers=["kubernetes", "example.com/more"])).status == 200
    left = (await rig.send("GET", _path(rig))).body
    assert left["spec"] == {"finalizers": ["kubernetes", "example.com/more"]}
    assert (await _finalize(rig, left)).status == 200
    assert (await rig.send("GET", _path(rig))).status == 404


async def test_a_watch_shows_how_one_is_paused_and_leaves(rig: Rig):
    only = f"metadata.name={rig.namespace}"
    version = (await rig.kube.list(Namespace, field_selector=only)).resource_version
    pause = {"metadata": {"annotations": {"cozydrivers.cozystack.io/pause": "true"}}}
    await rig.kube.merge_patch(Namespace, rig.namespace, pause)
    await _finalize(rig, await _leave(rig))
    seen: list[WatchEvent[Namespace]] = []
    watch = rig.kube.watch(Namespace, resource_version=version, field_selector=only, timeout=20)
    async with aclosing(watch):
        async for event in watch:
            seen.append(event)
            if event.type == "DELETED":
                break
    assert [(event.type, event.object.status.phase) for event in seen] == [
        ("MODIFIED", "Active"),
        ("MODIFIED", "Terminating"),
        ("DELETED", "Terminating"),
    ]
    assert [event.object.metadata.deletion_timestamp is not None for event in seen] == [False, True, True]
    assert {len(event.object.metadata.annotations) for event in seen} == {1}


async def test_it_is_finalized_from_its_newest_version(rig: Rig):
    before = (await rig.send("GET", _path(rig))).body
    await _leave(rig)
    answer = await _finalize(rig, before)
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")


async def test_an_active_one_can_be_finalized_and_stays(rig: Rig):
    space = (await rig.send("GET", _path(rig))).body
    assert (await _finalize(rig, space)).status == 200
    assert (await rig.kube.get(Namespace, rig.namespace)).status.phase == "Active"
    assert (await _leave(rig))["status"]["phase"] == "Terminating"


async def test_its_finalizers_are_not_changed_by_a_patch(rig: Rig):
    await rig.send("PATCH", _path(rig), {"spec": {"finalizers": []}}, content="merge-patch+json")
    assert (await rig.kube.get(whole(Namespace), rig.namespace)).raw["spec"] == {"finalizers": ["kubernetes"]}


async def test_finalizers_in_its_metadata_hold_it_too(rig: Rig):
    await rig.kube.merge_patch(Namespace, rig.namespace, {"metadata": {"finalizers": [FINALIZER]}})
    assert (await _finalize(rig, await _leave(rig))).status == 200
    assert (await rig.kube.get(Namespace, rig.namespace)).status.phase == "Terminating"
    await rig.kube.merge_patch(Namespace, rig.namespace, {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await rig.kube.get(Namespace, rig.namespace)


async def test_what_is_left_in_one_that_is_gone_can_be_read_and_no_more(rig: Rig):
    await rig.job(finalizers=[FINALIZER])
    await _finalize(rig, await _leave(rig))
    await rig.kube.get(BackupJob, "nightly", rig.namespace)
    with pytest.raises(NotFound, match=f'namespaces "{rig.namespace}" not found'):
        await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"finalizers": None}}, rig.namespace)
    with pytest.raises(NotFound, match=f'namespaces "{rig.namespace}" not found'):
        await rig.job("new")


@pytest.mark.parametrize("name", ["default", "kube-system"])
async def test_some_are_never_deleted(rig: Rig, name: str):
    space = await rig.kube.get(Namespace, name)
    with pytest.raises(Forbidden, match="this namespace may not be deleted"):
        await rig.kube.delete(Namespace, name, uid=space.metadata.uid)


async def test_they_are_not_deleted_all_at_once(rig: Rig):
    assert (await rig.send("DELETE", "/api/v1/namespaces")).status == 405
