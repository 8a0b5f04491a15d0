"""What a create gives, and what it refuses."""

from typing import Any

import pytest
from tests.conformance.kube.rig import Rig, backup, job
from tests.whole import whole

from cozydrivers.api.backups import Backup, BackupClass, BackupJob
from cozydrivers.api.base import Resource
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.errors import AlreadyExists, ApiError, Invalid, NotFound, Unavailable


async def test_a_new_object_gets_uid_version_generation_and_time(rig: Rig):
    made = (await rig.job()).metadata
    assert made.uid
    assert int(made.resource_version) > 0
    assert made.generation == 1
    assert made.creation_timestamp is not None
    assert made.creation_timestamp.tzinfo is not None
    assert made.creation_timestamp.microsecond == 0


async def test_versions_are_one_sequence_over_all_kinds(rig: Rig):
    first = await rig.job()
    second = await rig.configmap("c")
    third = await rig.job("other")
    versions = [int(made.metadata.resource_version) for made in (first, second, third)]
    assert versions == sorted(set(versions))


async def test_what_the_client_can_not_set_is_ignored(rig: Rig):
    made = await rig.job(uid="mine", creationTimestamp="2020-01-01T00:00:00Z", generation=7)
    assert made.metadata.uid != "mine"
    assert made.metadata.creation_timestamp is not None
    assert made.metadata.creation_timestamp.year > 2020
    assert made.metadata.generation == 1


async def test_a_kind_that_counts_no_generations_keeps_what_the_client_sent(rig: Rig):
    assert (await rig.configmap("a")).metadata.generation == 0
    assert (await rig.configmap("b", generation=7)).metadata.generation == 7


async def test_a_resource_version_is_refused_on_create(rig: Rig):
    with pytest.raises(Unavailable, match="resourceVersion should not be set"):
        await rig.configmap("c", resourceVersion="1")


async def test_a_name_that_is_taken(rig: Rig):
    await rig.job()
    with pytest.raises(AlreadyExists, match='"nightly" already exists'):
        await rig.job()


async def test_a_generated_name(rig: Rig):
    body = job("")
    body["metadata"] = {"generateName": "nightly-"}
    names = {(await rig.kube.create(BackupJob, body, rig.namespace)).metadata.name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("nightly-") and len(name) == len("nightly-") + 5 for name in names)


async def test_a_long_prefix_of_a_generated_name_is_cut(rig: Rig):
    body = {"metadata": {"generateName": "x" * 80}}
    assert len((await rig.kube.create(ConfigMap, body, rig.namespace)).metadata.name) == 63


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "x" * 254, ""])
async def test_a_name_that_is_none(rig: Rig, name: str):
    with pytest.raises(Invalid) as caught:
        await rig.job(name)
    assert caught.value.causes[0].field == "metadata.name"


async def test_a_namespace_that_is_not_there(rig: Rig):
    with pytest.raises(NotFound, match='namespaces "absent" not found'):
        await rig.kube.create(BackupJob, job("nightly"), "absent")


async def test_another_namespace_in_the_body(rig: Rig):
    with pytest.raises(Invalid, match="does not match the namespace"):
        await rig.job(namespace="other")


async def test_an_unknown_field_is_refused(rig: Rig):
    body = job("nightly")
    body["spec"]["backupclassname"] = "typo"
    with pytest.raises(Invalid, match=r'unknown field "spec\.backupclassname"'):
        await rig.kube.create(BackupJob, body, rig.namespace)


async def test_an_unknown_field_of_a_built_in_kind_is_refused(rig: Rig):
    with pytest.raises(Invalid, match='unknown field "dat"'):
        await rig.kube.create(ConfigMap, {"metadata": {"name": "c"}, "dat": {}}, rig.namespace)


async def test_without_strictness_an_unknown_field_is_dropped_with_a_warning(rig: Rig):
    body = {**job("nightly"), "apiVersion": "backups.cozystack.io/v1alpha1", "kind": "BackupJob"}
    body["spec"]["extra"] = {"a": 1}
    answer = await rig.send("POST", BackupJob.resource.path(rig.namespace), body)
    assert answer.status == 201
    assert "extra" not in answer.body["spec"]
    assert "unknown field" in answer.headers["warning"]


async def test_the_schema_is_enforced_with_one_cause_for_each_field(rig: Rig):
    body = {"metadata": {"name": "nightly"}, "spec": {"applicationRef": {"kind": "X"}, "backupClassName": ""}}
    with pytest.raises(Invalid) as caught:
        await rig.kube.create(BackupJob, body, rig.namespace)
    causes = {cause.field: cause.reason for cause in caught.value.causes}
    assert causes["spec.applicationRef.name"] == "FieldValueRequired"
    assert causes["spec.backupClassName"] == "FieldValueInvalid"


async def test_a_value_of_the_wrong_type(rig: Rig):
    body = job("nightly")
    body["spec"]["backupClassName"] = 7
    with pytest.raises(Invalid) as caught:
        await rig.kube.create(BackupJob, body, rig.namespace)
    assert caught.value.causes[0].reason == "FieldValueTypeInvalid"


async def test_metadata_that_is_no_text(rig: Rig):
    with pytest.raises(Invalid, match="cannot unmarshal number"):
        await rig.job(labels={"a": 1})


async def test_a_null_is_the_same_as_absent(rig: Rig):
    body = job("nightly")
    body["spec"]["planRef"] = None
    assert "planRef" not in (await rig.kube.create(whole(BackupJob), body, rig.namespace)).raw["spec"]


async def test_a_default_is_filled_into_an_object_that_is_there(rig: Rig):
    body = job("nightly")
    body["spec"]["planRef"] = {}
    made = await rig.kube.create(whole(BackupJob), body, rig.namespace)
    assert made.raw["spec"]["planRef"] == {"name": ""}


async def test_a_status_is_dropped_where_it_has_a_subresource(rig: Rig):
    made = await rig.kube.create(BackupJob, {**job("nightly"), "status": {"phase": "Running"}}, rig.namespace)
    assert made.status.phase == ""


async def test_a_status_is_kept_where_it_has_none(rig: Rig):
    made = await rig.kube.create(Backup, backup("b", phase="Ready"), rig.namespace)
    assert made.status.phase == "Ready"


async def test_a_cluster_wide_object_has_no_namespace(rig: Rig):
    body = {"metadata": {"generateName": "class-"}, "spec": {"strategies": []}}
    made = await rig.kube.create(BackupClass, body)
    assert made.metadata.namespace == ""
    assert (await rig.kube.get(BackupClass, made.metadata.name)).metadata.uid == made.metadata.uid


@pytest.mark.parametrize("name", ["x" * 253, "a.b-c.d", f"{'x' * 200}.{'y' * 52}"])
async def test_a_long_name_with_dots(rig: Rig, name: str):
    assert (await rig.job(name)).metadata.name == name
    assert (await rig.kube.get(BackupJob, name, rig.namespace)).metadata.name == name


async def _causes(rig: Rig, **metadata: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(Invalid) as caught:
        await rig.job(**metadata)
    return [(cause.reason, cause.field, cause.message) for cause in caught.value.causes]


NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("k" * 64, "name part must be no more than 63 characters"),
        (f"{'x' * 254}/k", "prefix part must be no more than 253 characters"),
        ("a b", f"name part {NAME_RULE}"),
        (
            "a/b/c",
            f"a qualified name {NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        ),
    ],
)
async def test_a_key_that_is_none(rig: Rig, key: str, rule: str):
    for field in ("labels", "annotations"):
        error = ("FieldValueInvalid", f"metadata.{field}", f'Invalid value: "{key}": {rule}')
        assert await _causes(rig, **{field: {key: "v"}}) == [error]


async def test_a_label_that_is_too_long(rig: Rig):
    with pytest.raises(Invalid, match="must be no more than 63 characters"):
        await rig.job(labels={"backups.cozystack.io/owned-by.BackupJobName": "x" * 64})


LARGEST = 256 * 1024
TOO_LONG = ("FieldValueTooLong", "metadata.annotations", "Too long: may not be more than 262144 bytes")
UNCHECKED = (
    "FieldValueInvalid",
    "<nil>",
    (
        'Invalid value: "null": some validation rules were not checked because the object was invalid; '
        "correct the existing errors to complete validation"
    ),
)


async def test_annotations_that_are_too_large(rig: Rig):
    """All keys and values together are counted."""
    assert await _causes(rig, annotations={"a": "x" * LARGEST}) == [TOO_LONG, UNCHECKED]
    await rig.job(annotations={"a": "x" * (LARGEST - 1)})
    with pytest.raises(Invalid) as caught:
        await rig.kube.merge_patch(BackupJob, "nightly", {"metadata": {"annotations": {"b": ""}}}, rig.namespace)
    assert caught.value.message == (
        'BackupJob.backups.cozystack.io "nightly" is invalid: '
        f"[metadata.annotations: {TOO_LONG[2]}, <nil>: {UNCHECKED[2]}]"
    )
    assert [cause.field for cause in caught.value.causes] == ["metadata.annotations"] * 3 + ["<nil>"]


async def test_annotations_of_a_built_in_kind_that_are_too_large(rig: Rig):
    await rig.configmap("c", annotations={"a": "x" * (LARGEST - 1)})
    with pytest.raises(Invalid) as caught:
        await rig.kube.merge_patch(ConfigMap, "c", {"metadata": {"annotations": {"b": ""}}}, rig.namespace)
    assert caught.value.message == f'ConfigMap "c" is invalid: metadata.annotations: {TOO_LONG[2]}'
    assert len(caught.value.causes) == 4


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_request_that_is_too_large(rig: Rig):
    with pytest.raises(ApiError, match="Request entity too large: limit is 3145728") as caught:
        await rig.configmap("c", {"a": "x" * 3 * 1024 * 1024})
    assert (caught.value.status, caught.value.reason) == (413, "RequestEntityTooLarge")


async def test_a_finalizer_without_a_domain(rig: Rig):
    body = {**job("nightly", finalizers=["held"]), "apiVersion": "backups.cozystack.io/v1alpha1", "kind": "BackupJob"}
    answer = await rig.send("POST", BackupJob.resource.path(rig.namespace), body)
    assert answer.status == 201
    assert "prefer a domain-qualified finalizer name" in answer.headers["warning"]
    with pytest.raises(Invalid, match="name is neither a standard finalizer name nor is it fully qualified"):
        await rig.configmap("c", finalizers=["held"])


async def test_an_owner_without_a_uid(rig: Rig):
    with pytest.raises(Invalid, match="uid must not be empty"):
        await rig.job(ownerReferences=[{"apiVersion": "v1", "kind": "X", "name": "x"}])


async def test_a_dry_run_stores_nothing(rig: Rig):
    path = ConfigMap.resource.path(rig.namespace)
    answer = await rig.send("POST", path, {"metadata": {"name": "dry"}}, dryRun="All")
    assert answer.status == 201
    with pytest.raises(NotFound):
        await rig.kube.get(ConfigMap, "dry", rig.namespace)


async def test_an_object_that_is_not_there(rig: Rig):
    with pytest.raises(NotFound, match='"absent" not found'):
        await rig.kube.get(BackupJob, "absent", rig.namespace)


async def test_a_name_that_nothing_can_have(rig: Rig):
    with pytest.raises(NotFound):
        await rig.kube.get(BackupClass, "-")


async def test_a_cluster_is_known_by_the_uid_of_a_namespace_that_every_one_has(rig: Rig):
    uids = {(await rig.kube.get(Namespace, "kube-system")).metadata.uid for _ in range(2)}
    assert len(uids) == 1
    assert "" not in uids


async def test_a_kind_that_is_not_served(rig: Rig):
    class Thing(BackupJob):
        resource = Resource("things.example.com", "v1", "Thing", "things", namespaced=True)

    with pytest.raises(NotFound):
        await rig.kube.list(Thing)
