"""Requests and answers in the server's own form: JSON lines, and errors that are labelled as text."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

from ._settings import Version

JSON_HEADERS = {
    "Content-Type": "application/json; charset=UTF-8",
    "Cache-Control": "no-store, no-cache, must-revalidate",
    "Pragma": "no-cache",
}
ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
LOCKED = "another operation is currently running"


class Answer(NamedTuple):
    """Status, headers and body. Without `Content-Length` the body goes out chunked."""

    status: int
    headers: dict[str, str]
    body: bytes


class Refusal(Exception):
    """A request that ends in an error answer."""

    def __init__(self, status: int, operation: str, error: str) -> None:
        super().__init__(error)
        self.answer = error_answer(status, operation, error)


class Request(NamedTuple):
    """One request; path and query are raw, as they stand in the request line."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The query's values by name; a pair with a raw `;` or a bad escape is dropped without a word."""
        found: dict[str, list[str]] = {}
        for pair in self.query.split("&"):
            name, _, value = pair.partition("=")
            if pair and ";" not in pair and not bad_escape(pair):
                found.setdefault(unquote_plus(name), []).append(unquote_plus(value))
        return found

    @property
    def decoded_path(self) -> str:
        """The path that routes match on."""
        return unquote(self.path)


def bad_escape(text: str) -> str:
    """Return the first broken percent escape, or nothing."""
    match = re.search(r"%(?![0-9A-Fa-f]{2}).{0,2}", text)
    return match.group() if match else ""


def first(parameters: Mapping[str, list[str]], *names: str) -> str:
    """Return the first value of the first name that is there, or nothing."""
    return next((parameters[name][0] for name in names if name in parameters), "")


def dump(documents: Iterable[Mapping[str, Any]]) -> bytes:
    """Write JSON objects as the server does, one per line."""
    text = "".join(f"{ENCODE(document)}\n" for document in documents)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").encode()


def json_lines(version: Version, documents: Iterable[Mapping[str, Any]], status: int = 200) -> Answer:
    """Answer with one object per line; nothing at all for an empty list."""
    body = dump(documents)
    headers = dict(JSON_HEADERS)
    if not version.since(2, 6, 6):
        headers["Content-Length"] = str(len(body))
    return Answer(status, headers, body)


def error_answer(status: int, operation: str, error: str) -> Answer:
    """Answer with an error: JSON, whatever the content type says."""
    document = {"status": "error", "operation": operation, "error": error}
    body = dump([{key: value for key, value in document.items() if value or key != "operation"}])
    return Answer(status, {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}, body)


def unauthorized() -> Answer:
    """Answer 401: the only body that is not JSON."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": "17"}
    headers["Www-Authenticate"] = 'Basic realm="Provide username and password"'
    return Answer(401, headers, b"401 Unauthorized\n")


def plain(text: str, *, chunked: bool = False, content_type: str = "text/plain; charset=UTF-8") -> Answer:
    """Answer with text."""
    headers = {} if chunked else dict(JSON_HEADERS)
    headers["Content-Type"] = content_type
    if not chunked:
        headers["Content-Length"] = str(len(text))
    return Answer(200, headers, text.encode())
