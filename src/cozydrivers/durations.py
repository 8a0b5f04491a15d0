"""Durations as they are written in annotations and parameters. Pure."""

import re

from cozydrivers.errors import InvalidInput

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_LONGEST = 366 * 24 * 3600.0


def seconds(text: str) -> float:
    """Read a duration such as `90m`, `2h30m` or `45s`; InvalidInput for anything else, and beyond a year."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidInput(f"{text!r} is not a duration such as 90m or 2h30m")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total > _LONGEST:
        raise InvalidInput(f"{text!r} is longer than a year")
    return total
