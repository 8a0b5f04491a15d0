"""What the tests of restores of MariaDB share: a Backup of a stage, what has changed since, and what was restored."""

import gzip
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from tests.cozydrivers.checks import assert_one_sentence, reason_of
from tests.cozydrivers.mariadb_stage import APP, BUCKET, SERVER, STRATEGY, MariaDBStage, staged
from tests.cozydrivers.stage import TENANT

from cozydrivers.api import mariadb
from cozydrivers.api.backups import Backup, RestoreJob
from cozydrivers.testing.dumps import FakeDatabase
from cozydrivers.testing.mariadb import Version

ROWS = [(1, "a"), (2, "b")]
LATER = [(3, "wrong")]


def change(stage: MariaDBStage) -> None:
    """Other rows, and a table that no dump has."""
    stage.server.databases["shop"]["orders"] = list(LATER)
    stage.server.add("shop", "later", (1,))


@asynccontextmanager
async def backed_up(version: Version = "25.10.2", **template: Any) -> AsyncGenerator[MariaDBStage, None]:
    """A stage at work with a Backup `nightly`, and other rows since."""
    stage = await staged(version)
    if template:
        await stage.template(**template)
    async with stage.working():
        await stage.backed_up()
        change(stage)
        stage.cluster.requests.clear()
        yield stage


async def restored(stage: MariaDBStage, name: str = "undo", backup: str = "nightly", **spec: Any) -> RestoreJob:
    """A RestoreJob at its end."""
    return await stage.end_of(await stage.restore(name, backup, **spec))


def rows(stage: MariaDBStage) -> Any:
    """The rows of the table."""
    return stage.server.rows("shop", "orders")


def loads(stage: MariaDBStage) -> list[str]:
    """The Jobs that have begun to load a dump."""
    return [done.job for done in stage.pods.done if done.what == "loading"]


def loaded(stage: MariaDBStage) -> list[str]:
    """The files that were loaded."""
    return [done.file for done in stage.pods.done if done.what == "loaded"]


async def specs(stage: MariaDBStage) -> list[Mapping[str, Any]]:
    """The specs of the Restores that are there."""
    return [each.raw["spec"] for each in (await stage.kube.list(mariadb.Restore, TENANT)).items]


async def until(holds: Callable[[], bool], *, within: float = 120.0) -> None:
    """Wait until something holds."""
    with anyio.fail_after(within):
        while True:
            if holds():
                return
            await anyio.sleep(0.5)


async def until_restoring(stage: MariaDBStage) -> mariadb.Restore:
    """Wait for the Restore."""
    with anyio.fail_after(120):
        while True:
            found = (await stage.kube.list(mariadb.Restore, TENANT)).items
            if found:
                return found[0]
            await anyio.sleep(0.1)


async def assert_untouched(stage: MariaDBStage, job: RestoreJob, reason: str, *words: str) -> None:
    """A job has failed and says why; nothing was restored, and nothing of the operator's is left."""
    assert reason_of(job) == ("Failed", reason), job.status.message
    assert_one_sentence(job.status.message, *words)
    assert rows(stage) == LATER
    assert not loads(stage)
    assert not any(told.reason == "HalfRestored" for told in job.status.conditions)
    await assert_nothing_left(stage)


async def assert_refused(stage: MariaDBStage, job: RestoreJob, *words: str) -> None:
    """A job is refused before anything is created."""
    await assert_untouched(stage, job, "Refused", *words)
    assert stage.touched() == []


async def assert_nothing_left(stage: MariaDBStage) -> None:
    """No object of the operator's is there that could run once more."""
    assert await stage.operators() == []
    assert await stage.operators(mariadb.Restore) == []


async def recorded(stage: MariaDBStage, key: str, value: str | None, backup: str = "nightly") -> None:
    """Change what a Backup records."""
    patch = {"spec": {"driverMetadata": {f"k8s.mariadb.com/{key}": value}}}
    await stage.kube.merge_patch(Backup, backup, patch, TENANT)


async def of_the_reference(stage: MariaDBStage, name: str, taken_at: str, **metadata: str) -> Backup:
    """A Backup as Cozystack's own controller writes it."""
    record = {"backup-name": f"{name}-x7k2p", "backup-namespace": TENANT, **metadata}
    record.setdefault("storage-uri", f"s3://{BUCKET}/{APP}/{record['backup-name']}")
    spec = {
        "applicationRef": {"apiGroup": "apps.cozystack.io", "kind": "MariaDB", "name": APP},
        "strategyRef": {"apiGroup": "strategy.backups.cozystack.io", "kind": "MariaDB", "name": STRATEGY},
        "takenAt": taken_at,
        "driverMetadata": {f"k8s.mariadb.com/{key}": value for key, value in record.items()},
    }
    body = {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Ready"}}
    return await stage.kube.create(Backup, body, TENANT)


def dump(stage: MariaDBStage, key: str, row: tuple[int, str]) -> None:
    """A plain or compressed dump of one row, in the bucket."""
    server = FakeDatabase()
    server.add("shop", "orders", row)
    text = server.dump(stage.now(), host=SERVER).encode()
    stage.bucket.put(key, text if key.endswith("Z.sql") else gzip.compress(text), stage.now())
