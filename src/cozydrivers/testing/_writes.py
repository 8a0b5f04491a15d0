"""Create, replace, patch and apply."""

import json
import random
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cozydrivers.testing import _builtin, _events, _fields, _metadata, _schema
from cozydrivers.testing._body import Misfit, decode, fields_of, fit
from cozydrivers.testing._kinds import Kind
from cozydrivers.testing._patch import json_patch, merge_patch, strategic_merge_patch
from cozydrivers.testing._request import Request
from cozydrivers.testing._status import (
    Failure,
    FieldError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    modified,
    not_found,
    options_invalid,
    unsupported_media_type,
)
from cozydrivers.testing._store import Object, Store, with_metadata

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_PREFIX = 58
_RIVAL = "rival.example.com/changes"
_PATCHES = {
    "application/json-patch+json": json_patch,
    "application/merge-patch+json": merge_patch,
    "application/strategic-merge-patch+json": strategic_merge_patch,
}
_APPLY = "application/apply-patch+yaml"

Written = tuple[Object, list[str], int]
"""The object as answered, warnings, HTTP status."""


class Writes:
    """The writing half of a cluster; its UIDs and generated names are the same in every run."""

    def __init__(
        self,
        store: Store,
        admit: Callable[[Request], None],
        review: Callable[[Request, Object, Object | None], None] = lambda request, new, old: None,
    ) -> None:
        self._store = store
        self._admit = admit
        self._review = review
        self._random = random.Random(0)  # noqa: S311 - for names, not for secrets

    def create(self, request: Request) -> Written:
        """POST."""
        obj, warnings = decode(request)
        made = self._create(request, obj, None)
        return made, [*warnings, *_warnings(request, made, None)], 201

    def replace(self, request: Request) -> Written:
        """PUT."""
        obj, warnings = decode(request)
        _check_name(obj, request)
        old = self.load(request)
        if "resourceVersion" not in obj["metadata"] and not request.kind.unconditional:
            wrong = FieldError(
                "Invalid", "metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update"
            )
            raise invalid(request.kind.resource, request.target.name, [wrong], request.kind.resource.plural)
        new = self._replace(request, old, obj)
        return new, [*warnings, *_warnings(request, new, old)], 200

    def patch(self, request: Request) -> Written:
        """PATCH."""
        if request.media_type == _APPLY:
            return self._apply(request)
        accepted = [kind for kind in _PATCHES if not (request.kind.custom and "strategic" in kind)]
        if request.media_type not in accepted:
            raise unsupported_media_type([*accepted, _APPLY])
        change = _decode_patch(request)
        old = self.load(request)
        patched = _PATCHES[request.media_type](old, change)
        obj, warnings = _fit_patched(patched, request)
        _check_name(obj, request)
        _check_uid(request.kind, old, obj)
        new = self._replace(request, old, obj)
        return new, [*warnings, *_warnings(request, new, old)], 200

    def finalize(self, request: Request) -> Written:
        """PUT of a Namespace's subresource `finalize`, which lets it go."""
        obj, warnings = decode(request)
        old = self._store.get(request.kind.storage, "", request.target.name)
        if old is None:
            raise not_found(request.kind.resource, request.target.name)
        _check_preconditions(request.kind, old, obj)
        system = {key: old["metadata"].get(key) for key in (*_metadata.SYSTEM, "resourceVersion")}
        finalizers = obj.get("spec", {}).get("finalizers")
        spec = {"finalizers": finalizers} if finalizers else {}
        left = {**old, "metadata": _metadata.ordered({**obj["metadata"], **system}), "spec": spec}
        return self._save(request, left, old), warnings, 200

    def touch(self, request: Request) -> None:
        """Change an object as somebody else would, right before a write to it."""
        obj = self._store.get(request.kind.storage, request.target.namespace, request.target.name)
        if obj is not None:
            annotations = obj["metadata"].get("annotations", {})
            count = int(annotations.get(_RIVAL, "0")) + 1
            changed = with_metadata(obj, annotations={**annotations, _RIVAL: str(count)})
            self._store.put(request.kind.storage, changed)

    def load(self, request: Request) -> Object:
        """Read the object that a request names, in the form of the kind it asks for."""
        target = request.target
        obj = self._store.get(request.kind.storage, target.namespace, target.name)
        if obj is None or target.subresource not in ("", *("status",) * request.kind.resource.status):
            raise not_found(request.kind.resource, target.name)
        return shown(request.kind, obj)

    def _create(self, request: Request, obj: Object, managed: list[dict[str, Any]] | None) -> Object:
        kind, target = request.kind, request.target
        metadata = obj["metadata"]
        _check_same_namespace(obj, request)
        if "resourceVersion" in metadata and managed is None:
            raise Failure(500, "", "resourceVersion should not be set on objects to be created")
        name = metadata.get("name") or self._generated(metadata.get("generateName", ""))
        self._check_namespace(request)
        self._check_not_leaving(request, name)
        obj = self._new(request, obj, name)
        obj["metadata"]["managedFields"] = managed or _fields.after_update(None, obj, kind, request.writer)
        obj = {**obj, "metadata": _metadata.ordered(obj["metadata"])}
        _check(request, obj, None)
        self._admit(request)
        self._review(request, obj, None)
        existing = self._store.get(kind.storage, target.namespace, name)
        if existing is not None:
            raise already_exists(kind.resource, name, terminating="deletionTimestamp" in existing["metadata"])
        return self._save(request, obj if kind.custom else _builtin.admitted(obj))

    def _new(self, request: Request, obj: Object, name: str) -> Object:
        """Build a new object: what the client can't set is set, a status only where there is no subresource for it."""
        metadata = {key: value for key, value in obj["metadata"].items() if key not in _metadata.SYSTEM}
        metadata |= {"name": name, "namespace": request.target.namespace, "creationTimestamp": request.time}
        metadata |= {"uid": str(uuid.UUID(int=self._random.getrandbits(128), version=4))}
        # Kinds that don't count generations keep what the client sent (kube-apiserver 1.33).
        metadata |= {"generation": 1 if request.kind.generation else obj["metadata"].get("generation")}
        kept = {key: value for key, value in obj.items() if not (key == "status" and request.kind.resource.status)}
        return {**kept, "metadata": metadata}

    def _generated(self, prefix: str) -> str:
        if not prefix:
            return ""
        return prefix[:_LONGEST_PREFIX] + "".join(self._random.choices(_SUFFIX_LETTERS, k=5))

    def _check_namespace(self, request: Request) -> None:
        """Refuse writes into a namespace that is not there; what was left in one can be deleted and no more."""
        namespace = request.target.namespace
        if not request.kind.resource.namespaced:
            return
        if not namespace:
            raise bad_request("an empty namespace may not be set during creation")
        if self._store.get("namespaces", "", namespace) is None:
            message = f'namespaces "{namespace}" not found'
            raise Failure(404, "NotFound", message, {"name": namespace, "kind": "namespaces"})

    def _check_not_leaving(self, request: Request, name: str) -> None:
        namespace, resource = request.target.namespace, request.kind.resource
        found = self._store.get("namespaces", "", namespace) if resource.namespaced else None
        if found is not None and "deletionTimestamp" in found["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            message = f"namespace {namespace} is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}
            raise forbidden(resource, name, why, [cause])

    def _replace(
        self, request: Request, old: Object, new: Object, managed: list[dict[str, Any]] | None = None
    ) -> Object:
        kind = request.kind
        self._check_namespace(request)
        _check_preconditions(kind, old, new)
        system = {key: old["metadata"].get(key) for key in (*_metadata.SYSTEM, "resourceVersion", "namespace")}
        asked = with_metadata(new, **system)
        if kind.resource.status:
            asked = _with(asked, old, "spec" if request.target.subresource else "status")
        if kind.resource.kind == "Namespace":
            asked = _with(asked, old, "spec")
        result = _with(old, asked, "status") if request.target.subresource else asked
        if kind.generation and not request.target.subresource and _spec_of(result, kind) != _spec_of(old, kind):
            result = with_metadata(result, generation=old["metadata"]["generation"] + 1)
        _check(request, result, old)
        self._admit(request)
        self._review(request, result, old)
        entries = managed or _fields.after_update(old, asked, kind, request.writer)
        metadata = _metadata.ordered({**result["metadata"], "managedFields": entries})
        return self._save(request, {**result, "metadata": metadata}, old)

    def _save(self, request: Request, obj: Object, old: Object | None = None) -> Object:
        kind, metadata = request.kind, obj["metadata"]
        if obj == old:
            return obj
        if request.dry_run:
            return obj if old else with_metadata(obj, resourceVersion=None)
        stored = _events.stored(obj) if kind.stored_as else obj
        held = metadata.get("finalizers") or (kind.resource.kind == "Namespace" and obj["spec"].get("finalizers"))
        if "deletionTimestamp" in metadata and not held:
            self._store.remove(kind.storage, stored)
            return obj
        return shown(kind, self._store.put(kind.storage, stored))

    def _apply(self, request: Request) -> Written:
        body = _decode_applied(request)
        kind, target, sent = request.kind, request.target, _sent(request, body)
        force = request.query.get("force") == "true"
        if self._store.get(kind.storage, target.namespace, target.name) is None and not target.subresource:
            if "name" not in body["metadata"]:
                why = "was undeterminable: name must be provided"
                raise bad_request(f"the name of the object ({target.name} based on URL) {why}")
            _check_uid(kind, {"metadata": {"name": target.name}}, body)
            merged = _fields.apply({"metadata": {}}, sent, kind, request.writer, force=force)
            return self._create(request, body, merged["metadata"]["managedFields"]), [], 201
        old = self.load(request)
        _check_uid(kind, old, {"metadata": {"uid": old["metadata"]["uid"], **body["metadata"]}})
        _check_preconditions(kind, old, body)
        merged = _fields.apply(old, sent, kind, request.writer, force=force)
        obj, _ = fit(merged, request)
        return self._replace(request, old, obj, merged["metadata"]["managedFields"]), [], 200


def shown(kind: Kind, obj: Object) -> Object:
    """Convert a stored object to the form of the kind that was asked for."""
    return _events.shown(obj) if kind.stored_as else obj


def _with(obj: Object, source: Object, field: str) -> Object:
    """Copy an object with one field taken from another."""
    kept = {key: value for key, value in obj.items() if key != field}
    return {**kept, field: source[field]} if field in source else kept


def _spec_of(obj: Object, kind: Kind) -> Object:
    left_out = {"metadata", "status"} if kind.resource.status else {"metadata"}
    return {key: value for key, value in obj.items() if key not in left_out}


def _warnings(request: Request, new: Object, old: Object | None) -> list[str]:
    if not request.kind.custom:
        return []
    return _metadata.finalizer_warnings(new["metadata"], old["metadata"] if old else {})


def _check_name(obj: Object, request: Request) -> None:
    name, wanted = obj["metadata"].get("name", request.target.name), request.target.name
    if name != wanted:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({wanted})")
    _check_same_namespace(obj, request)


def _check_same_namespace(obj: Object, request: Request) -> None:
    if obj["metadata"].get("namespace", request.target.namespace) != request.target.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def _check_preconditions(kind: Kind, old: Object, new: Object) -> None:
    name, namespace = old["metadata"]["name"], old["metadata"].get("namespace", "")
    uid, known = new["metadata"].get("uid"), old["metadata"]["uid"]
    if uid and uid != known:
        key = "/".join(
            part for part in ("/registry", kind.resource.group, kind.resource.plural, namespace, name) if part
        )
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {known}"
        error = f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {why}"
        raise conflict(kind.resource, name, error)
    version = new["metadata"].get("resourceVersion")
    if version and version != old["metadata"]["resourceVersion"]:
        raise modified(kind.resource, name)


def _check(request: Request, obj: Object, old: Object | None) -> None:
    kind = request.kind
    errors = _metadata.violations(obj["metadata"], kind, update=old is not None)
    if old is not None:
        # A custom resource's metadata is checked twice, so the cause comes twice (kube-apiserver 1.33).
        errors += _metadata.added_finalizers(obj["metadata"], old["metadata"]) * (2 if kind.custom else 1)
    if not kind.custom:
        errors += _builtin.violations(obj, old)
    elif request.target.subresource:
        errors = _schema.with_unchecked(_schema.status_violations(obj.get("status"), kind.schema), kind.schema)
    else:
        errors = _schema.with_unchecked(errors + _schema.violations(fields_of(obj), kind.schema), kind.schema)
        errors += _schema.changed_immutables(obj, old, kind.schema) if old else []
    if errors:
        # Events of both groups are one kind to the server, of the core group.
        resource = replace(kind.resource, group="") if kind.stored_as else kind.resource
        raise invalid(resource, obj["metadata"].get("name", ""), errors)


def _fit_patched(obj: Object, request: Request) -> tuple[Object, list[str]]:
    """Fit what a patch made; the server refuses what can't be decoded with the whole object in its message."""
    try:
        return fit(obj, request)
    except Misfit as error:
        ordered = {key: dict(sorted(value.items())) if key == "spec" else value for key, value in sorted(obj.items())}
        text = json.dumps(json.dumps(ordered, separators=(",", ":")))
        wrong = FieldError("Invalid", "patch", f"Invalid value: {text}: {error}")
        raise Failure(422, "Invalid", f' "" is invalid: patch: {wrong.message}', {"causes": [wrong.cause]}) from None


def _check_uid(kind: Kind, old: Object, new: Object) -> None:
    """Refuse another UID in a patch, where it is a field that can't change; in a PUT it is a precondition."""
    uid = new["metadata"].get("uid", "")
    if uid != old["metadata"].get("uid", ""):
        wrong = invalid_value("metadata.uid", json.dumps(uid), "field is immutable")
        raise invalid(kind.resource, old["metadata"]["name"], [wrong] * (2 if kind.custom else 1))


def _decode_patch(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except ValueError:
        text = request.body.decode()
        why = "unexpected end of JSON input"
        if text.startswith("{") and not text[1:].lstrip().startswith('"'):
            why = f"invalid character '{text[1:].lstrip()[:1]}' looking for beginning of object key string"
        raise bad_request(f"error decoding patch: {why}") from None


def _decode_applied(request: Request) -> Object:
    if "fieldManager" not in request.query:
        wrong = FieldError("Required", "fieldManager", "Required value: is required for apply patch")
        raise options_invalid("PatchOptions", wrong)
    headers = {**request.headers, "content-type": "application/yaml"}
    body, complaints = decode(replace(request, headers=headers, query={}))
    if complaints:
        resource, path = request.kind.resource, complaints[0].split('"')[1]
        where = f"(/{request.target.name}; {resource.api_version}, Kind={resource.kind}): .{path}"
        message = f"failed to create typed patch object {where}: field not declared in schema"
        raise Failure(500, "", message)
    if "managedFields" in body["metadata"]:
        raise bad_request("metadata.managedFields must be nil")
    _check_name(body, request)
    return body


def _sent(request: Request, body: Object) -> Object:
    """Keep of an applied object what the subresource takes."""
    if request.target.subresource:
        return {key: value for key, value in body.items() if key != "spec"}
    left_out = "status" if request.kind.resource.status else ""
    return {key: value for key, value in body.items() if key != left_out}
