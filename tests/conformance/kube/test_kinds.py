"""What is special about Leases and Secrets."""

from typing import Any

import pytest
from tests.conformance.kube.rig import Rig
from tests.whole import whole

from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import ConfigMap, Secret
from cozydrivers.errors import AlreadyExists, Conflict, Invalid, NotFound

TIME = "2026-01-01T00:00:00.000000Z"


async def _lease(rig: Rig, **spec: Any) -> Lease:
    body = {"metadata": {"name": "lock"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15, **spec}}
    return await rig.kube.create(whole(Lease), body, rig.namespace)


async def test_only_one_can_create_a_lease(rig: Rig):
    await _lease(rig)
    with pytest.raises(AlreadyExists):
        await _lease(rig)


async def test_only_one_can_take_a_lease_over(rig: Rig):
    version = (await _lease(rig)).metadata.resource_version

    async def take(holder: str) -> Lease:
        patch = {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": holder, "renewTime": TIME}}
        return await rig.kube.merge_patch(Lease, "lock", patch, rig.namespace)

    assert (await take("b")).spec.holder_identity == "b"
    with pytest.raises(Conflict):
        await take("c")


@pytest.mark.parametrize("time", ["2026-01-01T00:00:05Z", "2026-01-01T00:00:05.123Z", "soon"])
async def test_the_times_of_a_lease_have_microseconds(rig: Rig, time: str):
    with pytest.raises(Invalid, match="parsing time"):
        await _lease(rig, renewTime=time)
    await _lease(rig)
    with pytest.raises(Invalid, match="parsing time"):
        await rig.kube.merge_patch(Lease, "lock", {"spec": {"renewTime": time}}, rig.namespace)


async def test_the_times_of_a_lease_are_kept_in_utc(rig: Rig):
    made = await _lease(rig, renewTime="2026-01-01T01:00:00.000001+01:00")
    assert made.raw["spec"]["renewTime"] == "2026-01-01T00:00:00.000001Z"


async def test_a_lease_is_given_up_by_writing_that_nobody_holds_it(rig: Rig):
    made = await _lease(rig, renewTime=TIME, leaseTransitions=3)
    given_up = {"holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": TIME, "renewTime": TIME}
    patch = {"metadata": {"resourceVersion": made.metadata.resource_version}, "spec": given_up}
    free = await rig.kube.merge_patch(whole(Lease), "lock", patch, rig.namespace)
    assert free.raw["spec"] == {**given_up, "leaseTransitions": 3}
    assert (await rig.kube.get(whole(Lease), "lock", rig.namespace)).raw["spec"] == free.raw["spec"]
    with pytest.raises(Conflict):
        await rig.kube.merge_patch(Lease, "lock", patch, rig.namespace)


async def test_a_lease_of_a_lock_has_no_end_and_carries_what_is_noted_on_it(rig: Rig):
    spec = {"holderIdentity": "BackupJob/t/nightly/u-1", "acquireTime": TIME, "leaseTransitions": 0}
    labels = {"cozydrivers.cozystack.io/lock": "target"}
    made = await rig.kube.create(Lease, {"metadata": {"name": "lock", "labels": labels}, "spec": spec}, rig.namespace)
    metadata = {"resourceVersion": made.metadata.resource_version, "annotations": {"example.com/seen": "[]"}}
    noted = await rig.kube.merge_patch(whole(Lease), "lock", {"metadata": metadata}, rig.namespace)
    assert (noted.raw["spec"], noted.metadata.labels) == (spec, labels)
    with pytest.raises(Conflict):
        await rig.kube.delete(
            Lease, "lock", rig.namespace, uid=made.metadata.uid, resource_version=made.metadata.resource_version
        )
    version = noted.metadata.resource_version
    await rig.kube.delete(Lease, "lock", rig.namespace, uid=made.metadata.uid, resource_version=version)
    with pytest.raises(NotFound):
        await rig.kube.merge_patch(Lease, "lock", {"metadata": metadata}, rig.namespace)


async def test_a_lease_lasts_some_time(rig: Rig):
    with pytest.raises(Invalid, match="must be greater than 0"):
        await _lease(rig, leaseDurationSeconds=0)


async def test_a_lease_is_put_with_its_version_only(rig: Rig):
    await _lease(rig)
    body = {"metadata": {"name": "lock"}, "spec": {}}
    assert (await rig.send("PUT", Lease.resource.path(rig.namespace, "lock"), body)).status == 422


async def test_plain_text_in_a_secret_is_stored_encoded(rig: Rig):
    body = {"metadata": {"name": "s"}, "stringData": {"password": "hello"}, "data": {"user": "aGk="}}
    made = await rig.kube.create(whole(Secret), body, rig.namespace)
    assert made.type == "Opaque"
    assert (made.value("password"), made.value("user")) == ("hello", "hi")
    assert "stringData" not in made.raw


async def test_a_secret_that_is_not_encoded_is_refused_without_quoting_it(rig: Rig):
    with pytest.raises(Invalid) as created:
        await rig.kube.create(Secret, {"metadata": {"name": "s"}, "data": {"a": "hunter2!"}}, rig.namespace)
    await rig.kube.create(Secret, {"metadata": {"name": "s"}, "data": {"a": "aGk="}}, rig.namespace)
    with pytest.raises(Invalid) as patched:
        await rig.kube.merge_patch(Secret, "s", {"data": {"a": "hunter2!"}}, rig.namespace)
    for error in (created.value, patched.value):
        assert "hunter2" not in f"{error!r} {error} {error.causes}"


async def test_the_type_of_a_secret_stays(rig: Rig):
    await rig.kube.create(Secret, {"metadata": {"name": "s"}}, rig.namespace)
    with pytest.raises(Invalid):
        await rig.kube.merge_patch(Secret, "s", {"type": "example.com/x"}, rig.namespace)


async def test_metadata_of_one_object(rig: Rig):
    await rig.configmap("c")
    path = ConfigMap.resource.path(rig.namespace, "c")
    answer = await rig.send("GET", path, accept="json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
    assert set(answer.body) == {"kind", "apiVersion", "metadata"}
