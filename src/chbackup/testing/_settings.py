"""What a sidecar is configured with, and how long its work takes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

NEWEST = "2.8.1-dev"
TEXTS = {NEWEST: "2.8.0+fd469780"}


class Version(NamedTuple):
    """A server version: a number to compare with, and what the server says of itself."""

    number: tuple[int, ...]
    text: str

    def since(self, *number: int) -> bool:
        """Whether the server is of that version or newer."""
        return self.number >= number


def parse_version(name: str) -> Version:
    """Read `2.7.4`, or `newest`: 2.8.1-dev, which calls itself `2.8.0+fd469780`."""
    name = NEWEST if name == "newest" else name
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", name)
    if not match:
        raise ValueError(f"version {name!r} does not begin with three numbers, as 2.7.4")
    return Version(tuple(int(number) for number in match.groups()), TEXTS.get(name, name))


@dataclass
class Settings:
    """Server settings under the names of their environment variables (lower case here)."""

    api_allow_parallel: bool = False
    api_complete_resumable_after_restart: bool = True
    api_cancel_operation_timeout: float = 1800.0
    api_backup_actions_skip_commands: str = ""
    tz: str = "UTC"
    status_history_size: int = 1000
    allow_empty_backups: bool = False
    use_resumable_state: bool = True
    backups_to_keep_local: int = 0
    backups_to_keep_remote: int = 0
    remote_storage: str = "s3"
    rebase_during_delete: bool = False
    callback_url: str = ""


def read_settings(env: Mapping[str, str], base: Settings | None = None) -> Settings:
    """Return settings changed by environment variables; raises ValueError for a name that is not modelled."""
    kinds = {field.name.upper(): field.type for field in fields(Settings)}
    unknown = sorted(set(env) - set(kinds))
    if unknown:
        raise ValueError(f"settings not modelled: {', '.join(unknown)}; known are {', '.join(kinds)}")
    values: dict[str, Any] = {name.lower(): _value(kinds[name], text) for name, text in env.items()}
    return replace(base or Settings(), **values)


def _value(kind: object, text: str) -> bool | int | float | str:
    if kind is bool:
        return text.lower() in {"1", "true"}
    if kind is float:
        return float(text.removesuffix("s"))
    return int(text) if kind is int else text


@dataclass
class Durations:
    """Seconds of the event loop's clock that each phase takes."""

    create: float = 0.1
    upload: float = 0.5
    download: float = 0.5
    restore: float = 0.2
    list: float = 0.0
    delete: float = 0.0
