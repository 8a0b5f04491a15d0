"""Schedules as robfig/cron v3.0.1 takes them with `ParseStandard`: Plans are written for that. Pure.

Five fields (minute, hour, day of month, month, day of week) of `*`, `?`, numbers, names, ranges, steps and lists;
`@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`; `@every` with a Go duration; and before
any of them `CRON_TZ=` or `TZ=` with a zone and a space. Without a zone a schedule is in UTC, the zone of a controller's
Pod.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Protocol
from zoneinfo import ZoneInfo

from cozydrivers.errors import InvalidInput

LONGEST = 1000
"""Characters that a schedule may have."""

_YEARS = 5
"""How far ahead robfig looks."""


class Schedule(Protocol):
    """Times, in UTC, without an end unless none is found."""

    def next(self, after: datetime) -> datetime | None:
        """The first time after one; None when there is none within five years."""


@dataclass(frozen=True)
class Every:
    """Times that are `delay` apart; the first is `delay` after `anchor`."""

    delay: timedelta
    anchor: datetime

    def next(self, after: datetime) -> datetime | None:
        """The first time after one."""
        steps = max(1, (after - self.anchor) // self.delay + 1)
        return self.anchor + steps * self.delay


@dataclass(frozen=True)
class Fields:
    """Times whose minute, hour and so on are among those given; Sunday is 0.

    With `both` a day is one of `days` and of `weekdays`, else of either: robfig takes both where one of the fields has
    a `*` or `?` without a step.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both: bool
    zone: tzinfo

    def next(self, after: datetime) -> datetime | None:
        """The first time after one, by robfig's own steps: only so are the hours around a change of the clock its own.

        A time that the clocks skip has no run that day, one that they repeat has two, and a day that has no midnight
        has no run at midnight.
        """
        if not (self.minutes and self.hours and self.months):
            return None
        at = (after.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)).astimezone(self.zone)
        limit, floored, found = at.year + _YEARS, False, False
        while not found:
            if at.year > limit:
                return None
            at, floored, found = self._go_on(at, floored)
        return at.astimezone(UTC)

    def _go_on(self, at: datetime, floored: bool) -> tuple[datetime, bool, bool]:
        """Move each unit on until it fits; one that wraps around ends the turn, as the larger ones must fit again."""
        for unit in _UNITS:
            while not unit.fits(self, at):
                at = unit.step(at if floored else unit.floor(at))
                floored = True
                if unit.wraps(at):
                    return at, floored, False
        return at, floored, True

    def fits_day(self, at: datetime) -> bool:
        """Whether it is one of the days."""
        fits = (at.day in self.days, at.isoweekday() % 7 in self.weekdays)
        return all(fits) if self.both else any(fits)


@dataclass(frozen=True)
class _Unit:
    fits: Callable[[Fields, datetime], bool]
    floor: Callable[[datetime], datetime]
    step: Callable[[datetime], datetime]
    wraps: Callable[[datetime], bool]


def _local(at: datetime, *, months: int = 0, days: int = 0, **fields: int) -> datetime:
    """Go's `time.Date`: fields replaced and added, then the instant that a clock shows so, or nearly so in a gap."""
    wall = at.replace(tzinfo=None, fold=0, **fields)
    month = wall.month - 1 + months
    wall = wall.replace(year=wall.year + month // 12, month=month % 12 + 1, day=1) + timedelta(days=wall.day - 1 + days)
    guess = wall.replace(tzinfo=UTC) - _offset(wall.replace(tzinfo=UTC), at.tzinfo)
    return (wall.replace(tzinfo=UTC) - _offset(guess, at.tzinfo)).astimezone(at.tzinfo)


def _offset(instant: datetime, zone: tzinfo | None) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _later(at: datetime, **delta: int) -> datetime:
    return (at.astimezone(UTC) + timedelta(**delta)).astimezone(at.tzinfo)


def _next_day(at: datetime) -> datetime:
    """Midnight of the next day, or near it where the clocks skip that; where they skip a day robfig never ends."""
    day = _local(at, days=1)
    day = day if day > at else _local(at, days=2)
    return _later(day, hours=24 - day.hour if day.hour > 12 else -day.hour)


def _to_minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0).astimezone(at.tzinfo)


_UNITS = (
    _Unit(
        lambda fields, at: at.month in fields.months,
        lambda at: _local(at, day=1, hour=0, minute=0, second=0),
        lambda at: _local(at, months=1),
        lambda at: at.month == 1,
    ),
    _Unit(Fields.fits_day, lambda at: _local(at, hour=0, minute=0, second=0), _next_day, lambda at: at.day == 1),
    _Unit(
        lambda fields, at: at.hour in fields.hours,
        lambda at: _local(at, minute=0, second=0),
        lambda at: _later(at, hours=1),
        lambda at: at.hour == 0,
    ),
    _Unit(
        lambda fields, at: at.minute in fields.minutes,
        _to_minute,
        lambda at: _later(at, minutes=1),
        lambda at: at.minute == 0,
    ),
    _Unit(
        lambda _, at: at.second == 0,
        lambda at: at,
        lambda at: _later(at, seconds=60 - at.second),
        lambda at: at.second == 0,
    ),
)


def latest(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """The last time after `after`, up to `until`; None when there is none. A year of minutes takes some 50 steps."""
    found, end = after, until
    while (later := schedule.next(found)) is not None and later <= until:
        found = later
        middle = found + (end - found) / 2
        beyond = schedule.next(middle)
        if beyond is None or beyond > until:
            end = middle
        else:
            found = max(found, beyond)
    return found if found > after else None


# Reading


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_LONGEST_INT = 2**63 - 1


def parse(text: str, anchor: datetime) -> Schedule:
    """Read a schedule; InvalidInput for what robfig refuses. `anchor` is what `@every` counts from."""
    if len(text) > LONGEST:
        raise InvalidInput(f"a schedule has at most {LONGEST} characters")
    zone, text = _zone(text)
    if text.startswith(_EVERY):
        return Every(_duration(text.removeprefix(_EVERY)), anchor)
    if text.startswith("@") and text not in _NAMED:
        known = ", ".join((*_NAMED, "@every"))
        raise InvalidInput(f"{text!r} is none of {known} (with a duration such as 6h)")
    words = _NAMED.get(text, text).split()
    if len(words) != len(_FIELDS):
        raise InvalidInput(f"{text!r} has {len(words)} fields; a schedule has 5, or is one such as @daily")
    return _fields([_values(word, field) for word, field in zip(words, _FIELDS, strict=True)], zone)


def _fields(read: Iterable[tuple[frozenset[int], bool]], zone: tzinfo) -> Fields:
    (minutes, _), (hours, _), (days, any_day), (months, _), (weekdays, any_weekday) = read
    return Fields(minutes, hours, days, months, weekdays, any_day or any_weekday, zone)


def _zone(text: str) -> tuple[tzinfo, str]:
    """The zone, and what stands after it."""
    if not text.startswith(("TZ=", "CRON_TZ=")):
        return UTC, text
    name, space, rest = text.partition("=")[2].partition(" ")
    if not space:
        raise InvalidInput(f"{text!r} has nothing after its zone")
    if name in ("", "UTC", "Local"):
        return UTC, rest.strip()
    try:
        return ZoneInfo(name), rest.strip()
    except (KeyError, ValueError, OSError):
        raise InvalidInput(f"{name!r} is no time zone that is known here; one is named like Europe/Berlin") from None


def _values(text: str, field: _Field) -> tuple[frozenset[int], bool]:
    """What a list allows, and whether a star without a step is in it."""
    values: set[int] = set()
    starred = False
    for part in filter(None, text.split(",")):
        found, star = _range(part, field)
        values.update(found)
        starred |= star
    return frozenset(values), starred


def _range(text: str, field: _Field) -> tuple[range, bool]:
    span, *steps = text.split("/")
    low, *highs = span.split("-")
    starred = low in ("*", "?")
    if len(steps) > 1 or (len(highs) > 1 and not starred):
        raise InvalidInput(f"{field.name} {text!r} is no range such as {field.low}-{field.high}/2")
    step = _number(steps[0], text, field) if steps else 1
    first = field.low if starred else _value(low, text, field)
    last = field.high if starred or (steps and not highs) else _value(highs[0], text, field) if highs else first
    if not field.low <= first <= last <= field.high or step == 0:
        accepted = f"from {field.low} to {field.high}, in ascending order, by steps of at least 1"
        raise InvalidInput(f"{field.name} {text!r}: accepted is what goes {accepted}")
    return range(first, last + 1, step), starred and step == 1


def _value(word: str, text: str, field: _Field) -> int:
    if word.lower() in field.names:
        return field.names.index(word.lower()) + field.low
    return _number(word, text, field)


def _number(word: str, text: str, field: _Field) -> int:
    number = int(word) if re.fullmatch(r"\+?[0-9]+", word) else -1
    if not 0 <= number <= _LONGEST_INT:
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise InvalidInput(f"{field.name} {text!r}: {word!r} is no number from {field.low} to {field.high}{names}")
    return number


_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"


def _duration(text: str) -> timedelta:
    """Go's `time.ParseDuration`, in whole seconds and at least one, as robfig's `Every` makes it."""
    sign, words = re.fullmatch(r"([+-]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if words != "0" and not re.fullmatch(f"(?:{_PART})+", words):
        raise InvalidInput(f"@every {text!r}: that is no duration such as 90m, 6h or 1h30m")
    nanoseconds = sum(int(Fraction(number) * _NANOSECONDS[unit]) for number, unit in re.findall(_PART, words))
    if nanoseconds > _LONGEST_INT:
        raise InvalidInput(f"@every {text!r}: that is longer than 290 years")
    return timedelta(seconds=max(1, nanoseconds // 10**9 if sign != "-" else 1))
