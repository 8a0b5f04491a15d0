"""Which sidecars a fleet has: a file in YAML or JSON, without a password in it."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import InvalidInput

_KEYS = ("url", "username", "password_env", "password_file", "storage", "labels")


@dataclass(frozen=True)
class Target:
    """A sidecar of a fleet.

    Targets of one `storage` see the same remote archives; "" means that their lists tell. `labels` are yours.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    storage: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def load_targets(path: str | Path) -> list[Target]:
    """Read a file of targets, `-` means standard input; the passwords come from where it says.

    Raises InvalidInput naming the entry and the field.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"the targets {str(path)!r} cannot be read: {reason}") from None
    entries = _parse(text)
    if not isinstance(entries, list):
        raise InvalidInput("targets: must be a list of {url, username, password_file, storage, ...}")
    return check_targets([_target(entry, f"targets[{place}]") for place, entry in enumerate(entries)])


def check_targets(targets: Sequence[Target]) -> list[Target]:
    """Return targets of which there is at least one, and no address twice.

    Raises InvalidInput.
    """
    if not targets:
        raise InvalidInput("targets: there are none")
    places: dict[str, int] = {}
    for place, target in enumerate(targets):
        first = places.setdefault(target.url.rstrip("/"), place)
        if first != place:
            raise InvalidInput(f"targets[{place}].url: targets[{first}] has the same")
    return list(targets)


def share(targets: Sequence[Target], shard: tuple[int, int]) -> list[Target]:
    """Return the targets of one of n processes: each storage falls to exactly one of them.

    Raises InvalidInput when a target names no storage, or when `shard` is not 0 <= i < n.
    """
    number, count = shard
    if not 0 <= number < count:
        raise InvalidInput(f"shard must be i/n with 0 <= i < n, not {number}/{count}")
    for place, target in enumerate(targets):
        if not target.storage:
            raise InvalidInput(f"targets[{place}].storage: needed when the targets are shared out (--shard)")
    return [target for target in targets if _hash(target.storage) % count == number]


def _hash(storage: str) -> int:
    return int.from_bytes(hashlib.sha256(storage.encode()).digest()[:8])


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        import yaml
    except ModuleNotFoundError:
        raise InvalidInput("targets: not JSON; for YAML: pip install 'chbackup[cli]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
    raise InvalidInput(f"targets: neither JSON nor YAML{where}")  # the error itself quotes the file


def _target(entry: Any, where: str) -> Target:
    if not isinstance(entry, Mapping):
        raise InvalidInput(f"{where}: must be an object with a url")
    if "password" in entry:
        raise InvalidInput(f"{where}.password: name a password_env or a password_file instead")
    for key in entry:
        if key not in _KEYS:
            raise InvalidInput(f"{where}.{key}: unknown; there are {', '.join(_KEYS)}")
    url, username, storage = (_text(entry, key, where) for key in ("url", "username", "storage"))
    if not url:
        raise InvalidInput(f"{where}.url: missing")
    return Target(url, username, _password(entry, where), storage or "", _labels(entry, where))


def _text(entry: Mapping[str, Any], key: str, where: str) -> str | None:
    value = entry.get(key)
    if value is None or isinstance(value, str):
        return value
    raise InvalidInput(f"{where}.{key}: must be a text")


def _labels(entry: Mapping[str, Any], where: str) -> dict[str, str]:
    labels = entry.get("labels") or {}
    if not isinstance(labels, Mapping) or not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise InvalidInput(f"{where}.labels: must be an object of texts")
    return dict(labels)


def _password(entry: Mapping[str, Any], where: str) -> str | None:
    variable, path = _text(entry, "password_env", where), _text(entry, "password_file", where)
    if variable and path:
        raise InvalidInput(f"{where}: password_env and password_file exclude each other")
    if variable and variable not in os.environ:
        raise InvalidInput(f"{where}.password_env: {variable} is not set")
    if variable:
        return os.environ[variable]
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else None
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"{where}.password_file: cannot be read: {reason}") from None
