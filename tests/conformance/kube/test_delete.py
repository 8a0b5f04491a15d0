"""Deletion: preconditions, finalizers, grace."""

import pytest
from tests.conformance.kube.rig import Rig
from tests.whole import whole

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.core import ConfigMap, Pod
from cozydrivers.errors import AlreadyExists, Conflict, Invalid, NotFound

FINALIZER = "cozydrivers.cozystack.io/cleanup"


async def _gone(rig: Rig, name: str = "nightly") -> bool:
    return name not in {job.metadata.name for job in (await rig.kube.list(BackupJob, rig.namespace)).items}


async def test_the_right_object_goes(rig: Rig):
    made = await rig.job()
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    assert await _gone(rig)


async def test_another_object_of_the_same_name_stays(rig: Rig):
    first = await rig.job()
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=first.metadata.uid)
    second = await rig.job()
    assert second.metadata.uid != first.metadata.uid
    with pytest.raises(Conflict, match="UID in the precondition"):
        await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=first.metadata.uid)
    assert not await _gone(rig)


async def test_an_object_that_changed_stays(rig: Rig):
    made = await rig.job()
    await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"labels": {"a": "1"}}}, rig.namespace)
    version = made.metadata.resource_version
    with pytest.raises(Conflict, match="ResourceVersion in the precondition"):
        await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid, resource_version=version)


async def test_an_object_that_is_not_there(rig: Rig):
    with pytest.raises(NotFound):
        await rig.kube.delete(BackupJob, "absent", rig.namespace, uid="any")


async def test_a_finalizer_holds_it_until_it_is_taken_off(rig: Rig):
    made = await rig.job(finalizers=[FINALIZER])
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    held = await rig.kube.get(BackupJob, "nightly", rig.namespace)
    assert held.metadata.deletion_timestamp is not None
    assert held.metadata.generation == 2
    await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"finalizers": None}}, rig.namespace)
    assert await _gone(rig)


async def test_whoever_takes_the_last_finalizer_off_sees_the_object_once_more(rig: Rig):
    made = await rig.job(finalizers=[FINALIZER, "example.com/other"])
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    held = await rig.kube.get(BackupJob, "nightly", rig.namespace)
    patch = {"metadata": {"resourceVersion": held.metadata.resource_version, "finalizers": ["example.com/other"]}}
    held = await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace)
    assert not await _gone(rig)
    with pytest.raises(Conflict):
        await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace)
    last = {"resourceVersion": held.metadata.resource_version, "finalizers": [], "annotations": {"done": "1"}}
    seen = await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": last}, rig.namespace)
    assert (seen.metadata.uid, seen.metadata.annotations) == (made.metadata.uid, {"done": "1"})
    assert await _gone(rig)
    with pytest.raises(NotFound):
        await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"finalizers": []}}, rig.namespace)


async def test_uid_and_version_are_both_checked(rig: Rig):
    made = (await rig.job()).metadata
    with pytest.raises(Conflict):
        await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid="other", resource_version=made.resource_version)
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.uid, resource_version=made.resource_version)
    assert await _gone(rig)


async def test_a_second_deletion_changes_nothing(rig: Rig):
    made = await rig.job(finalizers=[FINALIZER])
    for _ in range(2):
        await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    held = await rig.kube.get(BackupJob, "nightly", rig.namespace)
    assert held.metadata.generation == 2


async def test_a_terminating_object_takes_no_finalizer(rig: Rig):
    made = await rig.job(finalizers=[FINALIZER])
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    patch = {"metadata": {"finalizers": [FINALIZER, "example.com/more"]}}
    with pytest.raises(Invalid, match="no new finalizers can be added"):
        await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace)


async def test_a_terminating_object_takes_a_status(rig: Rig):
    made = await rig.job(finalizers=[FINALIZER])
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    patch = {"status": {"phase": "Failed"}}
    assert (
        await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace, status=True)
    ).status.phase == "Failed"


async def test_the_name_of_a_terminating_object_is_taken(rig: Rig):
    made = await rig.job(finalizers=[FINALIZER])
    await rig.kube.delete(BackupJob, "nightly", rig.namespace, uid=made.metadata.uid)
    with pytest.raises(AlreadyExists, match="object is being deleted"):
        await rig.job()


async def test_foreground_waits_for_a_collector_that_is_not_there(rig: Rig):
    made = await rig.configmap("c")
    await rig.kube.delete(ConfigMap, "c", rig.namespace, uid=made.metadata.uid, propagation="Foreground")
    assert (await rig.kube.get(ConfigMap, "c", rig.namespace)).metadata.finalizers == ["foregroundDeletion"]


def _pod(**spec: str) -> dict[str, object]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


async def test_a_pod_on_a_node_is_given_time(rig: Rig):
    made = await rig.kube.create(Pod, _pod(nodeName="node"), rig.namespace)
    await rig.kube.delete(Pod, "p", rig.namespace, uid=made.metadata.uid)
    held = await rig.kube.get(whole(Pod), "p", rig.namespace)
    assert held.metadata.deletion_timestamp is not None
    assert held.raw["metadata"]["deletionGracePeriodSeconds"] == 30
    await rig.send("DELETE", Pod.resource.path(rig.namespace, "p"), gracePeriodSeconds="0")
    with pytest.raises(NotFound):
        await rig.kube.get(Pod, "p", rig.namespace)


async def test_a_pod_without_a_node_goes_at_once_in_two_steps(rig: Rig):
    version = await rig.version()
    made = await rig.kube.create(Pod, _pod(), rig.namespace)
    await rig.kube.delete(Pod, "p", rig.namespace, uid=made.metadata.uid)
    with pytest.raises(NotFound):
        await rig.kube.get(Pod, "p", rig.namespace)
    seen = await rig.events(Pod, 3, version)
    assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
