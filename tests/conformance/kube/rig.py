"""One way to drive both clusters: through KubeClient, or where that does not reach, by its transport."""

import functools
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio
import httpx
from tests.real import RealCluster
from tests.real.processes import answers, wait_until

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.kube import KubeClient, WatchEvent
from cozydrivers.kube.transport import Response
from cozydrivers.testing import FakeCluster

CRDS = Path(__file__).parents[3] / "fixtures" / "crds"
T = TypeVar("T", bound=KubeObject)


@dataclass(frozen=True)
class Answer:
    """A raw answer."""

    status: int
    headers: Any
    body: Any


class Controls(Protocol):
    """What is done to a cluster from outside its API."""

    async def forget(self, version: int) -> None:
        """Make the versions up to this one too old."""
        ...

    async def restart(self) -> None:
        """Kill the server and start it again."""
        ...

    async def define(self, crd: dict[str, Any]) -> None:
        """Create a CustomResourceDefinition, and wait until it is served."""
        ...

    async def undefine(self, name: str) -> None:
        """Delete a CustomResourceDefinition; what is left of it goes when its objects have gone."""
        ...

    def unreachable_webhook(self, namespace: str) -> AbstractAsyncContextManager[None]:
        """Have writes to BackupJobs wait for a webhook that nobody answers."""
        ...

    async def too_many(self, nobody: KubeClient) -> Response:
        """Send requests of the user without rights until one is refused because there are too many."""
        ...


@dataclass(frozen=True)
class Rig:
    """A cluster, real or fake: a client with all rights, one with none, and one whose token is unknown."""

    kube: KubeClient
    nobody: KubeClient
    unknown: KubeClient
    namespace: str
    controls: "Controls"

    async def forget(self, version: int) -> None:
        """Make the versions up to this one too old."""
        await self.controls.forget(version)

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

    async def watched(self, path: str, seconds: int = 2, **query: str) -> list[dict[str, Any]]:
        """Watch by raw request for some seconds; returns its lines."""
        query = {"watch": "true", "timeoutSeconds": str(seconds), **query}
        headers = {"Accept": "application/json"}
        async with self.kube._transport.stream("GET", path, query, headers, seconds + 20) as stream:
            return [json.loads(line) async for line in stream.lines]

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


def new_event(name: str, namespace: str) -> dict[str, Any]:
    """Write an event of events.k8s.io with all that one must have."""
    return {
        "metadata": {"name": name},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "cozydrivers",
        "reportingInstance": "cozydrivers-0",
        "action": "Backup",
        "reason": "BackupCompleted",
        "regarding": {"kind": "BackupJob", "name": "nightly", "namespace": namespace},
        "type": "Normal",
    }


class FakeControls:
    """The controls of a fake cluster."""

    def __init__(self, fake: FakeCluster) -> None:
        self._fake = fake

    async def forget(self, version: int) -> None:
        self._fake.compact()

    async def restart(self) -> None:
        self._fake.faults.outage()

    async def define(self, crd: dict[str, Any]) -> None:
        self._fake.add_crd(crd)

    async def undefine(self, name: str) -> None:
        self._fake.remove_crd(name)

    @asynccontextmanager
    async def unreachable_webhook(self, namespace: str) -> AsyncGenerator[None, None]:
        self._fake.faults.break_webhook("backupjobs")
        yield
        self._fake.faults.clear()

    async def too_many(self, nobody: KubeClient) -> Response:
        self._fake.faults.fail(status=429)
        return await _get(nobody, "/api/v1/namespaces/default/configmaps")


class RealControls:
    """The controls of a real cluster."""

    def __init__(self, cluster: RealCluster) -> None:
        self._cluster = cluster

    async def forget(self, version: int) -> None:
        async with httpx.AsyncClient(trust_env=False) as etcd:
            body = {"revision": str(version), "physical": True}
            answer = await etcd.post(f"{self._cluster.etcd.url}/v3/kv/compaction", json=body)
            answer.raise_for_status()

    async def restart(self) -> None:
        await self._cluster.apiserver.restart()
        # It says that it is ready while some of its watch caches still answer 429, "storage is (re)initializing".
        async with self._cluster.client() as client:
            for path in ("/apis/backups.cozystack.io/v1alpha1/backupjobs", "/api/v1/configmaps"):
                cached = functools.partial(answers, client, f"{path}?resourceVersion=0")
                await wait_until(cached, timeout=20, what=f"{path} served from the cache")

    async def define(self, crd: dict[str, Any]) -> None:
        await self._cluster.apply_crds([crd])

    async def undefine(self, name: str) -> None:
        async with self._cluster.client() as client:
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
            (await client.delete(path)).raise_for_status()

    @asynccontextmanager
    async def unreachable_webhook(self, namespace: str) -> AsyncGenerator[None, None]:
        async with self._cluster.client() as client, _made(client, WEBHOOKS, _webhook(namespace)):
            path = f"/apis/backups.cozystack.io/v1alpha1/namespaces/{namespace}/backupjobs"

            async def works() -> bool:
                body = {**job("probe"), "apiVersion": "backups.cozystack.io/v1alpha1", "kind": "BackupJob"}
                return (await client.post(path, json=body, params={"dryRun": "All"})).status_code == 500

            await wait_until(works, timeout=20, what="webhook in use")
            yield

    async def too_many(self, nobody: KubeClient) -> Response:
        async with self._cluster.client() as client, _made(client, LEVELS, LEVEL), _made(client, FLOWS, FLOW):
            for _ in range(20):
                for answer in await _burst(nobody):
                    if answer.status == 429:
                        return answer
                await anyio.sleep(0.3)
        raise AssertionError("the server can't be made busy")


WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
LEVEL = {
    "metadata": {"name": "narrow"},
    "spec": {
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": 0,
            "lendablePercent": 0,
            "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        },
    },
}
FLOW = {
    "metadata": {"name": "narrow"},
    "spec": {
        "matchingPrecedence": 2,
        "priorityLevelConfiguration": {"name": "narrow"},
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": "nobody"}}],
                "resourceRules": [
                    {
                        "verbs": ["*"],
                        "apiGroups": ["*"],
                        "resources": ["*"],
                        "namespaces": ["*"],
                        "clusterScope": True,
                    }
                ],
            }
        ],
    },
}


def _webhook(namespace: str) -> dict[str, Any]:
    resources = ["backupjobs", "backupjobs/status"]
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": resources}
    webhook = {
        "name": "guard.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 2,
        "clientConfig": {"url": "https://127.0.0.1:1/validate"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [rule],
    }
    return {"metadata": {"name": "guard"}, "webhooks": [webhook]}


@asynccontextmanager
async def _made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> AsyncGenerator[None, None]:
    (await client.post(path, json=body)).raise_for_status()
    yield
    (await client.delete(f"{path}/{body['metadata']['name']}")).raise_for_status()


async def _get(kube: KubeClient, path: str) -> Response:
    return await kube._transport.request("GET", path, {}, {"Accept": "application/json"}, None, 30)


async def _burst(kube: KubeClient) -> list[Response]:
    answers: list[Response] = []

    async def one() -> None:
        answers.append(await _get(kube, "/api/v1/namespaces/default/configmaps"))

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(one)
    return answers


@asynccontextmanager
async def fake_rig() -> AsyncIterator[Rig]:
    """Make a rig around a fresh fake cluster."""
    fake = FakeCluster([CRDS])
    fake.add_user("nobody", "nobody-token")
    kube = fake.kube()
    await kube.create(Namespace, {"metadata": {"name": "tenant"}})
    yield Rig(kube, fake.kube("nobody-token"), fake.kube("unknown-token"), "tenant", FakeControls(fake))


@asynccontextmanager
async def real_rig(cluster: RealCluster) -> AsyncIterator[Rig]:
    """Make a rig in a fresh namespace of a real cluster."""
    unknown = anyio.Path(cluster.kubeconfig()).with_name("kubeconfig-unknown.yaml")
    text = await anyio.Path(cluster.kubeconfig()).read_text()
    await unknown.write_text(text.replace("admin-token", "unknown-token"))
    async with (
        KubeClient.connect(kubeconfig=str(cluster.kubeconfig())) as kube,
        KubeClient.connect(kubeconfig=str(cluster.kubeconfig("nobody"))) as nobody,
        KubeClient.connect(kubeconfig=str(unknown)) as stranger,
    ):
        yield Rig(kube, nobody, stranger, await cluster.namespace("tenant"), RealControls(cluster))
