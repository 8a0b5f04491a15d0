"""What users do on the cluster that a controller is measured on: applications, jobs, and a look at how they end."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing, suppress
from pathlib import Path
from types import new_class
from typing import Any, TypeVar, cast

import yaml

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupClass, BackupJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Namespace, Pod, Secret
from cozydrivers.api.strategy import Altinity
from cozydrivers.errors import AlreadyExists, ApiError
from cozydrivers.kube import KubeClient

FIXTURES = Path(__file__).parents[1] / "fixtures"
NAMESPACES = 50
PORT = 7171
USERNAME, PASSWORD = "backup", "secret-of-the-benchmark"
AT_ONCE = 8

T = TypeVar("T", bound=KubeObject)


def address(number: int) -> str:
    """Return the loopback address of an application's sidecar."""
    return f"127.30.{number // 250}.{number % 250 + 1}"


def application(number: int) -> str:
    """Return the name of an application."""
    return f"shop-{number}"


def namespace(number: int) -> str:
    """Return the namespace of an application."""
    return f"tenant-{number % NAMESPACES}"


class Tenants:
    """Acts through a client; its methods are commands."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self._ended: dict[str, tuple[float, str]] = {}
        self._running: dict[str, float] = {}
        self._following: asyncio.Task[None] | None = None

    async def populate(self, applications: int) -> None:
        """Create namespaces, the strategy, its class, and applications of one shard each."""
        strategy, backup_class = yaml.safe_load_all((FIXTURES / "seed/clickhouse.yaml").read_text())
        for number in range(min(NAMESPACES, applications)):
            await self._create(Namespace, {"metadata": {"name": namespace(number)}}, None)
        await self._create(Altinity, strategy, None)
        await self._create(BackupClass, backup_class, None)
        await _each(self._deploy, range(applications))

    async def _deploy(self, number: int) -> None:
        name, where = application(number), namespace(number)
        spec = {"shards": 1, "replicas": 1, "backup": {"enabled": True}}
        await self._create(ClickHouse, {"metadata": {"name": name}, "spec": spec}, where)
        credentials = {"stringData": {"username": USERNAME, "password": PASSWORD}}
        secret = {"metadata": {"name": f"clickhouse-{name}-backup-api-auth"}, **credentials}
        await self._create(Secret, secret, where)
        await self._create(Pod, _pod(name), where)
        condition = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": address(number), "conditions": [condition]}
        await self._kube.merge_patch(Pod, _pod_name(name), {"status": status}, where, status=True)

    async def _create(self, kind: type[T], body: dict[str, Any], where: str | None) -> None:
        with suppress(AlreadyExists):
            await self._kube.create(kind, body, where)

    async def back_up(self, first: int, count: int, prefix: str) -> float:
        """Create a BackupJob for each of so many applications; returns when the first one was sent."""
        await self._follow()
        began = time.monotonic()

        async def create(number: int) -> None:
            reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": application(number)}
            spec = {"applicationRef": reference, "backupClassName": "clickhouse-data-backup"}
            body = {"metadata": {"name": f"{prefix}-{number}"}, "spec": spec}
            await self._kube.create(BackupJob, body, namespace(number))

        await _each(create, range(first, first + count))
        return began

    async def ends(self, prefix: str) -> dict[str, tuple[float, str]]:
        """Say when each job of a prefix was seen to have ended, and how."""
        return {name: end for name, end in self._ended.items() if name.startswith(prefix)}

    async def running(self, prefix: str) -> int:
        """Say how many jobs of a prefix have been seen Running."""
        return sum(name.startswith(prefix) for name in self._running)

    async def clone(self, job: str, where: str, count: int, first: int = 0) -> None:
        """Make finished jobs like one that has ended, each with a Backup of its own."""
        done = await self._kube.get(_whole(BackupJob), job, where)
        assert done.status.backup_ref
        made = await self._kube.get(_whole(Backup), done.status.backup_ref.name, where)

        async def copy(number: int) -> None:
            name, to = f"finished-{number}", namespace(number)
            copied = await self._kube.create(BackupJob, {"metadata": {"name": name}, "spec": done.raw["spec"]}, to)
            uid = copied.metadata.uid
            metadata = _renewed(done.raw["metadata"], done.metadata.uid, uid)
            if metadata:
                await self._kube.merge_patch(BackupJob, name, {"metadata": metadata}, to)
            status = {**done.raw["status"], "backupRef": {"name": name}}
            await self._kube.merge_patch(BackupJob, name, {"status": status}, to, status=True)
            body = {"metadata": {"name": name, **_renewed(made.raw["metadata"], done.metadata.uid, uid)}}
            await self._kube.create(Backup, {**body, "spec": made.raw["spec"], "status": made.raw["status"]}, to)

        for number in range(min(NAMESPACES, count)):
            await self._create(Namespace, {"metadata": {"name": namespace(number)}}, None)
        await _each(copy, range(first, first + count))

    async def _follow(self) -> None:
        if self._following is None:
            listed = await self._kube.list(BackupJob)
            self._following = asyncio.create_task(self._watch(listed.resource_version))

    async def _watch(self, version: str) -> None:
        while True:
            with suppress(ApiError):
                async with aclosing(self._kube.watch(BackupJob, resource_version=version)) as events:
                    async for event in events:
                        version = event.object.metadata.resource_version
                        self._see(event.object)

    def _see(self, job: BackupJob) -> None:
        name, phase = job.metadata.name, job.status.phase
        if phase == "Running":
            self._running.setdefault(name, time.monotonic())
        elif phase in ("Succeeded", "Failed"):
            self._ended.setdefault(name, (time.monotonic(), phase))


async def _each(work: Any, numbers: Iterable[int]) -> None:
    """Do it for each number, several at once."""
    queue = iter(numbers)

    async def worker() -> None:
        for number in queue:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def _whole(kind: type[T]) -> type[T]:
    return cast("type[T]", new_class(kind.__name__, (kind,), exec_body=lambda body: body.update(keeps_raw=True)))


def _renewed(metadata: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Labels and annotations as they would stand on an object of another UID."""
    found = {field: metadata[field] for field in ("labels", "annotations") if field in metadata}
    return {field: {key: value.replace(old, new) for key, value in pairs.items()} for field, pairs in found.items()}


def _pod_name(name: str) -> str:
    return f"chi-clickhouse-{name}-clickhouse-0-0-0"


def _pod(name: str) -> dict[str, Any]:
    label = "clickhouse.altinity.com"
    environment = {"S3_BUCKET": "backups", "S3_ENDPOINT": "http://s3.invalid", "S3_PATH": name}
    sidecar = {
        "name": "clickhouse-backup",
        "image": "altinity/clickhouse-backup:2.7.4",
        "ports": [{"name": "ch-backup-api", "containerPort": PORT}],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
    }
    labels = {f"{label}/chi": f"clickhouse-{name}", f"{label}/shard": "0", f"{label}/replica": "0"}
    clickhouse = {"name": "clickhouse", "image": "clickhouse/clickhouse-server:24.9"}
    return {
        "metadata": {"name": _pod_name(name), "labels": labels},
        "spec": {"containers": [clickhouse, sidecar]},
    }
