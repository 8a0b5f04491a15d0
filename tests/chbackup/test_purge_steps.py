"""What to do next, decided from a look: every rule that keeps an archive, and their order."""

from datetime import datetime
from itertools import product

import pytest

from chbackup import Action, Archive, Decision
from chbackup._purge_steps import Sent, Sight, connected, needs, next_step, stopped_with
from chbackup._storages import LocalCopy, Reading, difference, fingerprint, needed_locally, reading_of, tell_apart


def archive(name="x", *, size=1, required="", desc="tar, regular", location="remote", day=1):
    created = datetime(2026, 1, day)
    return Archive(name=name, size=size, required=required, desc=desc, location=location, created=created)


def sight(*remote, rows=(), **more):
    rows = [Action(command=command, status="in progress") for command in rows]
    return Sight(rows, remote, {"local": {}, **more}.pop("local"), more.get("denied", False), more.get("blind", False))


BROKEN = archive(desc="broken (can't stat metadata.json)")


def test_an_archive_that_nothing_needs_is_deleted():
    assert next_step(archive(), sight(archive(), archive("y"))).do == "delete"


@pytest.mark.parametrize(
    ("rows", "do"),
    [
        (["create_remote --diff-from-remote=x new"], "wait"),
        (['create_remote --diff-from-remote="x" new'], "wait"),
        (["upload --diff-from-remote=base --resumable=1 new"], "wait"),
        (["restore_remote child"], "wait"),
        (["download x"], "wait"),
        (["delete remote x"], "wait"),
        (["create other"], "wait"),
        (["create_remote other"], "delete"),
        (["upload --tables=a.* other"], "delete"),
        (["delete remote other"], "delete"),
        (["clean_remote_broken"], "delete"),
    ],
)
def test_rows_that_name_it_or_its_chain_are_waited_for(rows, do):
    planned = archive(required="base")
    remote = [planned, archive("base"), *([archive("child", required="x")] if "restore_remote child" in rows else [])]
    assert next_step(planned, sight(*remote, rows=rows)).do == do


@pytest.mark.parametrize("row", ["create_remote other", "delete local other", "watch", "clean"])
def test_anything_that_runs_keeps_a_broken_one(row):
    assert next_step(BROKEN, sight(BROKEN, rows=[row])).do == "wait"
    assert next_step(BROKEN, sight(BROKEN)).do == "delete"


@pytest.mark.parametrize(
    "now",
    [archive(size=2), archive(day=2), archive(required="y"), archive(desc="broken (bad metadata.json)")],
)
def test_one_that_has_changed_stays(now):
    step = next_step(archive(), sight(now, archive("y")))
    assert step.do == "keep"
    assert "changed" in step.reason


def test_one_that_is_needed_stays():
    assert next_step(archive(), sight(archive(), archive("new", required="x"))).do == "keep"
    local = {"http://a": {"new": LocalCopy("x", good=True)}}
    assert next_step(archive(), sight(archive(), local=local)).do == "keep"


def test_a_list_with_a_nameless_archive_is_not_trusted():
    assert next_step(archive(), sight(archive(), archive(""))).do == "keep"


def test_absence_needs_the_word_of_the_store():
    assert next_step(archive(), sight(archive("y"))).do == "wait"
    assert next_step(archive(), sight(archive("y"), denied=True)).do == "gone"


@pytest.mark.parametrize(("is_open", "do"), [(True, "wait"), (False, "delete")])
def test_a_delete_is_not_sent_twice_while_it_may_arrive(is_open, do):
    assert next_step(archive(), sight(archive()), Sent(is_open)).do == do


def test_local_copies_go_first():
    local = {"http://a": {"y": LocalCopy("", good=True)}, "http://b": {"x": LocalCopy("", good=True)}}
    step = next_step(archive(), sight(archive(), local=local))
    assert (step.do, step.where) == ("delete local", "http://b")


def test_the_good_copy_of_a_broken_one_stays():
    good, bad = ({"http://a": {"x": LocalCopy("", good=found)}} for found in (True, False))
    assert next_step(BROKEN, sight(BROKEN, local=good)).do == "keep"
    assert next_step(BROKEN, sight(BROKEN, local=bad)).do == "delete local"


def test_a_broken_one_stays_when_not_all_sidecars_are_known():
    assert next_step(BROKEN, sight(BROKEN, blind=True)).do == "keep"
    assert next_step(archive(), sight(archive(), blind=True)).do == "delete"


def test_nothing_is_deleted_that_anything_speaks_for():
    """All combinations: a delete only when every single reason is absent."""
    for row, child, nameless, changed, is_open in product([False, True], repeat=5):
        entry = archive(size=2 if changed else 1)
        remote = [entry, *([archive("c", required="x")] if child else []), *([archive("")] if nameless else [])]
        rows = ["restore_remote x"] if row else []
        step = next_step(archive(), sight(*remote, rows=rows), Sent(is_open))
        assert (step.do == "delete") == (not any((row, child, nameless, changed, is_open)))


def decision(storage, name, set_name, required=""):
    return Decision(storage, archive(name, required=required), True, "old", set_name)


def test_what_stays_keeps_the_sets_that_it_needs():
    plan = [
        decision("a", "3", "third", required="2"),
        decision("a", "2", "second", required="1"),
        decision("b", "2b", "second", required="0"),
        decision("a", "1", "first"),
        decision("b", "0", "zeroth"),
        decision("b", "9", "other", required="kept"),
    ]
    assert stopped_with("second", needs(plan)) == {"second", "first", "zeroth"}
    assert stopped_with("third", needs(plan)) == {"third", "second", "first", "zeroth"}
    assert stopped_with("other", needs(plan)) == {"other"}


def test_storages_hang_together_by_their_sets():
    plan = [
        decision("a", "1", "x"),
        decision("b", "2", "y"),
        decision("c", "3", "z"),
        decision("b", "4", "x"),
        decision("d", "5", "z"),
        decision("a", "6", "w"),
    ]
    parts = [[found.archive.name for found in part] for part in connected(plan)]
    assert parts == [["1", "2", "4", "6"], ["3", "5"]]


def reading(*remote, local=()):
    return reading_of([*remote, *(archive(name, location="local", required=base) for name, base in local)])


def test_storages_are_told_apart_by_name_or_by_what_they_list():
    sidecars = [
        ("http://a", "", reading(archive("x"), archive("y"))),
        ("http://b", "", reading(archive("y"), archive("z"))),
        ("http://c", "", reading(archive("x", size=9))),
        ("http://d", "s3", reading(archive("q"))),
        ("http://e", "s3", None),
        ("http://f", "", None),
        ("http://g", "", reading(BROKEN)),
        ("http://h", "", reading(archive("q"))),
    ]
    assert tell_apart(sidecars) == {
        "http://a": [0, 1],
        "http://c": [2],
        "s3": [3, 4, 7],
        "http://f": [5],
        "http://g": [6],
    }


def test_storages_of_different_names_are_not_one_by_what_they_list():
    alike = reading(archive("x"))
    sidecars = [("http://a", "s1", alike), ("http://b", "s2", alike), ("http://c", "", alike), ("http://d", "s2", None)]
    assert tell_apart(sidecars) == {"s1": [0, 2], "s2": [1, 3]}


def test_readings_of_one_sidecar_must_agree_in_everything():
    first = [archive("x"), archive("y"), archive("l", location="local")]
    assert fingerprint(first) == fingerprint(reversed(first))
    for other in (
        first[1:],
        first[:2],
        [*first, archive("z")],
        [archive("x", day=2), *first[1:]],
        [archive("x", size=3), *first[1:]],
        [archive("x", required="y"), *first[1:]],
        [archive("x", desc="broken (bad metadata.json)"), *first[1:]],
        [archive("x", location="local"), *first[1:]],
    ):
        assert fingerprint(first) != fingerprint(other)


def test_sidecars_of_one_storage_may_differ_in_their_zones_only():
    first = reading(archive("x"), archive("y"))
    assert difference([first, reading(archive("x", day=2), archive("y"), local=[("l", "")])]) == ""
    assert "see y" in difference([first, reading(archive("x"))])
    assert "see x" in difference([first, first, reading(archive("x", required="y"), archive("y"))])


def test_local_increments_without_a_remote_copy_need_their_base():
    readings = [
        reading(archive("full"), archive("incr")),
        reading(local=[("incr", "full"), ("mine", "other"), ("f", "")]),
    ]
    assert needed_locally(readings) == {"other"}


def test_a_reading_keeps_what_a_program_wants_to_see():
    found = reading(archive("b", size=5), archive("a"))
    assert isinstance(found, Reading)
    assert [item.model_dump() for item in found.remote] == [
        archive("a").model_dump(),
        archive("b", size=5).model_dump(),
    ]
