"""Get and list."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from cozydrivers.testing._request import Request
from cozydrivers.testing._selectors import Matcher, field_matcher, label_matcher
from cozydrivers.testing._status import Failure, FieldError, bad_request, expired, options_invalid
from cozydrivers.testing._store import Object, Store
from cozydrivers.testing._writes import shown

_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_EXACT_EXPIRED = "The resourceVersion for the provided list is too old."


def wants_metadata(request: Request) -> bool:
    """Whether only the metadata of objects is asked for."""
    return "as=PartialObjectMetadata" in request.headers.get("accept", "")


def partial(obj: Object) -> Object:
    """Cut an object down to its metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def matcher(request: Request) -> Matcher:
    """Build the test that an object of a list or watch must pass: namespace, labels, fields."""
    namespace = request.target.namespace
    labels = label_matcher(request.query.get("labelSelector", ""))
    fields = field_matcher(request.query.get("fieldSelector", ""), request.kind)

    def matches(obj: Mapping[str, Any]) -> bool:
        here = not namespace or obj["metadata"].get("namespace", "") == namespace
        return here and labels(obj) and fields(obj)

    return matches


def selected(store: Store, request: Request, version: int | None = None) -> list[Object]:
    """List the objects that a request selects, in the order of their keys."""
    matches = matcher(request)
    objects = (shown(request.kind, obj) for obj in store.all(request.kind.storage, version))
    return [obj for obj in objects if matches(obj)]


def list_objects(store: Store, request: Request, lag: float) -> Object:
    """GET of a collection; `lag` is by how many seconds the cache is late, from which lists by version come."""
    version, start = _position(store, request, lag)
    everything = selected(store, request, version if version < store.version else None)
    left = [obj for obj in everything if _place(obj, request) >= start]
    limit = _limit(request)
    page = left[:limit] if limit else left
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if len(page) < len(left):
        metadata["continue"] = _token(version, _place(page[-1], request))
        if not (request.query.get("labelSelector") or request.query.get("fieldSelector")):
            metadata["remainingItemCount"] = len(left) - len(page)
    return _as_list(request, page, metadata)


def _limit(request: Request) -> int:
    """How many objects to show, 0 for all: with `resourceVersion=0` the limit has no effect (kube-apiserver 1.33)."""
    text = request.query.get("limit") or "0"
    try:
        limit = max(int(text), 0)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    return 0 if request.query.get("resourceVersion") == "0" and not request.query.get("continue") else limit


def as_list(request: Request, objects: list[Object], version: int) -> Object:
    """Put objects into a list."""
    return _as_list(request, objects, {"resourceVersion": str(version)})


def _as_list(request: Request, objects: list[Object], metadata: dict[str, Any]) -> Object:
    resource = request.kind.resource
    if wants_metadata(request):
        partials = [partial(obj) for obj in objects]
        kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return {**kind, "metadata": metadata, "items": partials}
    if request.kind.custom:
        metadata = {"continue": "", **metadata}
    else:
        objects = [{key: obj[key] for key in obj if key not in ("apiVersion", "kind")} for obj in objects]
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": objects,
    }


def _position(store: Store, request: Request, lag: float) -> tuple[int, str]:
    """Find the version to list and the key to start from."""
    token = request.query.get("continue")
    if token:
        if request.query.get("resourceVersion", "0") != "0":
            raise bad_request("specifying resource version is not allowed when using continue")
        version, start = _parse_token(token)
        if version < 0:
            return store.version, start
        if version < store.compacted:
            raise expired(_CONTINUE_EXPIRED, metadata={"continue": _token(-1, start.rstrip("\0"))})
        return version, start
    return _asked_version(store, request, lag), ""


def _asked_version(store: Store, request: Request, lag: float) -> int:
    text, match = request.query.get("resourceVersion"), request.query.get("resourceVersionMatch")
    if match and not text:
        raise _match_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match == "Exact" and text == "0":
        raise _match_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    asked = parse_version(text, 400)
    if asked > store.version:
        raise _too_large(asked, store.version)
    # A limit makes a version exact, unless it is said to be the oldest that will do (kube-apiserver 1.33).
    if not (asked and (match == "Exact" or (not match and _limit(request)))):
        return max(asked, store.version_before(lag)) if text else store.version
    if asked < store.compacted:
        raise expired(_EXACT_EXPIRED)
    return asked


def _match_forbidden(why: str) -> Failure:
    return options_invalid("ListOptions", FieldError("Forbidden", "resourceVersionMatch", f"Forbidden: {why}"))


def parse_version(text: str | None, code: int) -> int:
    """Parse a resourceVersion; an empty one is 0, and one that is no number is refused with `code`."""
    if not text:
        return 0
    if not text.isdigit():
        prefix = "" if code == 500 else "invalid resource version: "
        message = (
            f'{prefix}resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
        raise Failure(code, "" if code == 500 else "BadRequest", message)
    return int(text)


def _too_large(asked: int, current: int) -> Failure:
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return Failure(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def _place(obj: Object, request: Request) -> str:
    metadata = obj["metadata"]
    inside = request.target.namespace or not request.kind.resource.namespaced
    return metadata["name"] if inside else f"{metadata['namespace']}/{metadata['name']}"


def _token(version: int, last: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"{last}\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_token(token: str) -> tuple[int, str]:
    try:
        decoded = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        raise bad_request("invalid continue token: continue key is not valid: illegal base64 data") from None
    try:
        value = json.loads(decoded)
        return value["rv"], value["start"]
    except (ValueError, KeyError, TypeError):
        why = f"invalid character '\\u{decoded[0]:04x}' looking for beginning of value"
        raise bad_request(f"invalid continue token: continue key is not valid: {why}") from None
