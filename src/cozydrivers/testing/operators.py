"""What operators and kubelets do in a real cluster, as far as drivers see it: here, ClickHouse with its sidecars."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx

from chbackup import Client
from chbackup.testing import FakeSidecar, FakeStorage, FakeZooKeeper
from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.core import Namespace, Pod, Secret
from cozydrivers.errors import AlreadyExists
from cozydrivers.kube import KubeClient
from cozydrivers.testing.controllers import collect_garbage, empty_namespace
from cozydrivers.testing.jobs import JobRunner, PodRun

__all__ = ["Installation", "JobRunner", "Network", "PodRun", "collect_garbage", "empty_namespace"]

PORT = 7171
USERNAME = "backup"
PASSWORD = "not-a-real-password"  # noqa: S105 - of a fake


class Network:
    """The Pods' addresses, and what answers there. `connect` is what a ClickHouseDriver takes."""

    def __init__(self) -> None:
        self._sidecars: dict[str, FakeSidecar] = {}

    def attach(self, sidecar: FakeSidecar) -> str:
        """Give a sidecar an address."""
        number = len(self._sidecars) + 1
        address = f"127.20.{number // 250}.{number % 250 + 1}"
        self._sidecars[address] = sidecar
        return address

    def connect(self, url: str, /, *, username: str, password: str, timeout: float) -> Client:
        """Make a client for whatever listens at the URL's address."""
        sidecar = self._sidecars.get(httpx.URL(url).host)
        transport = sidecar.transport() if sidecar else httpx.MockTransport(_nobody)
        http_client = httpx.AsyncClient(transport=transport)
        return Client(url, username=username, password=password, timeout=timeout, http_client=http_client)


def _nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody listens there", request=request)


class Installation:
    """A ClickHouse application with its Pods, each with a sidecar, all on one storage path as Cozystack has it.

    The replicas of a shard share `zookeeper`; two applications with the same one are in each other's reach.
    """

    def __init__(
        self,
        network: Network,
        *,
        namespace: str,
        name: str,
        shards: int = 2,
        replicas: int = 1,
        version: str = "2.7.4",
        storage: FakeStorage | None = None,
        zookeeper: FakeZooKeeper | None = None,
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.shards = shards
        self.replicas = replicas
        self._network = network
        shared = storage or FakeStorage()
        self.zookeeper = zookeeper or FakeZooKeeper()
        self.sidecars: dict[tuple[int, int], FakeSidecar] = {
            (shard, replica): FakeSidecar(
                username=USERNAME,
                password=PASSWORD,
                version=version,
                storage=shared,
                zookeeper=self.zookeeper,
                path=name,
                shard=str(shard),
                replica=self.pod_name(shard, replica).removesuffix("-0"),  # the operator's macros
                env={"ALLOW_EMPTY_BACKUPS": "true"},
            )
            for shard in range(shards)
            for replica in range(replicas)
        }

    def sidecar(self, shard: int, replica: int = 0) -> FakeSidecar:
        """The sidecar of a replica."""
        return self.sidecars[shard, replica]

    def pod_name(self, shard: int, replica: int = 0) -> str:
        """The name that the operator gives the Pod of a replica."""
        return f"chi-clickhouse-{self.name}-clickhouse-{shard}-{replica}-0"

    async def deploy(self, kube: KubeClient) -> None:
        """Create the namespace where it is absent, the application, its Secret and its Pods."""
        with suppress(AlreadyExists):
            await kube.create(Namespace, {"metadata": {"name": self.namespace}})
        spec = {"shards": self.shards, "replicas": self.replicas, "backup": {"enabled": True}}
        await kube.create(ClickHouse, {"metadata": {"name": self.name}, "spec": spec}, self.namespace)
        secret = {"stringData": {"username": USERNAME, "password": PASSWORD}}
        metadata = {"metadata": {"name": f"clickhouse-{self.name}-backup-api-auth"}}
        await kube.create(Secret, {**metadata, **secret}, self.namespace)
        for shard, replica in self.sidecars:
            await self.start_pod(kube, shard, replica)

    async def start_pod(self, kube: KubeClient, shard: int, replica: int = 0) -> None:
        """Create the Pod of a replica, ready, at an address of its own."""
        address = self._network.attach(self.sidecars[shard, replica])
        await kube.create(Pod, self._pod(shard, replica), self.namespace)
        await self.report(kube, shard, replica, address=address)

    async def report(self, kube: KubeClient, shard: int, replica: int, *, address: str, ready: bool = True) -> None:
        """Write a Pod's status, as its kubelet does."""
        condition = {"type": "Ready", "status": str(ready)}
        status = {"phase": "Running", "podIP": address, "conditions": [condition]}
        await kube.merge_patch(Pod, self.pod_name(shard, replica), {"status": status}, self.namespace, status=True)

    def _pod(self, shard: int, replica: int) -> Mapping[str, Any]:
        label = "clickhouse.altinity.com"
        environment = {"S3_BUCKET": "backups", "S3_ENDPOINT": "http://s3.invalid", "S3_PATH": self.name}
        sidecar = {
            "name": "clickhouse-backup",
            "image": "altinity/clickhouse-backup:2.7.4",
            "ports": [{"name": "ch-backup-api", "containerPort": PORT}],
            "env": [{"name": name, "value": value} for name, value in environment.items()],
        }
        return {
            "metadata": {
                "name": self.pod_name(shard, replica),
                "labels": {
                    f"{label}/chi": f"clickhouse-{self.name}",
                    f"{label}/shard": str(shard),
                    f"{label}/replica": str(replica),
                },
            },
            "spec": {"containers": [{"name": "clickhouse", "image": "clickhouse/clickhouse-server:24.9"}, sidecar]},
        }
