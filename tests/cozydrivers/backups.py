"""What the tests of Backups share: a class that deletes, the controller at work, and what it says."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import anyio
from tests.cozydrivers.checks import TABLE, forget, staged
from tests.cozydrivers.stage import CLASS, TENANT, Stage

from cozydrivers.api.backups import Backup, BackupClass
from cozydrivers.api.coordination import Lease
from cozydrivers.api.events import Event
from cozydrivers.controllers.backup import BackupController
from cozydrivers.errors import NotFound


async def says(stage: Stage, policy: str | None) -> None:
    """Have the BackupClass say so."""
    binding = {**stage.seed[1]["spec"]["strategies"][0], "parameters": {"deletionPolicy": policy} if policy else {}}
    await stage.kube.merge_patch(BackupClass, CLASS, {"spec": {"strategies": [binding]}})


async def with_backups(*names: str, policy: str | None = "Delete", **installation: Any) -> Stage:
    """A stage with Backups, made under that policy, one after another."""
    stage = await staged(**installation)
    await says(stage, policy)
    async with stage.managed():
        for name in names:
            job = await stage.end_of(await stage.backup(name))
            assert job.status.phase == "Succeeded", job.status.message
    forget(stage)
    return stage


@contextlib.asynccontextmanager
async def followed(stage: Stage, **options: Any) -> AsyncGenerator[BackupController, None]:
    """The controller of Backups, as long as the block."""
    controller = BackupController(stage.kube, drivers=[stage.driver()], now=stage.now, **options)
    async with controller, anyio.create_task_group() as tasks:
        tasks.start_soon(controller.run)
        yield controller
        tasks.cancel_scope.cancel()


async def delete(stage: Stage, name: str) -> None:
    """Delete a Backup, as its owner does."""
    backup = await stage.made(name)
    await stage.kube.delete(Backup, name, TENANT, uid=backup.metadata.uid)


async def exists(stage: Stage, name: str) -> bool:
    """Whether there is such a Backup."""
    with contextlib.suppress(NotFound):
        return bool(await stage.made(name))
    return False


async def change(stage: Stage, name: str, **fields: Any) -> None:
    """Change a Backup, as a tenant can: `annotations`, `finalizers`, `metadata` of the driver, `spec`, `status`."""
    metadata = {key: fields[key] for key in ("annotations", "finalizers") if key in fields}
    spec = fields.get("spec", {}) | ({"driverMetadata": fields["recorded"]} if "recorded" in fields else {})
    patch = {"metadata": metadata, "spec": spec, "status": fields.get("status", {})}
    await stage.kube.merge_patch(Backup, name, patch, TENANT)


async def events(stage: Stage, *reasons: str) -> list[Event]:
    """The events with one of these reasons."""
    return [event for event in (await stage.kube.list(Event, TENANT)).items if event.reason in reasons]


async def leases(stage: Stage) -> list[Lease]:
    """The Leases that the deletion of a Backup holds."""
    every = (await stage.kube.list(Lease)).items
    return [lease for lease in every if lease.spec.holder_identity.startswith("Backup/")]


def deletions(stage: Stage) -> list[str]:
    """What the sidecars were asked to delete, in order of the shards."""
    return [asked for asked in stage.touched() if "/delete/" in asked]


async def increment_on(stage: Stage, base: str, name: str, shard: int = 0) -> None:
    """Make an increment by hand."""
    sidecar = stage.app.sidecar(shard)
    sidecar.tables.insert(TABLE, 5)
    async with sidecar.client() as client:
        await (await client.create_remote(name, diff_from_remote=base)).wait()
        await client.delete_local(name)
    forget(stage)


async def archive_of(stage: Stage, name: str, shard: int = 0) -> str:
    """The archive that a Backup records for a shard."""
    return (await stage.made(name)).spec.driver_metadata[f"clickhouse.backup/archive.{shard}"]
