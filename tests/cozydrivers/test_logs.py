"""Logs: one line per record, with what the code around it is at work on."""

import json
import logging
from collections.abc import Callable
from datetime import datetime

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cozydrivers.errors import Conflict
from cozydrivers.runtime import audit
from cozydrivers.runtime.logs import OURS, JsonFormatter, TextFormatter, configure, log_context

log = logging.getLogger("cozydrivers.controllers.job")
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def restored():
    """The loggers as they were."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)  # configure() closes those it finds
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    audit_log = logging.getLogger(audit.LOGGER)
    for handler in list(audit_log.handlers):
        audit_log.removeHandler(handler)
        handler.close()
    audit_log.propagate = True


@pytest.fixture
def written(capsys) -> Callable[[], list[str]]:
    """The lines on stderr since the last look."""
    return lambda: capsys.readouterr().err.splitlines()


def test_a_line_of_text_ends_with_the_fields_around_it(written):
    configure()
    with log_context(job="nightly", namespace="tenant-a", uid="u-1", step="upload"):
        log.info("submitted %s", "create_remote")
    log.info("idle")
    first, second = written()
    time, rest = first.split(" ", 1)
    assert datetime.fromisoformat(time).tzinfo is not None
    assert rest == (
        "INFO cozydrivers.controllers.job: submitted create_remote job=nightly namespace=tenant-a uid=u-1 step=upload"
    )
    assert second.endswith("cozydrivers.controllers.job: idle")


def test_a_line_of_json_has_the_fields_as_keys(written):
    configure("json")
    with log_context(job="nightly", namespace="tenant-a", uid="u-1", step="upload"):
        log.warning("slow: %d s", 30)
    told = json.loads(written()[0])
    assert datetime.fromisoformat(told.pop("time")).tzinfo is not None
    assert told == {
        "level": "WARNING",
        "logger": "cozydrivers.controllers.job",
        "message": "slow: 30 s",
        "job": "nightly",
        "namespace": "tenant-a",
        "uid": "u-1",
        "step": "upload",
    }


def test_an_inner_context_adds_to_the_outer_and_takes_itself_away(written):
    configure("json")
    with log_context(job="nightly", step="look"):
        with log_context(step="upload", uid=""):
            log.info("in")
        log.info("out")
    inner, outer = (json.loads(line) for line in written())
    assert (inner["job"], inner["step"], "uid" in inner) == ("nightly", "upload", False)
    assert (outer["job"], outer["step"]) == ("nightly", "look")


def test_a_field_never_takes_the_place_of_what_every_line_has(written):
    configure("json")
    with log_context(message="x", level="y"):
        log.info("real")
    told = json.loads(written()[0])
    assert (told["message"], told["level"]) == ("real", "INFO")


@pytest.mark.anyio
async def test_tasks_side_by_side_have_fields_of_their_own(written):
    configure("json")

    async def work(job: str) -> None:
        with log_context(job=job):
            await anyio.sleep(1)
            log.info(job)

    with log_context(namespace="tenant-a"):
        async with anyio.create_task_group() as tasks:
            for job in ("a", "b"):
                tasks.start_soon(work, job)
    told = [json.loads(line) for line in written()]
    assert [(line["job"], line["message"], line["namespace"]) for line in told] == [
        *(("a", "a", "tenant-a"), ("b", "b", "tenant-a")),
    ]


@pytest.mark.parametrize("format_", ["text", "json"])
def test_an_exception_is_one_line_without_a_foreign_text(written, format_):
    configure(format_)
    try:
        raise ValueError({"data": {"password": SECRET}})
    except ValueError:
        log.exception("broken")
    try:
        raise Conflict("the object has been modified")
    except Conflict:
        log.exception("late")
    foreign, ours = written()
    assert SECRET not in foreign
    assert "ValueError in test_an_exception_is_one_line_without_a_foreign_text, test_logs.py:" in foreign
    assert "the object has been modified" in ours


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_message_can_not_make_a_second_line(written, format_):
    configure(format_)
    with log_context(job="a\nb", step='say "hi"'):
        log.info("one\ntwo\x1b[2J\u2028")
    (line,) = written()
    assert "\x1b" not in line
    if format_ == "text":
        assert line.endswith(r"one\ntwo\u001b[2J\u2028 job=" + r'"a\nb" step="say \"hi\""')


@given(st.text(), st.dictionaries(st.sampled_from(["job", "uid"]), st.text()))
def test_every_record_is_one_line(message, fields):
    record = logging.LogRecord("cozydrivers", logging.INFO, "", 0, message, None, None)
    with log_context(**fields):
        text, told = TextFormatter().format(record), JsonFormatter().format(record)
    assert len(f"{text}\n".splitlines()) == len(f"{told}\n".splitlines()) == 1
    assert json.loads(told)["message"] == message


def test_the_level_is_for_us_and_foreign_libraries_are_heard_from_warning_on(written):
    configure("text", "DEBUG")
    log.debug("ours")
    logging.getLogger("chbackup").debug("too")
    for name in ("httpcore.http11", "kubernetes_asyncio.client.rest", "aiohttp", "asyncio"):
        logging.getLogger(name).debug("response body: %s", SECRET)
        logging.getLogger(name).info(SECRET)
        logging.getLogger(name).warning("heard")
    lines = written()
    assert len(lines) == 6
    assert SECRET not in "".join(lines)


def test_it_can_be_configured_again(written):
    configure("text", "ERROR")
    configure("json", "WARNING")
    log.info("no")
    log.warning("yes")
    (line,) = written()
    assert json.loads(line)["message"] == "yes"


def test_the_audit_log_is_apart(written, tmp_path):
    configure("json", "ERROR", audit_log=str(tmp_path / "audit.jsonl"))
    logging.getLogger(audit.LOGGER).info("{}")
    assert written() == []
    assert (tmp_path / "audit.jsonl").read_text() == "{}\n"
    configure("json", "ERROR")
    logging.getLogger(audit.LOGGER).info("{}")
    assert written() == ["{}"]
