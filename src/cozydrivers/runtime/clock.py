"""The API server's clock against our own: deadlines are computed from times that the server has written."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

LARGEST = 60.0
"""Seconds that the two clocks may differ."""

SLOWEST = 30.0
"""Seconds; an answer that took longer says too little about when it was given."""

_HALF_A_SECOND = timedelta(seconds=0.5)


class Skew:
    """Measures how far the API server's clock is ahead of ours; an observer of `KubeClient`.

    `seconds` is the last measurement, negative where ours is ahead, None before the first. `now` is the wall clock.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.seconds: float | None = None
        self._now = now

    def observe(self, method: str, status: int, headers: Mapping[str, str], seconds: float) -> None:
        """Take in the Date of an answer, as given in the middle of the time that it took."""
        given = _time(headers.get("date", ""))
        if given is not None and seconds <= SLOWEST:
            ours = self._now() - timedelta(seconds=seconds / 2)
            self.seconds = (given + _HALF_A_SECOND - ours).total_seconds()

    def problem(self) -> str:
        """What is wrong, as a sentence; empty where nothing is, or nothing is known."""
        if self.seconds is None or abs(self.seconds) <= LARGEST:
            return ""
        way = "ahead of" if self.seconds > 0 else "behind"
        return f"the API server's clock is {abs(self.seconds):.0f} s {way} this controller's"


@lru_cache(maxsize=8)  # a second has many answers
def _time(date: str) -> datetime | None:
    """Parse a Date header, which has whole seconds in GMT; None for anything else."""
    try:
        parsed = parsedate_to_datetime(date)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else None
