"""Work that takes time, without tasks: it is carried forward when somebody looks."""

import heapq
import itertools
from collections.abc import Callable, Generator

import anyio

Steps = Generator[float, None, None]
"""Work in steps: each yielded number is the seconds until the next step."""


class Cancelled(Exception):
    """Thrown into work that was killed."""


class OperationError(Exception):
    """Work that ended with the server's error text."""


class ProcessExit(Exception):
    """Work that ended the server's process."""


class Job:
    """One piece of running work, and what to call with its error (or None) when it ends."""

    def __init__(self, steps: Steps, on_end: Callable[[Exception | None], None], due: float) -> None:
        self.due: float = due
        self.done: bool = False
        self.deaf = False
        self._steps = steps
        self._on_end = on_end

    def step(self) -> None:
        """Run up to the next step that is not due at once."""
        self._run(self._next_delay)

    def throw(self, error: Exception) -> None:
        """Throw an error into the work, which may catch it and go on."""
        self._run(lambda: self._steps.throw(error))

    def drop(self) -> None:
        """Forget the work where it stands, as a killed process does."""
        self.done = True
        self._steps.close()

    def _next_delay(self) -> float:
        while not (delay := next(self._steps)):
            pass
        return delay

    def _run(self, resume: Callable[[], float]) -> None:
        try:
            self.due += resume()
        except StopIteration:
            self._end(None)
        except (Cancelled, OperationError, ProcessExit) as error:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        self.done = True
        self._on_end(error)


class Timeline:
    """The order of everything that happens to one storage and the servers that share it.

    Time is in seconds of the event loop's clock since the first look, so virtual time works; outside an event loop it
    stands still.
    """

    def __init__(self) -> None:
        self._time = 0.0
        self._advancing = False
        self._origin: float | None = None
        self._queue: list[tuple[float, int, Job]] = []
        self._order = itertools.count()

    @property
    def time(self) -> float:
        """Seconds since the first look; while work runs, the moment of that work."""
        return self._time

    def start(self, steps: Steps, on_end: Callable[[Exception | None], None], *, delay: float = 0.0) -> Job:
        """Start work now, or after a delay. Its first step runs before this returns when there is no delay."""
        job = Job(steps, on_end, self._time + delay)
        if delay:
            self._push(job)
        else:
            self._step(job)
        return job

    def cancel(self, job: Job) -> None:
        """Throw `Cancelled` into work that has not ended; deaf work goes on."""
        if not job.done and not job.deaf:
            job.throw(Cancelled())
            if not job.done:
                self._push(job)

    def advance(self) -> None:
        """Carry all work forward to the present; a look from inside that work changes nothing."""
        if self._advancing:
            return
        self._advancing = True
        try:
            self._advance_to(self._now())
        finally:
            self._advancing = False

    def _advance_to(self, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            due, _, job = heapq.heappop(self._queue)
            if not job.done and job.due == due:
                self._time = max(self._time, due)
                self._step(job)
        self._time = max(self._time, now)

    async def wait(self, job: Job, *, timeout: float | None = None) -> bool:
        """Wait in the caller's task until the work ended; False when the timeout came first."""
        deadline = None if timeout is None else self._time + timeout
        while not job.done:
            if deadline is not None and self._time >= deadline:
                return False
            await anyio.sleep(min(max(job.due - self._time, 0.01), 1.0))
            self.advance()
        return True

    def _step(self, job: Job) -> None:
        job.step()
        if not job.done:
            self._push(job)

    def _push(self, job: Job) -> None:
        heapq.heappush(self._queue, (job.due, next(self._order), job))

    def _now(self) -> float:
        try:
            current = anyio.current_time()
        except RuntimeError:  # no event loop: the test is still setting up
            return self._time
        if self._origin is None or current - self._origin < self._time:
            self._origin = current - self._time
        return current - self._origin
