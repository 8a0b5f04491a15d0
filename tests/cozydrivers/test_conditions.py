from datetime import UTC, datetime, timedelta, timezone

import pytest

from cozydrivers.api.base import Condition
from cozydrivers.runtime import set_condition

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ONE = datetime(2026, 11, 23, 13, 0, 0, 999, tzinfo=UTC)


def condition(type: str = "Ready", status: str = "True", reason: str = "Done", at: datetime | None = NOON) -> Condition:  # noqa: A002
    return Condition(type=type, status=status, reason=reason, message="m", last_transition_time=at)


def test_the_first_condition():
    assert set_condition([], condition()) == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Done",
            "message": "m",
            "lastTransitionTime": "2026-11-23T12:00:00Z",
        }
    ]


def test_the_time_changes_with_the_status_only():
    (same,) = set_condition([condition()], condition(reason="Other", at=ONE))
    assert (same["reason"], same["lastTransitionTime"]) == ("Other", "2026-11-23T12:00:00Z")
    (other,) = set_condition([condition()], condition(status="False", at=ONE))
    assert (other["status"], other["lastTransitionTime"]) == ("False", "2026-11-23T13:00:00Z")


def test_a_condition_that_had_no_time_gets_one():
    (written,) = set_condition([condition(at=None)], condition(at=ONE))
    assert written["lastTransitionTime"] == "2026-11-23T13:00:00Z"


def test_others_stay_in_their_order():
    before = [condition("A"), condition("B"), condition("C")]
    after = set_condition(before, condition("B", "False", at=ONE))
    assert [(item["type"], item["status"]) for item in after] == [("A", "True"), ("B", "False"), ("C", "True")]
    assert [item["type"] for item in set_condition(before, condition("D"))] == ["A", "B", "C", "D"]


def test_what_is_written_reads_as_it_was():
    new = condition().model_copy(update={"observed_generation": 3})
    (written,) = set_condition([], new)
    assert Condition.model_validate(written) == new


def test_times_are_written_in_utc():
    east = ONE.astimezone(timezone(timedelta(hours=5)))
    assert set_condition([], condition(at=east))[0]["lastTransitionTime"] == "2026-11-23T13:00:00Z"


def test_a_message_has_a_longest_length():
    (written,) = set_condition([], condition().model_copy(update={"message": "é" * 40_000}))
    assert written["message"] == "é" * 32768


@pytest.mark.parametrize("reason", ["", "two words", "1st", "Ends:", "a" * 1025, "Point.ed"])
def test_a_reason_that_the_server_would_refuse(reason):
    with pytest.raises(ValueError, match="no reason"):
        set_condition([], condition(reason=reason))


@pytest.mark.parametrize("reason", ["A", "WaitingForSlot", "a:b,c_9"])
def test_reasons_that_the_server_takes(reason):
    assert set_condition([], condition(reason=reason))[0]["reason"] == reason


def test_a_condition_without_a_time_is_refused():
    with pytest.raises(ValueError, match="without a time"):
        set_condition([], condition(at=None))
