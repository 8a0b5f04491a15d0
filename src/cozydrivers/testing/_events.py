"""Events: one kind in two forms, kept as the core group has them, and the rules of each form."""

import json
from collections.abc import Iterator
from typing import Any

from cozydrivers.testing._metadata import qualified_name_errors
from cozydrivers.testing._status import FieldError, invalid_value
from cozydrivers.testing._store import Object

_RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_NAMES = {core: new for new, core in _RENAMED.items()}
_LONGEST = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}
"""Bytes."""

_DEPRECATED = ("firstTimestamp", "lastTimestamp", "count", "source")
# In the server's order, where `reason` comes twice (kube-apiserver 1.33).
_FIXED = (
    *("involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "reason", "type"),
    *("eventTime", "action", "related", "reportingComponent", "reportingInstance"),
)


def stored(event: Object) -> Object:
    """Convert an event of `events.k8s.io` to the core form in which it is kept."""
    return {"source": {}, **{_RENAMED.get(key, key): value for key, value in event.items()}, "apiVersion": "v1"}


def shown(event: Object) -> Object:
    """Convert a stored event to the form of `events.k8s.io`."""
    return {**{_NAMES.get(key, key): value for key, value in event.items()}, "apiVersion": "events.k8s.io/v1"}


def admitted(obj: Object) -> Object:
    """Fill in what the server writes of a new event even when it is empty."""
    if obj["apiVersion"] != "v1":
        return {"deprecatedSource": {}, "deprecatedFirstTimestamp": None, "deprecatedLastTimestamp": None, **obj}
    absent: dict[str, Any] = {"source": {}, "firstTimestamp": None, "lastTimestamp": None, "eventTime": None}
    return {**absent, "reportingComponent": "", "reportingInstance": "", **obj}


def violations(new: Object, old: Object | None) -> list[FieldError]:
    """Check an event in either form; what is wrong is told in the core group's words (kube-apiserver 1.33)."""
    if new["apiVersion"] == "v1":
        return list(_common(new, "reportingComponent"))
    event = stored(new)
    more = _changed(event, stored(old)) if old else _as_created(event)
    return [*_common(event, "reportingController"), *more]


def _common(event: Object, controller: str) -> Iterator[FieldError]:
    about, namespace = event.get("involvedObject", {}).get("namespace", ""), event["metadata"].get("namespace", "")
    mismatch = invalid_value("involvedObject.namespace", json.dumps(about), "does not match event.namespace")
    if not event.get("eventTime"):
        if about != namespace and (about or namespace != "default"):
            yield mismatch
        return
    if not about and namespace not in ("default", "kube-system"):
        yield mismatch
    yield from _reporting_controller(event.get("reportingComponent", ""), controller)
    for field, longest in _LONGEST.items():
        value = event.get(field, "")
        if not value and field != "message":
            yield FieldError("Required", field, "Required value")
        if len(value.encode()) > longest:
            yield invalid_value(field, '""', f"can have at most {longest} characters")


def _reporting_controller(name: str, field: str) -> Iterator[FieldError]:
    if not name:
        yield FieldError("Required", field, "Required value")
    yield from qualified_name_errors(field, name, name)


def _as_created(event: Object) -> Iterator[FieldError]:
    yield from _series(event)
    if not event.get("eventTime"):
        yield FieldError("Required", "eventTime", "Required value")
    if event.get("type") not in ("Normal", "Warning"):
        yield invalid_value("type", '""', f"has invalid value: {event.get('type', '')}")
    for field in _DEPRECATED:
        if event.get(field):
            yield invalid_value(field, '""', "needs to be unset")


def _changed(event: Object, old: Object) -> Iterator[FieldError]:
    if event.get("series") != old.get("series"):
        yield from _series(event)
    for field in _FIXED:
        if event.get(field) != old.get(field):
            yield invalid_value(field, json.dumps(event.get(field, "")), "field is immutable")


def _series(event: Object) -> Iterator[FieldError]:
    series = event.get("series")
    if series is None:
        return
    if series.get("count", 0) < 2:
        yield invalid_value("series.count", '""', "should be at least 2")
    if not series.get("lastObservedTime"):
        yield FieldError("Required", "series.lastObservedTime", "Required value")
