"""The cluster as its users see it: plain requests, with nothing of the project between."""

from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.e2e.objects import Manifest

_GROUPS = {
    "pods": "/api/v1",
    "secrets": "/api/v1",
    "namespaces": "/api/v1",
    "events": "/apis/events.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "jobs": "/apis/batch/v1",
    "clickhouses": "/apis/apps.cozystack.io/v1alpha1",
    "altinities": "/apis/strategy.backups.cozystack.io/v1alpha1",
    "backupclasses": "/apis/backups.cozystack.io/v1alpha1",
    "backupjobs": "/apis/backups.cozystack.io/v1alpha1",
    "backups": "/apis/backups.cozystack.io/v1alpha1",
    "restorejobs": "/apis/backups.cozystack.io/v1alpha1",
    "serviceaccounts": "/api/v1",
    "clusterroles": "/apis/rbac.authorization.k8s.io/v1",
    "clusterrolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "persistentvolumeclaims": "/api/v1",
    "restores": "/apis/k8s.mariadb.com/v1alpha1",
    "backups.k8s.mariadb.com": "/apis/k8s.mariadb.com/v1alpha1",
    "mariadbs.k8s.mariadb.com": "/apis/k8s.mariadb.com/v1alpha1",
    "mariadbs.apps.cozystack.io": "/apis/apps.cozystack.io/v1alpha1",
    "mariadbs.strategy.backups.cozystack.io": "/apis/strategy.backups.cozystack.io/v1alpha1",
}
_PLURALS = {"Altinity": "altinities", "BackupClass": "backupclasses"}


def plural(kind: str) -> str:
    """The name of a kind in paths; one that several groups have is given as Backup.k8s.mariadb.com."""
    word, dot, group = kind.partition(".")
    return _PLURALS.get(word, f"{word.lower()}s") + dot + group


def path(resource: str, namespace: str | None, name: str = "") -> str:
    """The path of a resource, or of one object of it; cluster-wide without a namespace."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{_GROUPS[resource]}{scope}/{resource.partition('.')[0]}" + (f"/{name}" if name else "")


def _resource(manifest: Manifest) -> str:
    """The resource of a manifest, with its group where several groups have it."""
    word = plural(manifest["kind"])
    qualified = f"{word}.{manifest['apiVersion'].partition('/')[0]}"
    return qualified if qualified in _GROUPS else word


async def apply(client: httpx.AsyncClient, manifest: Manifest, namespace: str | None = None) -> None:
    """Apply a manifest as kubectl does on the server's side; an unknown field is an error."""
    response = await client.patch(
        path(_resource(manifest), namespace, manifest["metadata"]["name"]),
        params={"fieldManager": "tests", "fieldValidation": "Strict"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        json=manifest,
    )
    _check(response)


async def apply_file(client: httpx.AsyncClient, file: Path) -> list[str]:
    """Apply what stands in a file; returns kind and name of each."""
    manifests = list(yaml.safe_load_all(file.read_bytes()))  # noqa: ASYNC240 - a small one
    for manifest in manifests:
        await apply(client, manifest, manifest["metadata"].get("namespace"))
    return [f"{manifest['kind']} {manifest['metadata']['name']}" for manifest in manifests]


async def set_status(client: httpx.AsyncClient, manifest: Manifest, namespace: str, status: Manifest) -> None:
    """Write the status of an object that exists."""
    response = await client.patch(
        path(_resource(manifest), namespace, manifest["metadata"]["name"]) + "/status",
        headers={"Content-Type": "application/merge-patch+json"},
        json={"status": status},
    )
    _check(response)


async def patch(client: httpx.AsyncClient, kind: str, namespace: str | None, name: str, change: Manifest) -> None:
    """Change an object by a merge patch."""
    headers = {"Content-Type": "application/merge-patch+json"}
    _check(await client.patch(path(plural(kind), namespace, name), headers=headers, json=change))


async def get(client: httpx.AsyncClient, kind: str, namespace: str, name: str) -> Manifest:
    """Read one object."""
    return dict(_check(await client.get(path(plural(kind), namespace, name))))


async def listed(client: httpx.AsyncClient, kind: str, namespace: str | None = None) -> list[Manifest]:
    """Read all objects of a kind."""
    return list(_check(await client.get(path(plural(kind), namespace)))["items"])


async def delete(client: httpx.AsyncClient, kind: str, namespace: str | None, name: str) -> None:
    """Delete one object as kubectl does; a Job would else be kept until its Pods have been let go of."""
    _check(await client.delete(path(plural(kind), namespace, name), params={"propagationPolicy": "Background"}))


async def clear(client: httpx.AsyncClient, kind: str, namespace: str | None = None) -> None:
    """Delete all objects of a kind."""
    _check(await client.delete(path(plural(kind), namespace)))


async def names(client: httpx.AsyncClient, kind: str, namespace: str | None = None) -> set[str]:
    """The names of all objects of a kind."""
    return {each["metadata"]["name"] for each in await listed(client, kind, namespace)}


def _check(response: httpx.Response) -> Any:
    assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
    return response.json()
