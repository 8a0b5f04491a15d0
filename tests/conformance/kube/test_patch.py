"""Merge patches: conditions, the status subresource, generations."""

import pytest
from tests.conformance.kube.rig import Rig, backup
from tests.whole import whole

from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.api.core import ConfigMap
from cozydrivers.errors import Conflict, Invalid, NotFound

CONDITION = {
    "type": "Ready",
    "status": "False",
    "reason": "Waiting",
    "message": "for a slot",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


async def test_a_patch_sets_and_deletes(rig: Rig):
    await rig.job(labels={"app": "x", "tier": "a"})
    patch = {"metadata": {"labels": {"tier": None, "new": "1"}}}
    patched = await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace)
    assert patched.metadata.labels == {"app": "x", "new": "1"}


async def test_a_patch_without_effect_keeps_the_version(rig: Rig):
    made = await rig.job(labels={"app": "x"})
    same = await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"labels": {"app": "x"}}}, rig.namespace)
    assert same.metadata.resource_version == made.metadata.resource_version


async def test_finalizer_and_annotation_go_in_together_if_nobody_was_faster(rig: Rig):
    made = await rig.job()
    metadata = {
        "resourceVersion": made.metadata.resource_version,
        "finalizers": ["cozydrivers.cozystack.io/cleanup"],
        "annotations": {"cozydrivers.cozystack.io/checkpoint": "{}"},
    }
    patched = await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": metadata}, rig.namespace)
    assert patched.metadata.finalizers == ["cozydrivers.cozystack.io/cleanup"]
    assert patched.metadata.generation == 1
    with pytest.raises(Conflict, match="the object has been modified"):
        await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": metadata}, rig.namespace)


async def test_a_stale_patch_changes_nothing(rig: Rig):
    made = await rig.job()
    await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"labels": {"a": "1"}}}, rig.namespace)
    stale = {"metadata": {"resourceVersion": made.metadata.resource_version, "labels": {"a": "2"}}}
    with pytest.raises(Conflict):
        await rig.kube.merge_patch(BackupJob, "nightly", stale, rig.namespace)
    assert (await rig.kube.get(BackupJob, "nightly", rig.namespace)).metadata.labels == {"a": "1"}


async def test_of_two_who_write_a_status_from_the_same_version_one_is_refused(rig: Rig):
    version = (await rig.job()).metadata.resource_version

    async def write(phase: str) -> BackupJob:
        patch = {"metadata": {"resourceVersion": version}, "status": {"phase": phase}}
        return await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace, status=True)

    assert (await write("Running")).status.phase == "Running"
    with pytest.raises(Conflict, match="the object has been modified; please apply your changes to the latest version"):
        await write("Failed")


async def test_a_null_that_deletes_nothing_keeps_the_version(rig: Rig):
    made = await rig.job()
    patch = {"metadata": {"annotations": {"absent": None}, "finalizers": None}, "spec": {"planRef": None}}
    patched = await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace)
    assert patched.metadata.resource_version == made.metadata.resource_version


async def test_a_null_deletes_a_whole_map(rig: Rig):
    await rig.job(annotations={"a": "1", "b": "2"})
    patch = {"metadata": {"annotations": None}}
    patched = await rig.kube.merge_patch(whole(BackupJob), "nightly", patch, rig.namespace)
    assert "annotations" not in patched.raw["metadata"]


async def test_a_stale_status_patch_is_refused_too(rig: Rig):
    await rig.job()
    stale = {"metadata": {"resourceVersion": "1"}, "status": {"phase": "Running"}}
    with pytest.raises(Conflict):
        await rig.kube.merge_patch(BackupJob, "nightly", stale, rig.namespace, status=True)


async def test_the_uid_makes_a_patch_conditional_too(rig: Rig):
    made = await rig.job()
    with pytest.raises(Invalid) as caught:
        await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"uid": "other"}}, rig.namespace)
    assert caught.value.causes[0].field == "metadata.uid"
    await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"uid": made.metadata.uid}}, rig.namespace)


async def test_a_status_patch_changes_the_status_only(rig: Rig):
    await rig.job()
    patch = {"status": {"phase": "Running"}, "spec": {"planRef": {"name": "p"}}, "metadata": {"labels": {"a": "1"}}}
    patched = await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace, status=True)
    assert patched.status.phase == "Running"
    assert patched.spec.plan_ref is None
    assert patched.metadata.labels == {}
    assert patched.metadata.generation == 1


async def test_a_patch_of_the_object_leaves_the_status(rig: Rig):
    await rig.job()
    await rig.kube.merge_patch(BackupJob, "nightly", {"status": {"phase": "Running"}}, rig.namespace, status=True)
    patched = await rig.kube.merge_patch(BackupJob, "nightly", {"status": {"phase": "Failed"}}, rig.namespace)
    assert patched.status.phase == "Running"


async def test_a_change_of_the_spec_counts_the_generation(rig: Rig):
    await rig.job()
    patched = await rig.kube.merge_patch(BackupJob, "nightly", {"spec": {"planRef": {"name": "p"}}}, rig.namespace)
    assert patched.metadata.generation == 2


async def test_an_immutable_field(rig: Rig):
    await rig.job()
    with pytest.raises(Invalid, match="backupClassName is immutable"):
        await rig.kube.merge_patch(BackupJob, "nightly", {"spec": {"backupClassName": "other"}}, rig.namespace)


async def test_a_required_field_can_not_be_deleted(rig: Rig):
    await rig.job()
    with pytest.raises(Invalid, match="Required value"):
        await rig.kube.merge_patch(BackupJob, "nightly", {"spec": {"applicationRef": None}}, rig.namespace)


async def test_a_list_is_replaced_as_a_whole(rig: Rig):
    await rig.job()
    verified = {**CONDITION, "type": "Verified"}
    for conditions in ([CONDITION], [verified]):
        patch = {"status": {"conditions": conditions}}
        patched = await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace, status=True)
        assert [condition.type for condition in patched.status.conditions] == [conditions[0]["type"]]


async def test_a_reason_with_spaces(rig: Rig):
    await rig.job()
    patch = {"status": {"conditions": [{**CONDITION, "reason": "Failed to parse"}]}}
    with pytest.raises(Invalid) as caught:
        await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace, status=True)
    assert caught.value.causes[0].field == "status.conditions[0].reason"


async def test_a_time_that_is_none(rig: Rig):
    await rig.job()
    patch = {"status": {"startedAt": "yesterday"}}
    with pytest.raises(Invalid, match="must be of type date-time"):
        await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace, status=True)


async def test_a_phase_that_nobody_knows_is_fine(rig: Rig):
    await rig.job()
    patch = {"status": {"phase": "Exploded"}}
    assert (
        await rig.kube.merge_patch(BackupJob, "nightly", patch, rig.namespace, status=True)
    ).status.phase == "Exploded"


async def test_a_backup_has_no_status_subresource(rig: Rig):
    await rig.kube.create(Backup, backup("b"), rig.namespace)
    with pytest.raises(NotFound):
        await rig.kube.merge_patch(Backup, "b", {"status": {"phase": "Ready"}}, rig.namespace, status=True)


async def test_the_status_of_a_backup_is_a_part_of_it_and_counts_the_generation(rig: Rig):
    await rig.kube.create(Backup, backup("b"), rig.namespace)
    patched = await rig.kube.merge_patch(Backup, "b", {"status": {"phase": "Ready"}}, rig.namespace)
    assert patched.status.phase == "Ready"
    assert patched.metadata.generation == 2


async def test_an_object_that_is_not_there(rig: Rig):
    with pytest.raises(NotFound):
        await rig.kube.merge_patch(BackupJob, "absent", {"metadata": {"labels": {"a": "1"}}}, rig.namespace)


async def test_another_name_in_the_patch(rig: Rig):
    await rig.job()
    with pytest.raises(Invalid, match="does not match the name on the URL"):
        await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"name": "other"}}, rig.namespace)


async def test_json_patch_tests_before_it_changes(rig: Rig):
    await rig.configmap("c")
    path = ConfigMap.resource.path(rig.namespace, "c")
    right = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}]
    wrong = [{"op": "test", "path": "/data/a", "value": "9"}, {"op": "remove", "path": "/data/a"}]
    assert (await rig.send("PATCH", path, right, content="json-patch+json")).body["data"] == {"a": "1", "b": "2"}
    assert (await rig.send("PATCH", path, wrong, content="json-patch+json")).status == 422


async def test_a_put_replaces_what_it_leaves_out(rig: Rig):
    made = await rig.configmap("c", {"a": "1", "b": "1"}, labels={"x": "y"})
    body = {"metadata": {"name": "c", "resourceVersion": made.metadata.resource_version}, "data": {"a": "2"}}
    answer = await rig.send("PUT", ConfigMap.resource.path(rig.namespace, "c"), body)
    assert answer.body["data"] == {"a": "2"}
    assert "labels" not in answer.body["metadata"]
    assert (await rig.send("PUT", ConfigMap.resource.path(rig.namespace, "c"), body)).status == 409
