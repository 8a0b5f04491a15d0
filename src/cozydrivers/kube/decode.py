"""From bytes to objects and errors."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.errors import (
    AlreadyExists,
    ApiError,
    Cause,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Unauthorized,
    Unavailable,
)
from cozydrivers.kube.transport import Response

T = TypeVar("T", bound=KubeObject)

_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: Unavailable,
}
_LONGEST_MESSAGE = 1024


def decode_json(content: bytes) -> dict[str, Any]:
    """Parse a JSON object; anything else is Unavailable, as of a proxy that answers for the server."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Unavailable("the API server's answer is not a JSON object", reason="NotJSON")
    return value


class ListMetadata(BaseModel):
    """`metadata` of a list: its version, and how to ask for its next page."""

    version: str = Field(default="", alias="resourceVersion")
    next: str = Field(default="", alias="continue")


class Page(BaseModel, Generic[T]):
    """A list, or one page of it."""

    metadata: ListMetadata = ListMetadata()
    items: Sequence[T] = ()


@dataclass(frozen=True)
class WatchEvent(Generic[T]):
    """A change; the object of a BOOKMARK has nothing but a resourceVersion."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: T


def read_object(kind: type[T], body: bytes) -> T:
    """Decode an object; one that does not fit is an ApiError naming the fields, not the values."""
    return _quick(kind, kind, body) or decode_object(kind, decode_json(body))


def read_page(kind: type[T], body: bytes) -> Page[T]:
    """Decode a page."""
    page: Page[T] | None = _quick(kind, _page_of(kind), body)
    if page:
        return page
    raw = decode_json(body)
    metadata = {key: value for key, value in (raw.get("metadata") or {}).items() if value is not None}
    items = [decode_object(kind, item) for item in raw.get("items") or ()]
    return Page(metadata=ListMetadata.model_validate(metadata), items=items)


@cache
def _page_of(kind: type[T]) -> Any:
    """Pages of a kind; pydantic itself would make the class anew for each list."""
    return Page[kind]  # type: ignore[valid-type]


def read_event(kind: type[T], line: bytes) -> WatchEvent[T]:
    """Decode a line of a watch; raises the error that an ERROR event holds."""
    event: WatchEvent[T] | None = _quick(kind, WatchEvent[kind], line)  # type: ignore[valid-type]
    if event:
        return event
    raw = decode_json(line)
    if raw.get("type") == "ERROR":
        raise error_of_status(kind.resource, raw.get("object") or {})
    if raw.get("type") not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
        raise ApiError(f"watch of {kind.resource.plural}: unknown event", reason="UnknownEvent")
    return WatchEvent(raw["type"], decode_object(kind, raw["object"]))


def _quick(kind: type[KubeObject], model: Any, body: bytes) -> Any:
    """Decode without building what is not kept; None where that does not work, or all is kept."""
    if kind.keeps_raw:
        return None
    try:
        return _adapter(model).validate_json(body)
    except ValidationError:
        return None


@cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def decode_object(kind: type[T], raw: dict[str, Any]) -> T:
    """Build the partial model; an object that does not fit is an ApiError naming the fields, not the values."""
    try:
        return kind.decode(raw)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in found["loc"]) for found in error.errors(include_url=False))
    name = raw.get("metadata", {}).get("name", "") if isinstance(raw.get("metadata"), dict) else ""
    raise ApiError(f"{kind.resource.kind} {name!r} has values of an unknown shape in: {fields}", reason="Undecodable")


def error_of(resource: Resource, response: Response) -> ApiError:
    """Build the error that an answer with a status of 300 and above stands for."""
    try:
        status = json.loads(response.body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        status = {"message": f"{resource.plural}: HTTP status {response.status}"}
    retry_after = response.headers.get("retry-after", "")
    return error_of_status(resource, {**status, "code": response.status}, retry_after)


def error_of_status(resource: Resource, status: dict[str, Any], retry_after: str = "") -> ApiError:
    """Build the error in a Status object, of an answer or of a watch's ERROR event."""
    code, reason = int(status.get("code") or 500), str(status.get("reason") or "")
    details = status.get("details") or {}
    seconds = retry_after if retry_after.isdigit() else details.get("retryAfterSeconds")
    return _error_class(code, reason)(
        _message(resource, status, details),
        status=code,
        reason=reason,
        causes=[_cause(resource, cause) for cause in details.get("causes") or ()],
        retry_after=float(seconds) if seconds is not None else None,
    )


def _error_class(code: int, reason: str) -> type[ApiError]:
    if reason == "AlreadyExists":
        return AlreadyExists
    return Unavailable if code >= 500 else _BY_STATUS.get(code, ApiError)


def _message(resource: Resource, status: dict[str, Any], details: dict[str, Any]) -> str:
    """Quote the server; about a Secret only its name, because a refusal may hold the whole object."""
    if resource.kind == "Secret":
        return f"Secret {details.get('name', '')!r}: {status.get('reason') or status.get('code')}"
    return _shortened(str(status.get("message") or status.get("reason") or status.get("code")))


def _shortened(message: str) -> str:
    """Its beginning and its end: a webhook may quote the object that it refuses, and say why after it."""
    half = _LONGEST_MESSAGE // 2 - 1
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:half]}…{message[-half:]}"


def _cause(resource: Resource, cause: dict[str, Any]) -> Cause:
    message = "" if resource.kind == "Secret" else str(cause.get("message", ""))[:_LONGEST_MESSAGE]
    return Cause(str(cause.get("reason", "")), message, str(cause.get("field", "")))
