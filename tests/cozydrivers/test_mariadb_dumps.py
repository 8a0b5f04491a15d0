"""Names of dumps, and which one of them a Restore takes. The rules are those of mariadb-operator 25.10.2 and 26.6.0."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cozydrivers.clients.objects import StoredObject
from cozydrivers.drivers.mariadb.dumps import DumpFile, chosen, dumps_under, parse, prefix_problem, safe_choice
from cozydrivers.drivers.mariadb.storage import place_of
from cozydrivers.errors import InvalidInput

TEN = datetime(2026, 8, 21, 10, tzinfo=UTC)
ENDINGS = {"25.10": ["sql", "gzip.sql", "bzip2.sql"], "26.3": ["sql.gz", "sql.bz2"]}


def dump(second=0, ending="sql"):
    found = parse(f"db/backup.{TEN + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}.{ending}", 7)
    assert found
    return found


def of(endings, **sizes):
    """Dumps in the order of their keys, every second once."""
    seconds = st.dictionaries(st.integers(-90_000, 90_000), st.sampled_from(endings), **sizes)
    return seconds.map(lambda some: sorted((dump(*each) for each in some.items()), key=lambda each: each.key))


prefixes = st.sampled_from(list(ENDINGS.values())).flatmap(lambda endings: of(endings, min_size=1, max_size=8))
targets = st.integers(-100_000, 100_000).map(lambda second: TEN + timedelta(seconds=second))


@pytest.mark.parametrize(
    ("ending", "style", "compression"),
    [
        ("sql", "25.10", "none"),
        ("gzip.sql", "25.10", "gzip"),
        ("bzip2.sql", "25.10", "bzip2"),
        ("sql.gz", "26.3", "gzip"),
        ("sql.bz2", "26.3", "bzip2"),
    ],
)
def test_what_a_name_says(ending, style, compression):
    name = f"backup.2026-08-21T10:00:00Z.{ending}"
    found = parse(f"a/b/{name}", 7)
    assert found == DumpFile(f"a/b/{name}", TEN, style, compression, 7)
    assert (found.name, found.second) == (name, "2026-08-21T10:00:00Z")


def test_an_offset_in_a_name_counts():
    found = parse("backup.2026-08-21T12:00:00+02:00.sql")
    assert found is not None
    assert (found.taken_at, found.second) == (TEN, "2026-08-21T10:00:00Z")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "backup.sql",
        "backup.2026-08-21T10:00:00.5Z.sql",
        "backup.2026-08-21T10:00:00Z.5.sql",
        "backup.2026-08-21T10:00:00.sql",
        "backup.2026-08-21 10:00:00Z.sql",
        "backup.2026-13-21T10:00:00Z.sql",
        "backup.0001-01-01T00:00:00+01:00.sql",
        "backup.2026-08-21T10:00:00Z.gz.sql",
        "backup.2026-08-21T10:00:00Z.sql.gzip",
        "backup.2026-08-21T10:00:00Z.gzip.sql.gz",
        "backup.2026-08-21T10:00:00Z.sql\n",
        "xbackup.2026-08-21T10:00:00Z.sql",
        "physicalbackup-20260821100000.xb.gz",
        "0-backup-target.txt",
    ],
)
def test_what_is_no_name_of_a_dump(name):
    assert parse(f"db/{name}") is None


def test_the_dumps_of_a_prefix_lie_right_under_it():
    name = "backup.2026-08-21T10:00:00Z.sql"
    keys = [f"db/{name}.gz", f"db/{name}", f"db/sub/{name}", f"db2/{name}", name, "db/other"]
    objects = [StoredObject(key, len(key), TEN) for key in keys]
    assert [(each.key, each.size) for each in dumps_under("db/", objects)] == [
        (f"db/{name}", len(f"db/{name}")),
        (f"db/{name}.gz", len(f"db/{name}.gz")),
    ]
    assert [each.key for each in dumps_under("", objects)] == [name]


def test_a_prefix_with_a_dot_is_none_to_restore_from():
    assert prefix_problem("tenant/db/") == ""
    assert "restores nothing from 'v1.2/'" in prefix_problem("v1.2/")
    s3 = {"bucket": "backups", "endpoint": "s3.local", "prefix": "v1.2/db"}
    with pytest.raises(InvalidInput, match=r"storage\.s3\.prefix can't be used: .* has a dot"):
        place_of({"template": {"storage": {"s3": s3}}})


def test_25_10_takes_the_nearest_before_or_after():
    hour_before, just_after = dump(-3600), dump(30)
    assert chosen([hour_before, just_after], TEN, "25.10") == just_after
    assert chosen([just_after], TEN, "25.10") == just_after
    assert chosen([], TEN, "25.10") is None


def test_26_3_takes_the_newest_not_after():
    files = [dump(-3600), dump(-60, "gzip.sql"), dump(30, "sql.gz")]
    assert chosen(files, TEN, "26.3") == files[1]
    assert chosen(files[2:], TEN, "26.3") is None


def test_25_10_does_not_see_the_newer_names():
    newer, older = dump(0, "sql.gz"), dump(-3600, "gzip.sql")
    assert chosen([older, newer], TEN, "25.10") == older
    assert chosen([newer], TEN, "25.10") is None
    assert chosen([older, newer], TEN, "26.3") == newer


@pytest.mark.parametrize("rule", ["25.10", "26.3"])
def test_of_one_second_the_first_of_the_list_is_taken(rule):
    for files in permutations([dump(0, "gzip.sql"), dump(0, "sql"), dump(-1, "sql")]):
        assert chosen(files, TEN, rule) == next(each for each in files if each.taken_at == TEN)


def test_of_two_as_near_25_10_takes_the_first_of_the_list():
    assert chosen([dump(-5), dump(5)], TEN, "25.10") == dump(-5)
    assert chosen([dump(5), dump(-5)], TEN, "25.10") == dump(5)


@given(prefixes, st.data())
def test_a_dump_s_own_second_selects_it_under_both_rules(files, data):
    own = data.draw(st.sampled_from(files))
    assert chosen(files, own.taken_at, "26.3") == own
    assert chosen(files, own.taken_at, "25.10") == (own if own.style == "25.10" else None)


@given(of([*ENDINGS["25.10"], *ENDINGS["26.3"]], max_size=6), targets, st.integers(0, 6))
def test_a_safe_choice_is_what_every_release_takes_or_none_at_all(files, taken_at, doubled):
    """Never a neighbour, whatever lies there."""
    files = sorted([*files, *(dump((each.taken_at - TEN).total_seconds()) for each in files[:doubled])], key=str)
    try:
        own = safe_choice(files, taken_at)
    except InvalidInput:
        return
    assert own.taken_at == max(each.taken_at for each in files if each.taken_at <= taken_at)
    assert chosen(files, own.taken_at, "26.3") == own
    assert chosen(files, own.taken_at, "25.10") in (own, None)


@given(prefixes, targets)
def test_a_safe_choice_is_the_newest_not_after(files, taken_at):
    before = [each for each in files if each.taken_at <= taken_at]
    if before:
        assert safe_choice(files, taken_at) == max(before, key=lambda each: each.taken_at)
    else:
        with pytest.raises(InvalidInput, match="no dump there is from"):
            safe_choice(files, taken_at)


def test_what_no_second_can_select():
    twins = [dump(-60), dump(0, "gzip.sql"), dump(0)]
    with pytest.raises(InvalidInput, match=r"Z\.gzip\.sql and backup\..*Z\.sql are of the same second"):
        safe_choice(twins, TEN)
    assert safe_choice(twins, TEN - timedelta(seconds=1)) == twins[0]
    with pytest.raises(InvalidInput, match=r"25\.10 does not see the latter"):
        safe_choice([dump(-60, "gzip.sql"), dump(0, "sql.gz")], TEN)
