"""The options of a restore, `spec.options` of a RestoreJob: read strictly, before anything is touched. Pure.

Here is how any option is read, and what those mean that all drivers have.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from cozydrivers.errors import InvalidInput

_LONGEST = 366 * 24 * 3600
_BOOLEAN = "true or false"


class Option(NamedTuple):
    """One option: the field that holds it, how it is read, what is accepted.

    `read` raises ValueError. Without a field its value is checked and not kept.
    """

    field: str
    read: Callable[[Any], Any]
    accepted: str


def read(options: Mapping[str, Any], accepted: Mapping[str, Option]) -> dict[str, Any]:
    """Read `spec.options` by field; InvalidInput names the first key that is unknown, or of a wrong type."""
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise InvalidInput(f"spec.options.{unknown[0]} is unknown; accepted: {', '.join(sorted(accepted))}")
    values = {key: _value(key, value, accepted[key]) for key, value in options.items()}
    return {accepted[key].field: value for key, value in values.items() if accepted[key].field}


def _value(key: str, value: Any, option: Option) -> Any:
    try:
        return option.read(value)
    except ValueError:
        raise InvalidInput(f"spec.options.{key} must be {option.accepted}") from None


def check_time(not_after: datetime | None, now: datetime) -> None:
    """Refuse what is late: GitOps may apply a RestoreJob again long after it was meant."""
    if not_after is not None and now > not_after:
        raise InvalidInput(f"spec.options.notAfter is {not_after.isoformat()}, and the restore has not begun by then")


def word(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if not math.isfinite(value) or not 0 < value <= _LONGEST:
        raise ValueError
    return float(value)


def _time(value: Any) -> datetime:
    at = datetime.fromisoformat(word(value))
    if at.tzinfo is None or "T" not in value:
        raise ValueError
    return at


def switch(field: str) -> Option:
    """An option that is on or off."""
    return Option(field, _boolean, _BOOLEAN)


COMMON: Mapping[str, Option] = {
    "dryRun": switch("dry_run"),
    "notAfter": Option("not_after", _time, "a time with a zone, as 2026-11-23T12:00:00Z"),
    "repeat": Option("", word, "a text that is not empty"),
    "skipSafetyCopy": switch("skip_safety_copy"),
    "timeoutSeconds": Option("timeout", _seconds, "a number of seconds above 0, at most a year"),
}
"""What all drivers accept. `repeat` is read by the controller, and `timeoutSeconds` is `Run.timeout` by then."""
