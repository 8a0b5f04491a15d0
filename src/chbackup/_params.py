"""Query parameters of the endpoints that start an operation. Pure functions.

Most flags count as true by being there, whatever their value: they are sent only when true.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlsplit

from .errors import InvalidInput
from .names import check_name

Params = list[tuple[str, str]]

_MISREAD = re.compile(r"[\"\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DURATION = re.compile(r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def flags(**values: bool) -> Params:
    """Return the flags that are set, in the spelling that every version reads."""
    return [(name.replace("_", "-"), "1") for name, value in values.items() if value]


def text(parameter: str, value: str | None, *, field: str = "") -> Params:
    """Return a text that the server reads as it is, no parameter for None.

    Raises InvalidInput naming the field.
    """
    if value is None:
        return []
    return [(parameter, _readable(field or parameter.replace("-", "_"), value))]


def selection(tables: str | None, partitions: Sequence[str] = ()) -> Params:
    """Say which tables and which parts of them.

    Raises InvalidInput.
    """
    return text("table", tables, field="tables") + [("partitions", _partition(item)) for item in _items(partitions)]


def base(parameter: str, name: str | None) -> Params:
    """Name the archive that an increment is made against.

    Raises InvalidInput.
    """
    return [(parameter, check_name(name, existing=True))] if name is not None else []


def mappings(databases: Mapping[str, str] | None, tables: Mapping[str, str] | None) -> Params:
    """Give databases and tables new names; these parameters are read with underscores by all versions.

    Raises InvalidInput.
    """
    found = []
    for field, mapping in (("database_mapping", databases), ("table_mapping", tables)):
        for pair in (mapping or {}).items():
            old, new = (_readable(field, name, r"[,:]") for name in pair)
            found.append((f"restore_{field}", f"{old}:{new}"))
    return found


def callback_address(url: str | None) -> Params:
    """Name the address to be called at the end. The server decodes it twice.

    Raises InvalidInput, which does not repeat it: who knows it can call it.
    """
    if url is None:
        return []
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.username and not parts.fragment
    except ValueError:
        good = False
    if not good or _MISREAD.search(url) or " " in url:
        raise InvalidInput("callback must be an http or https address without credentials")
    return [("callback", quote(url, safe=""))]


def duration(field: str, value: str | None) -> float | None:
    """Return the seconds of a duration as Go writes it, such as `1h30m`; None without one.

    Raises InvalidInput.
    """
    if value is None:
        return None
    seconds = 0.0
    if _DURATION.fullmatch(value):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9.]+)([^0-9.]+)", value))
    if not 0 < seconds < 1e9:
        raise InvalidInput(f"{field} must be a duration as Go writes it, such as 30m or 1h30m, not {value[:50]!r}")
    return seconds


def _partition(value: str) -> str:
    _readable("partitions", value)
    outside = re.sub(r"\([^()]*\)", "", value)  # `(2026,'x')` is the value of one partition
    if "," in outside or outside.count(":") > 1:
        raise InvalidInput(f"partitions: {value[:50]!r} would be read as several: give each as an item of its own")
    return value


def _items(values: Sequence[str]) -> Sequence[str]:
    if isinstance(values, str):
        raise InvalidInput("partitions must be a list of texts, not one text")
    return values


def _readable(field: str, value: str, also: str = r"(?!)") -> str:
    if not value.strip() or _MISREAD.search(value) or re.search(also, value):
        misread = "quotes, control characters" + (", ',' or ':'" if also != r"(?!)" else "")
        raise InvalidInput(f"{field}: {value[:50]!r} would be misread: it must not be empty, or have {misread}")
    return value
