"""What the tests of jobs share: a stage with rows, changes to a cluster, and what a refusal looks like."""

import base64
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

import anyio
from tests.cozydrivers.stage import APP, CLASS, TENANT, Stage, condition

from cozydrivers.api.backups import BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import Pod
from cozydrivers.controllers.status import ended
from cozydrivers.errors import NotFound
from cozydrivers.testing.operators import PASSWORD, USERNAME, Installation

TABLE = "shop.orders"
STRATEGY = "clickhouse-data-altinity-strategy"
Change = Callable[[Stage], Awaitable[object]]


async def staged(**installation: Any) -> Stage:
    """A stage with 100 rows on shard 0, 101 on shard 1."""
    stage = Stage(**installation)
    await stage.set_up()
    for shard in range(stage.app.shards):
        stage.app.sidecar(shard).tables.add_table(TABLE, 100 + shard)
    return stage


async def backed_up(**installation: Any) -> Stage:
    """A Backup `nightly`, its table dropped, and what the sidecars were asked forgotten."""
    stage = await staged(**installation)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    drop(stage)
    forget(stage)
    return stage


async def held_locks(stage: Stage) -> list[str]:
    """The holders of locks that are not at their end."""
    jobs: list[BackupJob | RestoreJob] = [*(await stage.kube.list(BackupJob)).items]
    jobs += (await stage.kube.list(RestoreJob)).items
    going_on = {job.metadata.uid for job in jobs if not ended(job.status) or job.metadata.finalizers}
    holders = [lease.spec.holder_identity for lease in (await stage.kube.list(Lease)).items]
    return [holder for holder in holders if holder.rpartition("/")[2] in going_on]


async def many(stage: Stage, count: int, namespace: str = "tenant-{}") -> list[Installation]:
    """More applications of one shard, each with a BackupJob."""
    apps: list[Installation] = []
    for number in range(count):
        app = Installation(stage.network, namespace=namespace.format(number), name=f"app-{number}", shards=1)
        await app.deploy(stage.kube)
        for sidecar in app.sidecars.values():
            sidecar.tables.add_table(TABLE, 10)
            sidecar.duration.upload = 20
        reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": app.name}
        spec = {"applicationRef": reference, "backupClassName": CLASS}
        body = {"metadata": {"name": f"of-{app.name}"}, "spec": spec}
        await stage.kube.create(BackupJob, body, app.namespace)
        apps.append(app)
    return apps


def submitted(apps: Iterable[Installation]) -> Counter[str]:
    """How often each archive was asked for, on all sidecars of the applications."""
    return Counter(
        name
        for app in apps
        for sidecar in app.sidecars.values()
        for request in sidecar.requests
        if (request.method, request.path) == ("POST", "/backup/create_remote")
        for name in parse_qs(request.query)["name"]
    )


def drop(stage: Stage) -> None:
    """Drop the table, wherever it is."""
    for sidecar in stage.app.sidecars.values():
        if TABLE in sidecar.tables:
            sidecar.tables.drop(TABLE)


def forget(stage: Stage) -> None:
    """Forget what the sidecars were asked."""
    for sidecar in stage.app.sidecars.values():
        sidecar.requests.clear()


def rows(stage: Stage) -> list[int]:
    """Rows of the table by shard, 0 where it is absent."""
    sidecars = [stage.app.sidecar(shard) for shard in range(stage.app.shards)]
    return [sidecar.tables.count(TABLE) if TABLE in sidecar.tables else 0 for sidecar in sidecars]


def slow(stage: Stage, seconds: float) -> None:
    """Have uploads, downloads and restores take that long."""
    for sidecar in stage.app.sidecars.values():
        sidecar.duration.upload = sidecar.duration.download = sidecar.duration.restore = seconds


def without(kind: type[KubeObject], name: str, namespace: str | None = None) -> Change:
    """Delete an object."""

    async def change(stage: Stage) -> None:
        thing = await stage.kube.get(kind, name, namespace)
        await stage.kube.delete(kind, name, namespace, uid=thing.metadata.uid)

    return change


def patched(kind: type[KubeObject], name: str, patch: Mapping[str, Any], namespace: str | None = None) -> Change:
    """Patch an object."""

    async def change(stage: Stage) -> None:
        await stage.kube.merge_patch(kind, name, patch, namespace)

    return change


async def unchanged(stage: Stage) -> None:
    """Change nothing."""


def pod_name(shard: int) -> str:
    """The Pod of a shard's first replica."""
    return f"chi-clickhouse-{APP}-clickhouse-{shard}-0-0"


async def without_pod(stage: Stage, shard: int = 1) -> None:
    """Delete the Pod of a shard."""
    await without(Pod, pod_name(shard), TENANT)(stage)


async def gone(stage: Stage, kind: type[KubeObject], name: str) -> None:
    """Wait until an object is gone."""
    with anyio.fail_after(120), contextlib.suppress(NotFound):
        while True:
            await stage.kube.get(kind, name, TENANT)
            await anyio.sleep(0.1)


def assert_one_sentence(message: str, *words: str) -> None:
    """A message holds the words, on one line."""
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert not message.endswith(".")


def reason_of(job: BackupJob | RestoreJob) -> tuple[str, str]:
    """Phase and reason."""
    return job.status.phase, condition(job, "Ready").reason


def assert_refused(stage: Stage, job: BackupJob | RestoreJob, *words: str) -> None:
    """A job is Failed, Refused, says why, and has touched nothing."""
    assert reason_of(job) == ("Failed", "Refused"), job.status.message
    assert_one_sentence(job.status.message, *words)
    assert condition(job, "Ready").message == job.status.message
    assert job.status.completed_at is not None
    assert not job.metadata.finalizers
    assert stage.touched() == []


def authorization() -> dict[str, str]:
    """The header that lets somebody else ask a sidecar."""
    return {"authorization": "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()}
