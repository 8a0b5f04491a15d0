"""JSON merge patch (RFC 7396), JSON patch (RFC 6902) and as much of strategic merge patch as is used."""

from typing import Any

from cozydrivers.testing._status import Failure

_MERGE_KEYS = {"conditions": "type", "containers": "name", "env": "name", "volumes": "name"}


def merge_patch(target: Any, patch: Any) -> Any:
    """Merge: null deletes, lists are replaced."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_merge_patch(target: Any, patch: Any, name: str = "") -> Any:
    """Merge as merge_patch does, but lists such as conditions by their key."""
    if isinstance(patch, list) and isinstance(target, list) and name in _MERGE_KEYS:
        return _merge_list(target, patch, _MERGE_KEYS[name])
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = strategic_merge_patch(merged.get(key), value, key)
    return merged


def _merge_list(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    merged = {item[key]: item for item in target}
    for item in patch:
        merged[item[key]] = strategic_merge_patch(merged.get(item[key]), item)
    return list(merged.values())


def json_patch(target: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply the operations in their order; one that can't be applied refuses all."""
    for operation in operations:
        try:
            target = _apply(target, operation)
        except (KeyError, IndexError, ValueError, TypeError):
            message = "the server rejected our request due to an error in our request"
            raise Failure(422, "Invalid", message, {}) from None
    return target


def _apply(target: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation["path"])
    match operation["op"]:
        case "test":
            if _at(target, path) != operation["value"]:
                raise ValueError("test failed")
            return target
        case "add":
            return _edited(target, path, operation["value"], insert=True)
        case "replace":
            _at(target, path)
            return _edited(target, path, operation["value"], insert=False)
        case "remove":
            return _without(target, path)
        case "copy":
            return _edited(target, path, _at(target, _pointer(operation["from"])), insert=True)
        case "move":
            source = _pointer(operation["from"])
            return _edited(_without(target, source), path, _at(target, source), insert=True)
    raise ValueError("unknown operation")


def _pointer(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _at(target: Any, path: list[str]) -> Any:
    for part in path:
        target = target[int(part)] if isinstance(target, list) else target[part]
    return target


def _edited(target: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(target, list):
        index = len(target) if first == "-" else int(first)
        if not rest and insert:
            return [*target[:index], value, *target[index:]]
        return [*target[:index], _edited(target[index], rest, value, insert=insert), *target[index + 1 :]]
    return {**target, first: _edited(target[first] if rest else None, rest, value, insert=insert)}


def _without(target: Any, path: list[str]) -> Any:
    first, rest = path[0], path[1:]
    if isinstance(target, list):
        index = int(first)
        kept = [_without(target[index], rest)] if rest else []
        return [*target[:index], *kept, *target[index + 1 :]]
    if rest:
        return {**target, first: _without(target[first], rest)}
    gone = target[first]
    return {key: value for key, value in target.items() if value is not gone or key != first}
