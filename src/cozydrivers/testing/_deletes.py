"""Deletion: preconditions, finalizers, propagation and grace."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from cozydrivers.testing._jobs import ORPHANING
from cozydrivers.testing._kinds import Kind
from cozydrivers.testing._request import Request
from cozydrivers.testing._status import (
    FieldError,
    bad_request,
    conflict,
    forbidden,
    identity,
    not_found,
    options_invalid,
)
from cozydrivers.testing._store import Object, Store, with_metadata
from cozydrivers.testing._writes import shown

_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
_GRACE = 30
_LASTING = ("default", "kube-system", "kube-public")


Admit = Callable[[Request], None]
"""Refuses what a webhook would have to admit."""


def delete(store: Store, request: Request, admit: Admit) -> Object:
    """DELETE of one object: answers a Status when it is gone, else the object that is being deleted."""
    options = _options(request)
    target = request.target
    if request.kind.resource.kind == "Namespace" and target.name in _LASTING:
        raise forbidden(request.kind.resource, target.name, "this namespace may not be deleted")
    obj = store.get(request.kind.storage, target.namespace, target.name)
    if obj is None or target.subresource:
        raise not_found(request.kind.resource, target.name)
    _check_preconditions(request.kind, obj, options.get("preconditions") or {})
    admit(request)
    remaining = _marked(obj, request, options)
    if remaining == obj:
        return shown(request.kind, obj)
    if request.dry_run:
        return _success(request.kind, obj)
    if remaining is not None:
        return shown(request.kind, store.put(request.kind.storage, remaining))
    if request.kind.resource.kind == "Pod":
        # A Pod is marked before it goes, even where nothing holds it (kube-apiserver 1.33).
        obj = store.put(request.kind.storage, _with_deletion(obj, request, 0, obj["metadata"].get("finalizers")))
        return with_metadata(obj, resourceVersion=str(store.remove(request.kind.storage, obj)))
    store.remove(request.kind.storage, obj)
    return _success(request.kind, obj)


def delete_all(store: Store, request: Request, admit: Admit, objects: list[Object]) -> None:
    """DELETE of a collection."""
    for obj in objects:
        metadata = obj["metadata"]
        target = replace(request.target, namespace=metadata.get("namespace", ""), name=metadata["name"])
        delete(store, replace(request, target=target), admit)


def warnings(request: Request) -> list[str]:
    """Warn of what a deletion leaves behind."""
    silent = request.kind.resource.kind != "Job" or _options(request).get("propagationPolicy")
    return [] if silent else [ORPHANING]


def _options(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.body or b"{}")
    except ValueError:
        raise bad_request("the DeleteOptions can't be decoded") from None
    names = ("propagationPolicy", "gracePeriodSeconds")
    options = {**body, **{key: request.query[key] for key in names if key in request.query}}
    policy = options.get("propagationPolicy")
    if policy not in (None, "Background", *_FINALIZERS):
        supported = '"Foreground", "Background", "Orphan", "nil"'
        message = f"Unsupported value: {json.dumps(policy)}: supported values: {supported}"
        raise options_invalid("DeleteOptions", FieldError("NotSupported", "propagationPolicy", message))
    return options


def _check_preconditions(kind: Kind, obj: Object, wanted: dict[str, str]) -> None:
    metadata, resource = obj["metadata"], kind.resource
    if wanted.get("uid", metadata["uid"]) != metadata["uid"]:
        why = (
            f"the UID in the precondition ({wanted['uid']}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(resource, metadata["name"], why, resource.kind)
    version = metadata["resourceVersion"]
    if wanted.get("resourceVersion", version) != version:
        why = (
            f"the ResourceVersion in the precondition ({wanted['resourceVersion']}) does not match the "
            f"ResourceVersion in record ({version}). The object might have been modified"
        )
        raise conflict(resource, metadata["name"], why, resource.kind)


def _marked(obj: Object, request: Request, options: dict[str, Any]) -> Object | None:
    """Compute what a deletion leaves: the object marked, or None when nothing holds it."""
    metadata, kind = obj["metadata"], request.kind.resource.kind
    default = "Orphan" if kind == "Job" else ""
    added = _FINALIZERS.get(options.get("propagationPolicy") or default, "")
    finalizers = [name for name in metadata.get("finalizers") or () if name not in _FINALIZERS.values()]
    finalizers += [added] if added else []
    if kind == "Namespace":
        return _leaving(obj, request.time)
    grace = _grace(obj, options)
    if not finalizers and not grace:
        return None
    if "deletionTimestamp" in metadata and finalizers == metadata.get("finalizers", []):
        return obj
    return _with_deletion(obj, request, grace, finalizers or None)


def _with_deletion(obj: Object, request: Request, grace: int, finalizers: list[str] | None) -> Object:
    metadata = obj["metadata"]
    gone_at = datetime.fromisoformat(request.time) + timedelta(seconds=grace)
    sooner = grace < metadata.get("deletionGracePeriodSeconds", grace + 1)
    time = f"{gone_at:%Y-%m-%dT%H:%M:%SZ}" if sooner else metadata["deletionTimestamp"]
    marked = with_metadata(obj, finalizers=finalizers, deletionTimestamp=time, deletionGracePeriodSeconds=grace)
    first = "deletionTimestamp" not in metadata and request.kind.generation
    return with_metadata(marked, generation=metadata["generation"] + 1) if first else marked


def _grace(obj: Object, options: dict[str, Any]) -> int:
    """Seconds that a Pod on a node is given; nothing else has grace."""
    if obj["kind"] != "Pod" or not obj["spec"].get("nodeName"):
        return 0
    return int(options.get("gracePeriodSeconds", obj["spec"].get("terminationGracePeriodSeconds", _GRACE)))


def _leaving(obj: Object, time: str) -> Object | None:
    if "deletionTimestamp" in obj["metadata"]:
        held = obj["metadata"].get("finalizers") or obj["spec"].get("finalizers")
        return obj if held else None
    return {**with_metadata(obj, deletionTimestamp=time), "status": {**obj.get("status", {}), "phase": "Terminating"}}


def _success(kind: Kind, obj: Object) -> Object:
    details = {**identity(kind.resource, obj["metadata"]["name"]), "uid": obj["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
