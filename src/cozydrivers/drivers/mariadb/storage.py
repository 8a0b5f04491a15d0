"""Where a strategy keeps the dumps of an application, read strictly from the rendered strategy. Pure.

What mariadb-operator does not notice, and would wait on for ever, is refused here: an endpoint with a scheme, a
name that no bucket has, more than one kind of storage.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from cozydrivers.api.core import Secret, SecretKeyReference
from cozydrivers.api.mariadb import S3, Storage
from cozydrivers.clients.objects import Coordinates
from cozydrivers.drivers.mariadb.dumps import prefix_problem
from cozydrivers.errors import InvalidInput

Kind = Literal["s3", "persistentVolumeClaim", "volume"]
FIELD = "spec.template.storage"
SHARED = "the strategy's volume"
"""How sentences name the volume that all dumps of a strategy are on."""
_ENDPOINT = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[1-9][0-9]{0,4})?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]*")
_AWS = re.compile(r"s3\.(?:[a-z0-9-]+\.)?amazonaws\.com")


@dataclass(frozen=True)
class Place:
    """Where the dumps of an application go; `template` is the storage as the strategy has it.

    `prefix` ends with a slash, or is empty.
    """

    kind: Kind
    template: Mapping[str, Any] = field(repr=False)
    s3: S3 | None = None
    prefix: str = ""

    @property
    def identity(self) -> str:
        """What stands for the storage in locks and records; two volumes are not told apart."""
        if self.s3 is not None:
            return f"s3/{self.s3.endpoint}/{self.s3.bucket}/{self.prefix}"
        return self.kind

    def folder(self, name: str) -> str:
        """The prefix of a run's dumps, of its own in a bucket."""
        return f"{self.prefix}{name}/"

    def written(self, name: str) -> dict[str, Any]:
        """The `storage` of an operator's object of that name."""
        inner = dict(self.template)
        return {self.kind: {**inner, "prefix": self.folder(name)} if self.s3 is not None else inner}

    def source(self, prefix: str) -> dict[str, Any]:
        """The `s3` of a Restore from the dumps under a prefix."""
        return {**self.template, "prefix": prefix}

    def secret_keys(self) -> list[SecretKeyReference]:
        """The keys of Secrets that the operator's Pods need; without one of them they never start."""
        if self.s3 is None:
            return []
        ca = self.s3.tls.ca_secret_key_ref if self.s3.tls and self.s3.tls.enabled else None
        named = (
            self.s3.access_key_id_secret_key_ref,
            self.s3.secret_access_key_secret_key_ref,
            self.s3.session_token_secret_key_ref,
            ca,
        )
        return [reference for reference in named if reference is not None]

    @property
    def closed(self) -> str:
        """Why nobody can look at the dumps from here, whatever the Secrets hold: the end of a sentence, or empty."""
        if self.s3 is None:
            return "its dumps are on a volume"
        if None in self._keys or self.s3.session_token_secret_key_ref is not None:
            return "its credentials are not an access key and a secret key in Secrets"
        return ""

    @property
    def _keys(self) -> tuple[SecretKeyReference | None, SecretKeyReference | None]:
        s3 = self.s3 or S3()
        return s3.access_key_id_secret_key_ref, s3.secret_access_key_secret_key_ref

    def coordinates(self, secrets: Mapping[str, Secret]) -> Coordinates | str:
        """The way into the bucket, or why there is none from here: the end of a sentence."""
        if self.s3 is None or self.closed:
            return self.closed
        values = [_value(secrets, reference) for reference in self._keys]
        if not all(values):
            return "its credentials can't be read"
        tls = self.s3.tls
        ca = _value(secrets, tls.ca_secret_key_ref) if tls and tls.enabled and tls.ca_secret_key_ref else ""
        return Coordinates(
            bucket=self.s3.bucket,
            access_key=values[0],
            secret_key=values[1],
            endpoint=f"{'https' if tls and tls.enabled else 'http'}://{self.s3.endpoint}",
            region=self.s3.region or "us-east-1",
            path_style=_AWS.fullmatch(self.s3.endpoint) is None,
            ca=ca,
        )


def place_of(strategy: Mapping[str, Any]) -> Place:
    """Read the storage of a rendered strategy's spec; InvalidInput names the field."""
    template = (strategy.get("template") or {}).get("storage")
    if not isinstance(template, Mapping):
        raise InvalidInput(f"{FIELD} is missing")
    given = [kind for kind in ("s3", "persistentVolumeClaim", "volume") if template.get(kind) is not None]
    if len(given) != 1:
        said = ", ".join(given) or "none"
        raise InvalidInput(f"{FIELD} must have exactly one of s3, persistentVolumeClaim, volume; it has {said}")
    inner = template[given[0]]
    if not isinstance(inner, Mapping):
        raise InvalidInput(f"{FIELD}.{given[0]} must be an object")
    if given[0] != "s3":
        return Place("volume" if given[0] == "volume" else "persistentVolumeClaim", inner)
    return _bucket(inner)


def _bucket(inner: Mapping[str, Any]) -> Place:
    try:
        s3 = Storage.model_validate({"s3": inner}).s3 or S3()
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise InvalidInput(f"{FIELD}.{where}: {problem['msg']}") from None
    where = f"{FIELD}.s3"
    if not _ENDPOINT.fullmatch(s3.endpoint):
        raise InvalidInput(f"{where}.endpoint must be host or host:port, without scheme and path")
    if not _BUCKET.fullmatch(s3.bucket) or ".." in s3.bucket:
        raise InvalidInput(f"{where}.bucket is no bucket's name: {s3.bucket!r}")
    if not _PREFIX.fullmatch(s3.prefix) or s3.prefix.startswith("/") or "//" in s3.prefix or ".." in s3.prefix:
        raise InvalidInput(f"{where}.prefix can't be used: {s3.prefix!r}")
    if dotted := prefix_problem(s3.prefix):
        raise InvalidInput(f"{where}.prefix can't be used: {dotted}")
    for reference, key in _references(s3):
        if not reference.name or not reference.key:
            raise InvalidInput(f"{where}.{key} must have a name and a key")
    return Place("s3", inner, s3, f"{s3.prefix.rstrip('/')}/" if s3.prefix else "")


def _references(s3: S3) -> Iterable[tuple[SecretKeyReference, str]]:
    named = {
        "accessKeyIdSecretKeyRef": s3.access_key_id_secret_key_ref,
        "secretAccessKeySecretKeyRef": s3.secret_access_key_secret_key_ref,
        "sessionTokenSecretKeyRef": s3.session_token_secret_key_ref,
        "tls.caSecretKeyRef": s3.tls.ca_secret_key_ref if s3.tls else None,
    }
    return [(reference, key) for key, reference in named.items() if reference is not None]


def _value(secrets: Mapping[str, Secret], reference: SecretKeyReference | None) -> str:
    secret = secrets.get(reference.name) if reference else None
    return (secret.value(reference.key) or "").strip() if secret and reference else ""
