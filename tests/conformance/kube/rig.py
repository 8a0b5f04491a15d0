"""One way to drive both clusters: through KubeClient, or where that does not reach, by its transport."""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
from tests.real import RealCluster

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.kube import KubeClient, WatchEvent
from cozydrivers.testing import FakeCluster

CRDS = Path(__file__).parents[3] / "fixtures" / "crds"
T = TypeVar("T", bound=KubeObject)


@dataclass(frozen=True)
class Answer:
    """A raw answer."""

    status: int
    headers: Any
    body: Any


@dataclass(frozen=True)
class Rig:
    """A cluster, real or fake: a client with all rights, one with none, and one whose token is unknown."""

    kube: KubeClient
    nobody: KubeClient
    unknown: KubeClient
    namespace: str
    forget: Callable[[int], Coroutine[Any, Any, None]]
    """Makes the versions up to the given one too old."""

    async def send(
        self, method: str, path: str, body: Any = None, *, content: str = "json", accept: str = "json", **query: str
    ) -> Answer:
        """Send a raw request."""
        headers = {"Content-Type": f"application/{content}", "Accept": f"application/{accept}"}
        response = await self.kube._transport.request(method, path, query, headers, body, 30)
        try:
            return Answer(response.status, response.headers, json.loads(response.body))
        except ValueError:
            return Answer(response.status, response.headers, response.body.decode())

    async def job(self, name: str = "nightly", **metadata: Any) -> BackupJob:
        """Create a BackupJob."""
        return await self.kube.create(BackupJob, job(name, **metadata), self.namespace)

    async def configmap(self, name: str, data: dict[str, str] | None = None, **metadata: Any) -> ConfigMap:
        """Create a ConfigMap."""
        body = {"metadata": {"name": name, **metadata}, "data": data or {"a": "1"}}
        return await self.kube.create(ConfigMap, body, self.namespace)

    async def events(self, kind: type[T], count: int, resource_version: str, selector: str = "") -> list[WatchEvent[T]]:
        """Watch the rig's namespace until that many changes have come."""
        seen: list[WatchEvent[T]] = []
        watch = self.kube.watch(
            kind, self.namespace, resource_version=resource_version, label_selector=selector, timeout=20
        )
        async with aclosing(watch):
            async for event in watch:
                seen += [event] if event.type != "BOOKMARK" else []
                if len(seen) == count:
                    break
        return seen

    async def version(self) -> str:
        """Ask for the current version."""
        return (await self.kube.list(BackupJob, self.namespace)).resource_version


def job(name: str, **metadata: Any) -> dict[str, Any]:
    """Write a BackupJob."""
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "ch"}
    return {"metadata": {"name": name, **metadata}, "spec": {"applicationRef": reference, "backupClassName": "default"}}


def backup(name: str, **status: Any) -> dict[str, Any]:
    """Write a Backup."""
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "ch"}
    spec = {"applicationRef": reference, "strategyRef": reference, "takenAt": "2026-01-01T00:00:00Z"}
    return {"metadata": {"name": name}, "spec": spec, **({"status": status} if status else {})}


@asynccontextmanager
async def fake_rig() -> AsyncIterator[Rig]:
    """Make a rig around a fresh fake cluster."""
    fake = FakeCluster([CRDS])
    fake.add_user("nobody", "nobody-token")

    async def forget(version: int) -> None:
        fake.compact()

    kube = fake.kube()
    await kube.create(Namespace, {"metadata": {"name": "tenant"}})
    yield Rig(kube, fake.kube("nobody-token"), fake.kube("unknown-token"), "tenant", forget)


@asynccontextmanager
async def real_rig(cluster: RealCluster) -> AsyncIterator[Rig]:
    """Make a rig in a fresh namespace of a real cluster."""

    async def forget(version: int) -> None:
        async with httpx.AsyncClient(trust_env=False) as etcd:
            body = {"revision": str(version), "physical": True}
            answer = await etcd.post(f"{cluster.etcd.url}/v3/kv/compaction", json=body)
            answer.raise_for_status()

    unknown = anyio.Path(cluster.kubeconfig()).with_name("kubeconfig-unknown.yaml")
    text = await anyio.Path(cluster.kubeconfig()).read_text()
    await unknown.write_text(text.replace("admin-token", "unknown-token"))
    async with (
        KubeClient.connect(kubeconfig=str(cluster.kubeconfig())) as kube,
        KubeClient.connect(kubeconfig=str(cluster.kubeconfig("nobody"))) as nobody,
        KubeClient.connect(kubeconfig=str(unknown)) as stranger,
    ):
        yield Rig(kube, nobody, stranger, await cluster.namespace("tenant"), forget)
