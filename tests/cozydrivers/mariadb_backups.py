"""Backups of MariaDB as runs leave them, dumps and all, for tests of what becomes of them later."""

import contextlib
import gzip
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from tests.cozydrivers.mariadb_stage import APP, BUCKET, CLASS, ENDPOINT, STRATEGY, MariaDBStage
from tests.cozydrivers.stage import TENANT

from cozydrivers.api.backups import Backup
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.backup import BackupController
from cozydrivers.controllers.deletion import ARCHIVE_FINALIZER, DELETION_POLICY
from cozydrivers.controllers.ledger import CLASS as CLASS_OF
from cozydrivers.drivers.mariadb import record
from cozydrivers.drivers.mariadb.record import Recorded
from cozydrivers.errors import NotFound

PLACE = f"s3/{ENDPOINT}/{BUCKET}/{APP}/"
DUMP = gzip.compress(b"-- MariaDB dump\n-- Dump completed\n", mtime=0)
HOUR = timedelta(hours=1)


async def deployed(policy: str = "Delete") -> MariaDBStage:
    """A stage whose class has that deletion policy, and where nothing of the operator's moves."""
    stage = MariaDBStage()
    await stage.set_up()
    await stage.parameters(deletionPolicy=policy)
    return stage


async def home_of(stage: MariaDBStage) -> str:
    """The namespace in a run's name."""
    return (await stage.kube.get(Namespace, TENANT)).metadata.uid.replace("-", "")[:6]


def file_of(at: datetime) -> str:
    """The name of a dump."""
    return f"backup.{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}.gzip.sql"


async def dumped(
    stage: MariaDBStage, job: str, *, age: timedelta = HOUR, purpose: str = "dump", **given: Any
) -> Recorded:
    """A dump in the bucket, of a run of that name: `home` is of which namespace, `content` what it holds."""
    home = given.get("home") or await home_of(stage)
    uid = given.get("uid", f"{sum(job.encode()):012x}")
    name, at = f"{job}-{home}-{uid}-{purpose}", (stage.now() - age).replace(microsecond=0)
    content: bytes = given.get("content", DUMP)
    found = Recorded(
        name=name,
        storage=PLACE,
        taken_at=at,
        cluster=(await stage.kube.get(Namespace, "kube-system")).metadata.uid,
        prefix=f"{APP}/{name}/",
        file=file_of(at),
        size=len(content),
        compression="gzip",
    )
    stage.bucket.put(found.key, content, at)
    return found


async def backed_up(stage: MariaDBStage, dump: Recorded, name: str = "nightly", **changes: Any) -> Backup:
    """A Backup of a dump, as a BackupJob leaves it but for the `changes` in its record, application and status."""
    proven = [{"type": "Verified", "status": "True", "reason": "DumpListed", "message": "", "observedGeneration": 1}]
    reference = {"apiGroup": "apps.cozystack.io", "kind": "MariaDB", "name": changes.get("application", APP)}
    metadata = record.write(dump, TENANT) | changes.get("recorded", {})
    body: dict[str, Any] = {
        "metadata": {
            "name": name,
            "finalizers": [ARCHIVE_FINALIZER],
            "annotations": {CLASS_OF: CLASS, DELETION_POLICY: "Delete"},
        },
        "spec": {
            "applicationRef": reference,
            "strategyRef": {"apiGroup": "strategy.backups.cozystack.io", "kind": "MariaDB", "name": STRATEGY},
            "takenAt": record.written(dump.taken_at),
            "driverMetadata": {key: value for key, value in metadata.items() if value is not None},
        },
        "status": {"phase": changes.get("phase", "Ready"), "conditions": changes.get("conditions", proven)},
    }
    for each in body["status"]["conditions"]:
        each.setdefault("lastTransitionTime", record.written(stage.now()))
    return await stage.kube.create(Backup, body, TENANT)


@contextlib.asynccontextmanager
async def followed(stage: MariaDBStage, **options: Any) -> AsyncGenerator[BackupController, None]:
    """The controller of Backups, as long as the block."""
    controller = BackupController(stage.kube, drivers=[stage.driver()], now=stage.now, **options)
    async with controller, anyio.create_task_group() as tasks:
        tasks.start_soon(controller.run)
        yield controller
        tasks.cancel_scope.cancel()


async def delete(stage: MariaDBStage, name: str = "nightly") -> None:
    """Delete a Backup, as its owner does."""
    await stage.kube.delete(Backup, name, TENANT, uid=(await stage.made(name)).metadata.uid)


async def exists(stage: MariaDBStage, name: str = "nightly") -> bool:
    """Whether there is such a Backup."""
    with contextlib.suppress(NotFound):
        return bool(await stage.made(name))
    return False
