"""The client of the cluster."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

import anyio

from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import Pod
from cozydrivers.errors import Gone, InvalidInput
from cozydrivers.kube.decode import WatchEvent, error_of, read_event, read_object, read_page
from cozydrivers.kube.transport import Observer, Observing, Response, Stream, Transport, connect
from cozydrivers.metrics import Metrics

T = TypeVar("T", bound=KubeObject)

REQUEST_TIMEOUT = 30.0
"""Seconds that a request other than a watch may take."""

WATCH_MARGIN = 15.0
"""Seconds after the end of a watch by the server's clock, until the client takes its connection for dead.

There is no shorter limit on silence: a kind in which nothing changes gets no bookmarks (kube-apiserver 1.33).
"""

_LIST_ATTEMPTS = 3


@dataclass(frozen=True)
class ObjectList(Generic[T]):
    """A consistent list, and the version from which a watch goes on."""

    items: list[T] = field(default_factory=list)
    resource_version: str = ""


class KubeClient:
    """Reads and writes objects; every method raises ApiError or one of its children.

    It does not retry: whoever calls knows whether a second attempt does harm. Each of `observers` is told of every
    answer.
    """

    def __init__(self, transport: Transport) -> None:
        self.observers: list[Observer] = []
        self._transport = Observing(transport, self.observers)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, *, kubeconfig: str | None = None, context: str | None = None, metrics: Metrics | None = None
    ) -> AsyncGenerator[Self, None]:
        """Connect by `kubeconfig`, else by $KUBECONFIG, else from within a cluster, else by ~/.kube/config.

        The requests are counted in `metrics`. Raises InvalidInput when none of these is there, or what is there can't
        be used.
        """
        async with connect(kubeconfig, context) as transport:
            client = cls(transport)
            if metrics is not None:
                client.observers.append(_counting(metrics, transport.host))
            yield client

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        """Read one object, not from a cache."""
        return self._object(kind, await self._send("GET", kind, name, namespace))

    async def list(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> ObjectList[T]:
        """Read all objects of a namespace, or of all; in pages of `limit`, as they were at one version.

        A page that has expired starts the list anew, three times at most; then it raises Gone. To select a namespace
        by `field_selector` is refused: kube-apiserver 1.33 repeats or loses items between pages of such a list.
        """
        if "metadata.namespace" in field_selector:
            raise InvalidInput("list: give the namespace itself, not a field selector for it")
        query = _without_empty(labelSelector=label_selector, fieldSelector=field_selector, limit=str(limit))
        for attempt in range(1, _LIST_ATTEMPTS + 1):
            try:
                return await self._list(kind, namespace, query)
            except Gone:
                if attempt == _LIST_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def _list(self, kind: type[T], namespace: str | None, query: dict[str, str]) -> ObjectList[T]:
        items: list[T] = []
        while True:
            page = read_page(kind, (await self._send("GET", kind, None, namespace, query)).body)
            items += page.items
            if not page.metadata.next:
                return ObjectList(items, page.metadata.version)
            query = {**query, "continue": page.metadata.next}

    async def watch(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout: float = 290,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Follow changes after `resource_version`, until the server closes, after `timeout` seconds or earlier.

        Raises Gone when the version is too old, and ClusterUnreachable when the server has not closed 15 s after its
        time. Close the iterator (`contextlib.aclosing`) when leaving it early.
        """
        query = _without_empty(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=str(int(timeout)),
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        path = kind.resource.path(namespace)
        async with self._transport.stream("GET", path, query, _headers(), timeout + WATCH_MARGIN) as stream:
            if stream.status != 200:
                raise error_of(kind.resource, await _whole(stream))
            async for line in stream.lines:
                yield read_event(kind, line)

    async def create(self, kind: type[T], body: Mapping[str, Any], namespace: str | None = None) -> T:
        """Create an object; a field that its schema does not know is refused."""
        return self._object(
            kind, await self._send("POST", kind, None, namespace, {"fieldValidation": "Strict"}, _typed(kind, body))
        )

    async def merge_patch(
        self,
        kind: type[T],
        name: str,
        patch: Mapping[str, Any],
        namespace: str | None = None,
        *,
        status: bool = False,
    ) -> T:
        """Patch an object, or with `status` its status subresource.

        A `resourceVersion` in the patch's metadata makes it conditional: Conflict if the object has another one.
        """
        answer = await self._send(
            "PATCH", kind, name, namespace, body=patch, content="merge-patch+json", subresource="status" * status
        )
        return self._object(kind, answer)

    async def apply(
        self,
        kind: type[T],
        name: str,
        body: Mapping[str, Any],
        namespace: str | None = None,
        *,
        field_manager: str,
        force: bool = False,
    ) -> T:
        """Apply on the server's side; a field of another manager is a Conflict, or taken over with `force`."""
        query = _without_empty(fieldManager=field_manager, force="true" * force)
        named = _typed(kind, {**body, "metadata": {"name": name, **body.get("metadata", {})}})
        answer = await self._send("PATCH", kind, name, namespace, query, named, "apply-patch+yaml")
        return self._object(kind, answer)

    async def delete(
        self,
        kind: type[T],
        name: str,
        namespace: str | None = None,
        *,
        uid: str,
        resource_version: str | None = None,
        propagation: str = "Background",
    ) -> None:
        """Delete the object of that UID; another one of the same name is a Conflict, none is NotFound."""
        if not uid:
            raise InvalidInput(f"delete {kind.resource.kind} {name!r}: without a UID")
        preconditions = _without_empty(uid=uid, resourceVersion=resource_version or "")
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        await self._send("DELETE", kind, name, namespace, body={**body, "preconditions": preconditions})

    async def pod_log(
        self, name: str, namespace: str, *, container: str = "", tail_lines: int, limit_bytes: int
    ) -> str:
        """Read the last lines that a container has printed; `container` may be left out where there is only one.

        Of these lines the server sends the first `limit_bytes`. A Pod without a node has an empty log; one whose
        kubelet does not answer is NotFound or Unavailable (kube-apiserver 1.33).
        """
        query = _without_empty(container=container, tailLines=str(tail_lines), limitBytes=str(limit_bytes))
        answer = await self._send("GET", Pod, name, namespace, query, subresource="log")
        return answer.body.decode(errors="replace")

    async def _send(
        self,
        method: str,
        kind: type[T],
        name: str | None,
        namespace: str | None,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "json",
        subresource: str = "",
    ) -> Response:
        if name == "" or (kind.resource.namespaced and namespace is None and (name or method == "POST")):
            raise InvalidInput(f"{method} {kind.resource.kind}: name and namespace must be given")
        path = kind.resource.path(namespace, name, subresource or None)
        response = await self._transport.request(method, path, query or {}, _headers(content), body, REQUEST_TIMEOUT)
        if response.status >= 300:
            raise error_of(kind.resource, response)
        return response

    def _object(self, kind: type[T], response: Response) -> T:
        return read_object(kind, response.body)


def _counting(metrics: Metrics, host: str) -> Observer:
    """Count requests as client-go does; `<error>` is its word for no answer."""

    def count(method: str, status: int, headers: Mapping[str, str], seconds: float) -> None:
        metrics.requested(method, str(status or "<error>"), host)

    return count


def _headers(content: str = "json") -> dict[str, str]:
    return {"Accept": "application/json", "Content-Type": f"application/{content}", "User-Agent": "cozydrivers"}


def _without_empty(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _typed(kind: type[KubeObject], body: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind, **body}


async def _whole(stream: Stream) -> Response:
    with anyio.move_on_after(REQUEST_TIMEOUT):
        lines = [line async for line in stream.lines]
        return Response(stream.status, stream.headers, b"\n".join(lines))
    return Response(stream.status, stream.headers, b"")
