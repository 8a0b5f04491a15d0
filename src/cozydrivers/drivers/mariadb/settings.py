"""What a strategy and its class ask for beside the storage, read strictly. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

from cozydrivers.errors import InvalidInput

Word = TypeVar("Word", bound=str)

Compression = Literal["none", "gzip", "bzip2"]
Verification = Literal["list", "stream"]

VERIFY = "verify"
"""Parameter of the class: `list` looks at a dump's size and first MiB, `stream` reads it to its last line."""
COMPRESSIONS: tuple[Compression, ...] = ("none", "gzip", "bzip2")
_VERIFICATIONS: tuple[Verification, ...] = ("list", "stream")
_LEVELS = ("debug", "info", "warn", "error", "dpanic", "panic", "fatal")
DATABASE = re.compile(r"[^\s`'\"/\\;,-][^\s`'\"/\\;,]{0,63}")
"""A name that can be given to mariadb-dump and mariadb as it is."""
_UNITS = {"h": 3600, "m": 60, "s": 1}
_SHORTEST = timedelta(hours=1)
_LONGEST = timedelta(days=100 * 366)


@dataclass(frozen=True)
class Settings:
    """How a dump is made: without `databases` it is of all of them; `log_level` is empty for the operator's own."""

    compression: Compression = "none"
    databases: tuple[str, ...] = ()
    log_level: str = ""
    retention: timedelta | None = None
    verify: Verification = "list"


def settings_of(strategy: Mapping[str, Any], parameters: Mapping[str, str]) -> Settings:
    """Read the rendered strategy's spec and the class's parameters; InvalidInput names the field."""
    template = strategy.get("template") or {}
    return Settings(
        compression=_one_of(COMPRESSIONS, template.get("compression") or "none", "spec.template.compression"),
        databases=_databases(template.get("databases") or ()),
        log_level=_one_of(("", *_LEVELS), template.get("logLevel") or "", "spec.template.logLevel"),
        retention=retention_of(strategy),
        verify=_one_of(_VERIFICATIONS, parameters.get(VERIFY) or "list", f"parameters.{VERIFY}"),
    )


def retention_of(strategy: Mapping[str, Any]) -> timedelta | None:
    """The strategy's `maxRetention`, None where it has none.

    InvalidInput for what mariadb-operator would take for an order to delete every dump: a duration that is not above
    0, or a very short one; and for what is no duration of hours, minutes and seconds.
    """
    text = (strategy.get("template") or {}).get("maxRetention") or ""
    if text == "":
        return None
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([hms])", text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidInput(f"spec.template.maxRetention must be a duration of h, m and s such as 720h, not {text!r}")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not _SHORTEST.total_seconds() <= total <= _LONGEST.total_seconds():
        raise InvalidInput(f"spec.template.maxRetention is {text}; it must be at least 1h and at most 100 years")
    return timedelta(seconds=total)


def _databases(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise InvalidInput("spec.template.databases must be a list of names")
    wrong = next((each for each in given if not DATABASE.fullmatch(each)), None)
    if wrong is not None:
        raise InvalidInput(f"spec.template.databases: {wrong!r} is no database's name that can be dumped")
    if len(set(given)) != len(given):
        raise InvalidInput("spec.template.databases names a database twice")
    return tuple(given)


def _one_of(accepted: tuple[Word, ...], given: Any, field: str) -> Word:
    for word in accepted:
        if given == word:
            return word
    raise InvalidInput(f"{field} is {given!r}; accepted: {', '.join(filter(None, accepted))}")
