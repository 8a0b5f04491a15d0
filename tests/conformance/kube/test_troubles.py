"""How a server says that it can't: too many requests, a webhook that nobody answers, a restart."""

import anyio
import pytest
from tests.conformance.kube.rig import Rig, job, new_event

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.core import ConfigMap
from cozydrivers.api.events import Event
from cozydrivers.errors import ClusterUnreachable, Conflict, Gone, Invalid, NotFound, Unavailable

UNREACHABLE = (
    'failed calling webhook "guard.example.com": failed to call webhook: '
    'Post "https://127.0.0.1:1/validate?timeout=2s": dial tcp 127.0.0.1:1: connect: connection refused'
)


async def test_too_many_requests_are_refused_in_plain_text(rig: Rig):
    answer = await rig.controls.too_many(rig.nobody)
    assert (answer.status, answer.body) == (429, b"Too many requests, please try again later.\n")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_webhook_that_nobody_answers(rig: Rig):
    async with rig.controls.unreachable_webhook(rig.namespace):
        body = {**job("nightly"), "apiVersion": "backups.cozystack.io/v1alpha1", "kind": "BackupJob"}
        answer = await rig.send("POST", BackupJob.resource.path(rig.namespace), body)
    assert answer.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {UNREACHABLE}",
        "reason": "InternalError",
        "details": {"causes": [{"message": UNREACHABLE}]},
        "code": 500,
    }
    with pytest.raises(NotFound):
        await rig.kube.get(BackupJob, "nightly", rig.namespace)


async def test_a_webhook_that_nobody_answers_stops_every_kind_of_write(rig: Rig):
    made = await rig.job()
    labels, status = {"metadata": {"labels": {"a": "b"}}}, {"status": {"phase": "Running"}}
    async with rig.controls.unreachable_webhook(rig.namespace):
        kube, place = rig.kube, rig.namespace
        for write in (
            kube.merge_patch(BackupJob, "nightly", labels, place),
            kube.merge_patch(BackupJob, "nightly", status, place, status=True),
            kube.merge_patch(BackupJob, "nightly", {"metadata": {"labels": {}}}, place),
            kube.apply(BackupJob, "new", job("new"), place, field_manager="test"),
            kube.delete(BackupJob, "nightly", place, uid=made.metadata.uid),
        ):
            with pytest.raises(Unavailable, match="failed calling webhook"):
                await write
        assert (await rig.send("DELETE", BackupJob.resource.path(place))).status == 500
        await rig.configmap("c")
    found = await rig.kube.get(BackupJob, "nightly", rig.namespace)
    assert found.metadata.resource_version == made.metadata.resource_version


async def test_what_is_found_before_a_webhook_is_asked_and_after(rig: Rig):
    made = await rig.job()
    bad = job("bad")
    bad["spec"]["backupClassName"] = ""
    stale = {"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}}
    async with rig.controls.unreachable_webhook(rig.namespace):
        kube, place = rig.kube, rig.namespace
        with pytest.raises(Invalid):
            await kube.create(BackupJob, bad, place)
        with pytest.raises(Conflict):
            await kube.merge_patch(BackupJob, "nightly", stale, place)
        with pytest.raises(Conflict):
            await kube.delete(BackupJob, "nightly", place, uid="other")
        with pytest.raises(Conflict):
            await kube.delete(BackupJob, "nightly", place, uid=made.metadata.uid, resource_version="1")
        with pytest.raises(NotFound):
            await kube.delete(BackupJob, "absent", place, uid="any")
        # It is asked before the name is looked up: a name that is taken looks like a trouble that passes.
        with pytest.raises(Unavailable, match="failed calling webhook"):
            await kube.create(BackupJob, job("nightly"), place)


async def test_a_restarted_server_breaks_watches_and_knows_no_older_version(rig: Rig):
    """Its watch cache is new: whoever watched must list anew, though nothing was compacted in etcd."""
    version = await rig.version()
    await rig.job("before")
    newest = await rig.version()

    async def follow() -> None:
        with pytest.raises(ClusterUnreachable):
            async for _ in rig.kube.watch(BackupJob, rig.namespace, resource_version=newest, timeout=50):
                pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await anyio.sleep(0.5)
        await rig.controls.restart()
    for old in (version, newest):
        with pytest.raises(Gone, match=f"too old resource version: {old}"):
            await rig.events(BackupJob, 1, old)
    version = await rig.version()
    await rig.job("after")
    (event,) = await rig.events(BackupJob, 1, version)
    assert event.object.metadata.name == "after"


async def test_over_a_restart_pages_and_exact_versions_and_events_go_on(rig: Rig):
    """They come from etcd: events have no watch cache."""
    for name in ("a", "b"):
        await rig.configmap(name)
    path = ConfigMap.resource.path(rig.namespace)
    first = (await rig.send("GET", path, limit="1")).body["metadata"]
    version = first["resourceVersion"]
    await rig.kube.create(Event, new_event("e", rig.namespace), rig.namespace)
    await rig.controls.restart()
    rest = await rig.send("GET", path, **{"continue": first["continue"]})
    assert [item["metadata"]["name"] for item in rest.body["items"]] == ["b"]
    exact = await rig.send("GET", path, resourceVersion=version, resourceVersionMatch="Exact")
    assert [item["metadata"]["name"] for item in exact.body["items"]] == ["a", "b"]
    (seen,) = await rig.events(Event, 1, version)
    assert (seen.type, seen.object.metadata.name) == ("ADDED", "e")


async def test_events_are_too_old_once_they_are_compacted(rig: Rig):
    version = await rig.version()
    for name in ("a", "b"):
        last = await rig.configmap(name)
    await rig.forget(int(last.metadata.resource_version))
    with pytest.raises(Gone):
        await rig.events(Event, 1, version)
