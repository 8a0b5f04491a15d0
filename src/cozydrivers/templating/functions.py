"""The functions that templates have, and the values they work on."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_OUTPUT = 1 << 20
"""Characters that the templates of one rendering may write together, and each value on the way."""

_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""What Go's `strings.TrimSpace` takes; Python's own `strip` takes more."""


class RenderError(Exception):
    """Why a text does not render; the path of it is added where it is known."""


@dataclass
class Budget:
    """Characters that may still be written."""

    left: int = MAX_OUTPUT

    def spend(self, text: str) -> str:
        """Give the text back, or refuse it when it is too long."""
        self.left -= len(text)
        if self.left < 0:
            raise RenderError(f"more than {MAX_OUTPUT} characters")
        return text


class Function(NamedTuple):
    """What is applied, and to how many arguments."""

    apply: Callable[..., Any]
    least: int
    most: int


def kind_of(value: Any) -> str:
    """Name what a value is, for a message."""
    kinds = {str: "text", bool: "a boolean", int: "an integer", float: "a fraction", list: "a list"}
    return kinds.get(type(value), "an object")


def text_of(value: Any) -> str:
    """Write a value as Go does; raises RenderError for what Go would write in a way of its own."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    raise RenderError(f"{kind_of(value)} can't be written")


def join(pieces: Iterable[str], between: str = "") -> str:
    """Put texts together; raises RenderError when they become too long."""
    budget = Budget()
    return between.join(budget.spend(piece) for piece in pieces)


def _texts(*values: Any) -> None:
    for value in values:
        if not isinstance(value, str):
            raise RenderError(f"text is expected, not {kind_of(value)}")


def _equal(first: Any, *others: Any) -> bool:
    for other in others:
        if type(first) is not type(other) or not isinstance(first, str | int):
            raise RenderError(f"{kind_of(first)} can't be compared with {kind_of(other)}")
        if first == other:
            return True
    return False


def _required(message: Any, value: Any) -> Any:
    _texts(message)
    if value is None or value == "":
        raise RenderError(message)
    return value


def _replace(old: str, new: str, text: str) -> str:
    if len(text) + text.count(old) * (len(new) - len(old)) > MAX_OUTPUT:
        raise RenderError(f"more than {MAX_OUTPUT} characters")
    return text.replace(old, new)


def _cased(text: str, change: Callable[[str], str]) -> str:
    """Change the case as Go does: one character for one, whatever stands beside it."""
    return "".join(new if len(new := change(old)) == 1 else old for old in text)


_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def unescape(found: re.Match[str]) -> str:
    """Give the character that an escape in a quoted text stands for."""
    for character, escape in _ESCAPES.items():
        if escape == found[0]:
            return character
    raise RenderError(f"the escape {found[0]} is not supported")


def _quoted(value: Any) -> str:
    return '"' + "".join(map(_escaped, text_of(value))) + '"'


def _escaped(character: str) -> str:
    """Escape as Go's `strconv.Quote` does."""
    if character in _ESCAPES or character.isprintable():
        return _ESCAPES.get(character, character)
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _printf(pattern: Any, *values: Any) -> str:
    _texts(pattern)
    left = deque(values)
    pieces = re.split("(?s)(%.?)", pattern)
    text = join(_verb(piece, left) if piece.startswith("%") else piece for piece in pieces)
    if left:
        raise RenderError("printf has more values than verbs")
    return text


def _verb(verb: str, left: deque[Any]) -> str:
    if verb == "%%":
        return "%"
    if verb not in _VERBS:
        raise RenderError(f"printf does not know {verb}")
    if not left:
        raise RenderError("printf has more verbs than values")
    kinds, write = _VERBS[verb]
    if type(left[0]) not in kinds:
        raise RenderError(f"{verb} does not take {kind_of(left[0])}")
    return write(left.popleft())


_VERBS: dict[str, tuple[Sequence[type], Callable[[Any], str]]] = {
    "%s": ((str,), str),
    "%d": ((int,), str),
    "%v": ((str, int, bool), text_of),
    "%q": ((str,), _quoted),
}


_MANY = 100


def _of_text(apply: Callable[..., str], count: int) -> Function:
    """Make a function that takes nothing but text."""

    def checked(*values: Any) -> str:
        _texts(*values)
        return apply(*values)

    return Function(checked, count, count)


FUNCTIONS: Mapping[str, Function] = {
    "and": Function(lambda *values: next((value for value in values if not value), values[-1]), 1, _MANY),
    "default": Function(lambda other, value: value or other, 2, 2),
    "eq": Function(_equal, 2, _MANY),
    "lower": _of_text(lambda text: _cased(text, str.lower), 1),
    "ne": Function(lambda first, second: not _equal(first, second), 2, 2),
    "not": Function(lambda value: not value, 1, 1),
    "or": Function(lambda *values: next((value for value in values if value), values[-1]), 1, _MANY),
    "printf": Function(_printf, 1, _MANY),
    "quote": Function(lambda *values: join(map(_quoted, values), " "), 1, _MANY),
    "replace": _of_text(_replace, 3),
    "required": Function(_required, 2, 2),
    "squote": Function(lambda *values: join((f"'{text_of(value)}'" for value in values), " "), 1, _MANY),
    "toString": Function(text_of, 1, 1),
    "trim": _of_text(lambda text: text.strip(_SPACE), 1),
    "trimPrefix": _of_text(lambda prefix, text: text.removeprefix(prefix), 2),
    "trimSuffix": _of_text(lambda suffix, text: text.removesuffix(suffix), 2),
    "upper": _of_text(lambda text: _cased(text, str.upper), 1),
}
