"""What the webhooks refuse, and what they let pass."""

from typing import Any

import pytest
from tests.conformance.mariadb.rig import FOLDER, Backup, PhysicalBackup, Restore, Rig, bucket

from cozydrivers.errors import ApiError

CLAIM: dict[str, Any] = {"persistentVolumeClaim": {"accessModes": ["ReadWriteOnce"]}}


async def refusal(rig: Rig, kind: type[Backup] | type[Restore] | type[PhysicalBackup], **spec: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await rig.make(kind, "x", **spec)
    return caught.value


async def changed(rig: Rig, kind: type[Backup] | type[Restore], **spec: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await rig.patch(kind, "x", {"spec": spec})
    return caught.value


@pytest.mark.parametrize("storage", [{}, {**FOLDER, "s3": bucket()}], ids=["none", "two"])
async def test_a_backup_has_one_storage(rig: Rig, storage: dict[str, Any]):
    error = await refusal(rig, Backup, storage=storage)
    assert error.status == 403
    assert 'admission webhook "vbackup-v1alpha1.kb.io" denied the request: spec: Invalid value: ' in error.message
    assert error.message.endswith("invalid Backup: invalid Storage: exactly one storage type should be provided")


async def test_staging_needs_a_bucket(rig: Rig):
    error = await refusal(rig, Backup, storage=FOLDER, stagingStorage=CLAIM)
    assert "'spec.stagingStorage' may only be specified when 'spec.storage.s3' is set" in error.message


async def test_a_restore_has_a_source(rig: Rig):
    error = await refusal(rig, Restore)
    assert error.status == 403
    assert "invalid restore: unable to determine restore source" in error.message


@pytest.mark.parametrize("retention", ["30d", "forever", "1"])
async def test_a_retention_is_a_duration(rig: Rig, retention: str):
    error = await refusal(rig, Backup, storage=FOLDER, maxRetention=retention)
    assert error.status == 400
    assert "time: " in error.message


@pytest.mark.parametrize("retention", ["-1h", "1ns", "0"])
async def test_one_that_deletes_everything_is_let_pass(rig: Rig, retention: str):
    await rig.make(Backup, "x", storage=FOLDER, maxRetention=retention)


@pytest.mark.parametrize(
    "spec",
    [
        {"storage": {"s3": {"bucket": "b", "endpoint": "http://s3:9000/x"}}},
        {"storage": {"s3": {"bucket": "b", "endpoint": "e"}}},
    ],
    ids=["a scheme and a path", "no credentials"],
)
async def test_a_bucket_that_can_not_work_is_let_pass(rig: Rig, spec: dict[str, Any]):
    await rig.make(Backup, "x", **spec)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mariaDbRef", {"name": "other"}),
        ("storage", {"volume": {"emptyDir": {}, "hostPath": None}}),
        ("restartPolicy", "Always"),
        ("maxRetention", "2h"),
    ],
)
async def test_what_of_a_backup_can_not_be_changed(rig: Rig, field: str, value: Any):
    await rig.make(Backup, "x", storage=FOLDER, maxRetention="1h")
    error = await changed(rig, Backup, **{field: value})
    assert error.status == 422
    word = "inmutable" if rig.old else "immutable"
    assert f"'spec.{field}' field is {word}" in error.message


async def test_what_of_a_backup_can_be_changed(rig: Rig):
    await rig.make(Backup, "x", storage=FOLDER)
    await rig.patch(Backup, "x", {"spec": {"backoffLimit": 1, "databases": ["shop"], "compression": "gzip"}})


async def test_the_time_of_a_restore_can_not_be_changed(rig: Rig):
    await rig.make(Restore, "x", **FOLDER, targetRecoveryTime="2026-01-01T00:00:00Z")
    error = await changed(rig, Restore, targetRecoveryTime="2026-01-02T00:00:00Z")
    assert "'spec.targetRecoveryTime' field is" in error.message


async def test_a_finalizer_can_be_taken_off(rig: Rig):
    await rig.make(Backup, "x", metadata={"finalizers": ["example.com/held"]}, storage=FOLDER)
    await rig.delete(Backup, "x")
    await rig.patch(Backup, "x", {"metadata": {"finalizers": []}})
    assert await rig.find(Backup, "x") is None
