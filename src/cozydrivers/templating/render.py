"""From a tree to text."""

import re
from collections.abc import Mapping
from typing import Any

from cozydrivers.errors import TemplateError
from cozydrivers.templating.functions import FUNCTIONS, Budget, RenderError, join, kind_of, text_of
from cozydrivers.templating.parse import Block, Call, If, Literal, Node, Path, parse

MAX_DEPTH = 32
"""Levels of the JSON around the texts."""


def render(value: Any, context: Mapping[str, Any], *, field: str = "spec.template") -> Any:
    """Render every text in a JSON value, and nothing else; what a template yields stays text.

    Raises TemplateError at the first text that does not render, with the path of it, which begins with `field`.
    """
    return _render(value, context, field, Budget(), 0)


def _render(value: Any, context: Mapping[str, Any], path: str, budget: Budget, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise TemplateError(path, f"deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {key: _render(item, context, _below(path, key), budget, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_render(item, context, f"{path}[{at}]", budget, depth + 1) for at, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return budget.spend(_write(parse(value), context)) if "{{" in value else value
    except RenderError as refusal:
        raise TemplateError(path, str(refusal)) from None


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if re.fullmatch(r"[\w-]+", key) else f"{path}[{key}]"


def _write(block: Block, root: Any) -> str:
    return join(_written(node, root) for node in block)


def _written(node: Node | If, root: Any) -> str:
    if not isinstance(node, If):
        return text_of(_value(node, root))
    return _write(node.then if _value(node.condition, root, may_miss=True) else node.otherwise, root)


def _value(node: Node, root: Any, *, may_miss: bool = False) -> Any:
    """Evaluate; a field that is not there is None with `may_miss`, else refused."""
    match node:
        case Literal(value):
            return value
        case Path(base, keys):
            value = root if base is None else _value(base, root)
            for key in [_value(key, root) for key in keys]:
                value = None if value is None else _item(value, key, node)
            if value is None and not may_miss:
                raise RenderError(f"{_told(node)} is missing")
            return value
        case Call(name, (*arguments, last)):
            values = [_value(argument, root) for argument in arguments]
            return FUNCTIONS[name].apply(*values, _value(last, root, may_miss=name in ("default", "required")))
    raise AssertionError(node)


def _item(value: Any, key: Any, path: Path) -> Any:
    if isinstance(value, Mapping) and isinstance(key, str):
        return value.get(key)
    if isinstance(value, list) and type(key) is int:
        return value[key] if 0 <= key < len(value) else None
    raise RenderError(f"{_told(path)}: {kind_of(value)} has no {key!r}")


def _told(node: Node | None) -> str:
    """Write a path for a message."""
    match node:
        case None:
            return ""
        case Path(base, keys):
            return _told(base) + "".join(f".{key.value}" if isinstance(key, Literal) else ".( … )" for key in keys)
        case _:
            return "( … )"
