"""The way to an application's sidecars: its Pods, its credentials, one client per address."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from chbackup import ChbackupError, Client
from cozydrivers.api.core import Pod, Secret, SecretKeyReference
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.callbacks import Callbacks
from cozydrivers.drivers.clickhouse.following import REQUEST_TIMEOUT
from cozydrivers.drivers.clickhouse.places import CHI_LABEL, Place, installation, places
from cozydrivers.errors import NotFound
from cozydrivers.metrics import Metrics


class Connect(Protocol):
    """What makes a client for an address; `chbackup.Client` itself, or one over another transport."""

    def __call__(self, url: str, /, *, username: str, password: str, timeout: float) -> Client:
        """Make it."""


class Missing(Exception):
    """Something that a run needs is absent or out of reach; waited for, with `reason` as the condition's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Credentials:
    """User and password of the application's sidecars."""

    username: str
    password: str = field(repr=False)


@dataclass
class Access:
    """Open clients by address, and the credentials by application. A client is renewed when these change.

    A Secret is read once, and again after its content was not accepted.
    """

    connect: Connect
    callbacks: Callbacks | None = None
    metrics: Metrics | None = None
    _credentials: dict[tuple[str, str, str], Credentials] = field(default_factory=dict, repr=False)
    _clients: dict[str, tuple[Credentials, Client]] = field(default_factory=dict, repr=False)

    async def client(self, place: Place, credentials: Credentials) -> Client:
        """The client for a sidecar; Missing where it has no address."""
        if not place.url:
            raise Missing("SidecarUnreachable", f"Pod {place.pod} has no address yet")
        known = self._clients.get(place.url)
        if known and known[0] == credentials:
            return known[1]
        await self._forget(place.url)
        client = self.connect(
            place.url, username=credentials.username, password=credentials.password, timeout=REQUEST_TIMEOUT
        )
        if self.metrics is not None:
            client.observers.append(_counting(self.metrics))
        self._clients[place.url] = (credentials, await client.__aenter__())
        return client

    async def credentials(self, run: Run) -> Credentials:
        """The credentials that the rendered strategy refers to; Missing names the Secret and the key that is absent."""
        key = _whose(run)
        if key not in self._credentials:
            self._credentials[key] = await credentials(run)
        return self._credentials[key]

    def callback(self, run: Run) -> str | None:
        """The address that the application's sidecars are to call."""
        return self.callbacks.url(run.namespace, run.application.metadata.name) if self.callbacks else None

    def distrust(self, run: Run) -> None:
        """The credentials were not accepted: read them again the next time."""
        self._credentials.pop(_whose(run), None)

    async def _forget(self, url: str) -> None:
        known = self._clients.pop(url, None)
        if known:
            await known[1].__aexit__(None, None, None)

    async def close(self) -> None:
        """Close every client."""
        for url in list(self._clients):
            await self._forget(url)


def _counting(metrics: Metrics) -> Callable[[str, int], None]:
    def count(method: str, status: int) -> None:
        metrics.sidecar_asked(method, str(status or "<error>"))

    return count


async def find(run: Run) -> list[Place]:
    """The application's sidecars, from its Pods as they are now."""
    name = installation(run.application.metadata.name)
    return places(run.application, await run.reader.labelled(Pod, run.namespace, CHI_LABEL, name))


def _whose(run: Run) -> tuple[str, str, str]:
    references = sorted(secret_references(run.strategy).items())
    return run.namespace, run.application.metadata.name, repr(references)


async def credentials(run: Run) -> Credentials:
    """Read the credentials; see `Access.credentials`."""
    application = run.application.metadata.name
    default = f"{installation(application)}-backup-api-auth"
    references = secret_references(run.strategy)
    username = references.get("API_USERNAME", SecretKeyReference(name=default, key="username"))
    password = references.get("API_PASSWORD", SecretKeyReference(name=default, key="password"))
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
    """Whether the Pod is, read uncached, still the one that was chosen: addresses are reused, passwords are shared."""
    if not place.pod_uid:
        return True
    try:
        pod = await run.kube.get(Pod, place.pod, run.namespace)
    except NotFound:
        return False
    now = places(run.application, [pod])
    same = [(p.pod_uid, p.url, p.shard, p.replica) for p in now]
    return (place.pod_uid, place.url, place.shard, place.replica) in same


def sentence(place: Place, error: ChbackupError) -> str:
    """What went wrong with a sidecar, for a condition."""
    return f"{place.label} ({place.pod}): {error}"
