"""What the tests of restores share: an application in use, a RestoreJob to its end, and what it says of tables."""

from typing import Any

from tests.cozydrivers.checks import TABLE, forget, staged
from tests.cozydrivers.stage import TENANT, Stage

from cozydrivers.api.backups import RestoreJob
from cozydrivers.api.events import Event
from cozydrivers.testing.operators import Installation

TO_OTHER: dict[str, Any] = {
    "targetApplicationRef": {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "other"}
}


async def in_use(**installation: Any) -> Stage:
    """A Backup `nightly` of 100 and 101 rows, 7 more in each table since."""
    stage = await staged(**installation)
    await back_up(stage)
    for shard in range(stage.app.shards):
        stage.app.sidecar(shard).tables.insert(TABLE, 7)
    return stage


async def back_up(stage: Stage, name: str = "nightly") -> None:
    """Make a Backup, and forget what the sidecars were asked."""
    async with stage.managed():
        job = await stage.end_of(await stage.backup(name))
    assert job.status.phase == "Succeeded", job.status.message
    forget(stage)


async def restored(stage: Stage, name: str = "undo", **spec: Any) -> RestoreJob:
    """A RestoreJob at its end."""
    async with stage.managed():
        return await stage.end_of(await stage.restore(name, "nightly", **spec))


async def with_another(stage: Stage, **installation: Any) -> Installation:
    """Another application, whose storage path is the first one's."""
    other = Installation(stage.network, namespace=TENANT, name="other", **installation)
    await other.deploy(stage.kube)
    other.sidecar(0).remote.update(stage.app.sidecar(0).remote)
    return other


async def notes(stage: Stage, reason: str) -> list[str]:
    """What the events with that reason say."""
    return [event.note for event in (await stage.kube.list(Event, TENANT)).items if event.reason == reason]


def safety_copies(stage: Stage) -> set[str]:
    """The safety copies on all sidecars."""
    return {name for name in stage.local_copies() if name.startswith("before-")}


def requests(stage: Stage, what: str) -> list[str]:
    """What the sidecars were asked to do with such a path."""
    return [asked for asked in stage.touched() if f"/backup/{what}" in asked]
