"""The group `apps.cozystack.io/v1alpha1`: an aggregated API whose objects are views of Helm releases."""

from typing import Any, ClassVar

from pydantic import Field

from cozydrivers.api.base import KubeObject, Resource


class ClickHouse(KubeObject):
    """A ClickHouse application; `spec` holds Helm values with its users' passwords, so it is not shown."""

    resource: ClassVar[Resource] = Resource(
        "apps.cozystack.io", "v1alpha1", "ClickHouse", "clickhouses", namespaced=True, status=False
    )

    spec: dict[str, Any] = Field(default_factory=dict, repr=False)


class MariaDB(KubeObject):
    """A MariaDB application; `spec` holds Helm values with its users' passwords, so it is not shown."""

    resource: ClassVar[Resource] = Resource(
        "apps.cozystack.io", "v1alpha1", "MariaDB", "mariadbs", namespaced=True, status=False
    )

    spec: dict[str, Any] = Field(default_factory=dict, repr=False)
