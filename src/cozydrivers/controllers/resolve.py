"""From a job to a run: which driver, which application, which strategy, rendered. Reads, and touches nothing."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from cozydrivers.api.backups import Backup, BackupClass, ClassStrategy
from cozydrivers.api.base import KubeObject, TypedReference
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.deletion import RETAIN, policy_of
from cozydrivers.controllers.ledger import CLASS, EXECUTION, FORMER, TIMEOUT
from cozydrivers.controllers.status import created
from cozydrivers.drivers.base import Driver, Reader
from cozydrivers.durations import seconds
from cozydrivers.errors import InvalidInput, NotFound, TemplateError
from cozydrivers.kube import KubeClient
from cozydrivers.templating import render

APPS_GROUP = "apps.cozystack.io"
EXECUTIONS = ("sidecar", "pod")
Render = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Refusal(InvalidInput):
    """The job can't be done as it is written; it ends at once."""


class Absence(Exception):
    """Something that the job refers to does not exist yet; it is waited for."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotOurs(Exception):
    """No driver here is for this job: it gets no status."""


@dataclass(frozen=True)
class Target:
    """What a run works on, and how. `timeout` is the strategy's patience with the engine, in seconds.

    `parameters` are the class's for it. `render` renders the strategy with more in reach of its templates; `strategy`
    is rendered already, and empty where it is executed as a Pod.
    """

    driver: Driver
    application: KubeObject = field(repr=False)
    strategy_ref: TypedReference
    strategy: Mapping[str, Any] = field(repr=False)
    namespace_uid: str
    cluster_uid: str
    timeout: float
    class_name: str = ""
    deletion_policy: str = RETAIN
    execution: str = "sidecar"
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    render: Render = field(default=lambda more: {}, repr=False)
    former_namespaces: Sequence[str] = ()


def driver_for_application(drivers: Sequence[Driver], reference: TypedReference) -> Driver:
    """The driver for an application's kind. NotOurs where there is none, Refusal for another group's kind."""
    driver = next((driver for driver in drivers if driver.application.resource.kind == reference.kind), None)
    if driver is None:
        raise NotOurs
    if reference.api_group not in ("", APPS_GROUP):
        raise Refusal(f"spec.applicationRef.apiGroup is {reference.api_group}; only {APPS_GROUP} is backed up")
    if not reference.name:
        raise Refusal("spec.applicationRef.name is empty")
    return driver


def binding(backup_class: BackupClass, reference: TypedReference) -> ClassStrategy:
    """What the class binds the application's kind to; Refusal where it binds nothing."""
    for strategy in backup_class.spec.strategies:
        if strategy.application.kind == reference.kind and strategy.application.api_group in ("", APPS_GROUP):
            return strategy
    name = backup_class.metadata.name
    raise Refusal(f"BackupClass {name} binds no strategy to kind {reference.kind} (spec.applicationRef.kind)")


async def backup_target(
    reader: Reader, drivers: Sequence[Driver], namespace: str, reference: TypedReference, class_name: str
) -> Target:
    """Resolve what a BackupJob refers to."""
    driver = driver_for_application(drivers, reference)
    try:
        backup_class = await reader.get(BackupClass, class_name)
    except NotFound:
        raise Absence("BackupClassNotFound", f"BackupClass {class_name} does not exist") from None
    bound = binding(backup_class, reference)
    policy = _deletion_policy(backup_class, bound)
    target = await _target(
        reader, driver, namespace, reference.name, bound.strategy_ref, bound.parameters, "backup", class_name=class_name
    )
    return replace(target, deletion_policy=policy)


def _deletion_policy(backup_class: BackupClass, bound: ClassStrategy) -> str:
    try:
        return policy_of(bound)
    except InvalidInput as error:
        raise Refusal(f"BackupClass {backup_class.metadata.name}: {error}") from None


async def restore_target(
    reader: Reader, drivers: Sequence[Driver], namespace: str, backup: Backup, target: TypedReference | None
) -> Target:
    """Resolve what a RestoreJob refers to: the application it restores to, by the strategy that its Backup names."""
    source = backup.spec.application_ref
    driver = driver_for_application(drivers, source)
    name = (target.name if target else "") or source.name
    if target is not None and target.kind not in ("", source.kind):
        raise Refusal(f"spec.targetApplicationRef.kind is {target.kind}; the Backup is of a {source.kind}")
    if target is not None and target.api_group not in ("", APPS_GROUP):
        raise Refusal(f"spec.targetApplicationRef.apiGroup is {target.api_group}; only {APPS_GROUP} is restored")
    parameters = await _parameters(reader, backup)
    field = "spec.targetApplicationRef.name" if target else "spec.applicationRef.name of the Backup"
    return await _target(reader, driver, namespace, name, backup.spec.strategy_ref, parameters, "restore", field)


async def _parameters(reader: Reader, backup: Backup) -> Mapping[str, str]:
    """Those of the class that the Backup was made with, as far as it still binds its kind."""
    try:
        backup_class = await reader.get(BackupClass, backup.metadata.annotations.get(CLASS, "") or "-")
        return binding(backup_class, backup.spec.application_ref).parameters
    except (NotFound, Refusal):
        return {}


async def _target(
    reader: Reader,
    driver: Driver,
    namespace: str,
    name: str,
    strategy_ref: TypedReference,
    parameters: Mapping[str, str],
    mode: str,
    field: str = "spec.applicationRef.name",
    class_name: str = "",
) -> Target:
    wanted = driver.strategy.resource
    if (strategy_ref.api_group, strategy_ref.kind) != (wanted.group, wanted.kind):
        raise NotOurs
    _require_served(reader, driver)
    if not strategy_ref.name:
        raise Refusal("the strategyRef.name of the BackupClass is empty")
    application = await _application(reader, driver, namespace, name, field)
    try:
        strategy = await reader.get(driver.strategy, strategy_ref.name)
    except NotFound:
        raise Absence("StrategyNotFound", f"{wanted.kind} {strategy_ref.name} does not exist") from None
    context = {
        "Application": application.raw,
        "Parameters": dict(parameters),
        "Release": {"Name": name, "Namespace": namespace},
        "Mode": mode,
    }
    execution = _execution(strategy)
    home = await reader.get(Namespace, namespace)
    return Target(
        driver=driver,
        application=application,
        strategy_ref=strategy_ref,
        strategy=_render(strategy, context, {}) if execution == "sidecar" else {},
        execution=execution,
        parameters=parameters,
        render=partial(_render, strategy, context),
        namespace_uid=home.metadata.uid,
        former_namespaces=former_namespaces(home),
        cluster_uid=(await reader.get(Namespace, "kube-system")).metadata.uid,
        timeout=_timeout(strategy, driver.timeout),
        class_name=class_name,
    )


def _require_served(reader: Reader, driver: Driver) -> None:
    """A missing definition switches the driver off, not the controller; it is looked for again each minute."""
    for kind in (driver.application, driver.strategy):
        if not reader.serves(kind):
            raise Absence("KindNotServed", f"the cluster does not serve {kind.resource.plural}.{kind.resource.group}")


async def _application(reader: Reader, driver: Driver, namespace: str, name: str, field: str) -> KubeObject:
    try:
        return await reader.get(driver.application, name, namespace)
    except NotFound:
        kind = driver.application.resource.kind
        raise Refusal(f"{kind} {namespace}/{name} does not exist ({field})") from None


def _execution(strategy: KubeObject) -> str:
    execution = strategy.metadata.annotations.get(EXECUTION, "sidecar")
    if execution not in EXECUTIONS:
        where = f"{strategy.resource.kind} {strategy.metadata.name}"
        raise Refusal(f"{where}: {EXECUTION} is {execution!r}; accepted: {', '.join(EXECUTIONS)}")
    return execution


def _render(strategy: KubeObject, context: Mapping[str, Any], more: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        rendered = render(strategy.raw.get("spec", {}), {**context, **more}, field="spec")
    except TemplateError as error:
        raise Refusal(f"{strategy.resource.kind} {strategy.metadata.name}: {error}") from None
    return rendered if isinstance(rendered, dict) else {}


def _timeout(strategy: KubeObject, default: float) -> float:
    text = strategy.metadata.annotations.get(TIMEOUT)
    if text is None:
        return default
    try:
        return seconds(text)
    except InvalidInput as error:
        raise Refusal(f"{strategy.resource.kind} {strategy.metadata.name}: {TIMEOUT}: {error}") from None


def former_namespaces(namespace: Namespace) -> tuple[str, ...]:
    """Of which namespaces that are gone this one may restore archives: 6 hex digits of the UID of each."""
    said = namespace.metadata.annotations.get(FORMER, "")
    return tuple(part for part in re.split(r"[\s,]+", said) if re.fullmatch("[0-9a-f]{6}", part))


def stand_in(driver: Driver, reference: TypedReference, namespace: str) -> KubeObject:
    """An application that is gone, as far as cleaning up needs it: its name."""
    return driver.application.decode({"metadata": {"name": reference.name, "namespace": namespace}})


async def without_strategy(reader: Reader, driver: Driver, application: KubeObject) -> Target:
    """What is left of a target whose class, strategy or application is gone: enough to clean up."""
    return Target(
        driver=driver,
        application=application,
        strategy_ref=TypedReference(),
        strategy={},
        namespace_uid=(await reader.get(Namespace, application.metadata.namespace)).metadata.uid,
        cluster_uid="",
        timeout=driver.timeout,
    )


def situation(target: Target, about: KubeObject, kube: KubeClient, reader: Reader, now: datetime) -> dict[str, Any]:
    """What every run holds; `about` is the object whose name, UID and creation time are the run's."""
    return {
        "kube": kube,
        "reader": reader,
        "namespace": about.metadata.namespace,
        "namespace_uid": target.namespace_uid,
        "cluster_uid": target.cluster_uid,
        "application": target.application,
        "strategy": target.strategy,
        "name": about.metadata.name,
        "uid": about.metadata.uid,
        "created": created(about),
        "now": now,
        "timeout": target.timeout,
        "execution": target.execution,
        "parameters": target.parameters,
        "former_namespaces": target.former_namespaces,
        "render": target.render,
    }
