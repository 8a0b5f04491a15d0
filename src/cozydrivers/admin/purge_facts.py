"""What the cluster says about archives: whose they may be, what names them, who is at work. Read uncached."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cozydrivers.admin.purge_plan import App, Claim, Entry, Known, series
from cozydrivers.api.apps import ClickHouse, MariaDB
from cozydrivers.api.backups import Backup, BackupJob, Plan, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Namespace, Pod
from cozydrivers.controllers.ledger import FINALIZER, PAUSE
from cozydrivers.controllers.services import is_paused
from cozydrivers.controllers.status import ended
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.clickhouse import record
from cozydrivers.drivers.clickhouse.places import (
    CHI_LABEL,
    Place,
    application_of,
    layout_problem,
    places,
    storage_secrets,
)
from cozydrivers.drivers.clickhouse.sets import hash_of
from cozydrivers.drivers.owned import hex_of
from cozydrivers.drivers.secrets import Secrets
from cozydrivers.errors import InvalidInput, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.cache import Caches

T = TypeVar("T", bound=KubeObject)
Key = tuple[str, str]
"""Namespace and name of an application."""

_KIND = ClickHouse.resource.kind
_SET_DIGITS = 12
_EVER = datetime.min

NO_SIDECARS = (
    "it has no sidecars to purge. Its dumps go with their Backups: by hand or by the strategy's maxRetention, where "
    "deletionPolicy says Delete. `cozydrivers status` shows the dumps that no Backup records"
)
"""Of an application with dumps: what becomes of them instead."""


@dataclass(frozen=True)
class Scope:
    """The applications that were asked for: of a namespace or of all, with these labels, of these names."""

    namespace: str | None = None
    selector: str = ""
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """The cluster at one moment. `asked` are the applications of the scope, `sidecars` all that there are."""

    kube: KubeClient
    uid: str
    namespaces: Mapping[str, Namespace]
    applications: Mapping[Key, ClickHouse]
    asked: Sequence[Key]
    sidecars: Mapping[Key, Sequence[Place]]
    backups: Sequence[Backup]
    jobs: Sequence[BackupJob]
    restores: Sequence[RestoreJob]
    plans: Sequence[Plan]

    def namespace_uid(self, namespace: str) -> str:
        """The UID of a namespace; empty where it is gone."""
        found = self.namespaces.get(namespace)
        return found.metadata.uid if found else ""

    def sharing(self, storages: Iterable[str]) -> list[Key]:
        """Whose sidecars use one of these storage paths."""
        wanted = set(storages)
        return [key for key, places in self.sidecars.items() if wanted & {place.storage for place in places}]


async def read(kube: KubeClient, scope: Scope) -> Facts:
    """Read the cluster; NotFound names an application that was asked for and is not there."""
    every = {_key(each): each for each in (await kube.list(ClickHouse)).items}
    namespaces = {each.metadata.name: each for each in (await kube.list(Namespace)).items}
    system = namespaces.get("kube-system")
    return Facts(
        kube=kube,
        uid=system.metadata.uid if system else "",
        namespaces=namespaces,
        applications=every,
        asked=await _asked(kube, scope),
        sidecars=await _sidecars(kube, every, (await kube.list(Pod, label_selector=CHI_LABEL)).items),
        backups=(await kube.list(Backup)).items,
        jobs=(await kube.list(BackupJob)).items,
        restores=(await kube.list(RestoreJob)).items,
        plans=(await kube.list(Plan, scope.namespace)).items,
    )


async def _asked(kube: KubeClient, scope: Scope) -> list[Key]:
    found = (await kube.list(ClickHouse, scope.namespace, label_selector=scope.selector)).items
    names = {each.metadata.name for each in found}
    if missing := sorted(set(scope.names) - names):
        if missing[0] in {name for _, name in await with_dumps(kube, scope)}:
            raise InvalidInput(f"MariaDB {missing[0]}: {NO_SIDECARS}")
        where = f"in namespace {scope.namespace}" if scope.namespace else "in any namespace"
        labelled = f" with the labels {scope.selector}" if scope.selector else ""
        raise NotFound(f"there is no {_KIND} {missing[0]} {where}{labelled}")
    return [_key(each) for each in found if not scope.names or each.metadata.name in scope.names]


async def with_dumps(kube: KubeClient, scope: Scope) -> list[Key]:
    """The applications of the scope that have dumps, and no sidecars to purge."""
    try:
        found = (await kube.list(MariaDB, scope.namespace, label_selector=scope.selector)).items
    except NotFound:  # the kind is not served
        return []
    return [_key(each) for each in found]


def _key(found: KubeObject) -> Key:
    return found.metadata.namespace, found.metadata.name


async def _sidecars(
    kube: KubeClient, applications: Mapping[Key, ClickHouse], pods: Iterable[Pod]
) -> dict[Key, Sequence[Place]]:
    """The sidecars by application, those of an installation without one as well."""
    grouped: dict[Key, list[Pod]] = {}
    for pod in pods:
        name = application_of(pod) or pod.metadata.labels[CHI_LABEL]
        grouped.setdefault((pod.metadata.namespace, name), []).append(pod)
    secrets, sidecars = Secrets(), dict[Key, Sequence[Place]]()
    for key, own in grouped.items():
        known = await secrets.read(kube, key[0], storage_secrets(own))
        found = places(applications.get(key) or stand_in(key), own, known)
        sidecars[key] = [place for place in found if place.pod_uid]
    return sidecars


def stand_in(key: Key) -> ClickHouse:
    """An application of which there are only Pods."""
    return ClickHouse.decode({"metadata": {"namespace": key[0], "name": key[1]}})


def known(facts: Facts) -> Known:
    """What a plan needs to know, and no more: equal where nothing has changed that matters."""
    apps = _apps(facts)
    by_key = {(app.namespace, app.name): app for app in apps}
    return Known(
        apps=tuple(apps),
        claims=tuple(claim for backup in facts.backups if (claim := _claim(facts, backup, by_key))),
        at_work={
            hex_of(job.metadata.uid, _SET_DIGITS): f"BackupJob {job.metadata.namespace}/{job.metadata.name}"
            for job in facts.jobs
            if not ended(job.status) or FINALIZER in job.metadata.finalizers
        },
    )


def _apps(facts: Facts) -> list[App]:
    spelled = Counter(_series(facts, key) for key in facts.applications)
    alike = "another application's archives have the same names"
    return [
        App(
            namespace=key[0],
            name=key[1],
            uid=facts.applications[key].metadata.uid,
            series=_series(facts, key),
            storages=tuple(sorted({place.storage for place in facts.sidecars.get(key, ())} - {""})),
            trouble=_trouble(facts, key) if spelled[_series(facts, key)] == 1 else alike,
        )
        for key in facts.asked
        if key in facts.applications and facts.namespace_uid(key[0])
    ]


def _series(facts: Facts, key: Key) -> str:
    return series(key[1], hash_of(facts.namespace_uid(key[0])) or "000000")


def _trouble(facts: Facts, key: Key) -> str:
    """Why nothing of an application may be deleted, empty where it may."""
    application, namespace, found = facts.applications[key], facts.namespaces[key[0]], facts.sidecars.get(key, ())
    for held in (namespace, application):
        if is_paused(held.metadata.annotations):
            return f"paused by the annotation {PAUSE} of {held.resource.kind} {held.metadata.name}"
    if namespace.metadata.deletion_timestamp or namespace.status.phase == "Terminating":
        return "its namespace is being deleted"
    if not found:
        return "it has no Pods with a sidecar"
    if silent := next((place for place in found if not place.storage), None):
        return f"the environment of Pod {silent.pod} does not tell its storage path, so the path can't be locked"
    try:
        return layout_problem(application, found)
    except InvalidInput as error:
        return str(error)


def _claim(facts: Facts, backup: Backup, apps: Mapping[Key, App]) -> Claim | None:
    told, sizes, stays, odd = record.claims([backup]), dict[str, int](), "", not backup.counts
    if not told.archives and not told.newer:
        return None
    metadata, reference = backup.metadata, backup.spec.application_ref
    app = apps.get((metadata.namespace, reference.name)) if reference.kind == _KIND else None
    try:
        stays = _stays(facts, backup, app)
        run = bare_run(facts, (metadata.namespace, reference.name))
        sizes = {one.archive: one.data_size for one in record.read(backup.spec.driver_metadata, run, reference.name)}
    except InvalidInput as error:
        stays, odd = stays or str(error), odd or not told.newer
    return Claim(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        application=reference.name,
        entries=tuple(Entry(each.name, each.required, sizes.get(each.name)) for each in told.archives),
        suspicious=odd,
        stays=stays,
        newer=bool(told.newer),
    )


def _stays(facts: Facts, backup: Backup, app: App | None) -> str:
    """Why a Backup can't go with its archives; raises InvalidInput for a record that can't be read."""
    if app is None:
        return "its application was not asked for"
    if backup.metadata.deletion_timestamp is not None:
        return "it is being deleted"
    found = record.summary(backup)
    if found is None or found.cluster != facts.uid:
        return "it was made in another cluster"
    if elsewhere := set(found.storages) - set(app.storages):
        return f"its archives are in storage {min(elsewhere)}, the application's sidecars use {', '.join(app.storages)}"
    for restore in facts.restores:
        at_work = not ended(restore.status) or FINALIZER in restore.metadata.finalizers
        same = (restore.metadata.namespace, restore.spec.backup_ref.name) == _key(backup)
        if at_work and same:
            return f"RestoreJob {restore.metadata.name} restores it"
    return ""


def bare_run(facts: Facts, key: Key) -> Run:
    """A run on an application whose strategy is not known: what there is to read has the usual names."""
    application = facts.applications.get(key) or stand_in(key)
    return Run(
        kube=facts.kube,
        reader=Caches(facts.kube),
        namespace=key[0],
        namespace_uid=facts.namespace_uid(key[0]),
        cluster_uid=facts.uid,
        application=application,
        strategy={},
        name=key[1],
        uid=application.metadata.uid,
        created=application.metadata.creation_timestamp or _EVER,
        now=_EVER,
    )
