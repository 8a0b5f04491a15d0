"""Reading answers: JSON lines, and the words of an error. Pure functions.

Errors are JSON that is labelled as plain text, so the body decides, never the content type.
"""

import re
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

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
_LONGEST_PAGE = 200  # of words that are not the server's own


def read_rows(model: type[Model], answer: Answer, operation: str) -> list[Model]:
    """Read a body of JSON lines; an empty one is an empty list, a null is the same as absent.

    Raises ServerError when a line is not what was asked for.
    """
    body = answer.body.strip()
    try:
        rows = _adapter(model).validate_json(b"[" + body.replace(b"\n", b",") + b"]")
    except ValidationError:
        rows, problem = _read_slowly(model, body.splitlines())
    else:
        lines = body.count(b"\n") + 1 if body else 0
        problem = "" if len(rows) == lines else "a line is no document"  # two broken ones can make a whole one
    if problem:
        raise no_sidecar(operation, answer, problem)
    return rows


def read_fields(answer: Answer, operation: str, *required: str) -> dict[str, str]:
    """Read the texts of an answer of one line.

    Raises ServerError when a required one is not there.
    """
    try:
        document = from_json(answer.body.strip().partition(b"\n")[0])
    except ValueError:
        document = None
    fields = (
        {key: value for key, value in document.items() if isinstance(value, str)} if isinstance(document, dict) else {}
    )
    if missing := [key for key in required if key not in fields]:
        raise no_sidecar(operation, answer, f"it tells no {' and no '.join(missing)}")
    return fields


def no_sidecar(operation: str, answer: Answer, problem: str) -> ServerError:
    """Say that something else than clickhouse-backup has answered."""
    message = f"{operation}: the answer is not clickhouse-backup's, is the url right? {problem}"
    return ServerError(message, operation=operation, status_code=answer.status)


def error_of(answer: Answer, operation: str) -> ChbackupError | None:
    """Which error an answer is, None for a success."""
    if 200 <= answer.status < 300:
        return None
    words, own = _words(answer)
    if 300 <= answer.status < 400:
        return no_sidecar(operation, answer, f"HTTP status {answer.status}: redirects are not followed")
    if answer.status in (404, 405) and not _NO_ROUTE.search(words):
        return no_sidecar(operation, answer, f"HTTP status {answer.status}")
    shown = (words if own else words[:_LONGEST_PAGE]) or f"HTTP status {answer.status}"
    kind = _kind(answer.status, words)
    error = kind(f"{operation}: {shown}", operation=operation, status_code=answer.status, words=words)
    if isinstance(error, RequiredByOthers) and (found := _REQUIRED.search(words)):
        error.dependents = tuple(found[1].split(", "))
    return error


def _read_slowly(model: type[Model], lines: list[bytes]) -> tuple[list[Model], str]:
    """Read line by line, without nulls; say in a sentence what is wrong, never with a word of the answer."""
    rows = []
    for line in filter(bytes.strip, lines):
        try:
            document = from_json(line, allow_inf_nan=False)
            if isinstance(document, dict):
                document = {key: value for key, value in document.items() if value is not None}
            rows.append(model.model_validate(document))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            return [], f"{'.'.join(map(str, first['loc'][:3]))}: {first['msg']}".removeprefix(": ")
        except ValueError as error:
            return [], f"it is no JSON: {error}"
    return rows, ""


def _kind(status: int, words: str) -> type[ChbackupError]:
    if status in _KINDS:
        return _KINDS[status]
    if status != 500:
        return ServerError
    if _REQUIRED.search(words):
        return RequiredByOthers
    if words.startswith("invalid values in "):
        return InvalidInput
    if _NOT_FOUND.search(words):
        return NotFound
    return Busy if _BUSY in words else ServerError


def _words(answer: Answer) -> tuple[str, bool]:
    """Return the words of an error, and whether they came in the server's own form."""
    first = next(iter(answer.body.splitlines()), b"")
    try:
        words = from_json(first)["error"]
    except (ValueError, TypeError, KeyError):
        words = None
    if isinstance(words, str):
        return words, True
    return answer.body[:_LONGEST_WORDS].decode(errors="replace").strip(), False


@cache
def _adapter(model: type[BaseModel]) -> TypeAdapter[list[Any]]:
    return TypeAdapter(list[model])  # type: ignore[valid-type]


# 400 is answered to undecodable parameters only, before anything was done; 404 and 405 by the router.
_KINDS: dict[int, type[ChbackupError]] = {
    400: InvalidInput,
    401: Unauthorized,
    403: Unauthorized,
    404: Unsupported,
    405: Unsupported,
    423: Busy,
}
