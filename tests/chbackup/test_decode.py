"""Whatever a server sends becomes rows or an error of the tree."""

import contextlib
import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chbackup
from chbackup._answers import error_of, read_fields, read_rows
from chbackup._http import Answer
from chbackup.models import Acknowledgement, Action, Archive, Table

SAMPLES = Path(__file__).parents[2] / "fixtures/samples/clickhouse-backup"
MODELS = [Archive, Action, Table, Acknowledgement]
GOOD = {"name": "b1", "created": "2026-11-23 10:00:00", "size": 1, "location": "remote", "desc": "tar, regular"}
LINE = json.dumps(GOOD).encode()

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(), scalars, max_size=3)
keys = st.sampled_from([*Archive.model_fields, "status", "command", "start", "database", "table", "DataPaths", "error"])
rows = st.dictionaries(keys | st.text(), values, max_size=6)
lines = st.lists(rows | values, max_size=4).map(lambda found: b"\n".join(json.dumps(line).encode() for line in found))
bodies = st.binary() | lines


def decode(model, body):
    problem = ""
    try:
        return read_rows(model, Answer(200, body), "list")
    except chbackup.ServerError as error:
        problem = str(error)
    assert "not clickhouse-backup's" in problem
    assert problem.isprintable()
    return None


@given(st.sampled_from(MODELS), bodies)
def test_any_body_is_rows_or_an_error(model, body):
    found = decode(model, body)
    assert found is None or len(found) == sum(bool(line.strip()) for line in body.splitlines())


@given(st.sampled_from(MODELS), st.sampled_from(sorted(SAMPLES.glob("*/*.json"))), st.data())
@settings(max_examples=200)
def test_recorded_answers_that_were_cut_or_disturbed(model, path, data):
    response = json.loads(path.read_text()).get("response", {})
    body = response.get("body", "").encode()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    decode(model, body[:start] + body[end:])
    decode(model, body[:start] + data.draw(st.binary(max_size=4)) + body[start:])
    decode(model, b"\n".join(data.draw(st.permutations(body.splitlines()[:6]))))


@given(st.integers(100, 599), bodies | rows.map(lambda row: json.dumps(row | {"error": "x"}).encode()))
def test_any_answer_with_any_status_is_a_success_or_an_error(status, body):
    error = error_of(Answer(status, body), "create b1")
    assert (error is None) == (200 <= status < 300)
    assert error is None or isinstance(error, chbackup.ChbackupError)


@given(bodies)
def test_any_short_answer_is_read_or_an_error(body):
    with contextlib.suppress(chbackup.ServerError):
        assert isinstance(read_fields(Answer(200, body), "version", "version")["version"], str)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"name":' * 100_000,
        b'{"name":"b1","location":"remote","size":' + b"9" * 100_000 + b"}",
        b'{"name":"b1","location":"remote","size":1e999}',
        b'{"name":"b1","location":"remote","size":NaN}',
        b'{"name":"b1","location":"remote","size":"many"}',
        b'{"name":"b1","location":"remote","size":1.5}',
        b'{"name":"\\ud800","location":"remote"}',
        b'{"name":"\xff","location":"remote"}',
        b'{"name":["b1"],"location":"remote"}',
        b'{"name":"b1","location":"moon"}',
        b'{"location":"remote"}',
        b'{"name":null,"location":"remote"}',
        LINE[:-1],
        LINE + b"," + LINE,
        LINE + b"]",
        b"]" + LINE,
        b"null",
        b"7",
    ],
)
def test_hostile_lines_are_errors(line):
    for body in (line, LINE + b"\n" + line, line + b"\n" + LINE):
        assert decode(Archive, body) is None


def test_two_halves_do_not_make_a_whole():
    assert decode(Archive, b'{"name":"b1"\n"location":"remote"}') is None


def test_blank_lines_and_line_ends_of_any_kind_do_not_count():
    assert decode(Archive, b"") == decode(Archive, b"\r\n \n") == []
    assert len(decode(Archive, b"\n" + LINE + b"\r\n\r\n" + LINE + b"\n")) == 2


def test_a_huge_answer_is_read():
    found = decode(Archive, b"\n".join([LINE] * 20_000) + b"\n")
    assert len(found) == 20_000
    long = json.dumps(GOOD | {"desc": "x" * 5_000_000}).encode()
    assert len(decode(Archive, long)[0].desc) == 5_000_000


def test_the_last_of_duplicate_keys_counts():
    assert decode(Archive, LINE[:-1] + b',"name":"b2"}')[0].name == "b2"


def test_nulls_are_absent_and_unknown_fields_are_kept():
    body = json.dumps(GOOD | {"size": None, "required": None, "kind": "cas", "note": None}).encode()
    (archive,) = decode(Archive, body)
    assert (archive.size, archive.required) == (0, "")
    assert archive.model_extra == {"kind": "cas"}


def test_all_sizes_are_typed():
    sizes = [name for name in Archive.model_fields if name.endswith("size")]
    assert len(sizes) == 8
    (archive,) = decode(Archive, json.dumps(GOOD | dict.fromkeys(sizes, 2**63)).encode())
    assert {getattr(archive, name) for name in sizes} == {2**63}
    assert not archive.model_extra


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23 10:00:00", datetime(2026, 11, 23, 10)),
        ("0001-01-01 00:00:00", None),
        ("0001-01-01 05:53:28", None),
        ("0000-12-31 19:03:58", None),
        ("", None),
        ("01/01/0001", None),
        ([1], None),
    ],
)
def test_times_that_are_none(text, expected):
    (archive,) = decode(Archive, json.dumps(GOOD | {"created": text}).encode())
    assert archive.created == expected
    assert archive.model_dump(mode="json")["created"] == (expected and expected.isoformat())


def test_rows_are_made_by_hand_too():
    moment = datetime(2026, 11, 23, 10)
    assert Archive(name="b1", location="remote", created=moment).created == moment
    table = Table(database="shop", name="orders", engine="Log", total_bytes=7)
    assert (table.full_name, table.engine, table.total_bytes) == ("shop.orders", "Log", 7)
    assert Action(command="create b1", status="success", start=moment).finish is None


def test_a_query_is_in_no_representation():
    row = {"Database": "shop", "Name": "s3", "CreateTableQuery": "CREATE TABLE ... S3('key', 'hunter2')"}
    (table,) = decode(Table, json.dumps(row).encode())
    assert "hunter2" in table.create_table_query
    assert "hunter2" not in repr(table) + str(table)
