"""The audit log: a line is where it is kept before anything is destroyed."""

import errno
import io
import json
import logging
import os
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cozydrivers.runtime import audit as module
from cozydrivers.runtime.audit import AuditRecord, audit, open_audit_log

NOW = datetime(2026, 11, 23, 12, 30, 15, 250000, tzinfo=UTC)
RECORD = AuditRecord(
    time=NOW,
    actor="Backup tenant-a/nightly",
    action="delete",
    outcome="about to",
    kind="Backup",
    namespace="tenant-a",
    name="nightly",
    uid="u-1",
    archive="cozy-shop-20261123-s0",
    bytes=4096,
    rule="deletionPolicy: Delete",
    evidence="listed by 3 of 3 shards, required by none",
)


@pytest.fixture(autouse=True)
def restored():
    """The logger as it was."""
    log = logging.getLogger(module.LOGGER)
    yield
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = True


def test_a_line_holds_who_what_why_and_how_it_went(tmp_path):
    path = tmp_path / "audit.jsonl"
    open_audit_log(str(path))
    audit(RECORD)
    assert json.loads(path.read_text()) == {
        "time": "2026-11-23T12:30:15.250Z",
        "logger": "cozydrivers.audit",
        "actor": "Backup tenant-a/nightly",
        "action": "delete",
        "outcome": "about to",
        "kind": "Backup",
        "namespace": "tenant-a",
        "name": "nightly",
        "uid": "u-1",
        "archive": "cozy-shop-20261123-s0",
        "bytes": 4096,
        "rule": "deletionPolicy: Delete",
        "evidence": "listed by 3 of 3 shards, required by none",
    }


def test_lines_are_appended_in_utc_one_for_each(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text("{}\n")
    open_audit_log(str(path))
    zone = timezone(timedelta(hours=5))
    odd = AuditRecord(NOW.astimezone(zone), "a\nb", "overwrite", "done", "RestoreJob", "t", "n", "u", evidence="“\n”")
    audit(odd)
    audit(RECORD)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("outcome") for line in lines] == [None, "done", "about to"]
    assert (lines[1]["time"], lines[1]["actor"], lines[1]["bytes"]) == ("2026-11-23T12:30:15.250Z", "a\nb", None)


def test_a_line_is_on_the_disk_when_the_call_returns(tmp_path, monkeypatch):
    path = tmp_path / "audit.jsonl"
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((number, path.read_text().count("\n"))))
    open_audit_log(str(path))
    audit(RECORD)
    audit(RECORD)
    assert [lines for _, lines in synced] == [1, 2]


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["stderr", "write", "fsync"])
def test_what_can_not_be_written_raises(where, tmp_path, monkeypatch):
    if where == "stderr":
        monkeypatch.setattr(sys, "stderr", Full())
        open_audit_log()
    else:
        open_audit_log(str(tmp_path / "audit.jsonl"))
        monkeypatch.setattr(os, "fsync", lambda number: Full().write(""))
    if where == "write":
        (handler,) = logging.getLogger(module.LOGGER).handlers
        monkeypatch.setattr(handler, "format", lambda record: Full().write(""))
    with pytest.raises(OSError, match="No space left"):
        audit(RECORD)


def test_a_file_that_can_not_be_opened_is_said_at_once_and_nothing_changes(tmp_path):
    open_audit_log(str(tmp_path / "audit.jsonl"))
    with pytest.raises(OSError):
        open_audit_log(str(tmp_path / "absent" / "audit.jsonl"))
    audit(RECORD)
    assert (tmp_path / "audit.jsonl").read_text()


def test_a_file_that_is_rotated_is_opened_anew(tmp_path):
    path = tmp_path / "audit.jsonl"
    open_audit_log(str(path))
    audit(RECORD)
    path.rename(tmp_path / "audit.jsonl.1")
    audit(RECORD)
    assert path.read_text().count("\n") == 1


def test_without_a_file_it_goes_to_stderr_whatever_the_level(capsys):
    logging.getLogger("cozydrivers").setLevel(logging.ERROR)
    try:
        open_audit_log()
        audit(RECORD)
    finally:
        logging.getLogger("cozydrivers").setLevel(logging.NOTSET)
    assert json.loads(capsys.readouterr().err)["name"] == "nightly"


def test_where_nothing_is_configured_it_is_a_record_as_any(caplog):
    audit(RECORD)
    (record,) = caplog.records
    assert json.loads(record.getMessage())["outcome"] == "about to"
