"""Where an application's sidecars are, read from its Pods or counted from its spec. Pure."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Container, Pod, Secret
from cozydrivers.drivers.clickhouse.environment import PORT_NAME, port_of, secrets_named, sidecar_of, told
from cozydrivers.errors import InvalidInput

CHI_LABEL = "clickhouse.altinity.com/chi"
CLUSTER_LABEL = "clickhouse.altinity.com/cluster"
SHARD_LABEL = "clickhouse.altinity.com/shard"
REPLICA_LABEL = "clickhouse.altinity.com/replica"
PORT = 7171
MOST = 999
"""Shards, or replicas of one: more than that is a mistake in a spec."""
SETTINGS = ("ALLOW_PARALLEL", "API_ALLOW_PARALLEL", "BACKUPS_TO_KEEP_LOCAL", "BACKUPS_TO_KEEP_REMOTE")
"""Variables of a sidecar that decide whether what it makes can be relied upon."""
_STORAGE = ("S3_ENDPOINT", "S3_BUCKET", "S3_PATH")
_NAMED = 5
CLUSTER = "clickhouse"
"""The one cluster of an application's installation, as Cozystack's chart names it."""
PREFIX = "clickhouse-"
"""Release prefix of the application kind ClickHouse: installation `clickhouse-<app>`."""


NO_SECRETS: Mapping[str, Secret] = {}


@dataclass(frozen=True)
class Place:
    """One sidecar: which replica of which shard it serves, and where it listens.

    `pod_uid` is empty for an address that was counted, not seen. `storage` identifies the storage path, empty where
    the Pod does not tell it. `image` and `restarts` are the container's: with the Pod's UID they tell one process of it
    from the next. `settings` are those of `SETTINGS` that its container's environment holds in plain sight.
    """

    shard: int
    replica: int
    pod: str
    pod_uid: str
    url: str
    ready: bool
    storage: str = ""
    cluster: str = CLUSTER
    image: str = ""
    restarts: int = 0
    settings: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"shard {self.shard} replica {self.replica}"


def shards_of(application: KubeObject) -> int:
    """How many shards the application's spec asks for; the chart's default is 1. InvalidInput for an absurd number."""
    return _count(application, "shards", 1)


def replicas_of(application: KubeObject) -> int:
    """How many replicas of each shard the application's spec asks for; the chart's default is 2."""
    return _count(application, "replicas", 2)


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


def storage_secrets(pods: Iterable[Pod]) -> set[str]:
    """The Secrets that the sidecars' storage paths are told by."""
    containers = [container for pod in pods if (container := sidecar_of(pod))]
    return {name for container in containers for name in secrets_named(container, _STORAGE)}


def application_of(pod: KubeObject) -> str | None:
    """The application whose Pod it is."""
    name = pod.metadata.labels.get(CHI_LABEL, "")
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def places(application: KubeObject, pods: Iterable[Pod], secrets: Mapping[str, Secret] = NO_SECRETS) -> list[Place]:
    """The sidecars by shard and replica, ready ones first; without Pods, the DNS names that the spec implies.

    `secrets` are those that exist of what `storage_secrets` names; without them a storage path may not be told.
    None where there are Pods and none of them has a sidecar: names would lead to the same Pods, without an identity.
    """
    name = installation(application.metadata.name)
    own = [pod for pod in pods if pod.metadata.labels.get(CHI_LABEL) == name]
    seen = _told_apart([place for pod in own if (place := _place(pod, secrets))])
    order = sorted(seen, key=lambda place: (place.shard, place.cluster != CLUSTER, not place.ready, place.replica))
    return order if own else _counted(application)


def _told_apart(seen: Sequence[Place]) -> list[Place]:
    """Of Pods that show one address at most one has it: until that is known, nobody is asked there."""
    shown = Counter(place.url for place in seen)
    return [replace(place, url="", ready=False) if shown[place.url] > 1 else place for place in seen]


def _place(pod: Pod, secrets: Mapping[str, Secret]) -> Place | None:
    labels = pod.metadata.labels
    shard, replica = (labels.get(label, "") for label in (SHARD_LABEL, REPLICA_LABEL))
    container = sidecar_of(pod)
    if not (shard.isdecimal() and replica.isdecimal()) or container is None or pod.metadata.deletion_timestamp:
        return None
    environment = told(container, secrets)
    return Place(
        shard=int(shard),
        replica=int(replica),
        pod=pod.metadata.name,
        pod_uid=pod.metadata.uid,
        url=f"{_scheme(environment)}://{_host(pod)}:{port_of(container)}" if pod.status.pod_ip else "",
        ready=pod.ready and bool(pod.status.pod_ip),
        storage=_storage(container, environment),
        cluster=labels.get(CLUSTER_LABEL, CLUSTER),
        image=container.image,
        restarts=_restarts(pod, container),
        settings={name: environment[name] for name in SETTINGS if name in environment},
    )


def _scheme(environment: Mapping[str, str]) -> str:
    """TLS where the sidecar is told so, in a word that Go reads as true."""
    return "https" if environment.get("API_SECURE", "") in ("1", "t", "T", "true", "TRUE", "True") else "http"


def _host(pod: Pod) -> str:
    return f"[{pod.status.pod_ip}]" if ":" in pod.status.pod_ip else pod.status.pod_ip


def _restarts(pod: Pod, container: Container) -> int:
    known = [*pod.status.container_statuses, *pod.status.init_container_statuses]
    return next((status.restart_count for status in known if status.name == container.name), 0)


def _counted(application: KubeObject) -> list[Place]:
    return [
        Place(shard, replica, name.split(".")[0], "", f"http://{name}:{PORT}", ready=True)
        for shard in range(shards_of(application))
        for replica in range(replicas_of(application))
        for name in [host(application, shard, replica)]
    ]


def _storage(container: Container, environment: Mapping[str, str]) -> str:
    """What identifies the storage path; empty where a part of it is set and can't be told."""
    declared = {variable.name for variable in container.env}.intersection(_STORAGE)
    return storage_id(environment) if declared.issubset(environment) else ""


def storage_id(environment: Mapping[str, str]) -> str:
    """16 hex digits for endpoint, bucket and path together; empty where the bucket is not told."""
    endpoint, bucket, path = (environment.get(key, "") for key in _STORAGE)
    return hashlib.sha256("\n".join((endpoint, bucket, path)).encode()).hexdigest()[:16] if bucket else ""


def layout_problem(application: KubeObject, found: Iterable[Place]) -> str:
    """What keeps the Pods from being the shards that the spec asks for, as a sentence; empty when nothing does.

    Another cluster of the installation is such a thing: its rows would be left out without a word, and an archive's
    name has no cluster in it.
    """
    name, wanted, found = application.metadata.name, shards_of(application), list(found)
    others = sorted({place.cluster for place in found} - {CLUSTER})
    if others:
        return f"ClickHouse {name} has Pods of cluster {', '.join(others)}: only cluster {CLUSTER} can be backed up"
    shards = {place.shard for place in found}
    missing, extra = sorted(set(range(wanted)) - shards), sorted(shards - set(range(wanted)))
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
