"""The way to an application's sidecars: its Pods, its credentials, one client per address."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

import anyio

from chbackup import ChbackupError, Client, Unauthorized
from cozydrivers.api.core import Pod, Secret, SecretKeyReference
from cozydrivers.clients.objects import OpenStore, open_store
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.callbacks import Callbacks
from cozydrivers.drivers.clickhouse.environment import PORT_NAME
from cozydrivers.drivers.clickhouse.following import REQUEST_TIMEOUT
from cozydrivers.drivers.clickhouse.places import CHI_LABEL, Place, installation, places, storage_secrets
from cozydrivers.drivers.secrets import Secrets
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import NotFound
from cozydrivers.metrics import Metrics


class Connect(Protocol):
    """What makes a client for an address; `chbackup.Client` itself, or one over another transport.

    A sidecar with TLS needs a certificate for its address by a public authority, or a client that knows another one:
    `functools.partial(Client, verify=chbackup.tls_context(ca_file=...))`.
    """

    def __call__(self, url: str, /, *, username: str, password: str, timeout: float) -> Client:
        """Make it."""


@dataclass(frozen=True)
class Credentials:
    """User and password of the application's sidecars."""

    username: str
    password: str = field(repr=False)


@dataclass
class Line:
    """An open client. `of` is the process of its sidecar that took its credentials last, and told its `version`."""

    of: tuple[str, str, int]
    credentials: Credentials
    client: Client
    version: str = ""
    refused: bool = False


@dataclass
class Access:
    """Open clients by address, and the credentials by application.

    A Secret is read once, and again when a sidecar took none of what is known. What was in it before is tried as well:
    a sidecar has the password that it was started with, so after a rotation the sidecars of one application differ
    until the last of them was restarted. Which they took is known by Pod. After a restart of the controller only the
    present password is known.
    """

    connect: Connect
    objects: OpenStore = open_store
    callbacks: Callbacks | None = None
    metrics: Metrics | None = None
    secrets: Secrets = field(default_factory=Secrets, repr=False)
    _credentials: dict[tuple[str, str, str], tuple[Credentials, ...]] = field(default_factory=dict, repr=False)
    _lines: dict[str, Line] = field(default_factory=dict, repr=False)
    _opening: dict[str, anyio.Lock] = field(default_factory=dict, repr=False)

    async def client(self, run: Run, place: Place) -> Client:
        """The client for a sidecar, with credentials that it takes.

        Missing where it has no address, or takes none. Raises ChbackupError.
        """
        return (await self._line(run, place)).client

    async def version(self, run: Run, place: Place) -> str:
        """The version of a sidecar, asked once per Pod, image and restart; of one without a Pod, each time."""
        line = await self._line(run, place)
        return line.version if place.pod_uid else await line.client.version()

    async def credentials(self, run: Run) -> tuple[Credentials, ...]:
        """What the Secret that the rendered strategy refers to holds, and what it held before.

        Missing names the Secret and the key that is absent.
        """
        known = self._credentials.get(_whose(run))
        return known or await self._read(run)

    def callback(self, run: Run) -> str | None:
        """The address that the application's sidecars are to call."""
        return self.callbacks.url(run.namespace, run.application.metadata.name) if self.callbacks else None

    async def _line(self, run: Run, place: Place) -> Line:
        if not place.url:
            raise Missing("SidecarUnreachable", f"Pod {place.pod} has no address yet")
        async with self._opening.setdefault(place.url, anyio.Lock()):
            line = self._lines.get(place.url)
            if line is None or line.of[0] != place.pod_uid:
                return await self._open(run, place)
            if not line.refused and (line.of == _process(place) or await _takes(line, place)):
                return line
            return await self._open(run, place, line.credentials)

    async def _open(self, run: Run, place: Place, refused: Credentials | None = None) -> Line:
        """Try what is known, the newest first; then what the Secret holds now. What was just `refused` is not tried."""
        known = await self.credentials(run)
        line = await self._try(place, [each for each in known if each != refused])
        if line is None:
            line = await self._try(place, [each for each in await self._read(run) if each not in (*known, refused)])
        if line is None:
            await self._forget(place.url)
            raise Missing("SidecarUnreachable", f"{place.label} ({place.pod}): {_not_taken(run)}")
        return line

    async def _try(self, place: Place, candidates: Sequence[Credentials]) -> Line | None:
        for credentials in candidates:
            await self._forget(place.url)
            line = self._lines[place.url] = await self._connect(place, credentials)
            if await _takes(line, place):
                return line
        return None

    async def _connect(self, place: Place, credentials: Credentials) -> Line:
        client = self.connect(
            place.url, username=credentials.username, password=credentials.password, timeout=REQUEST_TIMEOUT
        )
        line = Line((place.pod_uid, "", -1), credentials, await client.__aenter__())
        client.observers.append(partial(_notice, line))
        if self.metrics is not None:
            client.observers.append(_counting(self.metrics))
        return line

    async def _read(self, run: Run) -> tuple[Credentials, ...]:
        now, before = await credentials(run), self._credentials.get(_whose(run), ())
        if now not in before[:1]:
            before = self._credentials[_whose(run)] = (now, *before[:1])
        return before

    async def _forget(self, url: str) -> None:
        line = self._lines.pop(url, None)
        if line:
            await line.client.__aexit__(None, None, None)

    async def close(self) -> None:
        """Close every client."""
        for url in list(self._lines):
            await self._forget(url)


async def _takes(line: Line, place: Place) -> bool:
    """Whether the sidecar takes the line's credentials: its version is asked, which leaves no row in its history."""
    with suppress(Unauthorized):
        line.version = await line.client.version()
        line.of = _process(place)
        return True
    return False


def _process(place: Place) -> tuple[str, str, int]:
    return place.pod_uid, place.image, place.restarts


def _notice(line: Line, method: str, status: int) -> None:
    """Whoever asked: once credentials were not taken, those that are known are tried anew."""
    if status == HTTPStatus.UNAUTHORIZED:
        line.refused = True


def _not_taken(run: Run) -> str:
    names = sorted({reference.name for reference in _references(run)})
    secret = f"Secret {run.namespace}/{', '.join(names)}"
    return f"401 to the credentials of {secret}, and to those before; a new password counts from its next restart on"


def _counting(metrics: Metrics) -> Callable[[str, int], None]:
    def count(method: str, status: int) -> None:
        metrics.sidecar_asked(method, str(status or "<error>"))

    return count


async def pods_of(run: Run) -> Sequence[Pod]:
    """The application's Pods, as they are watched."""
    return await run.reader.labelled(Pod, run.namespace, CHI_LABEL, installation(run.application.metadata.name))


async def find(run: Run, secrets: Secrets) -> list[Place]:
    """The application's sidecars, from its Pods as they are now; Missing where there are Pods, and none has one."""
    pods = await pods_of(run)
    found = places(run.application, pods, await secrets.read(run.kube, run.namespace, storage_secrets(pods)))
    if not found:
        said = f"no Pod of ClickHouse {run.application.metadata.name} that stays has a port {PORT_NAME}"
        raise Missing("ShardsMissing", f"{said}: is spec.backup.enabled set?")
    return found


def _whose(run: Run) -> tuple[str, str, str]:
    references = sorted(secret_references(run.strategy).items())
    return run.namespace, run.application.metadata.name, repr(references)


def _references(run: Run) -> tuple[SecretKeyReference, SecretKeyReference]:
    """Where user and password are: what the strategy says, else the application's own Secret."""
    default = f"{installation(run.application.metadata.name)}-backup-api-auth"
    references = secret_references(run.strategy)
    return (
        references.get("API_USERNAME", SecretKeyReference(name=default, key="username")),
        references.get("API_PASSWORD", SecretKeyReference(name=default, key="password")),
    )


async def credentials(run: Run) -> Credentials:
    """Read the credentials; see `Access.credentials`."""
    username, password = _references(run)
    secrets = {name: await _secret(run, name) for name in {username.name, password.name}}
    return Credentials(_value(secrets[username.name], username.key), _value(secrets[password.name], password.key))


async def _secret(run: Run, name: str) -> Secret:
    try:
        return await run.kube.get(Secret, name, run.namespace)
    except NotFound:
        raise Missing("SecretMissing", f"Secret {run.namespace}/{name} does not exist") from None


def _value(secret: Secret, key: str) -> str:
    value = secret.value(key)
    if value is None:
        raise Missing("SecretMissing", f"Secret {secret.metadata.namespace}/{secret.metadata.name} has no key {key}")
    return value


def secret_references(strategy: Mapping[str, Any]) -> dict[str, SecretKeyReference]:
    """The Secret keys that the strategy's containers take their environment from, by variable."""
    containers = strategy.get("template", {}).get("spec", {}).get("containers", [])
    return {
        variable["name"]: SecretKeyReference.model_validate(reference)
        for container in containers
        for variable in container.get("env", [])
        if (reference := variable.get("valueFrom", {}).get("secretKeyRef"))
    }


async def still_there(run: Run, place: Place) -> bool:
    """Whether the Pod is, read uncached, still the one that was chosen, and the only one with its address.

    Addresses are reused, passwords are shared.
    """
    if not place.pod_uid:
        return True
    name = installation(run.application.metadata.name)
    pods = await run.kube.list(Pod, run.namespace, label_selector=f"{CHI_LABEL}={name}")
    now = [(p.pod_uid, p.url, p.shard, p.replica) for p in places(run.application, pods.items)]
    return (place.pod_uid, place.url, place.shard, place.replica) in now


def sentence(place: Place, error: ChbackupError) -> str:
    """What went wrong with a sidecar, for a condition."""
    return f"{place.label} ({place.pod}): {error}"
