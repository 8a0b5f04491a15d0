"""Structural schemas: what is unknown, what is filled in, what is refused.

The rules are those of CustomResourceDefinitions, with kube-apiserver 1.33's messages. Of the rules in CEL only
`self == oldSelf` is known; the others are not looked at.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

from cozydrivers.testing._status import FieldError, invalid_value

Schema = Mapping[str, Any]

_UNCHECKED = FieldError(
    "Invalid",
    "<nil>",
    'Invalid value: "null": some validation rules were not checked because the object was invalid; '
    "correct the existing errors to complete validation",
)
_INT_OR_STRING = "of type integer,string:"
_BLOCKING = {"Required", "TypeInvalid", "NotSupported", "TooLong", "TooMany"}
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def prune(value: Any, schema: Schema, path: str = "") -> tuple[Any, list[str]]:
    """Leave out what the schema does not know; returns what is left and the paths of the rest."""
    unknown: list[str] = []
    return _prune(value, schema, path, unknown), unknown


def _prune(value: Any, schema: Schema, path: str, unknown: list[str]) -> Any:
    if isinstance(value, list) and "items" in schema:
        return [_prune(item, schema["items"], f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        below = f"{path}.{key}" if path else key
        known = child(schema, key)
        if known is not None:
            kept[key] = _prune(item, known, below, unknown)
        elif schema.get("x-kubernetes-preserve-unknown-fields"):
            kept[key] = item
        else:
            unknown.append(below)
    return kept


def child(schema: Schema, key: str) -> Schema | None:
    """Find the schema of a field; None where the schema does not know the field."""
    if key in schema.get("properties", {}):
        found: Schema = schema["properties"][key]
        return found
    if schema.get("x-kubernetes-embedded-resource") and key in ("apiVersion", "kind", "metadata"):
        return {"x-kubernetes-preserve-unknown-fields": True}
    more = schema.get("additionalProperties")
    return ({"x-kubernetes-preserve-unknown-fields": True} if more is True else more) or None


def with_defaults(value: Any, schema: Schema) -> Any:
    """Fill in the defaults of absent fields, in objects that are there; a null that is not allowed is absent."""
    if isinstance(value, list):
        return [with_defaults(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    filled = {}
    for key, item in value.items():
        known = child(schema, key) or {}
        if item is not None or known.get("nullable") or not _says_what(known):
            filled[key] = with_defaults(item, known)
    for key, known in schema.get("properties", {}).items():
        if "default" in known and key not in filled:
            filled[key] = with_defaults(known["default"], known)
    return filled


def _says_what(schema: Schema) -> bool:
    """Whether a schema tells what its values are."""
    return "type" in schema or "x-kubernetes-int-or-string" in schema


def violations(value: Any, schema: Schema) -> list[FieldError]:
    """Check an object against its schema; errors come sorted by field."""
    found = sorted(_check(value, schema, ""), key=lambda error: error.field)
    return [each for error in found for each in _with_alternatives(error)]


def _with_alternatives(error: FieldError) -> Iterator[FieldError]:
    """Of a value that is neither number nor text: the server adds that of `anyOf` nothing fits, and the first of it."""
    yield error
    if _INT_OR_STRING in error.message:
        message = f'Invalid value: "": "{error.field}" must validate at least one schema (anyOf)'
        yield FieldError("Invalid", "<nil>", message)
        yield replace(error, message=error.message.replace(_INT_OR_STRING, "of type integer:"))


def status_violations(status: Any, schema: Schema) -> list[FieldError]:
    """Check a status that is written by itself; the messages leave out where it stands (kube-apiserver 1.33)."""
    known = child(schema, "status") or {}
    return [replace(error, field=f"status.{error.field}".rstrip(".")) for error in violations(status, known)]


def with_unchecked(errors: list[FieldError], schema: Schema) -> list[FieldError]:
    """Add the server's remark that rules were left out, if the schema has rules and an error prevents them."""
    blocked = any(error.reason in _BLOCKING for error in errors)
    return [*errors, _UNCHECKED] if blocked and has_rules(schema) else errors


def has_rules(schema: Schema) -> bool:
    """Whether the schema has rules in CEL, at any depth."""
    if "x-kubernetes-validations" in schema:
        return True
    below = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return any(has_rules(item) for item in below if isinstance(item, Mapping))


def changed_immutables(new: Any, old: Any, schema: Schema, path: str = "") -> list[FieldError]:
    """Find the fields with the rule `self == oldSelf` that have changed."""
    if new is None or old is None:
        return []
    found = [
        invalid_value(path, f'"{schema.get("type", "")}"', rule.get("message", "failed rule: self == oldSelf"))
        for rule in schema.get("x-kubernetes-validations", ())
        if rule["rule"].strip() == "self == oldSelf" and new != old
    ]
    if isinstance(new, dict) and isinstance(old, dict):
        for key, known in schema.get("properties", {}).items():
            below = f"{path}.{key}" if path else key
            found += changed_immutables(new.get(key), old.get(key), known, below)
    return found


def _check(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    if value is None and schema.get("nullable"):
        return
    if "x-kubernetes-int-or-string" in schema and not (_is(value, "integer") or _is(value, "string")):
        yield _type_error(value, "integer,string", path)
        return
    wanted = schema.get("type")
    if wanted and not _is(value, wanted):
        yield _type_error(value, wanted, path)
        return
    if isinstance(value, dict):
        yield from _check_object(value, schema, path)
    elif isinstance(value, list):
        yield from _check_array(value, schema, path)
    elif isinstance(value, str):
        yield from _check_string(value, schema, path)
    elif isinstance(value, (int, float)):
        yield from _check_number(value, schema, path)
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(json.dumps(item) for item in schema["enum"])
        message = f"Unsupported value: {json.dumps(value)}: supported values: {allowed}"
        yield FieldError("NotSupported", path, message)


def _is(value: Any, wanted: str) -> bool:
    return isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))


def type_name(value: Any) -> str:
    """Name the JSON type of a value, as schemas do."""
    if value is None:
        return "null"
    return next(name for name in ("boolean", "integer", "number", "string", "array", "object") if _is(value, name))


def _type_error(value: Any, wanted: str, path: str) -> FieldError:
    found = type_name(value)
    message = f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
    return FieldError("TypeInvalid", path, message)


def _check_object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[FieldError]:
    prefix = f"{path}." if path else ""
    for key in schema.get("required", ()):
        if key not in value:
            yield FieldError("Required", f"{prefix}{key}", "Required value")
    for key, item in value.items():
        yield from _check(item, child(schema, key) or {}, f"{prefix}{key}")
    if len(value) < schema.get("minProperties", 0):
        yield invalid_value(
            path, str(len(value)), f"{path} in body should have at least {schema['minProperties']} properties"
        )


def _check_array(value: list[Any], schema: Schema, path: str) -> Iterator[FieldError]:
    for i, item in enumerate(value):
        yield from _check(item, schema.get("items", {}), f"{path}[{i}]")
    if len(value) < schema.get("minItems", 0):
        yield invalid_value(path, str(len(value)), f"{path} in body should have at least {schema['minItems']} items")
    if len(value) > schema.get("maxItems", len(value)):
        message = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        yield FieldError("TooMany", path, message)
    yield from _duplicates(value, schema, path)


def _duplicates(value: list[Any], schema: Schema, path: str) -> Iterator[FieldError]:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys", ())
    if kind not in ("map", "set"):
        return
    seen = []
    for i, item in enumerate(value):
        identity = {key: item.get(key) for key in keys} if kind == "map" and isinstance(item, dict) else item
        if identity in seen:
            yield FieldError("Duplicate", f"{path}[{i}]", f"Duplicate value: {json.dumps(identity)}")
        seen.append(identity)


def _check_string(value: str, schema: Schema, path: str) -> Iterator[FieldError]:
    quoted = json.dumps(value, ensure_ascii=False)
    if len(value) > schema.get("maxLength", len(value)):
        yield FieldError("TooLong", path, f"Too long: may not be more than {schema['maxLength']} bytes")
    elif len(value) < schema.get("minLength", 0):
        yield invalid_value(path, quoted, f"{path} in body should be at least {schema['minLength']} chars long")
    elif "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield invalid_value(path, quoted, f"{path} in body should match '{schema['pattern']}'")
    if not _FORMATS.get(schema.get("format", ""), _any_text)(value):
        message = f"Invalid value: {quoted}: {path} in body must be of type {schema['format']}: {quoted}"
        yield FieldError("TypeInvalid", path, message)


def _check_number(value: float, schema: Schema, path: str) -> Iterator[FieldError]:
    if value < schema.get("minimum", value):
        yield invalid_value(path, str(value), f"{path} in body should be greater than or equal to {schema['minimum']}")
    if value > schema.get("maximum", value):
        yield invalid_value(path, str(value), f"{path} in body should be less than or equal to {schema['maximum']}")


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _any_text(value: str) -> bool:
    return True


def is_date_time(value: str) -> bool:
    """Whether this is a time with a zone, as RFC 3339 has it."""
    try:
        return "T" in value.upper() and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


_FORMATS: dict[str, Callable[[str], bool]] = {"date-time": is_date_time}
