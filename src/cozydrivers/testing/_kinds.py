"""The kinds that a fake cluster serves: some built-in ones, and those of CustomResourceDefinitions."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cozydrivers.api.base import Resource
from cozydrivers.testing._schema import Schema

ALWAYS_THERE = "x-always-there"
"""Marks a list that the server writes even when it is empty, so that nobody owns the list itself."""

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer", "format": "int32"}
_FLAG = {"type": "boolean"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_KEYED = {"type": "array", "x-kubernetes-list-type": "map"}
_TIME = {"type": "string", "format": "date-time", "nullable": True}
_MICRO_TIME = {"type": "string", "format": "micro-time", "nullable": True}


def _fields(**properties: Schema) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@dataclass(frozen=True)
class Kind:
    """A kind as the server handles it.

    `stored_as` is the plural under which its objects are kept, because `events.k8s.io` shows the events of the core
    group. `generation` tells whether it counts changes of the spec. `unconditional` allows a PUT without a
    resourceVersion. `selectable` are the fields that a fieldSelector may name.
    """

    resource: Resource
    schema: Schema = field(default_factory=lambda: _ANYTHING)
    custom: bool = False
    generation: bool = False
    unconditional: bool = True
    selectable: frozenset[str] = frozenset()
    stored_as: str = ""

    @property
    def storage(self) -> str:
        """The key of its objects in the store."""
        return self.stored_as or f"{self.resource.plural}.{self.resource.group}".rstrip(".")

    @property
    def fields(self) -> frozenset[str]:
        """All fields that a fieldSelector may name."""
        return self.selectable | {"metadata.name", "metadata.namespace"}


@cache
def _job_schema(name: str) -> Schema:
    """Read a schema of what a Job is made of, as /openapi/v3 of kube-apiserver 1.33.4 has it."""
    text = resources.files("cozydrivers.testing").joinpath("job_spec.json").read_text(encoding="utf-8")
    schemas: dict[str, Any] = json.loads(text)
    schemas["PodSpec"]["properties"]["containers"][ALWAYS_THERE] = True
    schema: Schema = _resolved({"$ref": name}, schemas)
    return schema


def _resolved(schema: Any, schemas: Mapping[str, Any]) -> Any:
    if not isinstance(schema, dict):
        return schema
    if not schema:
        return {"x-kubernetes-preserve-unknown-fields": True}
    if "$ref" in schema:
        return _resolved(schemas[schema["$ref"]], schemas)
    return {key: _resolved(value, schemas) for key, value in schema.items()}


def _kind(group: str, kind: str, plural: str, schema: Schema, **options: Any) -> Kind:
    status = options.pop("status", False)
    namespaced = options.pop("namespaced", True)
    return Kind(Resource(group, "v1", kind, plural, namespaced, status), schema, **options)


_REFERENCE = {
    **_fields(
        apiVersion=_TEXT, fieldPath=_TEXT, kind=_TEXT, name=_TEXT, namespace=_TEXT, resourceVersion=_TEXT, uid=_TEXT
    ),
    "x-kubernetes-map-type": "atomic",
}
_CONDITIONS = {**_KEYED, "x-kubernetes-list-map-keys": ["type"], "items": _ANYTHING}
_POD_STATUS = {**_ANYTHING, "properties": {"conditions": _CONDITIONS}}
_SOURCE = _fields(component=_TEXT, host=_TEXT)
_SERIES = _fields(count=_NUMBER, lastObservedTime=_MICRO_TIME)

BUILT_IN = (
    _kind("", "Namespace", "namespaces", _fields(spec=_ANYTHING, status=_ANYTHING), namespaced=False, status=True,
          selectable=frozenset({"status.phase"})),
    _kind("", "Pod", "pods", _fields(spec=_job_schema("PodSpec"), status=_POD_STATUS), status=True, generation=True,
          selectable=frozenset({"spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP"})),
    _kind("", "Secret", "secrets", _fields(data=_TEXTS, stringData=_TEXTS, type=_TEXT, immutable=_FLAG),
          selectable=frozenset({"type"})),
    _kind("", "PersistentVolumeClaim", "persistentvolumeclaims", _fields(spec=_ANYTHING, status=_ANYTHING),
          status=True),
    _kind("", "ConfigMap", "configmaps", _fields(data=_TEXTS, binaryData=_TEXTS, immutable=_FLAG)),
    _kind("", "Event", "events", _fields(
        involvedObject=_REFERENCE, related=_REFERENCE, reason=_TEXT, message=_TEXT, source=_SOURCE,
        firstTimestamp=_TIME, lastTimestamp=_TIME, count=_NUMBER, type=_TEXT, eventTime=_MICRO_TIME,
        series=_SERIES, action=_TEXT, reportingComponent=_TEXT, reportingInstance=_TEXT),
        selectable=frozenset(
            {f"involvedObject.{name}" for name in _REFERENCE["properties"]}
            | {"reason", "reportingComponent", "source", "type"})),
    _kind("events.k8s.io", "Event", "events", _fields(
        regarding=_REFERENCE, related=_REFERENCE, reason=_TEXT, note=_TEXT, type=_TEXT, eventTime=_MICRO_TIME,
        series=_SERIES, action=_TEXT, reportingController=_TEXT, reportingInstance=_TEXT,
        deprecatedSource=_SOURCE, deprecatedFirstTimestamp=_TIME, deprecatedLastTimestamp=_TIME,
        deprecatedCount=_NUMBER),
        selectable=frozenset(
            {f"regarding.{name}" for name in _REFERENCE["properties"]} | {"reason", "reportingController", "type"}),
        stored_as="events"),
    _kind("coordination.k8s.io", "Lease", "leases", _fields(spec=_fields(
        holderIdentity=_TEXT, leaseDurationSeconds=_NUMBER, acquireTime=_MICRO_TIME, renewTime=_MICRO_TIME,
        leaseTransitions=_NUMBER, strategy=_TEXT, preferredHolder=_TEXT)), unconditional=False),
    _kind("batch", "Job", "jobs", _fields(spec=_job_schema("JobSpec"), status=_ANYTHING), status=True, generation=True,
          selectable=frozenset({"status.successful"})),
    _kind("batch", "CronJob", "cronjobs", _fields(spec=_ANYTHING, status=_ANYTHING), status=True, generation=True),
)  # fmt: skip


def kinds_of(crd: Mapping[str, Any]) -> Iterator[Kind]:
    """Read the kinds of a CustomResourceDefinition, one for each served version."""
    spec = crd["spec"]
    for version in spec["versions"]:
        if not version["served"]:
            continue
        status = "status" in version.get("subresources", {})
        resource = Resource(
            spec["group"],
            version["name"],
            spec["names"]["kind"],
            spec["names"]["plural"],
            spec["scope"] == "Namespaced",
            status,
        )
        selectable = frozenset(item["jsonPath"].lstrip(".") for item in version.get("selectableFields", ()))
        schema = version.get("schema", {}).get("openAPIV3Schema", _ANYTHING)
        yield Kind(resource, schema, custom=True, generation=True, unconditional=False, selectable=selectable)


@cache
def read_crds(path: str | Path) -> tuple[Mapping[str, Any], ...]:
    """Read the CustomResourceDefinitions in a YAML file, or in all those of a folder."""
    path = Path(path)
    if path.is_dir():
        return tuple(crd for file in sorted(path.glob("*.yaml")) for crd in read_crds(file))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = yaml.load_all(path.read_text(encoding="utf-8"), Loader=loader)
    return tuple(item for item in documents if item and item["kind"] == "CustomResourceDefinition")
