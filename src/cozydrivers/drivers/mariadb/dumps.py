"""The dumps in a store: what their names say, and which one a restore takes. Pure.

mariadb-operator names a dump after the second in which it began, and a Restore finds it by time alone. 25.10 takes the
dump nearest to that time, before or after it, and does not see names that 26.3 and later write; those take the newest
that is not after it, and see all. Seen on 25.10.2 and 26.6.0. So the one way to one dump is the dump's own second.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from cozydrivers.clients.objects import StoredObject
from cozydrivers.drivers.mariadb.settings import Compression
from cozydrivers.errors import InvalidInput

Release = Literal["25.10", "26.3"]
"""The first release of mariadb-operator with a way of its own: to name dumps, and to choose among them."""

_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})"
_NAME = re.compile(rf"backup\.({_TIME})\.(?:sql|(gzip|bzip2)\.sql|sql\.(gz|bz2))")
_EXTENSIONS: dict[str, Compression] = {"gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}


@dataclass(frozen=True)
class DumpFile:
    """A dump as its name tells of it: `taken_at` is its second, in UTC; `style` the first release that reads the name.

    Plain dumps have the same name in all releases: theirs is 25.10.
    """

    key: str
    taken_at: datetime
    style: Release
    compression: Compression
    size: int = 0

    @property
    def name(self) -> str:
        """The key without its prefix."""
        return self.key.rpartition("/")[2]

    @property
    def second(self) -> str:
        """Its second, as a Restore's `targetRecoveryTime` takes it."""
        return self.taken_at.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(key: str, size: int = 0) -> DumpFile | None:
    """Read a dump's key or name; None for what the operator takes for none, such as fractions of a second."""
    match = _NAME.fullmatch(key.rpartition("/")[2])
    if not match:
        return None
    try:
        taken_at = datetime.fromisoformat(match[1]).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    compression = _EXTENSIONS.get(match[2] or match[3], "none")
    return DumpFile(key, taken_at, "26.3" if match[3] else "25.10", compression, size)


def dumps_under(prefix: str, objects: Iterable[StoredObject]) -> list[DumpFile]:
    """The dumps that lie right under a prefix, which ends with `/` or is empty; in the order of their keys."""
    direct = (each for each in objects if each.key.startswith(prefix) and "/" not in each.key[len(prefix) :])
    return sorted((dump for each in direct if (dump := parse(each.key, each.size))), key=lambda dump: dump.key)


def prefix_problem(prefix: str) -> str:
    """Why the operator finds no dump under a prefix of a bucket; empty where it does.

    A Restore splits the whole key at its dots, prefix and all, and looks for the time behind the first one. Seen on
    25.10.2; 26.6.0 has the same code.
    """
    return f"mariadb-operator restores nothing from {prefix!r}, because it has a dot" if "." in prefix else ""


def chosen(files: Sequence[DumpFile], target: datetime, rule: Release) -> DumpFile | None:
    """The dump that a Restore with this `targetRecoveryTime` takes, of files in the order of a list; None for none.

    Of two that are equally near it takes the first of the list, as far as lists up to 12 go: its sort is not stable.
    """
    if rule == "25.10":
        seen = [dump for dump in files if dump.style == "25.10"]
    else:
        seen = [dump for dump in files if dump.taken_at <= target]
    return min(seen, key=lambda dump: abs(target - dump.taken_at), default=None)


def safe_choice(files: Sequence[DumpFile], taken_at: datetime) -> DumpFile:
    """The newest dump of a shared prefix that is not after `taken_at`, which its own second then selects.

    Raises InvalidInput where there is none, or where that second does not select it under every release's rule.
    """
    dump = max((each for each in files if each.taken_at <= taken_at), key=lambda each: each.taken_at, default=None)
    if dump is None:
        raise InvalidInput(f"no dump there is from {taken_at:%Y-%m-%dT%H:%M:%SZ} or before")
    twins = [each.name for each in files if each.taken_at == dump.taken_at]
    if len(twins) > 1:
        raise InvalidInput(f"{' and '.join(sorted(twins))} are of the same second: a restore takes either")
    by_style = {each.style: each.name for each in files}
    if len(by_style) > 1:
        raise InvalidInput(
            f"names such as {by_style['25.10']} and {by_style['26.3']} lie side by side: "
            "mariadb-operator 25.10 does not see the latter, and takes another dump"
        )
    return dump
