"""A purge that has been planned: iterating over it carries it out."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self

import anyio
from anyio.abc import TaskGroup

from ._purge_results import PurgeResult, PurgeSummary
from ._purge_steps import connected
from .retention import Decision, PurgePlan

Report = Callable[[PurgeResult], Awaitable[object]]
Carry = Callable[[Sequence[Decision], Report], Awaitable[None]]


class PurgeRun:
    """A plan, and its execution: `async for result in run` DELETES.

    It yields a result for each storage that is left out (`problems`), then one for each archive of `plan.delete`;
    `summary` counts what was yielded. Leaving the loop, or the block, stops at once; what a server has begun it ends.
    """

    def __init__(self, plan: PurgePlan, problems: Sequence[PurgeResult], carry: Carry | None) -> None:
        self.plan = plan
        self.problems: tuple[PurgeResult, ...] = tuple(problems)
        self.summary: PurgeSummary = PurgeSummary(planned=len(plan.delete))
        self._told = list(reversed(problems))
        self._parts = connected(plan.delete) if carry else []
        self._carry = carry
        self._send, self._results = anyio.create_memory_object_stream[PurgeResult]()
        self._tasks: TaskGroup | None = None
        self._working = 0
        self._failure: OSError | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Self, None]:
        """Let it work while the block lasts; `Fleet.purge` does this."""
        failure: Exception | None = None
        with self._send, self._results:
            async with anyio.create_task_group() as self._tasks:
                try:
                    yield self
                except Exception as error:  # noqa: BLE001 - raised below, where no group wraps it
                    failure = error
                self._tasks.cancel_scope.cancel()
        if problem := failure or self._failure:
            raise problem

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PurgeResult:
        if self._told:
            result = self._told.pop()
        else:
            self._start()
            try:
                result = await self._results.receive()
            except anyio.EndOfStream:
                raise StopAsyncIteration from None
        self.summary.add(result)
        return result

    def _start(self) -> None:
        parts, self._parts = self._parts, []
        self._working += len(parts)
        for part in parts:
            assert self._tasks
            self._tasks.start_soon(self._work, part)
        if not self._working:
            self._send.close()

    async def _work(self, part: Sequence[Decision]) -> None:
        assert self._tasks
        assert self._carry
        try:
            await self._carry(part, self._send.send)
        except OSError as error:  # the journal's: nothing may be deleted that it does not have
            self._failure = error
            self._tasks.cancel_scope.cancel()
            return
        self._working -= 1
        if not self._working:
            self._send.close()
