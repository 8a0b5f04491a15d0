"""The options of a restore of ClickHouse. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cozydrivers.drivers import options as asking
from cozydrivers.drivers.options import Option, switch, word
from cozydrivers.errors import InvalidInput

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
    values = asking.read(options, _OPTIONS)
    if values.get("schema_only") and values.get("overwrite"):
        raise InvalidInput(
            "spec.options.overwrite must not be true beside schemaOnly: it would leave the tables that exist empty"
        )
    return Options(**values)


def _patterns(value: Any) -> tuple[str, ...]:
    patterns = tuple(word(each) for each in value) if isinstance(value, list) else ()
    if not patterns or not all(_PATTERN.fullmatch(pattern) for pattern in patterns):
        raise ValueError
    return patterns


def _archives(value: Any) -> dict[int, str]:
    by_shard = {ONLY_SHARD: value} if isinstance(value, str) else value
    if not isinstance(by_shard, dict) or not by_shard or not all(_SHARD.fullmatch(str(key)) for key in by_shard):
        raise ValueError
    return {int(shard): word(name) for shard, name in by_shard.items()}


_OPTIONS: Mapping[str, Option] = {
    **asking.COMMON,
    "archive": Option("archives", _archives, 'an archive\'s name, or a map by shard as {"0": "clickhouse-..."}'),
    "overwrite": switch("overwrite"),
    "schemaOnly": switch("schema_only"),
    "tables": Option("tables", _patterns, 'a list of patterns as "shop.orders" or "shop.*", at least one'),
}
