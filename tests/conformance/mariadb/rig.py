"""One way to drive both operators, the real one and the simulator; nobody runs their Jobs but the tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient

GROUP = "k8s.mariadb.com"
STARTED, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


class MariaDB(KubeObject):
    resource = Resource(GROUP, "v1alpha1", "MariaDB", "mariadbs", namespaced=True)


class Backup(KubeObject):
    resource = Resource(GROUP, "v1alpha1", "Backup", "backups", namespaced=True)


class Restore(KubeObject):
    resource = Resource(GROUP, "v1alpha1", "Restore", "restores", namespaced=True)


class PhysicalBackup(KubeObject):
    resource = Resource(GROUP, "v1alpha1", "PhysicalBackup", "physicalbackups", namespaced=True)


class Job(KubeObject):
    resource = Resource("batch", "v1", "Job", "jobs", namespaced=True)


class Claim(KubeObject):
    resource = Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", namespaced=True)


T = TypeVar("T", bound=KubeObject)
Raw = dict[str, Any]

FOLDER: Raw = {"volume": {"hostPath": {"path": "/dumps", "type": "Directory"}}}


def bucket(**fields: Any) -> Raw:
    """Write an S3 storage."""
    keys = {
        "accessKeyIdSecretKeyRef": {"name": "s3", "key": "id"},
        "secretAccessKeySecretKeyRef": {"name": "s3", "key": "key"},
    }
    return {"bucket": "dumps", "endpoint": "s3.example.com:9000", **keys, **fields}


def a_mariadb(name: str) -> Raw:
    """Write a MariaDB."""
    password = {"name": "root", "key": "password"}
    spec = {"rootPasswordSecretKeyRef": password, "storage": {"size": "1Gi"}, "tls": {"enabled": False}}
    return {"metadata": {"name": name}, "spec": spec}


class Operator(Protocol):
    """An operator of a version; it works while `settle` waits, and may work at any time."""

    version: str

    async def settle(self) -> None:
        """Wait until it has nothing to do, or does the same over and over."""
        ...

    async def mariadb(self, kube: KubeClient, name: str, namespace: str, *, ready: bool) -> None:
        """Make a MariaDB that is Ready, or one that is not; or change it to that, and wait until it says so."""
        ...


@dataclass(frozen=True)
class Rig:
    """An operator in a cluster, and a namespace."""

    kube: KubeClient
    operator: Operator
    namespace: str

    @property
    def old(self) -> bool:
        """Whether it is 25.10."""
        return self.operator.version.startswith("25.")

    async def mariadb(self, name: str = "db", *, ready: bool = True) -> None:
        """Make a MariaDB that is Ready, or one that is not; or change it to that."""
        await self.operator.mariadb(self.kube, name, self.namespace, ready=ready)
        await self.operator.settle()

    async def make(self, kind: type[T], name: str, *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> T:
        """Create an object and wait for what the operator does then."""
        body = {"metadata": {"name": name, **(metadata or {})}, "spec": {"mariaDbRef": {"name": "db"}, **spec}}
        made = await self.kube.create(kind, body, self.namespace)
        await self.operator.settle()
        return made

    async def backup(self, name: str = "b", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Backup:
        """Create a Backup; its storage is a folder unless told."""
        return await self.make(Backup, name, metadata=metadata, **{"storage": FOLDER, **spec})

    async def restore(self, name: str = "r", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Restore:
        """Create a Restore."""
        return await self.make(Restore, name, metadata=metadata, **spec)

    async def get(self, kind: type[T], name: str) -> Raw:
        """Read an object whole."""
        return (await self.kube.get(kind, name, self.namespace)).raw

    async def find(self, kind: type[T], name: str) -> Raw | None:
        """Read an object whole, or find that there is none."""
        try:
            return await self.get(kind, name)
        except NotFound:
            return None

    async def job(self, name: str = "b") -> Raw:
        """Read a Job."""
        return await self.get(Job, name)

    async def complete(self, kind: type[T], name: str) -> tuple[str, str, str]:
        """Status, reason and message of the condition Complete; empty where there is none."""
        conditions = (await self.get(kind, name)).get("status", {}).get("conditions", [])
        found: Raw = next((each for each in conditions if each["type"] == "Complete"), {})
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    async def end(self, name: str, *, failed: bool = False) -> None:
        """Play the Job controller: the Job has succeeded, or failed."""
        kinds = ("FailureTarget", "Failed") if failed else ("SuccessCriteriaMet", "Complete")
        conditions = [{"type": kind, "status": "True"} for kind in kinds]
        numbers: Raw = {"failed": 6} if failed else {"succeeded": 1, "completionTime": ENDED}
        await self.report(name, startTime=STARTED, conditions=conditions, **numbers)

    async def report(self, name: str, **status: Any) -> None:
        """Write the status of a Job."""
        await self.kube.merge_patch(Job, name, {"status": status}, self.namespace, status=True)
        await self.operator.settle()

    async def patch(self, kind: type[T], name: str, patch: Raw) -> None:
        """Patch an object and wait for what the operator does then."""
        await self.kube.merge_patch(kind, name, patch, self.namespace)
        await self.operator.settle()

    async def delete(self, kind: type[T], name: str) -> None:
        """Delete an object, and let it go where its propagation holds it; what it owned stays."""
        found = await self.kube.get(kind, name, self.namespace)
        await self.kube.delete(kind, name, self.namespace, uid=found.metadata.uid)
        await self.operator.settle()


def container(job: Raw, name: str) -> Raw:
    """Find a container of a Job's Pods, init containers included."""
    spec = job["spec"]["template"]["spec"]
    found: Raw = next(each for each in [*spec["initContainers"], *spec["containers"]] if each["name"] == name)
    return found


def script(job: Raw) -> str:
    """The script that runs mariadb-dump or mariadb."""
    found = container(job, "mariadb")
    assert found["command"] == ["bash", "-c"]
    return str(found["args"][0])


def arguments(job: Raw) -> list[str]:
    """The arguments of the operator's own container."""
    return list(container(job, "mariadb-operator")["args"])


def after(args: list[str], option: str) -> str:
    """The value of an option."""
    return args[args.index(option) + 1]
