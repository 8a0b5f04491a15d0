"""Refusals, in the API server's own form: a Status object."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cozydrivers.api.base import Resource


class Failure(Exception):
    """A request that is answered with a Status object of kind Failure, or with its message as plain text."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        *,
        metadata: dict[str, Any] | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__(message)
        self.plain = plain
        self.code = code
        self.retry_after: int | None = (details or {}).get("retryAfterSeconds")
        self.body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata or {},
            "status": "Failure",
            "message": message,
        }
        if reason:
            self.body["reason"] = reason
        if details is not None:
            self.body["details"] = details
        self.body["code"] = code


@dataclass(frozen=True)
class FieldError:
    """What is wrong with a field; `reason` without its prefix `FieldValue`."""

    reason: str
    field: str
    message: str

    @property
    def cause(self) -> dict[str, str]:
        """The error as one of a Status's causes."""
        return {"reason": f"FieldValue{self.reason}", "message": self.message, "field": self.field}


def invalid_value(field: str, value: str, message: str) -> FieldError:
    """Build the error of a value that breaks a rule; `value` is already quoted."""
    return FieldError("Invalid", field, f"Invalid value: {value}: {message}")


def qualified(name: str, group: str) -> str:
    """Join a plural or a kind with its group."""
    return f"{name}.{group}" if group else name


def identity(resource: Resource, name: str | None, kind: str | None = None) -> dict[str, Any]:
    """Build the details that say which object is meant."""
    details = {"name": name or "", "group": resource.group, "kind": kind or resource.plural}
    return {key: value for key, value in details.items() if value}


def bad_request(message: str) -> Failure:
    """400."""
    return Failure(400, "BadRequest", message)


def not_found(resource: Resource, name: str) -> Failure:
    """404, for an object."""
    message = f'{qualified(resource.plural, resource.group)} "{name}" not found'
    return Failure(404, "NotFound", message, identity(resource, name))


def already_exists(resource: Resource, name: str, *, terminating: bool) -> Failure:
    """409, for a name that is taken."""
    message = f'{qualified(resource.plural, resource.group)} "{name}" already exists'
    prefix = "object is being deleted: " if terminating else ""
    return Failure(409, "AlreadyExists", prefix + message, identity(resource, name))


def conflict(resource: Resource, name: str, why: str, kind: str | None = None) -> Failure:
    """409, for an object that is not the one the client saw; `kind` stands in for the plural."""
    message = f'Operation cannot be fulfilled on {qualified(kind or resource.plural, resource.group)} "{name}": {why}'
    return Failure(409, "Conflict", message, identity(resource, name, kind))


def modified(resource: Resource, name: str) -> Failure:
    """409, for an old resourceVersion."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def invalid(what: Resource, name: str, errors: Sequence[FieldError], kind: str | None = None) -> Failure:
    """422, with one cause for each error; the same error is named once in the message."""
    shown = list(dict.fromkeys(f"{error.field}: {error.message}" for error in errors))
    text = shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
    kind = kind or what.kind
    details = {**identity(what, name, kind), "causes": [error.cause for error in errors]}
    return Failure(422, "Invalid", f'{qualified(kind, what.group)} "{name}" is invalid: {text}', details)


def options_invalid(kind: str, error: FieldError) -> Failure:
    """422, for a parameter of the request."""
    return invalid(Resource("meta.k8s.io", "v1", kind, "", namespaced=False), "", [error])


def forbidden(resource: Resource, name: str | None, why: str, causes: Sequence[dict[str, str]] = ()) -> Failure:
    """403."""
    what = qualified(resource.plural, resource.group) + (f' "{name}"' if name else "")
    details = {**identity(resource, name), **({"causes": list(causes)} if causes else {})}
    return Failure(403, "Forbidden", f"{what} is forbidden: {why}", details)


def expired(message: str, *, metadata: dict[str, Any] | None = None) -> Failure:
    """410."""
    return Failure(410, "Expired", message, metadata=metadata)


def unsupported_media_type(accepted: Sequence[str]) -> Failure:
    """415."""
    message = "the body of the request was in an unknown format - accepted media types include: "
    return Failure(415, "UnsupportedMediaType", message + ", ".join(accepted))
