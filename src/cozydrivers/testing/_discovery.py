"""What the server says about itself: version, health, and the resources of a group."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from cozydrivers.testing._groups import groups
from cozydrivers.testing._kinds import Kind
from cozydrivers.testing._request import Answer

_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)
_VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
_STATUS_VERBS = ["get", "patch", "update"]
_BUILT_IN: dict[str, dict[str, Any]] = {
    "configmaps": {"shortNames": ["cm"]},
    "events": {"shortNames": ["ev"]},
    "jobs": {"categories": ["all"]},
    "namespaces": {"shortNames": ["ns"], "verbs": [verb for verb in _VERBS if verb != "deletecollection"]},
    "pods": {"shortNames": ["po"], "categories": ["all"]},
}
_SUBRESOURCES = {"namespaces": ("finalize", "update"), "pods": ("log", "get")}
"""Of built-in kinds, besides their status: the name and what can be done with it."""

_VERSION = {
    "major": "1",
    "minor": "33",
    "emulationMajor": "1",
    "emulationMinor": "33",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "32",
    "gitVersion": "v1.33.4",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "gc",
    "platform": "linux/amd64",
}
_ADDRESS = {"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}
_CORE = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [_ADDRESS]}

PAGE_NOT_FOUND = Answer(404, b"404 page not found\n", _TEXT)
"""The answer for a path that nothing is served at."""


def describe(path: str, kinds: Iterable[Kind]) -> Answer | None:
    """Answer a path that is not about objects; None for any other."""
    if path in ("/readyz", "/livez", "/healthz"):
        return Answer(200, b"ok", _TEXT)
    if path == "/version":
        return Answer(200, json.dumps(_VERSION).encode())
    if path in ("/api", "/apis"):
        return Answer(200, json.dumps(_CORE if path == "/api" else groups(kinds)).encode())
    parts = path.strip("/").split("/")
    group_version = "/".join(parts[1:]) if parts[0] == "apis" else parts[-1]
    if parts[0] not in ("api", "apis") or len(parts) != (3 if parts[0] == "apis" else 2):
        return None
    found = [kind for kind in kinds if kind.resource.api_version == group_version]
    return Answer(200, json.dumps(_resources(group_version, found)).encode()) if found else None


def _resources(group_version: str, kinds: Iterable[Kind]) -> dict[str, Any]:
    ordered = sorted(kinds, key=lambda kind: kind.resource.plural)
    resources = [entry for kind in ordered for entry in _entries(kind)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _entries(kind: Kind) -> Iterator[dict[str, Any]]:
    resource, plural = kind.resource, kind.resource.plural
    common = {"namespaced": resource.namespaced, "kind": resource.kind}
    special = {} if kind.custom else _BUILT_IN.get(plural, {})
    hashed = hashlib.sha256(f"{resource.group}/{resource.version}/{resource.kind}".encode()).digest()[:8]
    storage = base64.b64encode(hashed).decode()
    name = {"name": plural, "singularName": resource.kind.lower()}
    yield {**name, **common, "verbs": _VERBS, **special, "storageVersionHash": storage}
    if resource.status:
        yield {"name": f"{plural}/status", "singularName": "", **common, "verbs": _STATUS_VERBS}
    if not kind.custom and plural in _SUBRESOURCES:
        subresource, verb = _SUBRESOURCES[plural]
        yield {"name": f"{plural}/{subresource}", "singularName": "", **common, "verbs": [verb]}
