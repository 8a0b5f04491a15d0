"""Logs of containers: what the API server checks before it asks a kubelet, and what the kubelet answers."""

from collections.abc import Mapping

from cozydrivers.api.base import Resource
from cozydrivers.testing._request import Answer, Request
from cozydrivers.testing._status import Failure, bad_request, invalid, invalid_value, not_found
from cozydrivers.testing._store import Object

Logs = Mapping[tuple[str, str], str]
"""Text by UID of the Pod and name of the container."""

_OPTIONS = Resource("", "v1", "PodLogOptions", "", namespaced=True)
_TEXT = (("Content-Type", "text/plain"),)


def read_log(request: Request, pod: Object, logs: Logs) -> Answer:
    """GET of `pods/<name>/log`: nothing for a Pod without a node, not found where no kubelet tells (1.33)."""
    tail, limit = _number(request, "tailLines", 0), _number(request, "limitBytes", 1)
    container = _container(pod, request.query.get("container", ""))
    node = pod["spec"].get("nodeName")
    if not node:
        return Answer(204, b"", ())
    text = logs.get((pod["metadata"]["uid"], container))
    if reason := _waits(pod, container):
        raise bad_request(f'container "{container}" in pod "{pod["metadata"]["name"]}" is waiting to start: {reason}')
    if text is None:
        # The server looks for the node, and says that it is a Pod which is not there.
        raise not_found(request.kind.resource, node)
    lines = text.splitlines(keepends=True)
    kept = "".join(lines if tail is None else lines[len(lines) - min(tail, len(lines)) :])
    return Answer(200, kept.encode()[:limit], _TEXT)


def _waits(pod: Object, container: str) -> str:
    """Why a container has not started, if it has not."""
    states = {item["name"]: item["state"] for item in pod["status"].get("containerStatuses", ())}
    return str(states.get(container, {}).get("waiting", {}).get("reason", ""))


def _number(request: Request, name: str, least: int) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        raise Failure(400, "BadRequest", f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if value < least:
        rule = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
        raise invalid(_OPTIONS, request.target.name, [invalid_value(name, text, rule)])
    return value


def _container(pod: Object, name: str) -> str:
    known = [item["name"] for kind in ("initContainers", "containers") for item in pod["spec"].get(kind, ())]
    own = pod["metadata"]["name"]
    if not name and len(known) > 1:
        raise bad_request(f"a container name must be specified for pod {own}, choose one of: [{' '.join(known)}]")
    if name and name not in known:
        raise bad_request(f"container {name} is not valid for pod {own}")
    return name or str(known[0])
