from hypothesis import given
from hypothesis import strategies as st

from chbackup import Action, Archive, Table
from chbackup.evidence import (
    bases,
    chain_problems,
    dependents,
    find_row,
    hurt_by,
    is_source,
    locked_out,
    partial_local,
    prove_archive,
    restarted,
    since,
)


def remote(name="b1", **fields):
    return Archive(**{"name": name, "location": "remote", "desc": "tar, regular", "data_size": 100} | fields)


def local(name="b1", **fields):
    return Archive(**{"name": name, "location": "local", "desc": "regular", "data_size": 100} | fields)


def table(total_bytes, name="t"):
    return Table(database="db", name=name, total_bytes=total_bytes)


def rows(*commands):
    return [
        Action(command=command, status="success", operation_id=f"id-{position}", position=position)
        for position, command in enumerate(commands)
    ]


TABLES = [table(60, "a"), table(40, "b"), table(0, "log")]


def test_a_full_archive_is_proven_by_equal_sizes():
    assert prove_archive(remote=remote(), local=local(), tables=TABLES) == []


def test_what_is_missing_is_said():
    assert prove_archive(remote=None, local=local(), tables=TABLES) == ["the archive is not in the remote list"]
    broken = remote(desc="broken (can't stat metadata.json)")
    assert "can't stat" in prove_archive(remote=broken, local=local(), tables=TABLES)[0]
    assert "no local copy" in prove_archive(remote=remote(), local=None, tables=TABLES)[0]
    assert "is broken" in prove_archive(remote=remote(), local=local(desc="broken x"), tables=TABLES)[0]
    assert "local copy 99" in prove_archive(remote=remote(), local=local(data_size=99), tables=TABLES)[0]
    assert "add up to 60" in prove_archive(remote=remote(), local=local(), tables=TABLES[:1])[0]
    assert prove_archive(remote=remote(), local=local(), tables=TABLES, required="base") == [
        "its base is none, asked was 'base'"
    ]


def test_an_increment_is_proven_by_the_whole_size():
    increment = {"remote": remote(required="full", data_size=7), "local": local(data_size=7), "required": "full"}
    assert prove_archive(**increment, tables=TABLES, source_bytes=100) == []
    assert prove_archive(**increment, tables=TABLES, source_bytes=101)
    assert prove_archive(**increment, tables=TABLES) == []
    assert prove_archive(**increment, tables=[table(6)])


def test_a_server_that_does_not_measure_tables_proves_by_the_copies_alone():
    assert prove_archive(remote=remote(), local=local(), tables=None) == []
    assert prove_archive(remote=remote(), local=local(data_size=99), tables=None)


def test_a_copy_of_another_second_is_another_copy():
    noon, later = "2026-01-01 12:00:00", "2026-01-01 12:00:01"
    assert prove_archive(remote=remote(created=noon), local=local(created=noon), tables=TABLES) == []
    problems = prove_archive(remote=remote(created=noon), local=local(created=later), tables=TABLES)
    assert "the local one is of 2026-01-01 12:00:01" in problems[0]


def test_a_local_copy_is_the_archives_own():
    noon, later = "2026-01-01 12:00:00", "2026-01-01 12:00:01"
    assert is_source(local(created=noon), remote(created=noon))
    assert not is_source(local(created=later), remote(created=noon))
    assert not is_source(local(created=noon, data_size=99), remote(created=noon))
    assert not is_source(local(created=noon, desc="broken x"), remote(created=noon))
    assert not is_source(local(created=noon, required="full"), remote(created=noon, required="full"))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.lists(st.integers(0, 10**6)))
def test_a_full_archive_is_proven_exactly_when_all_three_sizes_are_equal(far, near, sizes):
    problems = prove_archive(
        remote=remote(data_size=far), local=local(data_size=near), tables=[table(size) for size in sizes]
    )
    assert (problems == []) == (far == near == sum(sizes))


def test_a_short_download_is_seen():
    assert partial_local(local(), 100) == []
    assert partial_local(local(), None) == []
    assert partial_local(local(data_size=99), 100)
    assert partial_local(local(desc="broken metadata.json not found"), None)


def test_what_could_have_hurt_an_archive():
    harmless = ["create_remote b1", "create b1", "download b1", "list remote", "restore b1", "delete local b1", "clear"]
    harmless += ["create_remote other", "delete remote other", "rebase other", "upload --resumable=1 b1", "kill x"]
    harmful = [
        "clean",
        "clean_remote_broken",
        "clean_local_broken",
        "delete remote b1",
        "rebase b1",
        "create_remote b1",
    ]
    harmful += ["delete --force remote b1", 'upload --diff-from-remote="x" b1', "delete remote b1 --force"]
    found = hurt_by(rows(*harmless, *harmful), "b1", own={"id-0"})
    assert [row.command for row in found] == harmful


LOCK = "another clickhouse-backup `upload` command is already running 2026-11-23T05:59:58Z (pid=1, pidPath=/tmp/x)"


def test_who_was_kept_out_by_the_lock_file_has_hurt_nothing():
    prefixed = [LOCK, f"CheckAndCreatePidFile: {LOCK}", f"pidlock.CheckAndCreatePidFile: {LOCK}"]
    out = [Action(command="create_remote b1", status="error", error=words) for words in prefixed]
    assert all(locked_out(row) for row in out)
    assert hurt_by(out, "b1") == []
    assert not locked_out(Action(command="create_remote b1", status="error", error="no tables for backup"))
    assert not locked_out(Action(command="create_remote b1", status="success", error=LOCK))


# As servers gave them: two of one process, one of another, and one of an iteration of watch.
OURS, LATER = "1d1066ce-e703-11f1-ae7b-da90bfad9860", "1d5d39c0-e703-11f1-ae7b-da90bfad9860"
ANOTHERS, WATCH = "f2bab941-e702-11f1-8a0b-da90bfad9860", "6f1d7c5e-3f0a-4f7e-9a53-1f1f3a0c9b11"


def history_of(*ids):
    return [Action(command="create x", status="success", operation_id=operation_id) for operation_id in ids]


def test_a_restarted_process_is_known_by_its_ids():
    assert restarted([], OURS) is True
    assert restarted(history_of("", LATER), OURS) is False
    assert restarted(history_of("", ANOTHERS), OURS) is True
    assert restarted(history_of("", WATCH), OURS) is None
    assert restarted(history_of(LATER), "") is None
    assert restarted(history_of(LATER), WATCH) is None
    assert restarted(history_of("no-uuid"), OURS) is None


@given(st.text(), st.lists(st.text(), min_size=1))
def test_any_id_can_be_judged(operation_id, others):
    assert restarted(history_of(*others), operation_id) in (True, False, None)


def test_a_base_that_goes_hurts_its_increments():
    history = rows("delete remote full", "delete remote other")
    assert [row.archive for row in hurt_by(history, "incr", bases=["full"])] == ["full"]


def test_only_what_ran_beside_or_after_counts():
    history = [
        Action(command="clean", status="success", start="2026-01-01 00:00:00", finish="2026-01-01 00:00:05"),
        Action(command="list", status="success", start="2026-01-01 00:00:00", finish="2026-01-01 00:00:09"),
        Action(command="delete remote x", status="in progress", start="2026-01-01 00:00:01"),
        Action(command="create_remote b1", status="success", start="2026-01-01 00:00:06"),
        Action(command="clean", status="success", start="2026-01-01 00:00:06", finish="2026-01-01 00:00:06"),
    ]
    history = [row.model_copy(update={"position": position}) for position, row in enumerate(history)]
    assert [row.position for row in since(history, history[3])] == [1, 2, 4]


def test_a_row_is_found_by_its_id_only_when_there_is_one():
    history = rows("create b1", "create b1")
    assert find_row(history, operation_id="id-0", verb="create", name="b1") == history[0]
    assert find_row(history, operation_id="other", verb="create", name="b1") is None


def test_without_an_id_it_is_the_last_row_of_exactly_this_verb_and_name():
    history = rows("create b1", "create b1-2", "create_remote b1", 'create --tables="db.*" b1', "create b2")
    assert find_row(history, verb="create", name="b1") == history[3]
    assert find_row(history, verb="create", name="b1", after_position=3) is None
    assert find_row(history, verb="upload", name="b1") is None


def test_commands_are_read_as_the_server_prints_them():
    expected = {
        "create": ("create", "", ""),
        "create ": ("create", "", ""),
        'create --tables="demo.*,tag.a1" --partitions="0" b1': ("create", "b1", ""),
        "upload --diff-from-remote=x --resumable=1 b1": ("upload", "b1", ""),
        "delete remote b1 --force": ("delete", "b1", "remote"),
        "delete --force local b1": ("delete", "b1", "local"),
        "delete local local": ("delete", "local", "local"),
        'rebalance b1 --tables="a.b" --dry-run': ("rebalance", "b1", ""),
        "list remote": ("list", "", ""),
        "kill create b1": ("kill", "", ""),
        "create it's": ("create", "it's", ""),
        "": ("", "", ""),
    }
    for command, (verb, archive, place) in expected.items():
        row = Action(command=command, status="success")
        assert (row.verb, row.archive, row.place) == (verb, archive, place), command
    assert Action(command='create_remote --diff-from-remote="full" incr', status="x").names == {"full", "incr"}


@given(st.text())
def test_any_command_can_be_read(command):
    row = Action(command=command, status="success")
    assert isinstance(row.verb + row.archive + row.place, str)
    assert row.names is not None


def test_a_whole_chain_has_no_problems():
    archives = [remote("full"), remote("i1", required="full"), remote("i2", required="i1")]
    assert chain_problems(archives, "i2") == []
    assert bases(archives, "i2") == ["i1", "full"]
    assert dependents(archives, "full") == ["i1", "i2"]
    assert dependents(archives, "i2") == []


def test_what_is_wrong_with_a_chain_is_said():
    assert chain_problems([], "b1") == ["b1: the last one is not in the list"]
    gap = [remote("i2", required="i1")]
    assert chain_problems(gap, "i2") == ["i2 -> i1: the last one is not in the list"]
    broken = [remote("full", desc="broken (bad metadata.json)"), remote("i1", required="full")]
    assert chain_problems(broken, "i1") == ["i1 -> full: the last one is broken: broken (bad metadata.json)"]
    circle = [remote("a", required="b"), remote("b", required="a")]
    assert chain_problems(circle, "a") == ["a -> b -> a is a circle"]
    nameless = [remote("b1"), remote("", desc="")]
    assert "without a name" in chain_problems(nameless, "b1")[0]


names = st.sampled_from("abcdef")
graphs = st.dictionaries(names, st.one_of(st.just(""), names), min_size=1)


@given(graphs, names)
def test_dependents_are_exactly_those_whose_chain_passes_here(graph, name):
    archives = [remote(key, required=base) for key, base in graph.items()]
    expected = {key for key in graph if key != name and name in bases(archives, key)}
    found = dependents(archives, name)
    assert set(found) == expected
    assert len(found) == len(set(found))


@given(graphs, names)
def test_a_chain_without_problems_ends_in_a_full_archive(graph, name):
    archives = [remote(key, required=base) for key, base in graph.items()]
    if chain_problems(archives, name):
        return
    chain = [name, *bases(archives, name)]
    assert set(chain) <= set(graph)
    assert graph[chain[-1]] == ""
