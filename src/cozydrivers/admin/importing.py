"""Backups rebuilt from the store: what `cozydrivers import` does on the day when the cluster is gone.

A Backup in the namespace is no right to an archive of another one: a tenant can write it, and two tenants may share a
bucket. So whoever imports such archives writes the old namespace into the annotation
`cozydrivers.cozystack.io/former-namespaces` of the new one, which takes a right that no tenant has; a restore believes
nothing else (I12). A namespace that exists is nobody's former one: its archives are not imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cozydrivers.admin.inspecting import Remembering, binding_classes, census, inspection, reference
from cozydrivers.api.backups import Backup
from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.deletion import RETAIN, latched
from cozydrivers.controllers.ledger import CLASS, FORMER
from cozydrivers.controllers.resolve import Absence, NotOurs, Refusal, Target, backup_target, former_namespaces
from cozydrivers.controllers.status import with_conditions
from cozydrivers.drivers.base import Artifact, Candidate, Driver
from cozydrivers.errors import AlreadyExists, InvalidInput
from cozydrivers.kube import KubeClient


@dataclass(frozen=True)
class ImportPlan:
    """What would be imported: `sets` with an artifact get a Backup, the others a reason why not."""

    namespace: Namespace
    application: KubeObject = field(repr=False)
    target: Target = field(repr=False)
    sets: Sequence[Candidate] = ()
    problems: Sequence[str] = ()
    now: datetime = datetime.min

    @property
    def wanted(self) -> list[Candidate]:
        """The sets that get a Backup."""
        return [each for each in self.sets if each.artifact is not None]

    @property
    def origins(self) -> list[str]:
        """The namespaces that the sets to import were made in, as far as that is not this one."""
        return sorted({each.origin for each in self.wanted if each.origin})


@dataclass(frozen=True)
class Imported:
    """What has become of one set: `action` is `import` in a plan, else `imported`, `unchanged`, `skipped` or `failed`.

    `backup` is the name of its Backup, empty where there is none.
    """

    set: str
    action: str
    backup: str = ""
    reason: str = ""
    origin: str = ""
    artifact: Artifact | None = None

    def document(self) -> Mapping[str, Any]:
        """As JSON has it."""
        return {
            "set": self.set,
            "action": self.action,
            "backup": self.backup,
            "takenAt": _time(self.artifact.taken_at) if self.artifact else None,
            "sizeBytes": self.artifact.size_bytes if self.artifact else None,
            "formerNamespace": self.origin,
            "reason": self.reason,
        }


async def plan_import(
    kube: KubeClient, drivers: Sequence[Driver], namespace: str, name: str, *, class_name: str = "", now: datetime
) -> ImportPlan:
    """Look in the application's store, and touch nothing.

    `class_name` is the BackupClass that the Backups are restored by; without it there must be only one for the
    application. `name` may have its kind before it, as `mariadb/shop`. Raises InvalidInput, and ApiError where the
    cluster can't be asked. The drivers are opened by the caller.
    """
    known, reader = await census(kube, drivers, namespace, [name]), Remembering(kube)
    if len(known.applications) > 1:
        which = " or ".join(f"{driver.application.resource.kind.lower()}/{name}" for driver, _ in known.applications)
        raise InvalidInput(f"there are several applications {name} in namespace {namespace}: say {which}")
    driver, application = known.applications[0]
    chosen = class_name or _only(binding_classes(known, driver), driver)
    target = await _target(reader, driver, application, chosen)
    run = await inspection(kube, reader, known, driver, application, now, target)
    found = await driver.importable(run)
    living = (await kube.list(Namespace)).items
    sets = [_unless_living(each, living) for each in found.sets]
    return ImportPlan(await kube.get(Namespace, namespace), application, target, sets, found.problems, now)


def _only(classes: Sequence[str], driver: Driver) -> str:
    kind = driver.application.resource.kind
    if not classes:
        raise InvalidInput(f"no BackupClass binds kind {kind} to a {driver.strategy.resource.kind}: create it first")
    if len(classes) > 1:
        raise InvalidInput(f"several BackupClasses bind kind {kind}: {', '.join(classes)}; say which one with --class")
    return classes[0]


async def _target(reader: Remembering, driver: Driver, application: KubeObject, class_name: str) -> Target:
    namespace = application.metadata.namespace
    try:
        return await backup_target(reader, [driver], namespace, reference(driver, application), class_name)
    except (Absence, Refusal) as trouble:
        raise InvalidInput(str(trouble)) from None
    except NotOurs:
        kind = driver.strategy.resource.kind
        raise InvalidInput(f"BackupClass {class_name} does not bind the application to a {kind}") from None


def _unless_living(each: Candidate, living: Sequence[Namespace]) -> Candidate:
    """Two tenants who share a bucket never restore each other's archives."""
    of = next((home for home in living if each.origin and _hash(home) == each.origin), None)
    if of is None:
        return each
    return replace(each, artifact=None, reason=f"it is of the namespace {of.metadata.name}, which exists")


def _hash(namespace: Namespace) -> str:
    return namespace.metadata.uid.replace("-", "").lower()[:6]


def planned(plan: ImportPlan) -> list[Imported]:
    """What would be done."""
    return [_imported(each, "import" if each.artifact else "skipped") for each in plan.sets]


async def carry_out(kube: KubeClient, plan: ImportPlan) -> list[Imported]:
    """Allow the archives of the former namespaces to be restored here, then write the Backups.

    A second time it finds its own Backups, and leaves them as they are. Raises ApiError.
    """
    await _allow(kube, plan)
    return [await _write(kube, plan, each) for each in plan.sets]


async def _allow(kube: KubeClient, plan: ImportPlan) -> None:
    former = former_namespaces(plan.namespace)
    more = [origin for origin in plan.origins if origin not in former]
    if more:
        said = {"annotations": {FORMER: ",".join([*former, *more])}}
        version = {"resourceVersion": plan.namespace.metadata.resource_version}
        await kube.merge_patch(Namespace, plan.namespace.metadata.name, {"metadata": {**said, **version}})


async def _write(kube: KubeClient, plan: ImportPlan, each: Candidate) -> Imported:
    if each.artifact is None:
        return _imported(each, "skipped")
    body, namespace = _body(plan, each, each.artifact), plan.namespace.metadata.name
    try:
        await kube.create(Backup, body, namespace)
    except AlreadyExists:
        there = await kube.get(Backup, backup_name(each), namespace)
        if there.spec.driver_metadata == body["spec"]["driverMetadata"]:
            return _imported(each, "unchanged")
        reason = f"there is a Backup {backup_name(each)} with another record"
        return replace(_imported(each, "failed"), reason=reason)
    return _imported(each, "imported")


def _imported(each: Candidate, action: str) -> Imported:
    name = backup_name(each) if each.artifact else ""
    return Imported(each.name, action, name, each.reason, each.origin, each.artifact)


def backup_name(each: Candidate) -> str:
    """The name of the Backup: made of the set's alone, so that nothing is imported twice."""
    return each.name.lower()


def _body(plan: ImportPlan, each: Candidate, artifact: Artifact) -> dict[str, Any]:
    return {
        "metadata": {"name": backup_name(each), **latched(RETAIN, {CLASS: plan.target.class_name})},
        "spec": {
            "applicationRef": reference(plan.target.driver, plan.application).written(),
            "strategyRef": plan.target.strategy_ref.written(),
            "takenAt": _time(artifact.taken_at),
            "driverMetadata": dict(artifact.driver_metadata),
        },
        "status": {
            "phase": "Ready",
            "artifact": {"uri": artifact.uri, "sizeBytes": artifact.size_bytes},
            "conditions": with_conditions([], artifact.conditions, plan.now, 1),
        },
    }


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
