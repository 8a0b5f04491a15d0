"""The group `k8s.mariadb.com/v1alpha1`, as far as it is needed: mariadb-operator 25.10 and 26.x.

The operator fills in what a spec leaves out, so a spec is not what was written.
"""

from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from cozydrivers.api.base import Condition, KubeObject, Model, Reference, Resource
from cozydrivers.api.core import SecretKeyReference

_GROUP, _VERSION = "k8s.mariadb.com", "v1alpha1"

COMPLETE = "Complete"
"""The condition that tells how a Backup or Restore went: by its reason, for a failed Job makes it True as well."""


class Conditions(Model):
    """A status of conditions; they carry no observedGeneration."""

    conditions: list[Condition] = Field(default_factory=list)

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


class MariaDBReference(Reference):
    """The MariaDB that something is for; empty `kind` is MariaDB, empty `namespace` that of the object itself."""

    kind: str = ""
    namespace: str = ""


class MariaDBSpec(Model):
    """Spec of a MariaDB; one that is suspended is not reconciled."""

    suspend: bool = False
    image: str = ""
    root_password_secret_key_ref: SecretKeyReference | None = None


class MariaDB(KubeObject):
    """A MariaDB server."""

    resource: ClassVar[Resource] = Resource(_GROUP, _VERSION, "MariaDB", "mariadbs", namespaced=True)

    spec: MariaDBSpec = Field(default_factory=MariaDBSpec)
    status: Conditions = Field(default_factory=Conditions)

    @property
    def ready(self) -> bool:
        """Whether its condition Ready is True."""
        condition = self.status.condition("Ready")
        return condition is not None and condition.status == "True"


class TLS(Model):
    """How an S3 endpoint is spoken to; without `ca_secret_key_ref` by the system's authorities."""

    enabled: bool = False
    ca_secret_key_ref: SecretKeyReference | None = None


class S3(Model):
    """A place in a bucket; `endpoint` has no scheme. Without keys the Pod's own identity is used."""

    bucket: str = ""
    endpoint: str = ""
    region: str = ""
    prefix: str = ""
    access_key_id_secret_key_ref: SecretKeyReference | None = None
    secret_access_key_secret_key_ref: SecretKeyReference | None = None
    session_token_secret_key_ref: SecretKeyReference | None = None
    tls: TLS | None = None

    def uri(self, key: str) -> str:
        """The URI of an object in the bucket, or of a prefix."""
        return f"s3://{self.bucket}/{key}"


class Storage(Model):
    """Where dumps go: exactly one of these."""

    s3: S3 | None = None
    persistent_volume_claim: dict[str, Any] | None = None
    volume: dict[str, Any] | None = None


class Schedule(Model):
    """When it is repeated; `cron` has five fields."""

    cron: str = ""
    suspend: bool = False


class BackupSpec(Model):
    """Spec of a Backup; with a schedule it is a CronJob's, else one Job's."""

    maria_db_ref: MariaDBReference = Field(default_factory=MariaDBReference)
    storage: Storage = Field(default_factory=Storage)
    schedule: Schedule | None = None
    compression: str = ""
    max_retention: str = ""
    databases: list[str] = Field(default_factory=list)


class Backup(KubeObject):
    """A logical backup: a dump, made by a Job of the same name."""

    resource: ClassVar[Resource] = Resource(_GROUP, _VERSION, "Backup", "backups", namespaced=True)

    spec: BackupSpec = Field(default_factory=BackupSpec)
    status: Conditions = Field(default_factory=Conditions)


class RestoreSpec(Model):
    """Spec of a Restore: of a dump near `target_recovery_time`. With `s3` its `backup_ref` is not looked at."""

    maria_db_ref: MariaDBReference = Field(default_factory=MariaDBReference)
    backup_ref: Reference | None = None
    s3: S3 | None = None
    volume: dict[str, Any] | None = None
    target_recovery_time: datetime | None = None
    database: str = ""


class Restore(KubeObject):
    """A dump that is read into a MariaDB, by a Job of the same name."""

    resource: ClassVar[Resource] = Resource(_GROUP, _VERSION, "Restore", "restores", namespaced=True)

    spec: RestoreSpec = Field(default_factory=RestoreSpec)
    status: Conditions = Field(default_factory=Conditions)


class PhysicalBackupSpec(Model):
    """Spec of a PhysicalBackup."""

    maria_db_ref: MariaDBReference = Field(default_factory=MariaDBReference)
    storage: Storage = Field(default_factory=Storage)
    schedule: Schedule | None = None


class PhysicalBackupStatus(Conditions):
    """Status of a PhysicalBackup."""

    last_schedule_time: datetime | None = None
    next_schedule_time: datetime | None = None


class PhysicalBackup(KubeObject):
    """A physical backup (mariadb-operator >= 25.8), made by Jobs named `<name>-<YYYYMMDDhhmmss>`."""

    resource: ClassVar[Resource] = Resource(_GROUP, _VERSION, "PhysicalBackup", "physicalbackups", namespaced=True)

    spec: PhysicalBackupSpec = Field(default_factory=PhysicalBackupSpec)
    status: PhysicalBackupStatus = Field(default_factory=PhysicalBackupStatus)


class PointInTimeRecoverySpec(Model):
    """Spec of a PointInTimeRecovery."""

    physical_backup_ref: Reference = Field(default_factory=Reference)


class PointInTimeRecoveryStatus(Conditions):
    """Status of a PointInTimeRecovery; `last_recoverable_time` is as the operator writes it."""

    last_recoverable_time: str = ""


class PointInTimeRecovery(KubeObject):
    """An archive of binary logs (mariadb-operator >= 26.3)."""

    resource: ClassVar[Resource] = Resource(
        _GROUP, _VERSION, "PointInTimeRecovery", "pointintimerecoveries", namespaced=True
    )

    spec: PointInTimeRecoverySpec = Field(default_factory=PointInTimeRecoverySpec)
    status: PointInTimeRecoveryStatus = Field(default_factory=PointInTimeRecoveryStatus)
