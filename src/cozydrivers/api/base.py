"""What all Kubernetes objects have in common."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Resource:
    """Where the API server keeps a kind; `group` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    status: bool = True

    @property
    def api_version(self) -> str:
        """The value of `apiVersion` in its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection, of an object, or of its subresource.

        Without a namespace a namespaced collection is that of all namespaces.
        """
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(quote(part, safe="") for part in parts)


class Model(BaseModel):
    """A part of an object: camelCase in JSON, unknown fields ignored, null the same as absent."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        if isinstance(value, dict) and None in value.values():
            return {key: item for key, item in value.items() if item is not None}
        return value


class OwnerReference(Model):
    """An owner, as `metadata.ownerReferences` names it."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class Metadata(Model):
    """`metadata` of an object; times are aware."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    owner_references: list[OwnerReference] = Field(default_factory=list)


class Condition(Model):
    """One of an object's conditions; `status` is True, False or Unknown."""

    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None
    observed_generation: int = 0


class KubeObject(Model):
    """An object of the cluster; `raw` is the whole of it, as decoded from JSON."""

    resource: ClassVar[Resource]

    metadata: Metadata = Field(default_factory=Metadata)
    raw: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    @classmethod
    def decode(cls, raw: dict[str, Any]) -> Self:
        """Build it from decoded JSON, which it keeps as `raw`."""
        return cls.model_validate({**raw, "raw": raw})


class Reference(Model):
    """A reference by name within a namespace, or to a cluster-wide object."""

    name: str = ""


class TypedReference(Reference):
    """A reference that names a kind; `api_group` is empty where none is given."""

    api_group: str = ""
    kind: str = ""
