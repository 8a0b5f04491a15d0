"""The group `strategy.backups.cozystack.io/v1alpha1`."""

from typing import Any, ClassVar

from pydantic import Field

from cozydrivers.api.base import KubeObject, Resource


class Altinity(KubeObject):
    """Strategy for ClickHouse; `spec.template` is a Pod template that is rendered later, so it stays as it is."""

    resource: ClassVar[Resource] = Resource(
        "strategy.backups.cozystack.io", "v1alpha1", "Altinity", "altinities", namespaced=False
    )

    spec: dict[str, Any] = Field(default_factory=dict, repr=False)


class MariaDB(KubeObject):
    """Strategy for MariaDB; `spec.template` holds storage, databases, compression, maxRetention and logLevel."""

    resource: ClassVar[Resource] = Resource(
        "strategy.backups.cozystack.io", "v1alpha1", "MariaDB", "mariadbs", namespaced=False
    )

    spec: dict[str, Any] = Field(default_factory=dict, repr=False)
