from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chbackup import ArchiveName, InvalidInput, check_name, parse_archive_name

TAKEN = datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)
NAME = ArchiveName("shop", "0a1b2c", TAKEN, "0123456789ab", attempt=1, shard=0, shards=2, replica=1)

apps = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,100}[a-z0-9])?", fullmatch=True).filter(lambda app: ".." not in app)
archive_names = st.builds(
    ArchiveName,
    app=apps,
    namespace_hash=st.from_regex(r"[0-9a-f]{6}", fullmatch=True),
    taken=st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
    ),
    uid=st.from_regex(r"[0-9a-f]{12}", fullmatch=True),
    attempt=st.integers(1, 999),
    shard=st.integers(0, 9999),
    shards=st.integers(1, 9999),
    replica=st.integers(0, 999),
)


@pytest.mark.parametrize("name", ["a", "shop-20261123-s0", "2026-11-23T00-47-23", "_x", "A.b_c-d", "x" * 200])
def test_safe_names_are_kept(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a..b", "a b", "a/b", "a\\b", "a\n", "é", "a%41", "a;b", "x" * 201])
def test_unsafe_names_are_refused(name):
    with pytest.raises(InvalidInput):
        check_name(name)


@pytest.mark.parametrize("name", ["-a", ".a", "--help", "é", "a%41", "a;b", "a'b\"", "a:b", "$x", "x" * 233])
def test_existing_archives_have_other_names_too(name):
    assert check_name(name, existing=True) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a..b", "a b", "a/b", "a\\b", "a\n", "a\x7f", "a\x85", "\ud800", "x" * 234, "é" * 117]
)
def test_names_that_no_archive_has_are_refused(name):
    with pytest.raises(InvalidInput):
        check_name(name, existing=True)


@given(st.text())
def test_a_name_is_kept_or_refused(name):
    for existing in (False, True):
        try:
            assert check_name(name, existing=existing) == name
        except InvalidInput as error:
            assert str(error).isascii() or str(error).isprintable()  # noqa: PT017


def test_the_name_of_a_member():
    assert str(NAME) == "cozy-shop-0a1b2c-20261123T010203Z-0123456789ab-a1-s0of2-r1"
    assert NAME.set_name == "cozy-shop-0a1b2c-20261123T010203Z-0123456789ab"


@given(archive_names)
def test_a_name_is_safe_short_and_parses_back(name):
    text = str(name)
    assert check_name(text) == text
    assert len(text) <= 120
    parsed = parse_archive_name(text)
    assert parsed is not None
    assert str(parsed) == text
    assert replace(parsed, app=name.app) == name
    assert parsed == name or len(name.app) > 52


@given(archive_names, archive_names)
def test_other_parts_make_another_name(one, other):
    assert (str(one) == str(other)) == (one == other)


@given(st.text())
def test_other_names_are_not_of_the_scheme(text):
    assert parse_archive_name(text) is None


def test_members_of_a_set_share_its_name_even_when_it_is_shortened():
    members = [replace(NAME, app="a" * 80, shard=shard, shards=12, replica=shard % 2, attempt=2) for shard in range(12)]
    assert len({member.set_name for member in members}) == 1


def test_long_names_with_one_beginning_stay_different():
    assert replace(NAME, app="a" * 60 + "x").set_name != replace(NAME, app="a" * 60 + "y").set_name


def test_times_are_printed_in_utc():
    moment = TAKEN.astimezone(timezone(timedelta(hours=5)))
    assert str(replace(NAME, taken=moment)) == str(NAME)


@pytest.mark.parametrize(
    "wrong",
    [
        {"app": ""},
        {"app": "a b"},
        {"app": "a..b"},
        {"namespace_hash": "xyz"},
        {"uid": "0123"},
        {"attempt": 0},
        {"attempt": 1000},
        {"shards": 0},
        {"shard": -1},
        {"replica": -1},
        {"taken": datetime(2026, 11, 23)},
    ],
)
def test_parts_that_make_no_name_are_refused(wrong):
    with pytest.raises(InvalidInput):
        replace(NAME, **wrong)


@pytest.mark.parametrize(
    "text",
    [
        "clickhouse-shop-20261123",
        "cozy-shop-0a1b2c-20261323T010203Z-0123456789ab-a1-s0of2-r1",
        "cozy-shop-0a1b2c-20261123T010203Z-0123456789ab-a01-s0of2-r1",
        "cozy-shop-0a1b2c-20261123T010203Z-0123456789ab-a1-s0of2-r1\n",
        "cozy-a..b-0a1b2c-20261123T010203Z-0123456789ab-a1-s0of2-r1",
        "xcozy-shop-0a1b2c-20261123T010203Z-0123456789ab-a1-s0of2-r1",
    ],
)
def test_near_misses_are_not_of_the_scheme(text):
    assert parse_archive_name(text) is None
