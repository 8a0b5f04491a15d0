"""What to keep: the rules, and the times that they keep."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from fnmatch import fnmatchcase, translate
from functools import cached_property

from ._retention_groups import Group, default_group
from .errors import InvalidInput

# What the calendar calls them; each keeps the newest time of so many of its newest periods.
_PERIODS = {
    "hourly": "%Y-%m-%dT%H",
    "daily": "%Y-%m-%d",
    "weekly": "%G-W%V",
    "monthly": "%Y-%m",
    "yearly": "%Y",
}

_UNKNOWN_ZONE = timedelta(hours=14)  # no clock on Earth is further from UTC


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What to keep. A set that any rule keeps stays; one that none keeps goes, unless something needs it.

    `keep_last` counts sets. `keep_hourly` to `keep_yearly` keep the newest set of each of the newest hours, days, ISO
    weeks, months or years that have one. `older_than` keeps all that is younger. Each series has its own places, and
    sets of one time share them. `match` and `protect` are globs over archives' names: one that `match` doesn't match,
    or that one of `protect` does, is never deleted; neither changes what the rules count. `allow_none` allows to
    delete the newest complete set of a series too.

    Raises InvalidInput without a rule, or for a number that keeps nothing.
    """

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    older_than: timedelta | None = None
    match: str | None = None
    protect: Sequence[str] = ()
    group_by: Callable[[str], Group] = default_group
    allow_none: bool = False

    def __post_init__(self) -> None:
        numbers = {f"keep_{rule}": getattr(self, f"keep_{rule}") for rule in ("last", *_PERIODS)}
        for field, number in numbers.items():
            if not isinstance(number, int) or number < 0:
                raise InvalidInput(f"{field} must be a whole number, 0 or more, not {number!r}")
        if self.older_than is not None and self.older_than <= timedelta(0):
            raise InvalidInput(f"older_than must be more than nothing, not {self.older_than}")
        if self.older_than is None and not any(numbers.values()):
            raise InvalidInput(f"no rule: give older_than or one of {', '.join(numbers)}, else nothing would be kept")
        if isinstance(self.protect, str):
            raise InvalidInput(f"protect must be a list of globs, not the text {self.protect!r}")

    def spares(self, name: str) -> str | None:
        """Say which glob keeps an archive of this name, None when none does."""
        if self._protected.match(name):
            return next(f"protected by {glob}" for glob in self.protect if fnmatchcase(name, glob))
        return None if self.match is None or fnmatchcase(name, self.match) else "not matched"

    @cached_property
    def _protected(self) -> re.Pattern[str]:
        return re.compile("|".join(map(translate, self.protect)) or "(?!)")

    def younger(self, time: datetime, now: datetime) -> str | None:
        """Say that a set of this time is too young to go; one of an unknown zone is young until it is old in all."""
        if self.older_than is None:
            return None
        age = now - time if time.tzinfo else now.astimezone(UTC).replace(tzinfo=None) - time - _UNKNOWN_ZONE
        return f"younger than {_duration(self.older_than)}" if age < self.older_than else None


def kept_times(times: Sequence[datetime], retention: Retention, zone: tzinfo | None) -> dict[datetime, str]:
    """Say which times the rules keep, and why; `times` are those of one series' complete sets, newest first.

    Hours, days and longer periods are those of `zone`; times without a zone have their own.
    """
    kept: dict[datetime, str] = {}
    for rank, time in enumerate(times[: retention.keep_last], 1):
        kept.setdefault(time, f"last {rank} of {retention.keep_last}")
    for rule, form in _PERIODS.items():
        if number := getattr(retention, f"keep_{rule}"):
            for period, time in _newest_periods(times, number, form, zone).items():
                kept.setdefault(time, f"{rule} {period}")
    return kept


def _newest_periods(times: Sequence[datetime], number: int, form: str, zone: tzinfo | None) -> dict[str, datetime]:
    periods: dict[str, datetime] = {}
    for time in times:
        periods.setdefault(shift(time, zone).strftime(form), time)
        if len(periods) > number:
            periods.popitem()
            break
    return periods


def shift(time: datetime, zone: tzinfo | None) -> datetime:
    """Show a time in another zone; one without a zone, or at the calendar's end, stays as it is."""
    try:
        return time.astimezone(zone) if time.tzinfo else time
    except OverflowError:
        return time.replace(tzinfo=zone)


def _duration(span: timedelta) -> str:
    for name, unit in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if not span % unit:
            return f"{span // unit} {name}"
    return f"{span.total_seconds():g} s"
