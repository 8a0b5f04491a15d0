"""The fake cluster: an API server in process, in the event loop's time."""

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import anyio

from cozydrivers.api.base import Resource
from cozydrivers.kube import KubeClient
from cozydrivers.testing import _deletes, _reads
from cozydrivers.testing._access import Access
from cozydrivers.testing._discovery import PAGE_NOT_FOUND, describe
from cozydrivers.testing._faults import Faults
from cozydrivers.testing._kinds import BUILT_IN, Kind, kinds_of, read_crds
from cozydrivers.testing._logs import read_log
from cozydrivers.testing._request import Answer, Headers, Request, Target, Unreachable, find_target
from cozydrivers.testing._serve import InProcess, kubeconfig_text, serve
from cozydrivers.testing._status import Failure, bad_request, identity, not_found, qualified
from cozydrivers.testing._store import Object, Store
from cozydrivers.testing._watch import Watches
from cozydrivers.testing._writes import Writes, Written

Review = Callable[[Resource, Object, Object | None], Failure | None]
"""A validating webhook: it is given what is to be written and what is there, and gives what refuses it, or None."""

Handled = tuple[int, Headers, bytes | AsyncGenerator[bytes, None]]
"""Status, headers, and a whole body or the lines of a watch."""

ADMIN_TOKEN = "admin"  # noqa: S105 - of a fake
_START = datetime(2026, 11, 23, tzinfo=UTC)
_LARGEST_BODY = 3 * 1024 * 1024
_NO_CACHE = ("Cache-Control", "no-cache, private")
_JSON = ("Content-Type", "application/json")


class FakeCluster:
    """A cluster with the API server's semantics, and none of the controllers that belong to a real one.

    `crds` are paths of YAML files or folders, or decoded CustomResourceDefinitions. `now` is the wall-clock time at
    the first request; later times follow the event loop's clock. The namespaces `default` and `kube-system` exist.
    """

    def __init__(self, crds: Iterable[str | Path | Mapping[str, Any]] = (), *, now: datetime = _START) -> None:
        self.requests: list[tuple[str, str]] = []
        """Method and path of each request, in order."""
        self.ahead: timedelta = timedelta()
        """By how much its wall clock has been set forward."""
        self._access = Access({ADMIN_TOKEN: "admin"}, {"admin": {("*", "*")}})
        self._kinds: list[Kind] = list(BUILT_IN)
        self._leaving: set[str] = set()
        self._store = Store()
        self._watches = Watches(self._store)
        self.faults: Faults = Faults(self._watches)
        self._writes = Writes(self._store, self._admit, self._review)
        self.webhooks: list[Review] = []
        """Asked before an object is created or changed; not for what is written to its status."""
        self.logs: dict[tuple[str, str], str] = {}
        """What containers have printed, by UID of the Pod and name of the container."""
        self._start = now
        self._started: float | None = None
        for crd in crds:
            self.add_crd(crd)

    def add_crd(self, crd: str | Path | Mapping[str, Any]) -> None:
        """Serve the kinds of a CustomResourceDefinition, given decoded, or as a file or folder."""
        found = (crd,) if isinstance(crd, Mapping) else read_crds(crd)
        for item in found:
            self._kinds += kinds_of(item)

    def remove_crd(self, name: str) -> None:
        """Delete a CustomResourceDefinition, named `plural.group`, with all its objects.

        Its kinds are served until the last object is gone that a finalizer holds; nothing new is created meanwhile.
        """
        self._leaving.add(name)
        for kind in [kind for kind in self._kinds if kind.custom and kind.storage == name][:1]:
            everything = Request("DELETE", Target(kind), {}, {}, b"", self._time())
            _deletes.delete_all(self._store, everything, _admit_all, self._store.all(name))
        self._retire()

    def _retire(self) -> None:
        """Stop to serve the kinds whose definition is deleted, once their objects are gone."""
        for name in [name for name in self._leaving if not self._store.all(name)]:
            self._leaving.remove(name)
            self._kinds = [kind for kind in self._kinds if not (kind.custom and kind.storage == name)]
            self._watches.forget(name)

    def _admit(self, request: Request) -> None:
        self.faults.admit(request)

    def _review(self, request: Request, new: Object, old: Object | None) -> None:
        if request.target.subresource or self.faults.quiet:
            return
        for review in self.webhooks:
            failure = review(request.kind.resource, new, old)
            if failure is not None:
                raise failure

    def add_user(self, name: str, token: str, allowed: Iterable[tuple[str, str]] = ()) -> None:
        """Let a user in, who may do the given pairs of verb and resource; none by default.

        A resource is `plural.group`, a subresource `plural/status.group`; `*` is any.
        """
        self._access.users[token] = name
        self._access.allowed[name] = set(allowed)

    def kube(self, token: str = ADMIN_TOKEN) -> KubeClient:
        """Make a client that calls this cluster in process; it needs no closing."""
        return KubeClient(InProcess(self.handle, token))

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> AbstractAsyncContextManager[str]:
        """Serve this cluster over HTTP, on a free port by default; yields the URL. Not for virtual time."""
        return serve(self.handle, host, port)

    def kubeconfig(self, url: str, path: str | Path | None = None) -> str:
        """Write a kubeconfig for a served cluster; returns its text, and puts it into `path` if given."""
        text = kubeconfig_text(url, ADMIN_TOKEN)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def now(self) -> datetime:
        """The cluster's wall-clock time."""
        if self._started is None:
            self._started = anyio.current_time()
        return self._start + self.ahead + timedelta(seconds=anyio.current_time() - self._started)

    def _time(self) -> str:
        return f"{self.now():%Y-%m-%dT%H:%M:%SZ}"

    def compact(self) -> None:
        """Make all versions before the current one too old."""
        self._store.compact()

    def drop_watches(self) -> None:
        """Close all open watches, as a server that is restarted does."""
        self._watches.drop()

    async def handle(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Handled:
        """Answer one request; raises Unreachable where a fault says that there is no answer."""
        self._open()
        self.requests.append((method, path))
        headers = {name.lower(): value for name, value in headers.items()}
        try:
            lose = await self.faults.before(method, path)
            answer = self._answer(method, path, query, headers, body)
            self._retire()
        except Failure as failure:
            answer, lose = _refusal(failure), False
        if lose:
            raise Unreachable("the reply is lost")
        usual = [_NO_CACHE, ("Date", format_datetime(self.now(), usegmt=True))]
        if isinstance(answer, Answer):
            return answer.status, [*usual, *answer.headers], b"" if method == "HEAD" else answer.body
        return 200, [*usual, _JSON], answer

    def act(self, method: str, path: str, body: Object | None = None, **query: str) -> Any:
        """Do something as the cluster's own controllers do, and return the decoded answer; a PATCH is a merge patch.

        No fault and no webhook hits it, and it is not among the `requests`. Raises Failure when it is refused.
        """
        self._open()
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": content}
        with self.faults.suspended():
            answer = self._answer(method, path, query, headers, b"" if body is None else json.dumps(body).encode())
        self._retire()
        return json.loads(answer.body) if isinstance(answer, Answer) else answer

    def stored(self, resource: Resource) -> list[Object]:
        """All objects of a kind, as they are now: read only, for each is replaced when it is changed."""
        return self._store.all(f"{resource.plural}.{resource.group}".rstrip("."))

    def resources(self) -> list[Resource]:
        """List the kinds that are kept here, each in one version."""
        kept = {kind.storage: kind.resource for kind in reversed(self._kinds) if not kind.stored_as}
        return list(kept.values())[::-1]

    def _open(self) -> None:
        if self._store.version:
            return
        for name in ("default", "kube-system"):
            kind = BUILT_IN[0]
            body = json.dumps({"metadata": {"name": name}}).encode()
            self._writes.create(Request("POST", Target(kind), {}, {}, body, self._time()))

    def _answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Answer | AsyncGenerator[bytes, None]:
        user = self._access.user(headers)
        if len(body) > _LARGEST_BODY:
            raise Failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {_LARGEST_BODY}")
        review = self._access.review(path, user, body, self._time()) if method == "POST" else None
        if review is not None:
            return _json(201, review)
        described = describe(path, self._kinds)
        if described is not None:
            return described
        target = find_target(path, self._kinds)
        if target is None:
            return PAGE_NOT_FOUND
        watch = query.get("watch") in ("true", "1")
        self._access.check(user, method, target, watch=watch)
        _check_accept(headers)
        request = Request(method, target, query, headers, body, self._time())
        if watch and method == "GET":
            return self._watches.open(request)
        return self._named(request) if target.name else self._collection(request)

    def _collection(self, request: Request) -> Answer:
        if request.method in ("POST", "DELETE") and request.kind.resource.namespaced and not request.target.namespace:
            if request.kind.custom:
                return PAGE_NOT_FOUND
            raise _not_allowed(request)
        match request.method:
            case "GET" | "HEAD":
                return _json(200, _reads.list_objects(self._store, request, self.faults.lag))
            case "POST":
                return self._create(request)
            case "DELETE" if request.kind.resource.kind != "Namespace":
                objects, version = _reads.selected(self._store, request), self._store.version
                _deletes.delete_all(self._store, request, self._admit, objects)
                return _json(200, _reads.as_list(request, objects, version), _warned(_deletes.warnings(request)))
            case "PUT" | "PATCH":
                raise bad_request("name must be provided")
        raise _not_allowed(request)

    def _create(self, request: Request) -> Answer:
        if request.kind.storage in self._leaving:
            message = "create not allowed while custom resource definition is terminating"
            raise Failure(405, "MethodNotAllowed", message, identity(request.kind.resource, None))
        return _written(self._writes.create(request))

    def _named(self, request: Request) -> Answer:
        if request.kind.resource.kind == "Pod" and request.target.subresource == "log":
            return self._log(request)
        if self.faults.rival_is_faster(request.method, request.target):
            self._writes.touch(request)
        match request.method:
            case "GET" | "HEAD":
                obj = self._writes.load(request)
                return _json(200, _reads.partial(obj) if _reads.wants_metadata(request) else obj)
            case "PUT" if request.target.subresource == "finalize" and request.kind.resource.kind == "Namespace":
                return _written(self._writes.finalize(request))
            case "PUT":
                return _written(self._writes.replace(request))
            case "PATCH":
                return _written(self._writes.patch(request))
            case "DELETE":
                deleted = _deletes.delete(self._store, request, self._admit)
                return _json(200, deleted, _warned(_deletes.warnings(request)))
            case "POST" if request.kind.custom:
                return self._create(request)
        raise _not_allowed(request)

    def _log(self, request: Request) -> Answer:
        if request.method != "GET":
            raise _not_allowed(request)
        pod = self._store.get(request.kind.storage, request.target.namespace, request.target.name)
        if pod is None:
            raise not_found(request.kind.resource, request.target.name)
        return read_log(request, pod, self.logs)


def _json(status: int, value: Object, headers: Headers | None = None) -> Answer:
    return Answer(status, json.dumps(value).encode(), (_JSON, *(headers or ())))


def _written(written: Written) -> Answer:
    obj, warnings, status = written
    return _json(status, obj, _warned(warnings))


def _warned(warnings: Iterable[str]) -> Headers:
    return [("Warning", f"299 - {json.dumps(text)}") for text in warnings]


def _admit_all(request: Request) -> None:
    """What the server does itself needs no admission."""


def _refusal(failure: Failure) -> Answer:
    later = [("Retry-After", str(failure.retry_after))] if failure.retry_after is not None else []
    if failure.plain:
        return Answer(failure.code, str(failure).encode(), (*later, ("Content-Type", "text/plain; charset=utf-8")))
    return _json(failure.code, failure.body, later)


def _not_allowed(request: Request) -> Failure:
    resource = request.kind.resource
    if not request.kind.custom:
        message = "the server does not allow this method on the requested resource"
        return Failure(405, "MethodNotAllowed", message, {})
    message = f' is not supported on resources of kind "{qualified(resource.plural, resource.group)}"'
    return Failure(405, "MethodNotAllowed", message, identity(resource, None))


def _check_accept(headers: Mapping[str, str]) -> None:
    accepted = [kind.partition(";")[0].strip() for kind in headers.get("accept", "*/*").split(",")]
    if not {"*/*", "application/*", "application/json"} & set(accepted):
        known = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        watched = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        message = f"406: Not Acceptable\n\nAvailable representations: {known}, {watched}"
        raise Failure(406, "NotAcceptable", message, {})
