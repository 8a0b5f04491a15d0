"""Where a sidecar keeps its archives, read from its container's environment. Pure.

As clickhouse-backup reads it (2.7.4): `S3_*`, path style off, TLS on and region us-east-1 unless they say otherwise.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cozydrivers.api.core import Container, Pod, Secret
from cozydrivers.clients.objects import Coordinates
from cozydrivers.drivers.clickhouse.environment import PORT_NAME, is_true, secrets_named, sidecar_of, told

_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class Storage:
    """A bucket, and the path in it below which a sidecar keeps its archives."""

    coordinates: Coordinates
    path: str

    def prefix(self, archive: str) -> str:
        """The prefix of an archive's objects, as the server joins it."""
        return posixpath.normpath(posixpath.join(self.path, archive)) + "/"


@dataclass(frozen=True)
class Unknown:
    """The storage can't be told, and why: a sentence without any value."""

    why: str


def secrets_of(pod: Pod) -> list[str]:
    """The names of the Secrets that the sidecar's storage is read from."""
    container = sidecar_of(pod)
    if container is None:
        return []
    return sorted(secrets_named(container, ("S3_", "REMOTE_STORAGE")) | set(_authorities(pod, container)))


def storage_of(pod: Pod, secrets: Mapping[str, Secret]) -> Storage | Unknown:
    """The storage of a Pod's sidecar; `secrets` are those that exist, by name."""
    container = sidecar_of(pod)
    if container is None:
        return Unknown(f"Pod {pod.metadata.name} has no container with a port {PORT_NAME}")
    environment = told(container, secrets)
    missing = [name for name in ("S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY") if not environment.get(name)]
    path = environment.get("S3_PATH", "")
    if environment.get("REMOTE_STORAGE", "s3") != "s3":
        return Unknown("REMOTE_STORAGE of the sidecar is not s3")
    if missing:
        return Unknown(f"{', '.join(missing)} of the sidecar's container can't be told")
    if environment.get("S3_ASSUME_ROLE_ARN"):
        return Unknown("the sidecar assumes a role (S3_ASSUME_ROLE_ARN)")
    if re.search(r"[{$]", path) or re.search(r"[{$]", environment.get("S3_ENDPOINT", "")):
        return Unknown("S3_PATH or S3_ENDPOINT of the sidecar holds a macro")
    return Storage(_coordinates(environment, _trusted(pod, container, secrets)), path)


def _coordinates(environment: Mapping[str, str], ca: str) -> Coordinates:
    endpoint = environment.get("S3_ENDPOINT", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"{'http' if is_true(environment, 'S3_DISABLE_SSL') else 'https'}://{endpoint}"
    return Coordinates(
        bucket=environment["S3_BUCKET"],
        access_key=environment["S3_ACCESS_KEY"],
        secret_key=environment["S3_SECRET_KEY"],
        endpoint=endpoint,
        region=environment.get("S3_REGION") or "us-east-1",
        path_style=is_true(environment, "S3_FORCE_PATH_STYLE"),
        ca=ca,
        verify=not is_true(environment, "S3_DISABLE_CERT_VERIFICATION"),
    )


def _authorities(pod: Pod, container: Container) -> dict[str, Sequence[str]]:
    """Secrets that are mounted where the container looks for authorities, with their keys; no key means all."""
    folders = next((v.value for v in container.env if v.name == "SSL_CERT_DIR"), "").split(":")
    mounted = {mount.name for mount in container.volume_mounts if mount.mount_path in folders}
    sources = [volume.secret for volume in pod.spec.volumes if volume.name in mounted and volume.secret]
    return {source.secret_name: [item.key for item in source.items] for source in sources}


def _trusted(pod: Pod, container: Container, secrets: Mapping[str, Secret]) -> str:
    values = [
        secrets[name].value(key) or ""
        for name, keys in _authorities(pod, container).items()
        if name in secrets
        for key in keys or secrets[name].data
    ]
    return "\n".join(value for value in values if _CERTIFICATE in value)
