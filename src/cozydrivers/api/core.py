"""The core group, `v1`."""

import base64
import binascii
from datetime import datetime
from typing import ClassVar

from pydantic import Field

from cozydrivers.api.base import Condition, KubeObject, Model, Reference, Resource


class NamespaceStatus(Model):
    """Status of a Namespace: `phase` is Active or Terminating."""

    phase: str = ""


class Namespace(KubeObject):
    """A namespace."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = Resource("", "v1", "Namespace", "namespaces", namespaced=False)

    status: NamespaceStatus = Field(default_factory=NamespaceStatus)


class ContainerPort(Model):
    """A port that a container declares."""

    name: str = ""
    container_port: int = 0


class SecretKeyReference(Model):
    """A key of a Secret."""

    name: str = ""
    key: str = ""


class EnvSource(Model):
    """Where the value of an environment variable comes from."""

    secret_key_ref: SecretKeyReference | None = None


class EnvFrom(Model):
    """What all keys of become environment variables."""

    secret_ref: Reference | None = None


class EnvVar(Model):
    """An environment variable; its value stays out of the repr, because it may be a password."""

    name: str
    value: str = Field(default="", repr=False)
    value_from: EnvSource | None = None


class VolumeMount(Model):
    """Where a volume is seen in a container."""

    name: str = ""
    mount_path: str = ""


class Container(Model):
    """A container of a Pod. An init container with `restart_policy` Always runs as long as the Pod: a sidecar."""

    name: str = ""
    image: str = ""
    restart_policy: str = ""
    ports: list[ContainerPort] = Field(default_factory=list)
    env: list[EnvVar] = Field(default_factory=list)
    env_from: list[EnvFrom] = Field(default_factory=list)
    volume_mounts: list[VolumeMount] = Field(default_factory=list)


class KeyToPath(Model):
    """A key of a Secret that becomes a file."""

    key: str = ""


class SecretSource(Model):
    """A volume of a Secret's keys: of the `items` where there are any, else of all."""

    secret_name: str = ""
    items: list[KeyToPath] = Field(default_factory=list)


class Projection(Model):
    """A part of a projected volume."""

    secret: Reference | None = None


class Projected(Model):
    """A volume that is put together of several sources."""

    sources: list[Projection] = Field(default_factory=list)


class Volume(Model):
    """A volume of a Pod, as far as it is a Secret's."""

    name: str = ""
    secret: SecretSource | None = None
    projected: Projected | None = None


class PodSpec(Model):
    """Spec of a Pod."""

    containers: list[Container] = Field(default_factory=list)
    init_containers: list[Container] = Field(default_factory=list)
    volumes: list[Volume] = Field(default_factory=list)


class Waiting(Model):
    """Why a container does not run yet; `reason` such as ImagePullBackOff."""

    reason: str = ""
    message: str = ""


class Started(Model):
    """A container that runs."""

    started_at: datetime | None = None


class Terminated(Model):
    """How a container ended; `reason` such as Error or OOMKilled."""

    reason: str = ""
    exit_code: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ContainerState(Model):
    """State of a container."""

    waiting: Waiting | None = None
    running: Started | None = None
    terminated: Terminated | None = None


class ContainerStatus(Model):
    """Status of a container."""

    name: str = ""
    restart_count: int = 0
    state: ContainerState = Field(default_factory=ContainerState)


class PodStatus(Model):
    """Status of a Pod."""

    phase: str = ""
    pod_ip: str = Field(default="", alias="podIP")
    conditions: list[Condition] = Field(default_factory=list)
    container_statuses: list[ContainerStatus] = Field(default_factory=list)
    init_container_statuses: list[ContainerStatus] = Field(default_factory=list)


class Pod(KubeObject):
    """A Pod."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = Resource("", "v1", "Pod", "pods", namespaced=True)

    spec: PodSpec = Field(default_factory=PodSpec)
    status: PodStatus = Field(default_factory=PodStatus)

    @property
    def ready(self) -> bool:
        """Whether its condition Ready is True."""
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.status.conditions)


class Secret(KubeObject):
    """A Secret; neither its repr nor its dumps hold data."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = Resource("", "v1", "Secret", "secrets", namespaced=True, status=False)

    type: str = ""
    data: dict[str, str] = Field(default_factory=dict, repr=False, exclude=True)

    def value(self, key: str) -> str | None:
        """Decode the value of a key; None where it is absent or not text."""
        try:
            return base64.b64decode(self.data[key], validate=True).decode()
        except (KeyError, binascii.Error, UnicodeDecodeError):
            return None


class PersistentVolumeClaim(KubeObject):
    """A claim of a volume."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = Resource(
        "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", namespaced=True
    )


class ConfigMap(KubeObject):
    """A ConfigMap."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = Resource("", "v1", "ConfigMap", "configmaps", namespaced=True, status=False)

    data: dict[str, str] = Field(default_factory=dict)
