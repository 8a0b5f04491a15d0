"""How mariadb-operator reads and writes its objects: specs with their defaults, and conditions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.api.batch import Job
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.testing._mariadb_jobs import Release, written
from cozydrivers.testing._store import Object

Key = tuple[str, str]
"""Namespace and name."""


class CronJob(KubeObject):
    """A Job that is started by the clock."""

    resource: ClassVar[Resource] = Resource("batch", "v1", "CronJob", "cronjobs", namespaced=True)


class PersistentVolumeClaim(KubeObject):
    """A volume that outlives Pods."""

    resource: ClassVar[Resource] = Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True)


@dataclass
class Seen:
    """What the operator's caches hold in one pass, by namespace and name."""

    mariadbs: dict[Key, Object] = field(default_factory=dict)
    backups: dict[Key, Object] = field(default_factory=dict)
    restores: dict[Key, Object] = field(default_factory=dict)
    physical: dict[Key, Object] = field(default_factory=dict)
    jobs: dict[Key, Object] = field(default_factory=dict)
    cron_jobs: dict[Key, Object] = field(default_factory=dict)

    def mariadb(self, obj: Object) -> Object | None:
        """The MariaDB that an object names; one that is no MariaDB is not looked for."""
        reference = obj["spec"]["mariaDbRef"]
        key = (reference.get("namespace") or obj["metadata"]["namespace"], reference.get("name", ""))
        return self.mariadbs.get(key)


@dataclass
class Hand:
    """What writes for the operator."""

    kube: KubeClient
    release: Release
    now: Callable[[], datetime]

    async def all(self, kind: type[KubeObject]) -> dict[Key, Object]:
        """All objects of a kind."""
        found = (await self.kube.list(kind)).items
        api = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
        return {(item.metadata.namespace, item.metadata.name): {**item.raw, **api} for item in found}

    async def change(self, kind: type[KubeObject], obj: Object, fields: Mapping[str, Any]) -> Object:
        """Write fields of a spec, if there are any; gives the object as it is then."""
        if not fields:
            return obj
        metadata = obj["metadata"]
        patched = await self.kube.merge_patch(kind, metadata["name"], {"spec": dict(fields)}, metadata["namespace"])
        return {**obj, **patched.raw}

    async def tell(self, kind: type[KubeObject], obj: Object, *told: Object, **status: Any) -> Object:
        """Write conditions, and other fields of a status, where they differ; gives the object as it is then."""
        known = obj.get("status") or {}
        conditions = known.get("conditions", [])
        for condition in told:
            conditions = with_condition(conditions, condition, written(self.now()))
        wanted = {**known, **status, **({"conditions": conditions} if conditions else {})}
        if wanted == known:
            return obj
        metadata = obj["metadata"]
        patch = {"status": wanted}
        patched = await self.kube.merge_patch(kind, metadata["name"], patch, metadata["namespace"], status=True)
        return {**obj, **patched.raw}

    async def claim(self, namespace: str, name: str, spec: Object, owner: Object | None = None) -> None:
        """Create a PersistentVolumeClaim where there is none of that name."""
        try:
            await self.kube.get(PersistentVolumeClaim, name, namespace)
        except NotFound:
            metadata = {"name": name, **({"ownerReferences": [owner]} if owner else {})}
            await self.kube.create(PersistentVolumeClaim, {"metadata": metadata, "spec": spec}, namespace)

    async def job(self, body: Object) -> Object:
        """Create a Job; gives it as it is then."""
        made = await self.kube.create(Job, body, body["metadata"]["namespace"])
        return made.raw


def with_condition(conditions: list[Object], condition: Object, now: str) -> list[Object]:
    """Set a condition; its time moves only where its status does."""
    for at, known in enumerate(conditions):
        if known["type"] == condition["type"]:
            moved = now if known["status"] != condition["status"] else known["lastTransitionTime"]
            return [*conditions[:at], {**condition, "lastTransitionTime": moved}, *conditions[at + 1 :]]
    return [*conditions, {**condition, "lastTransitionTime": now}]


def condition_of(obj: Object, kind: str) -> Object | None:
    """An object's condition of a type."""
    told = (obj.get("status") or {}).get("conditions", ())
    return next((item for item in told if item["type"] == kind), None)


def is_true(obj: Object, kind: str) -> bool:
    """Whether it has a condition of that type that is True, whatever the reason."""
    told = condition_of(obj, kind)
    return told is not None and told["status"] == "True"


def condition(kind: str, status: bool, reason: str, message: str) -> Object:
    """A condition without its time."""
    return {"type": kind, "status": str(status), "reason": reason, "message": message}


def failed(message: str) -> Object:
    """Why an object waits: the operator calls it Failed, though it goes on."""
    return condition("Complete", False, "Failed", message)


def by_job(job: Object) -> Object:
    """What a Backup or a Restore says of its Job: one that has failed makes it True."""
    true = {item["type"] for item in (job.get("status") or {}).get("conditions", ()) if item["status"] == "True"}
    if "Failed" in true:
        return condition("Complete", True, "JobFailed", "Failed")
    if "Suspended" in true:
        return condition("Complete", False, "JobSuspended", "Suspended")
    if "Complete" in true:
        return condition("Complete", True, "JobComplete", "Success")
    return condition("Complete", False, "JobRunning", "Running")


def by_cron_job(cron_job: Object) -> Object:
    """What a Backup says of its CronJob: until one run has succeeded nothing but that it is scheduled."""
    status = cron_job.get("status") or {}
    scheduled, succeeded = status.get("lastScheduleTime"), status.get("lastSuccessfulTime")
    if scheduled is None or succeeded is None:
        return condition("Complete", False, "CronJobScheduled", "Scheduled")
    if succeeded >= scheduled:
        return condition("Complete", True, "CronJobSuccess", "Success")
    if status.get("active"):
        return condition("Complete", False, "CronJobRunning", "Running")
    return condition("Complete", False, "CronJobScheduled", "Failed")
