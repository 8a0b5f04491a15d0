"""From a request to its handler: paths, methods, credentials."""

import base64
import binascii
import posixpath
import re
from collections.abc import Awaitable, Callable
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple
from urllib.parse import quote

from . import _actions, _reads, _tables, _watch, _writes
from ._answers import Answer, Refusal, Request, error_answer, unauthorized
from ._pod import Pod

Handler = Callable[..., Awaitable[Answer]]
GET, HEAD, POST = "GET", "HEAD", "POST"
ANY: tuple[str, ...] = ()


class Route(NamedTuple):
    """A path with its methods (none means any) and the version that brought it."""

    path: str
    methods: tuple[str, ...]
    handler: Handler
    since: tuple[int, ...] = ()
    hidden: bool = False


def _creates(operation: str) -> Handler:
    return partial(_writes.create_backup, operation=operation)


def _works(operation: str) -> Handler:
    return partial(_writes.work_on_backup, operation=operation)


def _cleans(operation: str) -> Handler:
    return partial(_writes.clean_backups, operation=operation)


async def _root(pod: Pod, request: Request) -> Answer:
    shown = [route.path for route in ROUTES if not route.hidden and pod.version.since(*route.since)]
    return await _reads.root(pod, request, shown)


ROUTES = (
    Route("/", (GET, HEAD), _root),
    Route("/", (POST,), _writes.restart),
    Route("/restart", (POST, GET), _writes.restart),
    Route("/backup/version", (GET, HEAD), _reads.version, (2, 5, 9)),
    Route("/backup/kill", (POST, GET), _writes.kill),
    Route("/backup/watch", (POST, GET), _watch.watch),
    Route("/backup/tables", (GET,), _tables.tables),
    Route("/backup/tables/all", (GET,), _tables.tables),
    Route("/backup/list", (GET, HEAD), _reads.list_backups),
    Route("/backup/list/{where}", (GET,), _reads.list_backups),
    Route("/backup/create", (POST,), _creates("create")),
    Route("/backup/create_remote", (POST,), _creates("create_remote"), (2, 6, 30)),
    Route("/backup/clean", (POST,), _cleans("clean")),
    Route("/backup/clean/remote_broken", (POST,), _cleans("clean_remote_broken")),
    Route("/backup/clean/local_broken", (POST,), _cleans("clean_local_broken"), (2, 6, 27)),
    Route("/backup/upload/{name}", (POST,), _works("upload")),
    Route("/backup/download/{name}", (POST,), _works("download")),
    Route("/backup/rebase/{name}", (POST,), _works("rebase"), (2, 8, 0)),
    Route("/backup/rebalance/{name}", (POST,), _works("rebalance"), (2, 8, 0)),
    Route("/backup/restore/{name}", (POST,), _works("restore")),
    Route("/backup/restore_remote/{name}", (POST,), _works("restore_remote"), (2, 6, 30)),
    Route("/backup/delete/{where}/{name}", (POST,), _writes.delete_backup),
    Route("/backup/status", (GET,), _reads.status),
    Route("/backup/actions", (GET, HEAD), _reads.actions),
    Route("/backup/actions", (POST,), _actions.post_actions),
    Route("/health", ANY, _reads.health, hidden=True),
    Route("/metrics", ANY, _reads.metrics, hidden=True),
)
"""In the order in which `GET /` prints them."""


async def answer(pod: Pod, request: Request, credentials: tuple[str, str]) -> Answer:
    """Answer one request. Unknown paths and methods are told without credentials."""
    path = request.decoded_path
    if cleaned := _cleaned(path):
        target = quote(cleaned) + (f"?{request.query}" if request.query else "")
        return Answer(301, {"Location": target, "Content-Length": "0"}, b"")
    found = [(route, names) for route, names in _matching(path) if pod.version.since(*route.since)]
    if not found:
        target = request.path + (f"?{request.query}" if request.query else "")
        return error_answer(404, path, f"{request.method} {target} 404 Not Found")
    allowed = [(route, names) for route, names in found if not route.methods or request.method in route.methods]
    if not allowed:
        return _without_body(request, error_answer(405, path, f"405 Method {request.method} Not Allowed"))
    if not _authorized(request, credentials):
        return unauthorized()
    route, names = allowed[0]
    return _without_body(request, await _call(pod, request, route.handler, names))


async def _call(pod: Pod, request: Request, handler: Handler, names: dict[str, Any]) -> Answer:
    try:
        return await handler(pod, request, **names)
    except Refusal as refusal:
        return refusal.answer


@lru_cache(maxsize=1024)
def _matching(path: str) -> list[tuple[Route, dict[str, str]]]:
    matches = [(route, _pattern(route.path).fullmatch(path)) for route in ROUTES]
    return [(route, match.groupdict()) for route, match in matches if match]


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


def _cleaned(path: str) -> str:
    """Return the path without `//`, `/./` and `/../`, or nothing when it has none."""
    cleaned = posixpath.normpath(path).replace("//", "/")
    if path.endswith("/") and cleaned != "/":
        cleaned += "/"
    return "" if cleaned == path else cleaned


def _without_body(request: Request, answer: Answer) -> Answer:
    return answer._replace(body=b"") if request.method == HEAD else answer


def _authorized(request: Request, credentials: tuple[str, str]) -> bool:
    """Compare the Basic header, each half overruled by the query; no credentials set means empty ones."""
    username, password = _basic(request.headers.get("authorization", ""))
    query = request.parameters
    given = query.get("user", [username])[0], query.get("pass", [password])[0]
    return given == credentials


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return username, password
