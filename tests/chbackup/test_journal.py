import json
import os

import anyio
import pytest

import chbackup
from chbackup._journal import Journal


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_begun_and_not_ended_is_remembered(tmp_path):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        assert journal.begun == frozenset()
        journal.write("begin", set="a")
        journal.write("begin", set="b")
        journal.write("end", set="a")
    with Journal(path) as journal:
        assert journal.begun == {"b"}


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_line_that_a_crash_has_cut_is_dropped(tmp_path, cut):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.write("begin", set="a")
        journal.write("end", set="a")
    os.truncate(path, path.stat().st_size - cut)
    with Journal(path) as journal:
        assert journal.begun == {"a"}
        journal.write("begin", set="ä")
    assert [entry["set"] for entry in entries(path)] == ["a", "ä"]


@pytest.mark.parametrize("text", ["- url: http://a:7171", "[]", "{}\n", '{"event": "begin"}\n', "\n", "\x00\xff\n"])
def test_another_file_is_not_taken_for_a_journal_nor_changed(tmp_path, text):
    path = tmp_path / "targets.yaml"
    path.write_text(text)
    with pytest.raises(chbackup.InvalidInput, match="not the journal"):
        Journal(path)
    assert path.read_text() == text


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(chbackup.InvalidInput, match="cannot be opened: No such file"):
        Journal(tmp_path / "nowhere" / "journal")


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Journal(None) as journal:
        journal.write("begin", set="a")
    assert not list(tmp_path.iterdir())


async def test_each_line_is_on_disk_when_sync_returns(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    synced: list[str] = []
    monkeypatch.setattr("os.fsync", lambda number: synced.append(path.read_text()))
    with Journal(path) as journal:
        journal.write("begin", set="a")
        assert '"begin"' in path.read_text()
        await journal.sync()
        assert '"begin"' in synced[-1]
        journal.write("end", set="a")
    assert '"end"' in synced[-1]


async def test_those_who_wait_together_share_one_wait(tmp_path, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)

    async def one(number):
        journal.write("begin", set=str(number))
        await journal.sync()

    with Journal(tmp_path / "journal") as journal:
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)
        assert len(synced) < 5


def test_reading_only_neither_makes_nor_repairs_a_file(tmp_path):
    path = tmp_path / "journal"
    with Journal(path, read_only=True) as journal:
        assert journal.begun == frozenset()
        journal.write("begin", set="a")
    assert not path.exists()
    cut = '{"at": "1", "event": "begin", "set": "a"}\n{"at": "2'
    path.write_text(cut)
    with Journal(path, read_only=True) as journal:
        assert journal.begun == {"a"}
    assert path.read_text() == cut
