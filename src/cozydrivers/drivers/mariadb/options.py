"""The options of a restore of MariaDB. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cozydrivers.drivers import options as asking
from cozydrivers.drivers.mariadb.settings import DATABASE
from cozydrivers.drivers.options import Option, switch, word


@dataclass(frozen=True)
class Options:
    """What a RestoreJob asks for beyond the Backup.

    `database` is the only one that is restored, empty for all of the dump. `require_idle` refuses a target that
    somebody else works on, instead of waiting. `assume_nearest` takes a dump that no record names; see `reference`.
    """

    database: str = ""
    timeout: float | None = None
    not_after: datetime | None = None
    dry_run: bool = False
    require_idle: bool = False
    skip_safety_copy: bool = False
    assume_nearest: bool = False


def parse(options: Mapping[str, Any]) -> Options:
    """Read `spec.options`; InvalidInput names the first key that is unknown, or of a wrong type."""
    return Options(**asking.read(options, _OPTIONS))


def _database(value: Any) -> str:
    if not DATABASE.fullmatch(word(value)):
        raise ValueError
    return str(value)


_OPTIONS: Mapping[str, Option] = {
    **asking.COMMON,
    "assumeNearest": switch("assume_nearest"),
    "database": Option("database", _database, "the name of one database"),
    "requireIdle": switch("require_idle"),
}
