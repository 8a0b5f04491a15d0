"""From a template to a tree."""

import functools
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from cozydrivers.templating.functions import FUNCTIONS, RenderError, unescape

MAX_DEPTH = 32
"""Levels of conditions."""

MAX_WORDS = 100
"""Values, functions and signs in one pair of braces."""

_LONGEST_INTEGER = 18


class Literal(NamedTuple):
    """A value, or the text between two actions."""

    value: Any


class Path(NamedTuple):
    """A field, or a field of a field and so on, of a value; of the context where `base` is None."""

    base: "Node | None"
    keys: "Sequence[Node]"


class Call(NamedTuple):
    """A function and its arguments; what is piped into it is the last one."""

    name: str
    arguments: "Sequence[Node]"


class If(NamedTuple):
    """A condition with its two blocks."""

    condition: "Node"
    then: "Block"
    otherwise: "Block"


Node = Literal | Path | Call
Block = Sequence[Node | If]


@lru_cache(maxsize=1024)
def parse(text: str) -> Block:
    """Read a template; raises RenderError."""
    tokens = deque(_tokens(text))
    block = _parse_block(tokens, 0)
    if tokens:
        raise RenderError(f"{tokens[1].text} without an if")
    return block


# From characters to tokens. A closing brace that trims takes the white space behind it along.


class _Token(NamedTuple):
    """A piece of a template; `kind` is text, open, close, or the name of a group of _TOKEN."""

    kind: str
    text: str


_OPEN = re.compile(r"\{\{(?P<trim>-(?=[ \t\r\n]))?")
_CLOSE = re.compile(r"[ \t\r\n]+-\}\}[ \t\r\n]*|[ \t\r\n]*\}\}")
_COMMENT = re.compile(
    r"\{\{(?P<trim>-[ \t\r\n])?/\*(?:(?!\*/).)*+\*/(?:[ \t\r\n]-\}\}[ \t\r\n]*|\}\})",
    re.DOTALL,
)
_TOKEN = re.compile(
    r"""
    [ \t\r\n]*+ (?:
        (?P<pipe> \| ) | (?P<begin> \( ) | (?P<variable> \$\w++ )
        | (?: (?P<end> \) (?:\.[^\W\d]\w*+)*+ )
            | (?P<path> \$? (?:\.[^\W\d]\w*+)++ | \$ | \. )
            | (?P<quoted> "(?:[^"\\\n]|\\.)*+" )
            | (?P<raw> `[^`]*+` )
            | (?P<integer> [+-]?[0-9]++ )
            | (?P<boolean> true | false )
            | (?P<keyword> if | else | end )
            | (?P<word> [^\W\d]\w*+ )
          ) (?= [ \t\r\n|)] | \}\} )
    )
    """,
    re.VERBOSE,
)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while (start := text.find("{{", at)) >= 0:
        comment = _COMMENT.match(text, start)
        opening = comment or _match(_OPEN, text, start)
        yield _Token("text", text[at:start].rstrip(" \t\r\n") if opening["trim"] else text[at:start])
        at = opening.end()
        if not comment:
            yield _Token("open", "{{")
            at = yield from _action_tokens(text, at)
    yield _Token("text", text[at:])


def _action_tokens(text: str, at: int) -> Generator[_Token, None, int]:
    for _ in range(MAX_WORDS):
        if closing := _CLOSE.match(text, at):
            yield _Token("close", "}}")
            return closing.end()
        found = _match(_TOKEN, text, at)
        if found["variable"]:
            raise RenderError(f"variables such as {found['variable']} are not supported")
        assert found.lastgroup
        yield _Token(found.lastgroup, found[found.lastgroup])
        at = found.end()
    raise RenderError(f"more than {MAX_WORDS} words in one action")


def _match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    found = pattern.match(text, at)
    if found is None:
        raise RenderError(f"can't read {text[at : at + 30].strip()!r}")
    return found


_Tokens = deque[_Token]
_IF = _Token("keyword", "if")


# From tokens to a tree.


def _parse_block(tokens: _Tokens, depth: int) -> Block:
    """Parse up to the end of the text, or to an else or end, which stays."""
    if depth > MAX_DEPTH:
        raise RenderError(f"conditions deeper than {MAX_DEPTH} levels")
    block: list[Node | If] = []
    while tokens and not (tokens[0].kind == "open" and tokens[1].text in ("else", "end")):
        token = tokens.popleft()
        if token.kind == "text":
            block.append(Literal(token.text))
        elif tokens[0] == _IF:
            block.append(_parse_if(tokens, depth))
        else:
            block.append(_parse_pipeline(tokens))
            _expect(tokens, "close")
    return block


def _parse_if(tokens: _Tokens, depth: int) -> If:
    tokens.popleft()
    condition = _parse_pipeline(tokens)
    _expect(tokens, "close")
    then = _parse_block(tokens, depth + 1)
    return If(condition, then, _parse_else(tokens, depth + 1))


def _parse_else(tokens: _Tokens, depth: int) -> Block:
    """Parse what follows the first block of an if, and its end."""
    word = _parse_border(tokens)
    if word == "else" and tokens[0] == _IF:
        return [_parse_if(tokens, depth)]
    _expect(tokens, "close")
    if word == "end":
        return []
    block = _parse_block(tokens, depth)
    if _parse_border(tokens) != "end":
        raise RenderError("a second else")
    _expect(tokens, "close")
    return block


def _parse_border(tokens: _Tokens) -> str:
    if not tokens:
        raise RenderError("an if without an end")
    tokens.popleft()
    return tokens.popleft().text


def _parse_pipeline(tokens: _Tokens) -> Node:
    node = _parse_command(tokens, ())
    while tokens[0].kind == "pipe":
        tokens.popleft()
        node = _parse_command(tokens, (node,))
    return node


def _parse_command(tokens: _Tokens, piped: Sequence[Node]) -> Node:
    if tokens[0].kind != "word":
        if piped:
            raise RenderError(f"{tokens[0].text} is no function, nothing can be piped into it")
        return _parse_operand(tokens)
    name = tokens.popleft().text
    arguments: list[Node] = []
    while tokens[0].kind not in ("pipe", "end", "close"):
        arguments.append(_parse_operand(tokens))
    return _call(name, [*arguments, *piped])


def _call(name: str, arguments: Sequence[Node]) -> Node:
    if name == "index":
        if len(arguments) < 2:
            raise RenderError(f"index does not take {len(arguments)} arguments")
        return functools.reduce(lambda base, key: Path(base, [key]), arguments)
    if name not in FUNCTIONS:
        raise RenderError(f"{name} is not supported; there is {', '.join(sorted([*FUNCTIONS, 'index']))}")
    if not FUNCTIONS[name].least <= len(arguments) <= FUNCTIONS[name].most:
        raise RenderError(f"{name} does not take {len(arguments)} arguments")
    return Call(name, arguments)


def _parse_operand(tokens: _Tokens) -> Node:
    kind, text = tokens.popleft()
    match kind:
        case "path":
            return Path(None, _keys(text))
        case "quoted":
            return Literal(re.sub(r"\\(.)", unescape, text[1:-1]))
        case "raw":
            return Literal(text[1:-1])
        case "integer" if len(text) <= _LONGEST_INTEGER:
            return Literal(int(text))
        case "boolean":
            return Literal(text == "true")
        case "begin":
            node = _parse_pipeline(tokens)
            keys = _keys(_expect(tokens, "end"))
            return Path(node, keys) if keys else node
    raise RenderError(f"a value is expected where {text} stands")


def _keys(path: str) -> list[Node]:
    return [Literal(name) for name in path.lstrip("$)").split(".") if name]


def _expect(tokens: _Tokens, kind: str) -> str:
    token = tokens.popleft()
    if token.kind != kind:
        raise RenderError(f"{token.text} is not expected")
    return token.text
