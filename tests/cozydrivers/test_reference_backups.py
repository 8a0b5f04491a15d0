"""Backups that Cozystack's own controller has made are shown, never deleted from, and let go when it is gone."""

import anyio
import pytest
from tests.cozydrivers.backups import change, delete, events, exists, followed, with_backups
from tests.cozydrivers.checks import gone, staged
from tests.cozydrivers.stage import APP, TENANT

from cozydrivers.api.backups import Backup
from cozydrivers.controllers.audits import DAY
from cozydrivers.controllers.deletion import ARCHIVE_FINALIZER, DELETION_POLICY, REFERENCE_FINALIZERS

pytestmark = pytest.mark.anyio

ALTINITY = {
    "apiGroup": "strategy.backups.cozystack.io",
    "kind": "Altinity",
    "name": "clickhouse-data-altinity-strategy",
}
VELERO = {"apiGroup": "strategy.backups.cozystack.io", "kind": "Velero", "name": "disks"}


async def with_one_of_the_reference(strategy=ALTINITY, **metadata):
    """A Backup as the reference makes it."""
    stage = await staged()
    body = {
        "metadata": {"name": "nightly", "finalizers": list(REFERENCE_FINALIZERS), **metadata},
        "spec": {
            "applicationRef": {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": APP},
            "strategyRef": strategy,
            "takenAt": "2026-11-23T10:00:00Z",
            "driverMetadata": {"altinity.strategy.backups.cozystack.io/parameter/a": "b"},
        },
        "status": {"phase": "Ready"},
    }
    await stage.kube.create(Backup, body, TENANT)
    return stage


async def test_it_loses_the_finalizers_of_a_reference_that_is_gone():
    stage = await with_one_of_the_reference()
    async with followed(stage, reference_is_gone=lambda: True):
        await delete(stage, "nightly")
        await gone(stage, Backup, "nightly")
    (event,) = await events(stage, "ArchiveRetained")
    assert event.type == "Normal"
    assert "data in the store stays" in event.note
    assert stage.touched() == []


async def test_as_long_as_the_reference_is_there_it_is_left_to_it():
    stage = await with_one_of_the_reference()
    is_gone = False
    async with followed(stage, reference_is_gone=lambda: is_gone):
        await delete(stage, "nightly")
        await anyio.sleep(3600)
        assert await exists(stage, "nightly")
        assert await events(stage, "ArchiveRetained") == []
        is_gone = True
        await anyio.sleep(61)
        assert not await exists(stage, "nightly")


async def test_nobody_acts_by_default():
    stage = await with_one_of_the_reference()
    async with followed(stage):
        await delete(stage, "nightly")
        await anyio.sleep(3600)
    assert await exists(stage, "nightly")


async def test_kinds_without_a_driver_are_not_ours():
    stage = await with_one_of_the_reference(VELERO)
    async with followed(stage, reference_is_gone=lambda: True):
        await delete(stage, "nightly")
        await anyio.sleep(3600)
    assert await exists(stage, "nightly")


async def test_other_finalizers_stay():
    stage = await with_one_of_the_reference(finalizers=["example.com/mine", *REFERENCE_FINALIZERS])
    async with followed(stage, reference_is_gone=lambda: True):
        await delete(stage, "nightly")
        await anyio.sleep(60)
    assert (await stage.made("nightly")).metadata.finalizers == ["example.com/mine"]


async def test_what_is_not_deleted_is_left_as_it_is():
    stage = await with_one_of_the_reference()
    before = await stage.made("nightly")
    async with followed(stage, reference_is_gone=lambda: True) as controller:
        await anyio.sleep(2 * DAY)
        assert not controller.audits_failed
    assert await stage.made("nightly") == before
    assert stage.touched() == []


async def test_nothing_is_deleted_from_it_whatever_stands_on_it():
    stage = await with_one_of_the_reference(
        finalizers=[ARCHIVE_FINALIZER, REFERENCE_FINALIZERS[0]], annotations={DELETION_POLICY: "Delete"}
    )
    async with followed(stage, reference_is_gone=lambda: True):
        await delete(stage, "nightly")
        await gone(stage, Backup, "nightly")
    assert stage.touched() == []
    assert await events(stage, "ArchiveRetained")


async def test_one_of_ours_loses_them_as_well():
    stage = await with_backups("nightly")
    await change(stage, "nightly", finalizers=[ARCHIVE_FINALIZER, *REFERENCE_FINALIZERS])
    async with followed(stage, reference_is_gone=lambda: True):
        await delete(stage, "nightly")
        await gone(stage, Backup, "nightly")
    assert stage.archives() == set()
    assert await events(stage, "ArchiveRetained") == []
