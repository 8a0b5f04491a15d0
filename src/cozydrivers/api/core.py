"""The core group, `v1`."""

import base64
import binascii
from typing import ClassVar

from pydantic import Field

from cozydrivers.api.base import Condition, KubeObject, Model, Resource


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


class EnvVar(Model):
    """An environment variable; its value stays out of the repr, because it may be a password."""

    name: str
    value: str = Field(default="", repr=False)
    value_from: EnvSource | None = None


class Container(Model):
    """A container of a Pod."""

    name: str = ""
    ports: list[ContainerPort] = Field(default_factory=list)
    env: list[EnvVar] = Field(default_factory=list)


class PodSpec(Model):
    """Spec of a Pod."""

    containers: list[Container] = Field(default_factory=list)


class PodStatus(Model):
    """Status of a Pod."""

    phase: str = ""
    pod_ip: str = Field(default="", alias="podIP")
    conditions: list[Condition] = Field(default_factory=list)


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


class ConfigMap(KubeObject):
    """A ConfigMap."""

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = Resource("", "v1", "ConfigMap", "configmaps", namespaced=True, status=False)

    data: dict[str, str] = Field(default_factory=dict)
