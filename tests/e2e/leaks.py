"""Where the sidecars' password can be read: logs, objects in the cluster's store, arguments of processes."""

import base64
from pathlib import Path

import httpx
from tests.e2e import objects
from tests.e2e.scene import Scene


async def tellers(scene: Scene) -> list[str]:
    """Every place that tells the password, plain or as base64 of itself or of `user:password`."""
    told = _forms(scene.shards[0].sidecar.username, scene.password)
    places = {**_logs(scene), **_arguments(), **await _stored_objects(scene)}
    return [place for place, text in places.items() if any(form in text for form in told)]


def its_secret(scene: Scene) -> str:
    """The one place where the password belongs; that it is found shows that the search sees what is stored."""
    name = objects.secret("", "")["metadata"]["name"]
    return f"/registry/secrets/{scene.namespace}/{name}"


def _forms(username: str, password: str) -> list[bytes]:
    plain = password.encode()
    return [plain, base64.b64encode(plain), base64.b64encode(f"{username}:{password}".encode())]


def _logs(scene: Scene) -> dict[str, bytes]:
    sidecars = [shard.sidecar for shard in scene.shards]
    servers = [scene.controller, scene.cluster.apiserver, scene.cluster.etcd, *sidecars]
    return {f"log of {server.name}": server.log.read_bytes() for server in servers}


def _arguments() -> dict[str, bytes]:
    return {str(file): _read(file) for file in Path("/proc").glob("[0-9]*/cmdline")}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return b""


async def _stored_objects(scene: Scene) -> dict[str, bytes]:
    """Everything in etcd, by key."""
    everything = base64.b64encode(b"\0").decode()
    async with httpx.AsyncClient(trust_env=False) as client:
        body = {"key": everything, "range_end": everything}
        response = await client.post(f"{scene.cluster.etcd.url}/v3/kv/range", json=body, timeout=60)
    pairs = response.raise_for_status().json()["kvs"]
    return {base64.b64decode(pair["key"]).decode(): base64.b64decode(pair["value"]) for pair in pairs}
