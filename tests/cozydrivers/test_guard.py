"""Jobs whose deadlines have passed: when one may be ended, and when that many are late speaks against us."""

from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from cozydrivers.runtime.guard import FORGOTTEN, LONGEST_PAUSE, SETTLING, Guard, are_many
from cozydrivers.testing import FakeCluster

START = datetime(2026, 11, 23, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    """A wall clock that goes with the loop's."""

    def __init__(self) -> None:
        self._cluster = FakeCluster(now=START)
        self._cluster.now()

    def __call__(self) -> datetime:
        return self._cluster.now()


async def guard(late: int, in_time: int, now: datetime, skew: str = "") -> Guard:
    """One that has settled, with jobs `late-0`, ... and `job-0`, ..."""
    made = Guard(lambda: skew)
    for number in range(late):
        made.running(f"late-{number}", now - HOUR)
    for number in range(in_time):
        made.running(f"job-{number}", now + 1000 * HOUR)
    await anyio.sleep(SETTLING)
    return made


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_many_are_three_and_more_than_a_tenth(late: int, in_time: int):
    assert are_many(late, late + in_time) is (late >= 3 and late / (late + in_time) > 0.1)


async def test_one_that_is_stuck_ends_even_if_it_is_the_only_one():
    """I5."""
    made = await guard(1, 0, START)
    assert made.may_time_out("late-0", START)
    assert made.problem(START) == ""


async def test_one_that_is_in_time_does_not_end():
    made = await guard(1, 5, START)
    assert not made.may_time_out("job-0", START)
    assert not made.may_time_out("unknown", START)
    assert not made.may_time_out("late-0", START - HOUR)


async def test_the_deadline_is_the_last_one_told():
    made = await guard(1, 5, START)
    made.running("late-0", START + HOUR)
    assert not made.may_time_out("late-0", START)


async def test_when_many_are_late_at_once_none_is_ended():
    made = await guard(3, 26, START)
    assert not made.may_time_out("late-0", START)
    assert made.problem(START) == "3 of 29 running jobs are past their deadlines at once; none of them is ended"


async def test_some_late_among_many_are_ended():
    made = await guard(3, 27, START)
    assert made.may_time_out("late-0", START)
    assert made.problem(START) == ""


async def test_those_that_ended_count_no_longer():
    made = await guard(3, 2, START)
    made.ended("late-2")
    made.ended("never known")
    assert made.may_time_out("late-0", START)


async def test_after_an_hour_each_deadline_counts_again():
    """I5: every wait ends."""
    made, clock = await guard(10, 0, START), Clock()
    assert not made.may_time_out("late-0", clock())
    for _ in range(int(LONGEST_PAUSE // 60) - 1):
        await anyio.sleep(60)
        assert not made.may_time_out("late-0", clock())
    await anyio.sleep(60)
    assert made.may_time_out("late-0", clock())
    assert made.problem(clock()) == ""


async def test_the_hour_begins_anew_after_a_time_without():
    made = await guard(3, 10, START)
    assert not made.may_time_out("late-0", START)
    made.running("late-0", START + HOUR)
    assert made.problem(START) == ""
    for _ in range(2):
        await anyio.sleep(LONGEST_PAUSE / 2)
        made.running("late-0", START - HOUR)
        assert not made.may_time_out("late-0", START)
        made.running("late-0", START + HOUR)
        assert made.may_time_out("late-1", START)


async def test_a_look_at_the_end_of_many_late_ones_is_enough_for_the_hour_to_begin_anew():
    made = await guard(3, 10, START)
    for _ in range(int(2 * LONGEST_PAUSE // FORGOTTEN)):
        made.running("late-0", START - HOUR)
        assert not made.may_time_out("late-0", START)
        made.running("late-0", START + HOUR)
        assert made.may_time_out("late-1", START)
        await anyio.sleep(FORGOTTEN)


async def test_the_hour_begins_anew_after_nobody_has_looked():
    made = await guard(3, 10, START)
    assert not made.may_time_out("late-0", START)
    await anyio.sleep(max(FORGOTTEN, LONGEST_PAUSE) + 1)
    assert not made.may_time_out("late-0", START)


async def test_a_new_leader_does_not_end_one_by_one_those_of_which_many_are_late():
    made = Guard()
    for number in range(10):
        uid = f"late-{number}"
        made.running(uid, START - HOUR)
        assert not made.may_time_out(uid, START)
        await anyio.sleep(1)
    await anyio.sleep(SETTLING)
    assert not made.may_time_out("late-0", START)


async def test_while_the_clocks_disagree_none_is_ended_however_long():
    clock = Clock()
    made = await guard(1, 100, START, skew="the API server's clock is 90 s ahead of this controller's")
    for _ in range(5):
        assert not made.may_time_out("late-0", clock())
        await anyio.sleep(LONGEST_PAUSE)
    assert made.problem(clock()) == (
        "the API server's clock is 90 s ahead of this controller's; no job is ended at its deadline"
    )


JOBS = st.lists(st.integers(-3600, 7200), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None)
@given(JOBS)
def test_every_job_ends_within_an_hour_of_its_deadline_and_never_many_at_first_sight(deadlines: list[int]):
    """I5: whatever the deadlines are, each that passes lets its job be ended, at most an hour and a pass later."""
    anyio.run(_all_end, deadlines, backend_options={"loop_factory": partial(looptime.new_event_loop, noop_cycles=0)})


async def _all_end(deadlines: list[int]) -> None:
    clock, made = Clock(), Guard()
    left = {f"job-{number}": START + timedelta(seconds=at) for number, at in enumerate(deadlines)}
    while left:
        for uid, deadline in left.items():
            made.running(uid, deadline)
        now = clock()
        late = sum(deadline < now for deadline in left.values())
        due = [uid for uid in left if made.may_time_out(uid, now)]
        if due and are_many(late, len(left)):
            assert now - START >= timedelta(seconds=LONGEST_PAUSE)
        for uid in due:
            made.ended(uid)
            del left[uid]
        limit = timedelta(seconds=LONGEST_PAUSE + SETTLING)
        assert all(now - max(deadline, START) <= limit for deadline in left.values())
        await anyio.sleep(30)
