"""From an application to what a driver needs to look at it from outside the controller. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject, TypedReference
from cozydrivers.controllers.audits import application_of
from cozydrivers.controllers.ledger import FINALIZER
from cozydrivers.controllers.resolve import (
    APPS_GROUP,
    Absence,
    NotOurs,
    Refusal,
    Target,
    backup_target,
    binding,
    restore_target,
    situation,
    without_strategy,
)
from cozydrivers.controllers.status import ended
from cozydrivers.controllers.wiring import application_of as worked_on
from cozydrivers.drivers.base import Driver, Inspection
from cozydrivers.errors import InvalidInput, NotFound
from cozydrivers.kube import KubeClient

T = TypeVar("T", bound=KubeObject)


class Remembering:
    """A `Reader` that asks the server for each object once: for a look that is over soon."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self._known: dict[tuple[type[KubeObject], str | None, str], KubeObject] = {}

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        """Read an object; raises ApiError, NotFound among it."""
        key = kind, namespace, name
        known = self._known.get(key)
        if isinstance(known, kind):
            return known
        found = await self._kube.get(kind, name, namespace)
        self._known[key] = found
        return found

    async def labelled(self, kind: type[T], namespace: str, label: str, value: str) -> Sequence[T]:
        """The objects of a namespace whose label has a value, as they are now."""
        return (await self._kube.list(kind, namespace, label_selector=f"{label}={value}")).items

    def serves(self, kind: type[KubeObject]) -> bool:
        """Every kind is asked for."""
        return True


@dataclass(frozen=True)
class Census:
    """What the cluster holds about applications, read once."""

    applications: Sequence[tuple[Driver, KubeObject]] = ()
    backups: Sequence[Backup] = ()
    jobs: Sequence[BackupJob | RestoreJob] = ()
    classes: Sequence[BackupClass] = ()


async def census(kube: KubeClient, drivers: Sequence[Driver], namespace: str | None, names: Sequence[str]) -> Census:
    """Read it for a namespace or all, and for some applications or all that have a driver.

    A name may have its kind before it, as `mariadb/shop`. Raises InvalidInput where there is no application of a name.
    """
    applications = [
        (driver, application)
        for driver in drivers
        for application in await _list(kube, driver.application, namespace)
        if not names or any(is_called(application, name) for name in names)
    ]
    found = [application for _, application in applications]
    if missing := sorted(name for name in names if not any(is_called(each, name) for each in found)):
        kinds = ", ".join(driver.application.resource.kind for driver in drivers)
        where = f"namespace {namespace}" if namespace else "any namespace"
        raise InvalidInput(f"there is no application {missing[0]} in {where}; looked for: {kinds}")
    jobs: list[BackupJob | RestoreJob] = [*await _list(kube, BackupJob, namespace)]
    jobs += await _list(kube, RestoreJob, namespace)
    backups = await _list(kube, Backup, namespace)
    return Census(applications, backups, jobs, await _list(kube, BackupClass, None))


def is_called(application: KubeObject, name: str) -> bool:
    """Whether it is an application's name: alone, or after its kind, in small or capital letters."""
    kind, _, alone = name.rpartition("/")
    return application.metadata.name == alone and kind.lower() in ("", application.resource.kind.lower())


async def _list(kube: KubeClient, kind: type[T], namespace: str | None) -> Sequence[T]:
    """All of a kind; none where the cluster does not serve it."""
    try:
        return (await kube.list(kind, namespace if kind.resource.namespaced else None)).items
    except NotFound:
        return ()


async def inspection(
    kube: KubeClient,
    reader: Remembering,
    known: Census,
    driver: Driver,
    application: KubeObject,
    now: datetime,
    target: Target | None = None,
) -> Inspection:
    """What a driver is given for a look at an application; by default reached as its newest Backup was made."""
    whose = application.metadata.namespace, driver.application.resource.kind, application.metadata.name
    backups = [backup for backup in known.backups if application_of(backup) == whose]
    target = target or await _target(reader, known, driver, application, backups)
    busy = {job.metadata.uid for job in known.jobs if _works_on(job, application)}
    return Inspection(**situation(target, application, kube, reader, now), backups=backups, busy=busy)


def _works_on(job: BackupJob | RestoreJob, application: KubeObject) -> bool:
    """Whether a job that is not over works on an application, or on one that it does not tell."""
    over = ended(job.status) and FINALIZER not in job.metadata.finalizers
    same = worked_on(job) in ("", application.metadata.name)
    return not over and same and job.metadata.namespace == application.metadata.namespace


async def _target(
    reader: Remembering, known: Census, driver: Driver, application: KubeObject, backups: Sequence[Backup]
) -> Target:
    """The credentials come from a strategy: the newest Backup's, else a class's; else they have their default names."""
    namespace = application.metadata.namespace
    for backup in sorted(backups, key=lambda each: each.spec.taken_at or datetime.min.replace(tzinfo=UTC))[::-1]:
        try:
            return await restore_target(reader, [driver], namespace, backup, None)
        except (Absence, Refusal, NotOurs):
            continue
    for name in binding_classes(known, driver):
        try:
            return await backup_target(reader, [driver], namespace, reference(driver, application), name)
        except (Absence, Refusal, NotOurs):
            continue
    return await without_strategy(reader, driver, application)


def binding_classes(known: Census, driver: Driver) -> list[str]:
    """The BackupClasses that bind a driver's kind of application to its kind of strategy."""
    kind, strategy = TypedReference(kind=driver.application.resource.kind), driver.strategy.resource.kind
    found = []
    for each in known.classes:
        try:
            bound = binding(each, kind)
        except Refusal:
            continue
        if bound.strategy_ref.kind == strategy:
            found.append(each.metadata.name)
    return sorted(found)


def reference(driver: Driver, application: KubeObject) -> TypedReference:
    """How a Backup or a job refers to an application."""
    kind = driver.application.resource.kind
    return TypedReference(api_group=APPS_GROUP, kind=kind, name=application.metadata.name)
