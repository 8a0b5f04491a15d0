"""The options of a restore, `spec.options` of a RestoreJob: read strictly, before anything is touched. Pure."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from cozydrivers.errors import InvalidInput

_LONGEST = 366 * 24 * 3600
_PATTERN = re.compile(r"[^\s.,]+\.[^\s,]+")
_SHARD = re.compile(r"0|[1-9][0-9]{0,2}")
ONLY_SHARD = "0"


@dataclass(frozen=True)
class Options:
    """What a RestoreJob asks for beyond the Backup.

    `tables` are patterns, none for all. `overwrite` is None where it was not said. `timeout` is the patience with the
    engine in seconds. `archives` are the explicit ones, by shard.
    """

    tables: tuple[str, ...] = ()
    overwrite: bool | None = None
    schema_only: bool = False
    timeout: float | None = None
    not_after: datetime | None = None
    skip_safety_copy: bool = False
    dry_run: bool = False
    archives: Mapping[int, str] = field(default_factory=dict)

    def replaces(self, *, elsewhere: bool) -> bool:
        """Whether tables that exist are replaced: by default in place only, and never by their bare schema."""
        if self.schema_only:
            return False
        return not elsewhere if self.overwrite is None else self.overwrite


def parse(options: Mapping[str, Any]) -> Options:
    """Read `spec.options`; InvalidInput names the first key that is unknown, of a wrong type, or beside another."""
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise InvalidInput(f"spec.options.{unknown[0]} is unknown; accepted: {', '.join(sorted(_OPTIONS))}")
    read = {key: _read(key, value) for key, value in options.items()}
    if read.get("schemaOnly") and read.get("overwrite"):
        raise InvalidInput(
            "spec.options.overwrite must not be true beside schemaOnly: it would leave the tables that exist empty"
        )
    return Options(**{_OPTIONS[key].field: value for key, value in read.items() if _OPTIONS[key].field})


def _read(key: str, value: Any) -> Any:
    option = _OPTIONS[key]
    try:
        return option.read(value)
    except ValueError:
        raise InvalidInput(f"spec.options.{key} must be {option.accepted}") from None


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if not math.isfinite(value) or not 0 < value <= _LONGEST:
        raise ValueError
    return float(value)


def _time(value: Any) -> datetime:
    at = datetime.fromisoformat(_word(value))
    if at.tzinfo is None or "T" not in value:
        raise ValueError
    return at


def _patterns(value: Any) -> tuple[str, ...]:
    patterns = tuple(_word(each) for each in value) if isinstance(value, list) else ()
    if not patterns or not all(_PATTERN.fullmatch(pattern) for pattern in patterns):
        raise ValueError
    return patterns


def _archives(value: Any) -> dict[int, str]:
    by_shard = {ONLY_SHARD: value} if isinstance(value, str) else value
    if not isinstance(by_shard, dict) or not by_shard or not all(_SHARD.fullmatch(str(key)) for key in by_shard):
        raise ValueError
    return {int(shard): _word(name) for shard, name in by_shard.items()}


class _Option(NamedTuple):
    """One option: the field that holds it, how it is read, what is accepted. `repeat` is read by the controller."""

    field: str
    read: Callable[[Any], Any]
    accepted: str


_BOOLEAN = "true or false"
_OPTIONS: Mapping[str, _Option] = {
    "archive": _Option("archives", _archives, 'an archive\'s name, or a map by shard as {"0": "clickhouse-..."}'),
    "dryRun": _Option("dry_run", _boolean, _BOOLEAN),
    "notAfter": _Option("not_after", _time, "a time with a zone, as 2026-11-23T12:00:00Z"),
    "overwrite": _Option("overwrite", _boolean, _BOOLEAN),
    "repeat": _Option("", _word, "a text that is not empty"),
    "schemaOnly": _Option("schema_only", _boolean, _BOOLEAN),
    "skipSafetyCopy": _Option("skip_safety_copy", _boolean, _BOOLEAN),
    "tables": _Option("tables", _patterns, 'a list of patterns as "shop.orders" or "shop.*", at least one'),
    "timeoutSeconds": _Option("timeout", _seconds, "a number of seconds above 0, at most a year"),
}
