"""Server-side apply: fields have owners."""

import pytest
from tests.conformance.kube.rig import Rig, job

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.core import ConfigMap
from cozydrivers.errors import Conflict, Unavailable


async def _apply(rig: Rig, manager: str, data: dict[str, str], *, force: bool = False) -> ConfigMap:
    body = {"metadata": {"name": "c"}, "data": data}
    return await rig.kube.apply(ConfigMap, "c", body, rig.namespace, field_manager=manager, force=force)


async def test_an_object_that_is_not_there_is_created(rig: Rig):
    assert (await _apply(rig, "one", {"a": "1"})).data == {"a": "1"}


async def test_a_new_object_needs_its_name_in_the_body_too(rig: Rig):
    path, body = ConfigMap.resource.path(rig.namespace, "c"), {"apiVersion": "v1", "kind": "ConfigMap"}
    answer = await rig.send("PATCH", path, body, content="apply-patch+yaml", fieldManager="one")
    assert (answer.status, "undeterminable" in answer.body["message"]) == (400, True)
    made = await rig.kube.apply(ConfigMap, "c", {"data": {"a": "1"}}, rig.namespace, field_manager="one")
    assert made.metadata.name == "c"


async def test_the_same_again_keeps_the_version(rig: Rig):
    first = await _apply(rig, "one", {"a": "1"})
    assert (await _apply(rig, "one", {"a": "1"})).metadata.resource_version == first.metadata.resource_version


async def test_another_value_for_a_field_of_another_manager(rig: Rig):
    await _apply(rig, "one", {"a": "1", "b": "1"})
    with pytest.raises(Conflict) as caught:
        await _apply(rig, "two", {"a": "2"})
    assert [(cause.reason, cause.field) for cause in caught.value.causes] == [("FieldManagerConflict", ".data.a")]


async def test_the_same_value_is_shared(rig: Rig):
    await _apply(rig, "one", {"a": "1"})
    assert (await _apply(rig, "two", {"a": "1"})).data == {"a": "1"}
    assert (await _apply(rig, "one", {})).data == {"a": "1"}


async def test_force_takes_a_field_over(rig: Rig):
    await _apply(rig, "one", {"a": "1", "b": "1"})
    assert (await _apply(rig, "two", {"a": "2"}, force=True)).data == {"a": "2", "b": "1"}
    with pytest.raises(Conflict):
        await _apply(rig, "one", {"a": "1", "b": "1"})


async def test_a_field_that_is_left_out_goes_if_it_was_ours_alone(rig: Rig):
    await _apply(rig, "one", {"a": "1", "b": "1"})
    await _apply(rig, "two", {"a": "2"}, force=True)
    assert (await _apply(rig, "one", {})).data == {"a": "2"}


async def test_a_field_that_was_patched_belongs_to_who_patched_it(rig: Rig):
    await _apply(rig, "one", {"a": "1"})
    await rig.kube.merge_patch(ConfigMap, "c", {"data": {"a": "2"}}, rig.namespace)
    with pytest.raises(Conflict, match='conflict with "cozydrivers" using v1'):
        await _apply(rig, "one", {"a": "1"})


async def test_several_conflicts_are_named(rig: Rig):
    await _apply(rig, "one", {"a": "1", "b": "1"})
    with pytest.raises(Conflict, match=r"2 conflicts: conflicts with .one.:\n- \.data\.a\n- \.data\.b"):
        await _apply(rig, "two", {"a": "2", "b": "2"})


async def test_an_atomic_part_is_owned_as_a_whole(rig: Rig):
    await rig.kube.apply(BackupJob, "nightly", job("nightly"), rig.namespace, field_manager="one")
    other = {"spec": {**job("nightly")["spec"], "applicationRef": {"kind": "Other", "name": "ch"}}}
    with pytest.raises(Conflict) as caught:
        await rig.kube.apply(BackupJob, "nightly", other, rig.namespace, field_manager="two")
    assert [cause.field for cause in caught.value.causes] == [".spec.applicationRef"]


async def test_a_stale_version_is_a_conflict(rig: Rig):
    await _apply(rig, "one", {"a": "1"})
    body = {"metadata": {"name": "c", "resourceVersion": "1"}, "data": {"a": "2"}}
    with pytest.raises(Conflict, match="the object has been modified"):
        await rig.kube.apply(ConfigMap, "c", body, rig.namespace, field_manager="one")


async def test_an_unknown_field_of_a_custom_resource_is_an_error_of_the_server(rig: Rig):
    body = job("nightly")
    body["spec"]["extra"] = 1
    with pytest.raises(Unavailable, match="field not declared in schema"):
        await rig.kube.apply(BackupJob, "nightly", body, rig.namespace, field_manager="one")
