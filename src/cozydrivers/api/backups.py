"""The group `backups.cozystack.io/v1alpha1`.

Phases are plain text: a phase that is not known here is not an error.
"""

from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from cozydrivers.api.base import Condition, KubeObject, Model, Reference, Resource, TypedReference


def _resource(kind: str, plural: str, *, namespaced: bool = True, status: bool = True) -> Resource:
    return Resource("backups.cozystack.io", "v1alpha1", kind, plural, namespaced, status)


class ConditionsStatus(Model):
    """A status that has nothing but conditions."""

    conditions: list[Condition] = Field(default_factory=list)


class ClassApplication(Model):
    """The kind of application that a BackupClass binds to a strategy."""

    api_group: str = ""
    kind: str = ""


class ClassStrategy(Model):
    """One binding of a BackupClass."""

    strategy_ref: TypedReference = Field(default_factory=TypedReference)
    application: ClassApplication = Field(default_factory=ClassApplication)
    parameters: dict[str, str] = Field(default_factory=dict)


class BackupClassSpec(Model):
    """Spec of a BackupClass."""

    strategies: list[ClassStrategy] = Field(default_factory=list)


class BackupClass(KubeObject):
    """Which strategy backs up which kind of application."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = _resource("BackupClass", "backupclasses", namespaced=False)

    spec: BackupClassSpec = Field(default_factory=BackupClassSpec)
    status: ConditionsStatus = Field(default_factory=ConditionsStatus)


class BackupJobSpec(Model):
    """Spec of a BackupJob."""

    plan_ref: Reference | None = None
    application_ref: TypedReference = Field(default_factory=TypedReference)
    backup_class_name: str = ""


class JobStatus(Model):
    """What the statuses of BackupJob and RestoreJob share."""

    phase: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    message: str = ""
    conditions: list[Condition] = Field(default_factory=list)


class BackupJobStatus(JobStatus):
    """Status of a BackupJob."""

    backup_ref: Reference | None = None


class BackupJob(KubeObject):
    """One backup to be made."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = _resource("BackupJob", "backupjobs")

    spec: BackupJobSpec = Field(default_factory=BackupJobSpec)
    status: BackupJobStatus = Field(default_factory=BackupJobStatus)


class Artifact(Model):
    """What a backup left in the store."""

    uri: str = ""
    size_bytes: int = 0
    checksum: str = ""


class BackupSpec(Model):
    """Spec of a Backup."""

    application_ref: TypedReference = Field(default_factory=TypedReference)
    plan_ref: Reference | None = None
    strategy_ref: TypedReference = Field(default_factory=TypedReference)
    taken_at: datetime | None = None
    driver_metadata: dict[str, str] = Field(default_factory=dict)


class BackupStatus(Model):
    """Status of a Backup; `underlying_resources` may hold passwords, so it is not shown."""

    phase: str = ""
    artifact: Artifact | None = None
    underlying_resources: dict[str, Any] = Field(default_factory=dict, repr=False)
    conditions: list[Condition] = Field(default_factory=list)


class Backup(KubeObject):
    """A backup that was made; it has no status subresource, its status is written with the object."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = _resource("Backup", "backups", status=False)

    spec: BackupSpec = Field(default_factory=BackupSpec)
    status: BackupStatus = Field(default_factory=BackupStatus)

    def says(self, kind: str, status: str) -> bool:
        """Whether it has a condition of that kind and status."""
        return any((each.type, each.status) == (kind, status) for each in self.status.conditions)

    @property
    def counts(self) -> bool:
        """Whether it is a good one by what stands on it: made, not suspicious, and found at the last look."""
        alarm = self.says("Suspicious", "True") or self.says("Ready", "False")
        return self.status.phase == "Ready" and not alarm


class RestoreJobSpec(Model):
    """Spec of a RestoreJob; without a target it restores in place."""

    backup_ref: Reference = Field(default_factory=Reference)
    target_application_ref: TypedReference | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class RestoreJob(KubeObject):
    """One restore to be done."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = _resource("RestoreJob", "restorejobs")

    spec: RestoreJobSpec = Field(default_factory=RestoreJobSpec)
    status: JobStatus = Field(default_factory=JobStatus)


class Schedule(Model):
    """When a Plan fires; `type` is cron."""

    type: str = ""
    cron: str = ""


class PlanSpec(Model):
    """Spec of a Plan."""

    application_ref: TypedReference = Field(default_factory=TypedReference)
    backup_class_name: str = ""
    schedule: Schedule = Field(default_factory=Schedule)


class Plan(KubeObject):
    """Backups on a schedule."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = _resource("Plan", "plans")

    spec: PlanSpec = Field(default_factory=PlanSpec)
    status: ConditionsStatus = Field(default_factory=ConditionsStatus)
