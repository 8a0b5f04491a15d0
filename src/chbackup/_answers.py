"""Reading answers: JSON lines, and the words of an error. Pure functions.

Errors are JSON that is labelled as plain text, so the body decides, never the content type.
"""

import json
import re
from functools import cache
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from ._http import Answer
from .errors import (
    Busy,
    ChbackupError,
    InvalidInput,
    NotFound,
    RequiredByOthers,
    ServerError,
    Unauthorized,
    Unsupported,
)

Model = TypeVar("Model", bound=BaseModel)

_BUSY = "another operation is currently running"
_REQUIRED = re.compile(r"is required by (?:local|remote) backup\(s\) (.+?), deleting it breaks")
_NOT_FOUND = re.compile(
    r"' is not found on (?:local|remote) storage|backup '.*' (?:is )?not found|^command `.*` not found$"
    r"|^empty command list$"
    r"""|RemoteStorage set to "none"|remote_storage is 'none'"""  # there is no remote storage at all
)
_NO_ROUTE = re.compile(r"404 Not Found$|^405 Method ")
_LONGEST_WORDS = 2000


def read_rows(model: type[Model], answer: Answer, operation: str) -> list[Model]:
    """Read a body of JSON lines; an empty one is an empty list.

    Raises ServerError when a line is not what was asked for.
    """
    lines = [line for line in answer.body.splitlines() if line.strip()]
    try:
        return _adapter(model).validate_json(b"[" + b",".join(lines) + b"]")
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
    message = f"{operation}: the answer is not clickhouse-backup's: {problem}"
    raise ServerError(message, operation=operation, status_code=answer.status)


def error_of(answer: Answer, operation: str) -> ChbackupError | None:
    """Which error an answer is, None for a success."""
    if 200 <= answer.status < 300:
        return None
    words = _words(answer)
    kind = _kind(answer.status, words)
    error = kind(
        f"{operation}: {words or f'HTTP status {answer.status}'}",
        operation=operation,
        status_code=answer.status,
        words=words,
    )
    if isinstance(error, RequiredByOthers) and (found := _REQUIRED.search(words)):
        error.dependents = tuple(found[1].split(", "))
    return error


def _kind(status: int, words: str) -> type[ChbackupError]:
    if status in _KINDS:
        return _KINDS[status]
    if status in (404, 405):
        return Unsupported if _NO_ROUTE.search(words) else NotFound
    if status != 500:
        return ServerError
    if _REQUIRED.search(words):
        return RequiredByOthers
    if words.startswith("invalid values in "):
        return InvalidInput
    if _NOT_FOUND.search(words):
        return NotFound
    return Busy if _BUSY in words else ServerError


def _words(answer: Answer) -> str:
    first = next(iter(answer.body.splitlines()), b"")
    try:
        words = json.loads(first)["error"]
    except (ValueError, TypeError, KeyError):
        return _text(answer)
    return words if isinstance(words, str) else _text(answer)


def _text(answer: Answer) -> str:
    return answer.body[:_LONGEST_WORDS].decode(errors="replace").strip()


@cache
def _adapter(model: type[Model]) -> TypeAdapter[list[Model]]:
    return TypeAdapter(list[model])  # type: ignore[valid-type]


# 400 is answered to undecodable parameters only, before anything was done.
_KINDS: dict[int, type[ChbackupError]] = {400: InvalidInput, 401: Unauthorized, 403: Unauthorized, 423: Busy}
