"""Whether a job whose deadline has passed may be ended now.

Many that are late at once speak against the clock, the network or ourselves rather than against the jobs: then nothing
is ended, for an hour at most, because every wait ends. As long as the clocks disagree nothing is ended at all.
"""

from collections.abc import Callable
from datetime import datetime

import anyio

SETTLING = 60.0
"""Seconds from the first job on in which none is ended: until then not all that run may be known."""

LONGEST_PAUSE = 3600.0
"""Seconds that many late jobs hold each other up, from when they were first seen."""

FORGOTTEN = 300.0
"""Seconds without a look after which many late jobs are seen for the first time again."""

FEWEST = 3
"""Late jobs that are not many, whatever their share: one stuck job must end."""

_SHARE = 10


def are_many(late: int, running: int) -> bool:
    """Whether more than a tenth of the running jobs are late, and at least three of them."""
    return late >= FEWEST and late * _SHARE > running


class Guard:
    """The deadlines of the running jobs of one process, by UID; `skew` says what is wrong with the clocks, or "".

    Deadlines are wall-clock times, compared with the `now` that is given; pauses are measured by the loop's clock.
    """

    def __init__(self, skew: Callable[[], str] = str) -> None:
        self._skew = skew
        self._deadlines: dict[str, datetime] = {}
        self._settled_at: float | None = None
        self._first_seen: float | None = None
        self._last_seen = 0.0

    def running(self, uid: str, deadline: datetime) -> None:
        """Note a running job; to be told on each pass over it."""
        if self._settled_at is None:
            self._settled_at = anyio.current_time() + SETTLING
        self._deadlines[uid] = deadline

    def ended(self, uid: str) -> None:
        """Forget a job that runs no longer."""
        self._deadlines.pop(uid, None)

    def may_time_out(self, uid: str, now: datetime) -> bool:
        """Whether this job, noted before, is past its deadline and nothing speaks against ending it."""
        deadline = self._deadlines.get(uid, now)
        return deadline < now and self._is_settled() and not self.problem(now)

    def problem(self, now: datetime) -> str:
        """Why no job is ended at its deadline, as a sentence; empty where each is."""
        paused = self._is_paused(now)
        skew = self._skew()
        if skew:
            return f"{skew}; no job is ended at its deadline"
        if paused:
            late, running = self._late(now), len(self._deadlines)
            return f"{late} of {running} running jobs are past their deadlines at once; none of them is ended"
        return ""

    def _late(self, now: datetime) -> int:
        return sum(deadline < now for deadline in self._deadlines.values())

    def _is_settled(self) -> bool:
        return self._settled_at is not None and anyio.current_time() >= self._settled_at

    def _is_paused(self, now: datetime) -> bool:
        """Whether many are late, and have not been for too long; to look is to see."""
        if not are_many(self._late(now), len(self._deadlines)):
            self._first_seen = None
            return False
        clock = anyio.current_time()
        if self._first_seen is None or clock - self._last_seen > FORGOTTEN:
            self._first_seen = clock
        self._last_seen = clock
        return clock - self._first_seen < LONGEST_PAUSE
