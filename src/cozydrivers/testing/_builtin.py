"""What the server does to objects of the built-in kinds: defaults, conversions, checks."""

import base64
import binascii
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

from cozydrivers.testing import _events
from cozydrivers.testing._jobs import admitted_job, check_job, completed_cron_job, completed_job
from cozydrivers.testing._kinds import Kind
from cozydrivers.testing._pods import admitted_pod, check_pod, completed_pod
from cozydrivers.testing._schema import is_date_time
from cozydrivers.testing._status import FieldError, invalid_value
from cozydrivers.testing._store import Object

_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"


def completed(obj: Object, kind: Kind) -> Object:
    """Fill in what the server fills in while it decodes."""
    fill = _COMPLETE.get(obj["kind"])
    return _in_utc(fill(obj) if fill else obj, kind)


def admitted(obj: Object) -> Object:
    """Fill in what the server adds to a new object once it is accepted, without an owner of the fields."""
    fill = _ADMIT.get(obj["kind"])
    return fill(obj) if fill else obj


def violations(new: Object, old: Object | None) -> list[FieldError]:
    """Check a built-in object; `old` is the one it replaces."""
    check = _CHECK.get(new["kind"])
    return check(new, old) if check else []


def misfit(obj: Object, kind: Kind) -> str:
    """Find what can't be decoded: a time without microseconds, a value that is not base64; returns the complaint."""
    for _, _, value in _micro_times(obj, kind):
        if not _MICRO_TIME.fullmatch(value):
            return _time_complaint(value)
    if kind.resource.kind == "Secret":
        for value in (obj.get("data") or {}).values():
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                valid = re.match(r"[A-Za-z0-9+/]*", value)
                return f"illegal base64 data at input byte {valid.end() if valid else 0}"
    return ""


def _micro_times(obj: Object, kind: Kind) -> list[tuple[str, str, str]]:
    """List the times with microseconds: the field they are in (empty for the object itself), name and value."""
    properties = kind.schema.get("properties", {})
    parts = {name: obj[name] for name in properties if isinstance(obj.get(name), dict)}
    below = ((name, properties[name].get("properties", {}), part) for name, part in parts.items())
    places = (("", properties, obj), *below)
    return [
        (place, name, values[name])
        for place, known, values in places
        for name, schema in known.items()
        if schema.get("format") == "micro-time" and isinstance(values.get(name), str)
    ]


def _in_utc(obj: Object, kind: Kind) -> Object:
    """Write times with microseconds in UTC, as the server does."""
    for place, name, value in _micro_times(obj, kind):
        moment = datetime.fromisoformat(value).astimezone(UTC)
        text = f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"
        obj = {**obj, place: {**obj[place], name: text}} if place else {**obj, name: text}
    return obj


def _time_complaint(value: str) -> str:
    rest, wanted = (value[19:], ".000000") if is_date_time(value) else (value, "2006")
    return f'parsing time "{value}" as "{_MICRO_LAYOUT}": cannot parse "{rest}" as "{wanted}"'


def _secret(obj: Object) -> Object:
    plain = obj.get("stringData") or {}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
    data = {**(obj.get("data") or {}), **encoded}
    kept = {key: value for key, value in obj.items() if key not in ("data", "stringData")}
    return {**kept, **({"data": dict(sorted(data.items()))} if data else {}), "type": obj.get("type", "Opaque")}


def _namespace(obj: Object) -> Object:
    name = obj["metadata"].get("name")
    if not name:
        return obj
    labels = {**obj["metadata"].get("labels", {}), "kubernetes.io/metadata.name": name}
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


def _admitted_namespace(obj: Object) -> Object:
    return {**_namespace(obj), "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}


def _check_secret(new: Object, old: Object | None) -> list[FieldError]:
    if old is None or new["type"] == old["type"]:
        return []
    return [invalid_value("type", json.dumps(new["type"]), "field is immutable")]


def _check_lease(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec", {})
    errors = []
    if spec.get("leaseDurationSeconds", 1) <= 0:
        value = str(spec["leaseDurationSeconds"])
        errors.append(invalid_value("spec.leaseDurationSeconds", value, "must be greater than 0"))
    if spec.get("leaseTransitions", 0) < 0:
        value = str(spec["leaseTransitions"])
        errors.append(invalid_value("spec.leaseTransitions", value, "must be greater than or equal to 0"))
    return errors


_COMPLETE: dict[str, Callable[[Object], Object]] = {
    "CronJob": completed_cron_job,
    "Job": completed_job,
    "Namespace": _namespace,
    "Pod": completed_pod,
    "Secret": _secret,
}
_ADMIT: dict[str, Callable[[Object], Object]] = {
    "Event": _events.admitted,
    "Job": admitted_job,
    "Namespace": _admitted_namespace,
    "Pod": admitted_pod,
}
_CHECK: dict[str, Callable[[Object, Object | None], list[FieldError]]] = {
    "Event": _events.violations,
    "Job": check_job,
    "Lease": _check_lease,
    "Pod": check_pod,
    "Secret": _check_secret,
}
