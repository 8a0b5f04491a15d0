"""Schedules: the same times and the same refusals as robfig/cron v3.0.1, which fixtures/cron records."""

import json
import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.stage import FIXTURES

from cozydrivers.errors import InvalidInput
from cozydrivers.runtime.cron import LONGEST, latest, parse

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROBFIG: list[dict[str, Any]] = json.loads((FIXTURES / "cron/robfig.json").read_text())
REFUSED = [row["spec"] for row in ROBFIG if "error" in row]
TIMES = [(row["spec"], row["after"], row["next"]) for row in ROBFIG if "error" not in row]


def times(spec: str, after: datetime, count: int) -> list[datetime]:
    schedule = parse(spec, after.replace(microsecond=0))
    found: list[datetime] = []
    while len(found) < count:
        later = schedule.next(found[-1] if found else after)
        if later is None:
            break
        found.append(later)
    return found


@pytest.mark.parametrize(("spec", "after", "expected"), TIMES, ids=lambda value: str(value)[:50])
def test_times_are_those_of_robfig(spec: str, after: str, expected: list[str]):
    found = times(spec, datetime.fromisoformat(after), len(expected))
    assert [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in found] == [at for at in expected if at]


@pytest.mark.parametrize("spec", REFUSED)
def test_what_robfig_refuses_is_refused_in_one_sentence(spec: str):
    with pytest.raises(InvalidInput) as caught:
        parse(spec, NOON)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("61 * * * *", ["minute", "'61'", "0 to 59"]),
        ("0 0 L * *", ["day of month", "'L'", "1 to 31"]),
        ("0 0 * * 7", ["day of week", "'7'", "0 to 6"]),
        ("0 0 * * MONDAY", ["'MONDAY'", "sun to sat"]),
        ("0 0 * *", ["4 fields", "5", "@daily"]),
        ("@fortnightly", ["@fortnightly", "@weekly", "@every"]),
        ("@every day", ["@every", "'day'", "1h30m"]),
        ("CRON_TZ=Mars/Olympus @daily", ["Mars/Olympus", "time zone", "Europe/Berlin"]),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_would_be_right(spec: str, words: list[str]):
    with pytest.raises(InvalidInput) as caught:
        parse(spec, NOON)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_schedule_without_a_zone_is_in_utc_whatever_the_machine_says(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    assert times("0 3 * * *", NOON, 1) == [datetime(2026, 11, 24, 3, tzinfo=UTC)]


def test_without_time_zone_data_a_zone_is_refused_and_utc_is_not(monkeypatch):
    def nowhere(key: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(f"No time zone found with key {key}")

    monkeypatch.setattr("cozydrivers.runtime.cron.ZoneInfo", nowhere)
    with pytest.raises(InvalidInput, match="'Europe/Berlin' is no time zone that is known here"):
        parse("CRON_TZ=Europe/Berlin @daily", NOON)
    assert parse("CRON_TZ=UTC @daily", NOON).next(NOON) == datetime(2026, 11, 24, tzinfo=UTC)


def test_every_counts_from_its_anchor():
    schedule = parse("@every 7h", NOON)
    assert schedule.next(NOON - timedelta(days=3)) == NOON + timedelta(hours=7)
    assert schedule.next(NOON + timedelta(hours=7)) == NOON + timedelta(hours=14)
    assert schedule.next(NOON + timedelta(days=300, seconds=1)) == NOON + timedelta(hours=7 * 1029)


def test_a_day_that_a_zone_skips_has_no_run():
    days = times("CRON_TZ=Pacific/Apia 0 0 * * *", datetime(2011, 12, 28, tzinfo=UTC), 4)
    assert [at.astimezone(zoneinfo.ZoneInfo("Pacific/Apia")).day for at in days] == [28, 29, 31, 1]
    sundays = times("CRON_TZ=Pacific/Apia 0 0 * * 0", datetime(2011, 12, 29, 6, tzinfo=UTC), 2)
    assert [at.day for at in sundays] == [31, 7]


def test_the_latest_of_a_year_of_minutes_is_found_quickly():
    calls = 0
    minutes = parse("* * * * *", NOON)

    class Counting:
        def next(self, after: datetime) -> datetime | None:
            nonlocal calls
            calls += 1
            return minutes.next(after)

    until = NOON + timedelta(days=365, seconds=30)
    assert latest(Counting(), NOON, until) == until - timedelta(seconds=30)
    assert calls < 100


# Properties

ZONES = ["", "CRON_TZ=Europe/Berlin ", "TZ=America/Sao_Paulo ", "CRON_TZ=Australia/Lord_Howe ", "CRON_TZ=Asia/Beirut "]


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    stepped = st.tuples(st.just("*") | span | number.map(str), st.integers(1, 9)).map(lambda it: f"{it[0]}/{it[1]}")
    return (
        st.sampled_from("*?") | number.map(str) | span | stepped | st.lists(number.map(str), min_size=1).map(",".join)
    )


specs = st.builds(
    lambda zone, *words: zone + " ".join(words),
    st.sampled_from(ZONES),
    *(fields(*bounds) for bounds in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))),
) | st.integers(1, 10**6).map(lambda seconds: f"@every {seconds}s")
instants = st.datetimes(datetime(2015, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
thorough = settings(deadline=None, max_examples=200)


@thorough
@given(specs, instants)
def test_times_go_forward_and_stand_on_full_seconds(spec: str, after: datetime):
    found = times(spec, after, 5)
    assert all(one < other for one, other in zip([after, *found], found, strict=False))
    assert all(at.microsecond == 0 and at.tzinfo is UTC for at in found)
    if not spec.startswith("@"):
        assert all(at.second == 0 for at in found)


@thorough
@given(specs, instants, st.integers(0, 40), st.integers(-3600, 3600))
def test_the_latest_is_the_last_that_next_would_give(spec: str, after: datetime, count: int, more: int):
    found = times(spec, after, count)
    until = (found[-1] if found else after) + timedelta(seconds=more)
    schedule = parse(spec, after.replace(microsecond=0))
    last, first = latest(schedule, after, until), schedule.next(after)
    if last is None:
        assert first is None or first > until
    else:
        beyond = schedule.next(last)
        assert after < last <= until
        assert beyond is None or beyond > until
        assert schedule.next(last - timedelta(seconds=1)) == last


@given(st.text(st.sampled_from("*?,-/0159 @JANevryTZ=UC.hs") | st.characters(), max_size=40) | st.text())
def test_any_text_is_a_schedule_or_refused(text: str):
    try:
        schedule = parse(text, NOON)
    except InvalidInput:
        return
    later = schedule.next(NOON)
    assert later is None or later > NOON


def test_a_text_without_end_is_refused():
    with pytest.raises(InvalidInput, match=str(LONGEST)):
        parse("0" * 5000 + " * * * *", NOON)
