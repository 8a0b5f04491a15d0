"""Label and field selectors."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from cozydrivers.testing._kinds import Kind
from cozydrivers.testing._status import bad_request

Matcher = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r"\s*(!=|==|=|!|>|<|\(|\)|,|[A-Za-z0-9_./-]+)")


def label_matcher(selector: str) -> Matcher:
    """Parse a label selector, in all its forms.

    These are `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, `a>1` and `a<1`, joined by commas.
    """
    tokens = _tokens(selector)
    requirements = []
    while tokens:
        requirements.append(_requirement(tokens))
        if tokens and tokens[0] != ",":
            raise bad_request(f"found '{tokens[0]}', expected: ',' or 'end of string'")
        if tokens[:1] == [","] and not _is_identifier(tokens[1:2]):
            raise bad_request(f"found '{''.join(tokens[1:2])}', expected: identifier after ','")
        tokens = tokens[1:]
    return lambda obj: all(fulfilled(obj["metadata"].get("labels") or {}) for fulfilled in requirements)


def field_matcher(selector: str, kind: Kind) -> Matcher:
    """Parse a field selector: `a=b`, `a==b`, `a!=b`, joined by commas; an unsupported field is refused."""
    terms = [_field_term(term) for term in selector.split(",") if term]
    for field, _, _ in terms:
        if field not in kind.fields:
            raise bad_request(_unsupported(field, kind))
    return lambda obj: all((_text(value_at(obj, field)) == wanted) is equal for field, equal, wanted in terms)


def _unsupported(field: str, kind: Kind) -> str:
    if kind.custom or kind.selectable:
        return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def value_at(obj: Mapping[str, Any], field: str) -> Any:
    """Look up a dotted path; None where it ends early."""
    value: Any = obj
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _field_term(term: str) -> tuple[str, bool, str]:
    match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
    if match is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    return match[1], match[2] != "!=", match[3]


def _tokens(selector: str) -> list[str]:
    found, position = [], 0
    while position < len(selector.rstrip()):
        match = _TOKEN.match(selector, position)
        if match is None:
            raise bad_request(f"unable to parse requirement: {selector}")
        found.append(match[1])
        position = match.end()
    return found


def _requirement(tokens: list[str]) -> Callable[[Mapping[str, str]], bool]:
    if tokens[0] == "!":
        _, key = tokens.pop(0), tokens.pop(0)
        return lambda labels: key not in labels
    key = tokens.pop(0)
    operator = tokens[0] if tokens else ","
    if operator in ("=", "==", "!="):
        tokens.pop(0)
        value = tokens.pop(0) if tokens and tokens[0] != "," else ""
        return lambda labels: (labels.get(key) == value) is (operator != "!=")
    if operator in (">", "<"):
        del tokens[0]
        bound = tokens.pop(0)
        return lambda labels: _compare(labels.get(key, ""), operator, bound)
    if operator in ("in", "notin"):
        tokens.pop(0)
        values = _values(tokens)
        return lambda labels: (labels.get(key) in values) is (operator == "in")
    return lambda labels: key in labels


def _is_identifier(tokens: list[str]) -> bool:
    return bool(tokens) and (tokens[0] == "!" or tokens[0][0].isalnum())


def _compare(value: str, operator: str, bound: str) -> bool:
    if not (value.isdigit() and bound.isdigit()):
        return False
    return int(value) > int(bound) if operator == ">" else int(value) < int(bound)


def _values(tokens: list[str]) -> set[str]:
    opening = tokens.pop(0) if tokens else ""
    if opening != "(" or ")" not in tokens:
        raise bad_request(f"unable to parse requirement: found '{opening}' expected: '('")
    end = tokens.index(")")
    values = set(tokens[:end]) - {","}
    del tokens[: end + 1]
    return values
