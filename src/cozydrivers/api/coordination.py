"""The group `coordination.k8s.io/v1`."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from cozydrivers.api.base import KubeObject, Model, Resource


class LeaseSpec(Model):
    """Spec of a Lease; the server takes its times with microseconds only (kube-apiserver 1.33)."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int = 0


class Lease(KubeObject):
    """A Lease."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = Resource(
        "coordination.k8s.io", "v1", "Lease", "leases", namespaced=True, status=False
    )

    spec: LeaseSpec = Field(default_factory=LeaseSpec)
