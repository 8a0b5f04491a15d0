"""What operators and kubelets do in a real cluster, as far as drivers see it: here, ClickHouse with its sidecars."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anyio
import httpx

from chbackup import Client
from chbackup.testing import FakeSidecar, FakeStorage, FakeZooKeeper
from chbackup.testing._transport import client_over
from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.core import Namespace, Pod, Secret
from cozydrivers.errors import AlreadyExists
from cozydrivers.kube import KubeClient
from cozydrivers.testing.controllers import collect_garbage, empty_namespace
from cozydrivers.testing.jobs import JobRunner, PodRun
from cozydrivers.testing.objects import ACCESS_KEY, SECRET_KEY, FakeObjects

__all__ = ["Installation", "JobRunner", "Network", "PodRun", "collect_garbage", "empty_namespace"]

PORT = 7171
USERNAME = "backup"
PASSWORD = "not-a-real-password"  # noqa: S105 - of a fake


class Network:
    """The Pods' addresses, and what answers there; `objects` is the store that their sidecars write to.

    `connect` and `objects.open` are what a ClickHouseDriver takes.
    """

    def __init__(self) -> None:
        self._sidecars: dict[str, FakeSidecar] = {}
        self._given = 0
        self.objects: FakeObjects = FakeObjects()

    def attach(self, sidecar: FakeSidecar, *, name: str = "") -> str:
        """Give a sidecar an address, or a name that leads to it."""
        self._given += 1
        address = name or f"127.20.{self._given // 250}.{self._given % 250 + 1}"
        self._sidecars[address] = sidecar
        if sidecar.storage not in self.objects.storages:
            self.objects.storages.append(sidecar.storage)
        return address

    def detach(self, sidecar: FakeSidecar) -> None:
        """Take a sidecar's addresses away: nobody answers there any more."""
        for address in [address for address, known in self._sidecars.items() if known is sidecar]:
            del self._sidecars[address]

    def connect(self, url: str, /, *, username: str, password: str, timeout: float) -> Client:
        """Make a client for whatever listens at the URL's address."""
        sidecar = self._sidecars.get(httpx.URL(url).host)
        transport = sidecar.transport() if sidecar else httpx.MockTransport(_nobody)
        http_client = client_over(transport)
        return Client(url, username=username, password=password, timeout=timeout, http_client=http_client)


def _nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody listens there", request=request)


class Installation:
    """A ClickHouse application with its Pods, each with a sidecar, all on one storage path as Cozystack has it.

    The replicas of a shard share `zookeeper`; two applications with the same one are in each other's reach.
    Without `pods` nobody shows any: the sidecars are reached by the names of the operator's Services alone.
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
        pods: bool = True,
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.shards = shards
        self.replicas = replicas
        self._network = network
        self._version = version
        self._storage = storage or FakeStorage()
        self.zookeeper: FakeZooKeeper = zookeeper or FakeZooKeeper()
        self._pods = pods
        self._restarts: dict[tuple[int, int], int] = {}
        self.sidecars: dict[tuple[int, int], FakeSidecar] = {
            (shard, replica): self._new_sidecar(shard, replica)
            for shard in range(shards)
            for replica in range(replicas)
        }

    def _new_sidecar(self, shard: int, replica: int) -> FakeSidecar:
        return FakeSidecar(
            username=USERNAME,
            password=PASSWORD,
            version=self._version,
            storage=self._storage,
            zookeeper=self.zookeeper,
            path=self.name,
            shard=str(shard),
            replica=self.pod_name(shard, replica).removesuffix("-0"),  # the operator's macros
            env={"ALLOW_EMPTY_BACKUPS": "true"},
        )

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
        keys = {"stringData": {"bucketName": "backups", "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}}
        await kube.create(Secret, {"metadata": {"name": self._s3_secret}, **keys}, self.namespace)
        for shard, replica in self.sidecars:
            if self._pods:
                await self.start_pod(kube, shard, replica)
            else:
                name = f"{self.pod_name(shard, replica).removesuffix('-0')}.{self.namespace}.svc"
                self._network.attach(self.sidecars[shard, replica], name=name)

    async def start_pod(self, kube: KubeClient, shard: int, replica: int = 0) -> None:
        """Create the Pod of a replica, ready, at an address of its own."""
        address = self._network.attach(self.sidecars[shard, replica])
        await kube.create(Pod, self._pod(shard, replica), self.namespace)
        await self.report(kube, shard, replica, address=address)

    async def restart(self, kube: KubeClient, shard: int, replica: int = 0, *, after: float = 0.0) -> None:
        """End a sidecar's process as an OOM kill does; its kubelet starts it again `after` so many seconds.

        Requests that are on their way are lost. The Pod's restart count tells of it.
        """
        sidecar = self.sidecars[shard, replica]
        sidecar.kill_process()
        await anyio.sleep(after)
        sidecar.start_process()
        self._restarts[shard, replica] = self._restarts.get((shard, replica), 0) + 1
        status = {"containerStatuses": self._statuses(shard, replica)}
        await kube.merge_patch(Pod, self.pod_name(shard, replica), {"status": status}, self.namespace, status=True)

    async def replace_pod(
        self, kube: KubeClient, shard: int, replica: int = 0, *, after: float = 0.0, keeps_volume: bool = True
    ) -> None:
        """Delete a Pod, and have it created anew: another UID, another address, the same volume or an empty one."""
        old = self.sidecars[shard, replica]
        old.kill_process()
        self._network.detach(old)
        pod = await kube.get(Pod, self.pod_name(shard, replica), self.namespace)
        await kube.delete(Pod, pod.metadata.name, self.namespace, uid=pod.metadata.uid)
        await anyio.sleep(after)
        self._restarts.pop((shard, replica), None)
        if keeps_volume:
            old.start_process()
        else:
            self.sidecars[shard, replica] = self._new_sidecar(shard, replica)
        await self.start_pod(kube, shard, replica)

    async def report(self, kube: KubeClient, shard: int, replica: int, *, address: str, ready: bool = True) -> None:
        """Write a Pod's status, as its kubelet does."""
        condition = {"type": "Ready", "status": str(ready)}
        statuses = self._statuses(shard, replica)
        status = {"phase": "Running", "podIP": address, "conditions": [condition], "containerStatuses": statuses}
        await kube.merge_patch(Pod, self.pod_name(shard, replica), {"status": status}, self.namespace, status=True)

    def _statuses(self, shard: int, replica: int) -> list[dict[str, Any]]:
        restarts = self._restarts.get((shard, replica), 0)
        return [{"name": "clickhouse-backup", "ready": True, "restartCount": restarts, "image": "", "imageID": ""}]

    @property
    def _s3_secret(self) -> str:
        return f"clickhouse-{self.name}-backup-s3"

    def _key_ref(self, key: str) -> Mapping[str, Any]:
        return {"secretKeyRef": {"name": self._s3_secret, "key": key}}

    def _pod(self, shard: int, replica: int) -> Mapping[str, Any]:
        label = "clickhouse.altinity.com"
        environment = {
            "REMOTE_STORAGE": "s3",
            "S3_ENDPOINT": "http://s3.invalid",
            "S3_FORCE_PATH_STYLE": "true",
            "S3_PATH": self.name,
        }
        keys = {
            "S3_BUCKET": "bucketName",
            "S3_ACCESS_KEY": "accessKey",
            "S3_SECRET_KEY": "secretKey",
        }  # as the chart has them
        sidecar = {
            "name": "clickhouse-backup",
            "image": "altinity/clickhouse-backup:2.7.4",
            "ports": [{"name": "ch-backup-api", "containerPort": PORT}],
            "env": [
                *({"name": name, "value": value} for name, value in environment.items()),
                *({"name": name, "valueFrom": self._key_ref(key)} for name, key in keys.items()),
            ],
        }
        return {
            "metadata": {
                "name": self.pod_name(shard, replica),
                "labels": {
                    f"{label}/chi": f"clickhouse-{self.name}",
                    f"{label}/cluster": "clickhouse",
                    f"{label}/shard": str(shard),
                    f"{label}/replica": str(replica),
                },
            },
            "spec": {"containers": [{"name": "clickhouse", "image": "clickhouse/clickhouse-server:24.9"}, sidecar]},
        }
