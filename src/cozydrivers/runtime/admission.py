"""How many jobs may run at once, and which of those that wait is next (I10).

The decision is pure. `Admission` makes it over what runs and what waits, one at a time, and wakes whom it lets in.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

import anyio

DEBOUNCE = 0.1
"""Seconds between two decisions while jobs wait."""


@dataclass(frozen=True)
class Limits:
    """How many jobs may be Running, in total and in one namespace."""

    total: int = 100
    per_namespace: int = 20


@dataclass(frozen=True)
class Candidate:
    """A job that waits for a slot."""

    uid: str
    namespace: str
    created: datetime
    is_restore: bool = False


def admit(waiting: Iterable[Candidate], running: Mapping[str, int], limits: Limits) -> list[Candidate]:
    """Say who may start now, in that order; `running` counts the jobs by namespace.

    Restores come first. Among equals the namespace with the fewest running jobs is next, which takes the namespaces in
    turn; within it the oldest job.
    """
    free, counts = limits.total - sum(running.values()), Counter(running)
    admitted: list[Candidate] = []
    for queues in _by_turn(waiting):
        heap = [(counts[namespace], _age(queue[-1]), namespace) for namespace, queue in queues.items()]
        heapq.heapify(heap)
        while heap and len(admitted) < free:
            count, _, namespace = heapq.heappop(heap)
            if count >= limits.per_namespace:
                continue
            admitted.append(queues[namespace].pop())
            counts[namespace] += 1
            if queues[namespace]:
                heapq.heappush(heap, (counts[namespace], _age(queues[namespace][-1]), namespace))
    return admitted


def _by_turn(waiting: Iterable[Candidate]) -> list[dict[str, list[Candidate]]]:
    """Restores, then backups: by namespace, the oldest last."""
    turns: list[dict[str, list[Candidate]]] = [{}, {}]
    for candidate in sorted(waiting, key=_age, reverse=True):
        turns[0 if candidate.is_restore else 1].setdefault(candidate.namespace, []).append(candidate)
    return turns


def _age(candidate: Candidate) -> tuple[datetime, str]:
    return candidate.created, candidate.uid


class Admission:
    """Lets jobs start within the limits. `running` tells the jobs that the store shows as Running: namespaces by UID.

    A job asks on each pass until it is let in. It keeps its slot while the store shows it as Running, or until it
    leaves. Decisions are made by `run`, several at a time, so that their cost does not grow with the jobs that ask.
    """

    def __init__(self, limits: Limits, running: Callable[[], Mapping[str, str]]) -> None:
        self._limits = limits
        self._running = running
        self._granted: dict[str, str] = {}
        self._waiting: dict[str, tuple[Candidate, Callable[[], None]]] = {}
        self._since: dict[str, float] = {}
        self._asked = anyio.Event()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a slot."""
        return len(self._waiting)

    def ask(self, candidate: Candidate, wake: Callable[[], None]) -> bool:
        """Whether the job may start; where not, `wake` is called once it may."""
        if candidate.uid in self._granted:
            return True
        if candidate.uid not in self._waiting:
            self._since[candidate.uid] = anyio.current_time()
            self._asked.set()
        self._waiting[candidate.uid] = candidate, wake
        return False

    def waited(self, uid: str) -> float:
        """How long a job has been waiting, in seconds."""
        return anyio.current_time() - self._since[uid] if uid in self._waiting else 0.0

    def place(self, uid: str) -> int:
        """Which place a waiting job has among those that wait, counted from 1; 0 where it does not wait."""
        if uid not in self._waiting:
            return 0
        unlimited = Limits(total=len(self._waiting), per_namespace=len(self._waiting))
        order = admit((candidate for candidate, _ in self._waiting.values()), {}, unlimited)
        return [candidate.uid for candidate in order].index(uid) + 1

    def leave(self, uid: str) -> None:
        """The job does not start now, or has ended: somebody else may have its slot."""
        self._forget(uid)
        self._granted.pop(uid, None)
        if self._waiting:
            self._asked.set()

    async def run(self) -> NoReturn:
        """Decide whenever something has changed, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            for wake in self._decide():
                wake()
            await anyio.sleep(DEBOUNCE)

    def _decide(self) -> list[Callable[[], None]]:
        running = {**self._granted, **self._running()}
        admitted = admit(
            (candidate for candidate, _ in self._waiting.values()), Counter(running.values()), self._limits
        )
        self._granted |= {candidate.uid: candidate.namespace for candidate in admitted}
        return [self._forget(candidate.uid) for candidate in admitted]

    def _forget(self, uid: str) -> Callable[[], None]:
        self._since.pop(uid, None)
        return self._waiting.pop(uid, (None, _nothing))[1]


def _nothing() -> None:
    """Wake nobody."""
