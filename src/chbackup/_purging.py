"""Carrying out a purge: one archive after the other in each storage, each after a fresh look."""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from ._journal import Event, Journal
from ._purge_results import Outcome, PurgeResult
from ._purge_steps import Sent, Step, needs, next_step, stopped_with
from ._sidecars import Sidecar, look
from ._storages import local_of
from ._waiting import REPLY_GRACE, poll_delay
from .errors import Busy, ChbackupError, ConnectionFailed, NotFound, Refused, ServerError, Unauthorized
from .retention import Decision

Veto = Callable[[Decision, Sidecar], Awaitable[str]]


async def no_veto(decision: Decision, sidecar: Sidecar) -> str:
    """Let everything go."""
    return ""


@dataclass(frozen=True)
class Means:
    """What a purge works with.

    An archive is looked at and deleted in one `turn`: who waited for a place after the look would act on an old one.
    `timeout` is how long nothing may move on, in seconds; see Sight for `blind`. `veto` is asked right before each
    delete is sent, and says why the archive stays after all, or nothing.
    """

    storages: Mapping[str, Sequence[Sidecar]]
    journal: Journal
    timeout: float
    turn: anyio.Semaphore
    blind: bool = False
    veto: Veto = no_veto


async def carry_out(
    means: Means, decisions: Sequence[Decision], report: Callable[[PurgeResult], Awaitable[object]]
) -> None:
    """Delete, in this order, archives whose storages and sets hang together, and report every one once.

    What cannot be deleted stays with its set and with all that this set needs.
    """
    sets = _Sets(decisions, means.journal)
    unreachable: dict[str, str] = {}
    moved = anyio.current_time()
    for decision in decisions:
        if reason := unreachable.get(decision.storage):
            result = result_of("unreachable", decision, reason)
        elif reason := sets.stopped.get(decision.set_name):
            result = result_of("kept", decision, reason)
        else:
            result, moved = await _settle(Attempt(decision, means, sets), moved)
        if result.outcome == "unreachable":
            unreachable[decision.storage] = result.reason
        sets.took(decision, result)
        await report(result)


async def _settle(attempt: "Attempt", moved: float) -> tuple[PurgeResult, float]:
    """Try until it is done or nothing has moved on for too long; return the result, and when something last moved."""
    began = anyio.current_time()
    while True:
        async with attempt.means.turn:
            result = await attempt.step()
        now = anyio.current_time()
        if result is None or result.ok:
            moved = now
        late = now - max(moved, attempt.lost_at) >= attempt.means.timeout and not attempt.open
        if result and (result.ok or late or attempt.hopeless):
            return result, moved
        if result:
            await anyio.sleep(poll_delay(now - began))


class _Sets:
    """How far the deletion of each set has come, in memory and in the journal."""

    def __init__(self, decisions: Sequence[Decision], journal: Journal) -> None:
        self.stopped: dict[str, str] = {}
        self._journal = journal
        self._needs = needs(decisions)
        self._left = Counter(decision.set_name for decision in decisions)
        self._begun: set[str] = set()

    def begin(self, name: str) -> None:
        """Write down that a set is going to be incomplete, before it is."""
        if name not in self._begun:
            self._begun.add(name)
            self._journal.write("begin", set=name)

    def took(self, decision: Decision, result: PurgeResult) -> None:
        """Note what became of a member."""
        name = decision.set_name
        if not result.ok:
            for other in stopped_with(name, self._needs) if name not in self.stopped else ():
                self.stopped.setdefault(other, f"{decision.archive.name} stays: {result.reason}")
            return
        self._left[name] -= 1
        if not self._left[name] and (name in self._begun or name in self._journal.begun):
            self._journal.write("end", set=name)


class Attempt:
    """The deletion of one archive.

    `lost_at` is when the answer to a delete was lost for the first time; `hopeless` says that no step would help.
    """

    def __init__(self, decision: Decision, means: Means, sets: _Sets) -> None:
        self.means = means
        self.hopeless = False
        self.lost_at = -math.inf
        self._decision = decision
        self._sets = sets
        self._sidecars = means.storages[decision.storage]
        self._sent_at: float | None = None
        self._patience = max(sidecar.client.timeout for sidecar in self._sidecars) + REPLY_GRACE

    @property
    def open(self) -> bool:
        """Whether a delete that was sent may still arrive."""
        return self._sent_at is not None and anyio.current_time() - self._sent_at < self._patience

    async def step(self) -> PurgeResult | None:
        """Look, decide, act; return how it stands, None when a step was made."""
        try:
            sidecar, sight = await look(self._sidecars, self._decision.archive.name, blind=self.means.blind)
        except ChbackupError as error:
            self.hopeless = not error.retryable
            return self._result("unreachable", error.message)
        sent = None if self._sent_at is None else Sent(self.open)
        step = next_step(self._decision.archive, sight, sent)
        del sight  # a whole list, which many others hold as well while they wait for their turn
        if step.do == "delete local":
            holder = next(holder for holder in self._sidecars if holder.url == step.where)
            return await self._delete_local(holder)
        return await self._delete_remote(sidecar) if step.do == "delete" else self._judge(step)

    def _judge(self, step: Step) -> PurgeResult:
        if step.do == "gone":
            return self._result("deleted" if self._sent_at is not None else "gone", self._decision.reason)
        self.hopeless = step.do == "keep"
        return self._result("kept" if self._sent_at is None else "failed", step.reason)

    async def _delete_local(self, holder: Sidecar) -> PurgeResult | None:
        """Delete a copy that would upload itself again, if it is still there."""
        name = self._decision.archive.name
        try:
            holder.local = local_of(await holder.list_local())
        except ChbackupError as error:
            self.hopeless = not error.retryable
            return self._result("unreachable", error.message)
        if name not in holder.local:
            return None
        return await self._send(holder, "local")

    async def _delete_remote(self, sidecar: Sidecar) -> PurgeResult | None:
        return await self._send(sidecar, "remote") or self._result("deleted", self._decision.reason, sidecar.url)

    async def _send(self, sidecar: Sidecar, place: str) -> PurgeResult | None:
        """Send a delete; return what went wrong, None when it was done."""
        name = self._decision.archive.name
        timeout = max(self.means.timeout, sidecar.client.timeout)
        if why := await self.means.veto(self._decision, sidecar):
            self.hopeless = True
            return self._result("kept", why)
        self._sets.begin(self._decision.set_name)
        self._write("deleting", sidecar, place)
        await self.means.journal.sync()
        try:
            if place == "local":
                await sidecar.ask(lambda client: client.delete_local(name, timeout=timeout))
            else:
                await sidecar.ask(lambda client: client.delete_remote(name, timeout=timeout))
        except ChbackupError as error:
            self._write("failed", sidecar, place, error=error.message)
            return self._failure(error, sidecar)
        self._write("deleted", sidecar, place)
        sidecar.local = {copy: found for copy, found in sidecar.local.items() if place == "remote" or copy != name}
        return None

    def _failure(self, error: ChbackupError, sidecar: Sidecar) -> PurgeResult:
        if _lost(error):
            self._sent_at = anyio.current_time()
            self.lost_at = self._sent_at if self.lost_at == -math.inf else self.lost_at
        self.hopeless = not (error.retryable or isinstance(error, NotFound))
        return self._result(_outcome(error), error.message, sidecar.url)

    def _write(self, event: Event, sidecar: Sidecar, place: str, **more: str) -> None:
        decision, archive = self._decision, self._decision.archive
        self.means.journal.write(
            event,
            set=decision.set_name,
            storage=decision.storage,
            url=sidecar.url,
            place=place,
            archive=archive.name,
            bytes=archive.size,
            reason=decision.reason,
            **more,
        )

    def _result(self, outcome: Outcome, reason: str, url: str = "") -> PurgeResult:
        return result_of(outcome, self._decision, reason, url)


def result_of(outcome: Outcome, decision: Decision, reason: str, url: str = "") -> PurgeResult:
    """Return the result for an archive of the plan."""
    freed = decision.archive.size if outcome == "deleted" else 0
    return PurgeResult(outcome, decision.storage, decision.archive.name, url, freed, reason, decision.set_name)


def _lost(error: ChbackupError) -> bool:
    """Whether it may have been done although no answer came; a 500 is the sidecar's own, the rest is a proxy's."""
    if isinstance(error, ServerError):
        return error.retryable and error.status_code not in (409, 429, 500)
    return isinstance(error, ConnectionFailed) and error.sent


def _outcome(error: ChbackupError) -> Outcome:
    if isinstance(error, (Busy, Refused)):
        return "kept"
    unanswered = isinstance(error, Unauthorized) or (isinstance(error, ConnectionFailed) and not error.sent)
    return "unreachable" if unanswered else "failed"
