"""From the bytes of a request to an object that fits its schema."""

import json
from typing import Any

import yaml

from cozydrivers.testing import _builtin, _metadata, _schema
from cozydrivers.testing._kinds import Kind
from cozydrivers.testing._request import Request
from cozydrivers.testing._status import Failure, bad_request, invalid, invalid_value, unsupported_media_type
from cozydrivers.testing._store import Object

_MEDIA_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")


_GO_TYPES = {"integer": "number", "boolean": "bool"}


class Misfit(Exception):
    """An object that the server can't decode into its kind; what that means depends on how it came."""


class _Unique(dict[str, Any]):
    """A decoded JSON object that knows which of its keys came twice."""

    twice: list[str]


def decode(request: Request) -> tuple[Object, list[str]]:
    """Decode the object in a request; returns it with the warnings to send."""
    if request.media_type not in _MEDIA_TYPES[:2]:
        raise unsupported_media_type(_MEDIA_TYPES)
    obj = _parse(request)
    _check_type(obj, request)
    try:
        return fit(obj, request, _duplicates(obj, ""))
    except Misfit as wrong:
        name = request.kind.resource.kind
        version = f'{name} in version "{request.kind.resource.version}"'
        raise bad_request(f"{version} cannot be handled as a {name}: {wrong}") from None


def fit(obj: Object, request: Request, twice: list[str] | None = None) -> tuple[Object, list[str]]:
    """Prune, fill in and convert what was decoded or patched, as `fieldValidation` says."""
    kind = request.kind
    fields, unknown = _schema.prune(fields_of(obj), kind.schema)
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key in _metadata.KNOWN}
    unknown += [f"metadata.{key}" for key in obj.get("metadata") or () if key not in _metadata.KNOWN]
    complaints = [f'unknown field "{path}"' for path in sorted(unknown)]
    complaints += [f'duplicate field "{path}"' for path in twice or ()]
    mode = request.query.get("fieldValidation", "Warn")
    if complaints and mode == "Strict":
        raise Misfit(f"strict decoding error: {', '.join(complaints)}")
    if wrong := misfit(obj, kind):
        raise Misfit(wrong)
    shown = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
    fitted = {**shown, "metadata": _metadata.ordered(metadata), **_schema.with_defaults(fields, kind.schema)}
    return fitted if kind.custom else _builtin.completed(fitted, kind), complaints if mode == "Warn" else []


def fields_of(obj: Object) -> Object:
    """Leave out what every object has."""
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}


def misfit(obj: Object, kind: Kind) -> str:
    """Find what the server can't even decode; returns its complaint, or nothing."""
    for field in ("labels", "annotations"):
        for value in (obj.get("metadata", {}).get(field) or {}).values():
            if not isinstance(value, str):
                found = _GO_TYPES.get(_schema.type_name(value), _schema.type_name(value))
                return f"json: cannot unmarshal {found} into Go struct field ObjectMeta.{field} of type string"
    if kind.custom:
        return ""
    for error in _schema.violations(_without_nulls(fields_of(obj)), kind.schema):
        if error.reason == "TypeInvalid":
            return f"json: cannot unmarshal a value into Go struct field {kind.resource.kind}.{error.field}"
    return _builtin.misfit(obj, kind)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _parse(request: Request) -> Object:
    text = request.body.decode()
    if request.media_type == "application/yaml":
        value = yaml.safe_load(text)
    else:
        try:
            value = json.loads(text, object_pairs_hook=_unique)
        except ValueError as error:
            raise _unrecognized(request, f"couldn't get version/kind; json parse error: {_reason(error)}") from None
    if not isinstance(value, dict):
        raise _unrecognized(request, "couldn't get version/kind; json parse error")
    return value


def _unrecognized(request: Request, why: str) -> Failure:
    text = request.body.decode()
    shown = "<empty>" if not text else text if len(text) <= 30 else f"{text[:30]} ..."
    kind = request.kind.resource.kind
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why} ({shown})")


def _reason(error: ValueError) -> str:
    at_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(error.doc.rstrip())
    return "unexpected end of JSON input" if at_end else "invalid character"


def _unique(pairs: list[tuple[str, Any]]) -> _Unique:
    value = _Unique(pairs)
    value.twice = [key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i])]
    return value


def _duplicates(value: Any, path: str) -> list[str]:
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in _duplicates(item, f"{path}[{i}]")]
    if not isinstance(value, _Unique):
        return []
    prefix = f"{path}." if path else ""
    below = [found for key, item in value.items() for found in _duplicates(item, f"{prefix}{key}")]
    return [f"{prefix}{key}" for key in value.twice] + below


def _check_type(obj: Object, request: Request) -> None:
    wanted = request.kind.resource
    version, name = obj.get("apiVersion", ""), obj.get("kind", "")
    if not (version or name) and not request.kind.custom:
        return
    if not name:
        raise _unrecognized(request, f"Object 'Kind' is missing in '{request.body.decode()}'")
    if version != wanted.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({wanted.api_version})"
        )
    if name != wanted.kind:
        wrong = invalid_value("kind", f'"{name}"', f"must be {wanted.kind}")
        raise invalid(wanted, (obj.get("metadata") or {}).get("name", ""), [wrong], name)
