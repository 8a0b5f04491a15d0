"""The groups that the server has, and which version of each it prefers."""

import re
from collections.abc import Iterable
from typing import Any

from cozydrivers.testing._kinds import Kind

_STABILITY = {"": 2, "beta": 1, "alpha": 0}


def groups(kinds: Iterable[Kind]) -> dict[str, Any]:
    """List the groups, but the core one, with their versions."""
    versions: dict[str, set[str]] = {}
    for kind in kinds:
        if kind.resource.group:
            versions.setdefault(kind.resource.group, set()).add(kind.resource.version)
    listed = [_group(name, sorted(found, key=_maturity, reverse=True)) for name, found in versions.items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def _group(name: str, versions: Iterable[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _maturity(version: str) -> tuple[int, int, int]:
    """Stable ones before beta before alpha, then the higher number; `apis` lists them so, the preferred one first."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    return (_STABILITY[found[2] or ""], int(found[1]), int(found[3] or 0)) if found else (-1, 0, 0)
