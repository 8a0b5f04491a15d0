"""Who owns which field: `metadata.managedFields`, and server-side apply on top of it.

A field is a path of segments as `fieldsV1` writes them: `f:name`, `k:{"type":"Ready"}` for an item of a keyed list,
`v:"x"` for a member of a set. A manager owns a set of such paths.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cozydrivers.testing._kinds import ALWAYS_THERE, Kind
from cozydrivers.testing._schema import Schema, child
from cozydrivers.testing._status import Failure

Path = tuple[str, ...]
Owner = tuple[str, str, str, str]
"""Manager, operation (Apply or Update), apiVersion and subresource."""

_CONTAINER = object()
_TEXTS = {"type": "object", "additionalProperties": {}}
_METADATA = {
    "properties": {
        "generateName": {},
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "finalizers": {"x-kubernetes-list-type": "set"},
        "ownerReferences": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"], "items": {}},
    }
}


@dataclass(frozen=True)
class Writer:
    """Who writes, through which subresource, and when."""

    manager: str
    subresource: str
    time: str

    def owner(self, operation: str, kind: Kind) -> Owner:
        """Build the key of this writer's entry."""
        return self.manager, operation, kind.resource.api_version, self.subresource


def flatten(obj: Mapping[str, Any], kind: Kind, *, applied: bool = False) -> dict[Path, Any]:
    """List the fields of an object with their values.

    The maps themselves are listed too, except in what was applied, where only the items of keyed lists are.
    """
    shown = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    known = set(_METADATA["properties"])
    shown["metadata"] = {key: value for key, value in obj.get("metadata", {}).items() if key in known and value}
    fields = _walk(shown, _with_metadata(kind.schema), (), kind.custom, applied)
    return {path: value for path, value in fields if path}


def _with_metadata(schema: Schema) -> Schema:
    return {**schema, "properties": {**schema.get("properties", {}), "metadata": _METADATA}}


def _walk(value: Any, schema: Schema, path: Path, custom: bool, applied: bool) -> Iterator[tuple[Path, Any]]:
    items = _items(value, schema)
    if not items:
        if path != ("f:metadata",) and (not isinstance(value, dict) or None not in value.values()):
            yield path, value
        return
    if _is_listed(schema, path, custom, applied):
        yield path, _CONTAINER
    for segment, item, below in items:
        yield from _walk(item, below, (*path, segment), custom, applied)


def _is_listed(schema: Schema, path: Path, custom: bool, applied: bool) -> bool:
    if path and path[-1].startswith("k:"):
        return True
    if applied or path == ("f:metadata",) or schema.get(ALWAYS_THERE):
        return False
    return custom or "additionalProperties" in schema or "x-kubernetes-list-type" in schema


def _items(value: Any, schema: Schema) -> list[tuple[str, Any, Schema]]:
    """Split a value into the parts that have owners of their own; none for what is owned as a whole."""
    if isinstance(value, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        return [(f"f:{key}", item, child(schema, key) or {}) for key, item in value.items() if item is not None]
    kind = schema.get("x-kubernetes-list-type")
    if isinstance(value, list) and kind == "set":
        return [(f"v:{json.dumps(item)}", item, {}) for item in value]
    if isinstance(value, list) and kind == "map":
        return [(_item_segment(item, schema), item, schema["items"]) for item in value]
    return []


def _item_segment(item: Mapping[str, Any], schema: Schema) -> str:
    keys = {key: item.get(key) for key in sorted(schema["x-kubernetes-list-map-keys"])}
    return f"k:{json.dumps(keys, separators=(',', ':'))}"


def owners_of(obj: Mapping[str, Any]) -> dict[Owner, dict[str, Any]]:
    """Read the entries of `managedFields`."""
    return {
        (entry["manager"], entry["operation"], entry["apiVersion"], entry.get("subresource", "")): entry
        for entry in obj.get("metadata", {}).get("managedFields") or ()
    }


def _paths(entry: Mapping[str, Any] | None) -> set[Path]:
    return set(_parse(entry["fieldsV1"], ())) if entry else set()


def _parse(tree: Mapping[str, Any], path: Path) -> Iterator[Path]:
    for segment, below in tree.items():
        if segment == ".":
            yield path
        elif not below:
            yield (*path, segment)
        else:
            yield from _parse(below, (*path, segment))


def _tree(paths: set[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for segment in path:
            node = node.setdefault(segment, {})
    for path in paths:
        node = tree
        for segment in path:
            node = node[segment]
        if node:
            node["."] = {}
    return tree


def _entries(sets: dict[Owner, set[Path]], before: dict[Owner, dict[str, Any]], time: str) -> list[dict[str, Any]]:
    entries = []
    for owner, paths in sets.items():
        if not paths:
            continue
        old = before.get(owner)
        kept = old["time"] if old and _paths(old) == paths else time
        manager, operation, version, subresource = owner
        entry = {"manager": manager, "operation": operation, "apiVersion": version, "time": kept}
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": _tree(paths)}
        entries.append(entry | ({"subresource": subresource} if subresource else {}))
    return sorted(entries, key=lambda entry: (entry["operation"], entry["time"], entry["manager"]))


def after_update(
    old: Mapping[str, Any] | None, new: Mapping[str, Any], kind: Kind, who: Writer
) -> list[dict[str, Any]]:
    """Compute `managedFields` after a create, PUT or patch: what it changed is the writer's.

    Only the parts of the object that differ are looked at, since nobody's fields in the others change.
    """
    before, held = owners_of(old or {}), old or {}
    parts = {part for part in {*held, *new} if held.get(part) != new.get(part)}
    was, now = flatten(_only(held, parts), kind), flatten(_only(new, parts), kind)
    changed = {path for path, value in now.items() if path not in was or was[path] != value}
    differing, there = {f"f:{part}" for part in parts}, _there(now)
    sets = {
        owner: {path for path in _paths(entry) if path[0] not in differing or (path in there and path not in changed)}
        for owner, entry in before.items()
    }
    mine = who.owner("Update", kind)
    sets[mine] = sets.get(mine, set()) | changed
    return _entries(sets, before, who.time)


def _only(obj: Mapping[str, Any], parts: set[str]) -> Mapping[str, Any]:
    return {part: value for part, value in obj.items() if part in parts}


def _there(now: Mapping[Path, Any]) -> set[Path]:
    """The fields with all that is above them: a whole map is a field as long as there is anything below it."""
    return {path[:length] for path in now for length in range(1, len(path) + 1)}


def apply(live: Mapping[str, Any], body: Mapping[str, Any], kind: Kind, who: Writer, *, force: bool) -> dict[str, Any]:
    """Merge what is applied into the live object, with `managedFields`; refused where others own other values."""
    before = owners_of(live)
    mine = who.owner("Apply", kind)
    wanted = flatten(body, kind, applied=True)
    sets = {owner: _paths(entry) for owner, entry in before.items()}
    dropped = sets.get(mine, set()) - set(wanted)
    contested = _contested(flatten(live, kind), wanted, {o: paths for o, paths in sets.items() if o != mine})
    if contested and not force:
        raise _conflict(contested)
    for owner, paths in contested.items():
        sets[owner] -= paths
    sets[mine] = set(wanted)
    schema = _with_metadata(kind.schema)
    merged = _merge(live, {**body, "metadata": _applied_metadata(body)}, schema)
    owned = set().union(*sets.values())
    gone = {path for path in dropped if not any(other[: len(path)] == path for other in owned)}
    merged = _remove(merged, schema, gone)
    metadata = {**merged["metadata"], "managedFields": _entries(sets, before, who.time)}
    return {**merged, "metadata": metadata}


def _applied_metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.get("metadata", {}).items() if key in _METADATA["properties"]}


def _contested(
    live: Mapping[Path, Any], wanted: Mapping[Path, Any], others: Mapping[Owner, set[Path]]
) -> dict[Owner, set[Path]]:
    differing = {
        path
        for path, value in wanted.items()
        if value is not _CONTAINER and value != {} and path in live and live[path] != value
    }
    found = {owner: paths & differing for owner, paths in others.items()}
    return {owner: paths for owner, paths in found.items() if paths}


def _conflict(contested: Mapping[Owner, set[Path]]) -> Failure:
    found = [(_describe(owner), _dotted(path)) for owner, paths in sorted(contested.items()) for path in sorted(paths)]
    if len(found) == 1:
        text = f"conflict with {found[0][0]}: {found[0][1]}"
    else:
        by_owner: dict[str, list[str]] = {}
        for owner, path in found:
            by_owner.setdefault(owner, []).append(f"- {path}")
        text = "\n".join(f"conflicts with {owner}:\n" + "\n".join(paths) for owner, paths in by_owner.items())
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": path} for owner, path in found
    ]
    count = f"{len(found)} conflict{'s' * (len(found) > 1)}"
    return Failure(409, "Conflict", f"Apply failed with {count}: {text}", {"causes": causes})


def _describe(owner: Owner) -> str:
    manager, operation, version, subresource = owner
    name = json.dumps(manager) + (f" with subresource {json.dumps(subresource)}" if subresource else "")
    return name if operation == "Apply" else f"{name} using {version}"


def _dotted(path: Path) -> str:
    return "".join(f".{part[2:]}" if part.startswith("f:") else f"[{part[2:]}]" for part in path)


def _merge(live: Any, body: Any, schema: Schema) -> Any:
    if isinstance(body, dict) and isinstance(live, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        return {**live, **{key: _merge(live.get(key), value, child(schema, key) or {}) for key, value in body.items()}}
    if isinstance(body, list) and isinstance(live, list) and schema.get("x-kubernetes-list-type") in ("map", "set"):
        items = {segment: item for segment, item, _ in _items(live, schema)}
        for segment, item, below_item in _items(body, schema):
            items[segment] = _merge(items.get(segment), item, below_item)
        return list(items.values())
    return body


def _remove(value: Any, schema: Schema, gone: set[Path]) -> Any:
    """Take fields out of a value, by paths relative to it."""
    if not gone:
        return value
    kept = []
    for segment, item, below in _items(value, schema):
        if (segment,) not in gone:
            deeper = {path[1:] for path in gone if path[0] == segment}
            kept.append((segment, _remove(item, below, deeper)))
    if isinstance(value, dict):
        return {segment[2:]: item for segment, item in kept}
    return [item for _, item in kept] if isinstance(value, list) else value
