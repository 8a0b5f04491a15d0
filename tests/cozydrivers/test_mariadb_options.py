"""The options of a restore of MariaDB, and the decisions that are taken from them and from what was found."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cozydrivers.drivers.mariadb.checkpoint import Chosen, Evidence, RestoreState
from cozydrivers.drivers.mariadb.dumps import DumpFile, chosen, parse
from cozydrivers.drivers.mariadb.options import Options
from cozydrivers.drivers.mariadb.options import parse as parse_options
from cozydrivers.drivers.mariadb.record import Recorded
from cozydrivers.drivers.mariadb.restore import Source, covering, located, may_have_begun, stage
from cozydrivers.drivers.mariadb.settings import Settings
from cozydrivers.drivers.mariadb.storage import place_of
from cozydrivers.drivers.mariadb.work import Task
from cozydrivers.errors import InvalidInput

GOOD: dict[str, list[Any]] = {
    "assumeNearest": [True, False],
    "database": ["shop", "my_db", "Ünïcode"],
    "dryRun": [True, False],
    "notAfter": ["2026-11-23T12:00:00Z"],
    "repeat": ["again"],
    "requireIdle": [True, False],
    "skipSafetyCopy": [True, False],
    "timeoutSeconds": [1, 0.5, 86400],
}
BAD: dict[str, list[Any]] = {
    "assumeNearest": ["yes", None],
    "database": ["", "a b", "-x", "a;b", "a'b", "`a`", "a/b", "a,b", "$(x)\n", 1, None, ["a"], "x" * 65],
    "dryRun": ["true", 1],
    "notAfter": ["2026-11-23", "2026-11-23T12:00:00", 1],
    "repeat": ["", 1],
    "requireIdle": [0],
    "skipSafetyCopy": [1],
    "timeoutSeconds": [0, "60", True, float("nan")],
}
KEYS = list(GOOD)
PLACE = place_of({"template": {"storage": {"s3": {"bucket": "dumps", "endpoint": "s3:9000", "prefix": "shop"}}}})
FOLDER = "shop/nightly-000000-000000000000-dump/"
START = datetime(2026, 11, 23, tzinfo=UTC)
ENDINGS = ["sql", "gzip.sql", "bzip2.sql", "sql.gz", "sql.bz2"]
NAMES = st.sampled_from(["a", "b", "c"])


def test_every_option_is_read_and_every_other_value_refused():
    assert list(BAD) == KEYS
    for key, values in GOOD.items():
        for value in values:
            parse_options({key: value})
    for key, values in BAD.items():
        for value in values:
            with pytest.raises(InvalidInput, match=rf"spec\.options\.{key} must be "):
                parse_options({key: value})


@given(st.dictionaries(st.text(max_size=8) | st.sampled_from(KEYS), st.none() | st.booleans() | st.text(max_size=3)))
def test_whatever_is_written_is_read_or_refused_by_its_name(options):
    said = ""
    try:
        parse_options(options)
    except InvalidInput as refused:
        said = str(refused)
    else:
        assert set(options) <= set(KEYS)
    assert not said or any(f"spec.options.{key} " in said for key in options)


def dump(second: int, ending: str, size: int = 9) -> DumpFile:
    """A dump of so many seconds after midnight."""
    found = parse(f"{FOLDER}backup.{START + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}.{ending}", size)
    assert found is not None
    return found


def source(file: str, taken_at: datetime, size: int) -> Source:
    """What a Backup records."""
    recorded = Recorded("nightly-000000-000000000000-dump", PLACE.identity, taken_at, "", FOLDER, file, size)
    return Source(PLACE, recorded)


DUMPS = st.lists(
    st.builds(dump, st.integers(0, 8), st.sampled_from(ENDINGS), st.integers(0, 3)), unique_by=lambda found: found.key
)


@given(DUMPS, st.data())
def test_what_is_located_is_what_every_release_takes_that_sees_it(files, data):
    files = sorted(files, key=lambda found: found.key)
    own = data.draw(st.sampled_from([*files, dump(4, "sql", 2)]))
    known, late = data.draw(st.booleans()), timedelta(seconds=data.draw(st.integers(-1, 1)))
    asked = source(own.name if known else "", own.taken_at + late, own.size if known else 0)
    try:
        found = located(asked, files)
    except InvalidInput:
        return
    taken = [chosen(files, found.second, "25.10"), chosen(files, found.second, "26.3")]
    assert {each.name for each in taken if each} == {found.recorded.file}
    assert found.recorded.size > 0
    if known:
        assert (found.recorded.file, found.recorded.size) == (own.name, own.size)
        assert found.second == own.taken_at


def test_a_dump_is_refused_that_is_recorded_with_the_second_of_another_one():
    older, newer = dump(3, "sql"), dump(4, "sql")
    with pytest.raises(InvalidInput, match="another second than is recorded"):
        located(source(older.name, newer.taken_at, older.size), [older, newer])


@given(st.integers(0, 8), st.sampled_from(ENDINGS))
def test_the_only_dump_of_a_folder_is_located(second, ending):
    only = dump(second, ending)
    assert located(source(only.name, only.taken_at, only.size), [only]).recorded.file == only.name
    assert located(source("", only.taken_at - timedelta(seconds=1), 0), [only]).second == only.taken_at


@given(st.lists(NAMES, unique=True), st.lists(NAMES, unique=True), NAMES | st.just(""))
def test_the_safety_dump_covers_what_is_replaced(dumped, recorded, asked):
    settings = covering(Settings(databases=tuple(dumped)), recorded, Options(database=asked))
    replaced = {asked} if asked else set(recorded)
    assert not settings.databases or (replaced and replaced <= set(settings.databases))
    assert replace(settings, databases=tuple(dumped)) == Settings(databases=tuple(dumped))


@given(st.sampled_from(["dump", "safety", "restore"]), st.sampled_from(["", "uid"]), *[st.booleans() for _ in range(3)])
def test_a_checkpoint_is_of_one_stage_or_refused_and_never_skips_the_safety_dump(purpose, uid, safe, over, skip):
    evidence = Evidence(reason="DumpListed", taken_at=START) if safe else None
    state = RestoreState(
        task=Task(purpose=purpose, uid=uid), chosen=Chosen(label="x", taken_at=START), safety=evidence, over=over
    )
    try:
        found = stage(state, Options(skip_safety_copy=skip))
    except InvalidInput:
        return
    assert purpose != "dump"
    assert (found in ("restoring", "restored")) == (purpose == "restore")
    assert found not in ("restoring", "restored") or may_have_begun(state) or safe or skip
    assert found != "restored" or over
