"""What Kubernetes' garbage collector and namespace controller do, each by an explicit call."""

from collections import Counter
from collections.abc import Iterator

from cozydrivers.api.base import Resource
from cozydrivers.testing._store import Object
from cozydrivers.testing.cluster import FakeCluster

_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"
Found = tuple[Resource, Object]


def collect_garbage(cluster: FakeCluster) -> list[str]:
    """Delete what has lost all its owners, in the background, and finish what was deleted otherwise.

    Goes on until there is nothing left to do; returns what was deleted, as `Kind/name`. An owner is known by its UID,
    in the namespace of what it owns or cluster-wide.
    """
    deleted: list[str] = []
    while round_ := list(_collect(cluster)):
        deleted += [name for name in round_ if name]
    return deleted


def _collect(cluster: FakeCluster) -> Iterator[str]:
    """Do one round; gives the name of what was deleted, or nothing for another change."""
    everything = list(_everything(cluster))
    for resource, obj in everything:
        finalizers = obj["metadata"].get("finalizers", ()) if "deletionTimestamp" in obj["metadata"] else ()
        if _ORPHAN in finalizers:
            for dependant in _dependants(everything, obj):
                _disown(cluster, dependant, {obj["metadata"]["uid"]})
            yield _without(cluster, (resource, obj), _ORPHAN)
        elif _FOREGROUND in finalizers:
            yield from _finish_foreground(cluster, everything, (resource, obj))
    for found in everything:
        yield from _check_owners(cluster, everything, found)


def _finish_foreground(cluster: FakeCluster, everything: list[Found], found: Found) -> Iterator[str]:
    left = _dependants(everything, found[1])
    if not left:
        yield _without(cluster, found, _FOREGROUND)
    for dependant in left:
        if "deletionTimestamp" not in dependant[1]["metadata"]:
            yield _delete(cluster, dependant, "Foreground")


def _check_owners(cluster: FakeCluster, everything: list[Found], found: Found) -> Iterator[str]:
    metadata = found[1]["metadata"]
    owners = {owner["uid"] for owner in metadata.get("ownerReferences", ())}
    place = ("", metadata.get("namespace", ""))
    alive = {obj["metadata"]["uid"] for _, obj in everything if obj["metadata"].get("namespace", "") in place}
    if "deletionTimestamp" in metadata or not owners - alive:
        return
    if owners & alive:
        yield _disown(cluster, found, owners - alive)
    else:
        yield _delete(cluster, found, "Background")


def _dependants(everything: list[Found], owner: Object) -> list[Found]:
    uid = owner["metadata"]["uid"]
    return [
        found
        for found in everything
        if any(reference["uid"] == uid for reference in found[1]["metadata"].get("ownerReferences", ()))
    ]


def _disown(cluster: FakeCluster, found: Found, gone: set[str]) -> str:
    kept = [owner for owner in found[1]["metadata"]["ownerReferences"] if owner["uid"] not in gone]
    cluster.act("PATCH", _path(found), {"metadata": {"ownerReferences": kept}})
    return ""


def _without(cluster: FakeCluster, found: Found, finalizer: str) -> str:
    kept = [name for name in found[1]["metadata"]["finalizers"] if name != finalizer]
    cluster.act("PATCH", _path(found), {"metadata": {"finalizers": kept}})
    return "" if kept else _name(found)


def _delete(cluster: FakeCluster, found: Found, propagation: str) -> str:
    options = {"preconditions": {"uid": found[1]["metadata"]["uid"]}, "propagationPolicy": propagation}
    cluster.act("DELETE", _path(found), options)
    return _name(found)


def empty_namespace(cluster: FakeCluster, name: str) -> bool:
    """Delete what is in a namespace that is being deleted, and let it go once it is empty; returns whether it is gone.

    What a finalizer holds, or a Pod's grace, stays for the next call; the namespace's conditions say so.
    """
    path = f"/api/v1/namespaces/{name}"
    space = cluster.act("GET", path)
    if space["status"]["phase"] != "Terminating":
        raise ValueError(f"namespace {name} is not being deleted")
    for resource in cluster.resources():
        if resource.namespaced:
            cluster.act("DELETE", resource.path(name), {"propagationPolicy": "Background"})
    left = [found for found in _everything(cluster) if found[1]["metadata"].get("namespace") == name]
    if left:
        cluster.act("PATCH", f"{path}/status", {"status": {"conditions": _remaining(left)}})
        return False
    cluster.act("PUT", f"{path}/finalize", {**space, "spec": {}})
    return True


def _remaining(left: list[Found]) -> list[Object]:
    kinds = Counter(f"{resource.plural}.{resource.group}".rstrip(".") for resource, _ in left)
    finalizers = Counter(name for _, obj in left for name in obj["metadata"].get("finalizers", ()))
    what = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(kinds.items()))
    held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
    texts = {
        "NamespaceContentRemaining": ("SomeResourcesRemain", f"Some resources are remaining: {what}"),
        "NamespaceFinalizersRemaining": (
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {held}",
        ),
    }
    return [
        {"type": kind, "status": "True", "reason": reason, "message": message}
        for kind, (reason, message) in texts.items()
        if kind == "NamespaceContentRemaining" or held
    ]


def _everything(cluster: FakeCluster) -> Iterator[Found]:
    for resource in cluster.resources():
        for obj in cluster.stored(resource):
            yield resource, obj


def _path(found: Found) -> str:
    resource, obj = found
    return resource.path(obj["metadata"].get("namespace"), obj["metadata"]["name"])


def _name(found: Found) -> str:
    return f"{found[0].kind}/{found[1]['metadata']['name']}"
