"""Where an application's sidecars are, read from its Pods or counted from its spec. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Container, Pod
from cozydrivers.errors import InvalidInput

CHI_LABEL = "clickhouse.altinity.com/chi"
SHARD_LABEL = "clickhouse.altinity.com/shard"
REPLICA_LABEL = "clickhouse.altinity.com/replica"
PORT_NAME = "ch-backup-api"
PORT = 7171
MOST = 999
"""Shards, or replicas of one: more than that is a mistake in a spec."""
_NAMED = 5
PREFIX = "clickhouse-"
"""Release prefix of the application kind ClickHouse: installation `clickhouse-<app>`."""


@dataclass(frozen=True)
class Place:
    """One sidecar: which replica of which shard it serves, and where it listens.

    `pod_uid` is empty for an address that was counted, not seen. `storage` identifies the storage path, empty where
    the Pod does not tell it.
    """

    shard: int
    replica: int
    pod: str
    pod_uid: str
    url: str
    ready: bool
    storage: str = ""

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"shard {self.shard} replica {self.replica}"


def shards_of(application: KubeObject) -> int:
    """How many shards the application's spec asks for; the chart's default is 1. InvalidInput for an absurd number."""
    return _count(application, "shards", 1)


def _count(application: KubeObject, key: str, default: int) -> int:
    value = application.raw.get("spec", {}).get(key, default)
    if isinstance(value, int) and value > MOST:
        raise InvalidInput(
            f"ClickHouse {application.metadata.name}: spec.{key} is {value}; at most {MOST} are supported"
        )
    return value if isinstance(value, int) and value > 0 else default


def installation(application: str) -> str:
    """Name of the ClickHouseInstallation, as its Pods' labels have it."""
    return PREFIX + application


def host(application: KubeObject, shard: int, replica: int) -> str:
    """DNS name of a replica, as the operator's Service for it has it."""
    name, namespace = installation(application.metadata.name), application.metadata.namespace
    return f"chi-{name}-clickhouse-{shard}-{replica}.{namespace}.svc"


def application_of(pod: KubeObject) -> str | None:
    """The application whose Pod it is."""
    name = pod.metadata.labels.get(CHI_LABEL, "")
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def places(application: KubeObject, pods: Iterable[Pod]) -> list[Place]:
    """The sidecars by shard and replica, ready ones first; without Pods, the DNS names that the spec implies."""
    name = installation(application.metadata.name)
    seen = [place for pod in pods if pod.metadata.labels.get(CHI_LABEL) == name and (place := _place(pod))]
    return sorted(seen, key=lambda place: (place.shard, not place.ready, place.replica)) or _counted(application)


def _place(pod: Pod) -> Place | None:
    shard, replica = (pod.metadata.labels.get(label, "") for label in (SHARD_LABEL, REPLICA_LABEL))
    container = next((c for c in pod.spec.containers if _port(c)), None)
    if not (shard.isdecimal() and replica.isdecimal()) or container is None or pod.metadata.deletion_timestamp:
        return None
    return Place(
        shard=int(shard),
        replica=int(replica),
        pod=pod.metadata.name,
        pod_uid=pod.metadata.uid,
        url=f"http://{pod.status.pod_ip}:{_port(container)}" if pod.status.pod_ip else "",
        ready=pod.ready and bool(pod.status.pod_ip),
        storage=storage_id({variable.name: variable.value for variable in container.env}),
    )


def _port(container: Container) -> int:
    return next((port.container_port for port in container.ports if port.name == PORT_NAME), 0)


def _counted(application: KubeObject) -> list[Place]:
    return [
        Place(shard, replica, name.split(".")[0], "", f"http://{name}:{PORT}", ready=True)
        for shard in range(shards_of(application))
        for replica in range(_count(application, "replicas", 2))
        for name in [host(application, shard, replica)]
    ]


def storage_id(environment: Mapping[str, str]) -> str:
    """16 hex digits for endpoint, bucket and path together; empty where the bucket is not in plain sight."""
    endpoint, bucket, path = (environment.get(f"S3_{key}", "") for key in ("ENDPOINT", "BUCKET", "PATH"))
    return hashlib.sha256("\n".join((endpoint, bucket, path)).encode()).hexdigest()[:16] if bucket else ""


def layout_problem(application: KubeObject, found: Iterable[Place]) -> str:
    """What keeps the Pods from being the shards that the spec asks for, as a sentence; empty when nothing does."""
    wanted, shards = shards_of(application), {place.shard for place in found}
    missing, extra = sorted(set(range(wanted)) - shards), sorted(shards - set(range(wanted)))
    name = application.metadata.name
    if missing:
        return (
            f"ClickHouse {name} has {wanted} shards, and no Pod with a port {PORT_NAME} serves shard {_join(missing)}"
        )
    if extra:
        return f"ClickHouse {name} has {wanted} shards by its spec.shards, and Pods serve shard {_join(extra)} as well"
    return ""


def _join(numbers: list[int]) -> str:
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return ", ".join(str(number) for number in numbers[:_NAMED]) + more


def storages_of(found: Iterable[Place]) -> tuple[str, ...]:
    """The storage paths of the sidecars; none where one of them is not known."""
    storages = {place.storage for place in found}
    return () if "" in storages else tuple(sorted(storages))
