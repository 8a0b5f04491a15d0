"""Deadlines that say what they wait for, and how often to look."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from .callbacks import Callback
from .errors import ChbackupError, WaitTimeout
from .models import Action

DAY = 86_400.0
SHORTEST = 0.25  # also for who is woken without end
REPLY_GRACE = 10.0  # how long after its own timeout a request may still arrive

T = TypeVar("T")


def poll_delay(waited: float) -> float:
    """Seconds until the next look: a tenth of the time already waited, so that an end is seen 5 % late."""
    return min(max(waited / 10, SHORTEST), 10.0)


class Deadline:
    """The end of a wait of `timeout` seconds from now for `what`; `saw` is what was seen last."""

    def __init__(self, timeout: float, what: str) -> None:
        self.what = what
        self.saw: str = ""
        self.rows: tuple[Action, ...] = ()
        self._start = anyio.current_time()
        self._timeout = timeout

    @property
    def left(self) -> float:
        """Seconds that remain, never less than 0."""
        return max(self._start + self._timeout - anyio.current_time(), 0.0)

    async def pause(self, seconds: float | None = None, wake: Callback | None = None) -> None:
        """Sleep until the next look, by default for as long as polling suggests, or until `wake` is poked.

        Raises WaitTimeout when the deadline has passed.
        """
        if not self.left:
            saw = f"; last seen: {self.saw}" if self.saw else ""
            raise WaitTimeout(f"{self.what} has not ended after {self._timeout:g} s{saw}", rows=self.rows)
        delay = poll_delay(anyio.current_time() - self._start) if seconds is None else seconds
        await _sleep(min(delay, self.left), wake)

    async def read(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a request answers that may be repeated, over every trouble that passes by itself."""
        while True:
            try:
                return await call()
            except ChbackupError as error:
                if not error.retryable:
                    raise
                self.saw = error.message
            await self.pause()

    def saw_row(self, row: Action) -> None:
        """Keep the row for the message of the end."""
        self.saw, self.rows = f"`{row.command}` is {row.status}", (row,)

    def part(self, seconds: float, what: str) -> "Deadline":
        """Return a shorter deadline within this one."""
        return Deadline(min(seconds, self.left), what)


async def _sleep(seconds: float, wake: Callback | None) -> None:
    if wake is None:
        await anyio.sleep(seconds)
        return
    await anyio.sleep(min(seconds, SHORTEST))
    with anyio.move_on_after(max(seconds - SHORTEST, 0.0)):
        await wake.poked()


def latest(rows: Iterable[Action]) -> Action | None:
    """Return the last of the rows, None without any."""
    return next(reversed(list(rows)), None)
