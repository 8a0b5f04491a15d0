"""The rules of `metadata`: names, labels, finalizers, owners, and what a client can't set."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cozydrivers.testing._kinds import Kind
from cozydrivers.testing._status import FieldError, invalid_value

KNOWN = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
"""The fields of metadata, in the server's order."""

SYSTEM = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields")
"""The fields that only the server sets."""

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN}')"
)
_LABEL = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_LABEL_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_LABEL}')"
)
_NAME_PART = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_NAME_PART_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME_PART}')"
)
_STANDARD_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")
_LARGEST_ANNOTATIONS = 256 * 1024


def ordered(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Put the fields in the server's order, without the empty ones."""
    return {key: metadata[key] for key in KNOWN if metadata.get(key) not in (None, {}, [], "")}


def violations(metadata: Mapping[str, Any], kind: Kind, *, update: bool) -> list[FieldError]:
    """Check the metadata of an object that is created or replaced.

    The server looks at it several times, so the causes of an update come several times (kube-apiserver 1.33).
    """
    looks = 1 if not update else 3 if kind.custom else 4
    return [
        *_name(metadata, kind),
        *[*_labels(metadata), *_annotations(metadata)] * looks,
        *list(_finalizers(metadata, kind)) * (2 if update and not kind.custom else 1),
        *_owners(metadata),
    ]


def _name(metadata: Mapping[str, Any], kind: Kind) -> Iterator[FieldError]:
    name = metadata.get("name", "")
    longest = 63 if kind.resource.kind == "Namespace" else 253
    if not name:
        yield FieldError("Required", "metadata.name", "Required value: name or generateName is required")
    elif len(name) > longest:
        yield invalid_value("metadata.name", json.dumps(name), f"must be no more than {longest} characters")
    elif not re.fullmatch(_SUBDOMAIN, name):
        yield invalid_value("metadata.name", json.dumps(name), _SUBDOMAIN_RULE)
    prefix = metadata.get("generateName", "")
    if kind.stored_as and prefix.endswith("."):
        yield invalid_value("metadata.generateName", json.dumps(prefix), _SUBDOMAIN_RULE)


def _labels(metadata: Mapping[str, Any]) -> Iterator[FieldError]:
    for key, value in (metadata.get("labels") or {}).items():
        yield from qualified_name_errors("metadata.labels", key, key)
        if len(value) > 63:
            yield invalid_value("metadata.labels", json.dumps(value), "must be no more than 63 characters")
        if not re.fullmatch(_LABEL, value):
            yield invalid_value("metadata.labels", json.dumps(value), _LABEL_RULE)


def qualified_name_errors(field: str, key: str, name: str) -> Iterator[FieldError]:
    """Check a qualified name, with or without the prefix of a domain; `key` is how the client wrote it."""
    shown, (prefix, slash, last) = json.dumps(key), name.rpartition("/")
    if "/" in prefix:
        rule = f"a qualified name {_NAME_PART_RULE} with an optional DNS subdomain prefix and '/'"
        yield invalid_value(field, shown, f"{rule} (e.g. 'example.com/MyName')")
        return
    if slash and not prefix:
        yield invalid_value(field, shown, "prefix part must be non-empty")
    elif len(prefix) > 253:
        yield invalid_value(field, shown, "prefix part must be no more than 253 characters")
    elif prefix and not re.fullmatch(_SUBDOMAIN, prefix):
        yield invalid_value(field, shown, f"prefix part {_SUBDOMAIN_RULE}")
    if not last:
        yield invalid_value(field, shown, "name part must be non-empty")
    elif len(last) > 63:
        yield invalid_value(field, shown, "name part must be no more than 63 characters")
    if not re.fullmatch(_NAME_PART, last):
        yield invalid_value(field, shown, f"name part {_NAME_PART_RULE}")


def _annotations(metadata: Mapping[str, Any]) -> Iterator[FieldError]:
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        yield from qualified_name_errors("metadata.annotations", key, key.lower())
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _LARGEST_ANNOTATIONS:
        message = f"Too long: may not be more than {_LARGEST_ANNOTATIONS} bytes"
        yield FieldError("TooLong", "metadata.annotations", message)


def _finalizers(metadata: Mapping[str, Any], kind: Kind) -> Iterator[FieldError]:
    for i, name in enumerate(metadata.get("finalizers") or ()):
        yield from qualified_name_errors("metadata.finalizers", name, name)
        if not kind.custom and "/" not in name and name not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid_value(f"metadata.finalizers[{i}]", json.dumps(name), why)


def finalizer_warnings(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Warn of finalizers without a domain that come to a custom resource."""
    advice = "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
    return [
        f"metadata.finalizers: {json.dumps(name)}: {advice}"
        for name in new.get("finalizers") or ()
        if "/" not in name and name not in (*_STANDARD_FINALIZERS, *(old.get("finalizers") or ()))
    ]


def _owners(metadata: Mapping[str, Any]) -> Iterator[FieldError]:
    owners = metadata.get("ownerReferences") or ()
    for owner in owners:
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                named = "version" if key == "apiVersion" else key
                yield invalid_value(f"metadata.ownerReferences.{key}", '""', f"{named} must not be empty")
    if sum(owner.get("controller") is True for owner in owners) > 1:
        message = "Only one reference can have Controller set to true"
        yield invalid_value("metadata.ownerReferences", '""', message)


def added_finalizers(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[FieldError]:
    """Refuse new finalizers on an object that is being deleted."""
    added = [name for name in new.get("finalizers") or () if name not in (old.get("finalizers") or ())]
    if not added or "deletionTimestamp" not in old:
        return []
    listed = ", ".join(json.dumps(name) for name in added)
    why = "no new finalizers can be added if the object is being deleted, found new finalizers"
    return [FieldError("Forbidden", "metadata.finalizers", f"Forbidden: {why} []string{{{listed}}}")]
