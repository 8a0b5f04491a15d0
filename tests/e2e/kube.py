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
}
_PLURALS = {"Altinity": "altinities", "BackupClass": "backupclasses"}


def plural(kind: str) -> str:
    """The name of a kind in paths."""
    return _PLURALS.get(kind, f"{kind.lower()}s")


def path(resource: str, namespace: str | None, name: str = "") -> str:
    """The path of a resource, or of one object of it; cluster-wide without a namespace."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{_GROUPS[resource]}{scope}/{resource}" + (f"/{name}" if name else "")


async def apply(client: httpx.AsyncClient, manifest: Manifest, namespace: str | None = None) -> None:
    """Apply a manifest as kubectl does on the server's side; an unknown field is an error."""
    response = await client.patch(
        path(plural(manifest["kind"]), namespace, manifest["metadata"]["name"]),
        params={"fieldManager": "tests", "fieldValidation": "Strict"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        json=manifest,
    )
    _check(response)


async def apply_file(client: httpx.AsyncClient, file: Path) -> list[str]:
    """Apply what stands in a file; returns kind and name of each."""
    manifests = list(yaml.safe_load_all(file.read_bytes()))  # noqa: ASYNC240 - a small one
    for manifest in manifests:
        await apply(client, manifest)
    return [f"{manifest['kind']} {manifest['metadata']['name']}" for manifest in manifests]


async def set_status(client: httpx.AsyncClient, manifest: Manifest, namespace: str, status: Manifest) -> None:
    """Write the status of an object that exists."""
    response = await client.patch(
        path(plural(manifest["kind"]), namespace, manifest["metadata"]["name"]) + "/status",
        headers={"Content-Type": "application/merge-patch+json"},
        json={"status": status},
    )
    _check(response)


async def get(client: httpx.AsyncClient, kind: str, namespace: str, name: str) -> Manifest:
    """Read one object."""
    return dict(_check(await client.get(path(plural(kind), namespace, name))))


async def listed(client: httpx.AsyncClient, kind: str, namespace: str | None = None) -> list[Manifest]:
    """Read all objects of a kind."""
    return list(_check(await client.get(path(plural(kind), namespace)))["items"])


async def delete(client: httpx.AsyncClient, kind: str, namespace: str, name: str) -> None:
    """Delete one object."""
    _check(await client.delete(path(plural(kind), namespace, name)))


async def clear(client: httpx.AsyncClient, kind: str, namespace: str | None = None) -> None:
    """Delete all objects of a kind."""
    _check(await client.delete(path(plural(kind), namespace)))


async def names(client: httpx.AsyncClient, kind: str, namespace: str | None = None) -> set[str]:
    """The names of all objects of a kind."""
    return {each["metadata"]["name"] for each in await listed(client, kind, namespace)}


def _check(response: httpx.Response) -> Any:
    assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
    return response.json()
