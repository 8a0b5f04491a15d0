"""What can go wrong between a client and a cluster, on demand."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import anyio

from cozydrivers.testing._request import Broken, Request, Target, Unreachable
from cozydrivers.testing._status import Failure
from cozydrivers.testing._watch import Watches

__all__ = ["Faults", "Unreachable"]

Kind = Literal["status", "refused", "lost", "hanging"]

_REASONS = {410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
_BUSY = "Too many requests, please try again later.\n"
_WEBHOOK = (
    'failed calling webhook "guard.example.com": failed to call webhook: '
    'Post "https://127.0.0.1:1/validate?timeout=2s": dial tcp 127.0.0.1:1: connect: connection refused'
)


@dataclass
class _Fault:
    kind: Kind
    left: float
    until: float
    method: str
    path: str
    status: int = 0
    retry_after: int | None = None


class Faults:
    """Troubles of the cluster, most of them for the next requests; `latency` is in seconds, for every request.

    `method` and `path` narrow a trouble to requests of that method whose path contains that text. It hits the next
    `count` of them, or with `seconds` all that come in that time.
    """

    def __init__(self, watches: Watches) -> None:
        self.latency: float = 0.0
        self.quiet: bool = False
        """Whether the cluster itself is writing."""
        self._watches = watches
        self._planned: list[_Fault] = []
        self._webhooks: set[str] = set()
        self._rivals = 0
        self._writes: dict[tuple[str, ...], int] = {}

    @property
    def lag(self) -> float:
        """Seconds by which watches, and lists with `resourceVersion=0`, are behind; other reads are fresh."""
        return self._watches.lag

    @lag.setter
    def lag(self, seconds: float) -> None:
        self._watches.lag = seconds

    def fail(
        self,
        count: float = 1,
        *,
        status: int = 500,
        retry_after: int | None = None,
        method: str = "",
        path: str = "",
        seconds: float | None = None,
    ) -> None:
        """Answer with an error, and do nothing."""
        self._plan("status", count, method, path, seconds, status, retry_after)

    def refuse(self, count: float = 1, *, method: str = "", path: str = "", seconds: float | None = None) -> None:
        """Refuse the connection: nothing is done."""
        self._plan("refused", count, method, path, seconds)

    def lose_reply(self, count: float = 1, *, method: str = "", path: str = "", seconds: float | None = None) -> None:
        """Do what is asked, and lose the answer."""
        self._plan("lost", count, method, path, seconds)

    def hang(self, count: float = 1, *, method: str = "", path: str = "", seconds: float | None = None) -> None:
        """Do nothing, and never answer."""
        self._plan("hanging", count, method, path, seconds)

    def outage(self, seconds: float = 0.0) -> None:
        """Stop the server and start it again after a time.

        Meanwhile connections are refused. Open watches break, and none goes on from a version of before: the server
        has a new watch cache, which answers 410 (kube-apiserver 1.33). Pages of lists go on, they come from etcd.
        """
        self._watches.restart()
        self.refuse(seconds=seconds)

    def silence_watches(self, resource: str = "") -> None:
        """Let the watches that are open now send nothing more and never end.

        All of them, or those of one kind, given as `plural.group`, or as `plural` in the core group.
        """
        self._watches.silence(resource)

    def rival(self, every: int = 2) -> None:
        """Have somebody else change each object right before the first of every so many of our writes to it.

        A write that carries a resourceVersion is then a Conflict. With 0 the rival rests.
        """
        self._rivals = every

    def break_webhook(self, *plurals: str) -> None:
        """Have each write to these kinds refused because a webhook that must admit it can't be reached."""
        self._webhooks |= set(plurals)

    def clear(self) -> None:
        """Take back what was planned."""
        self._planned.clear()
        self._webhooks.clear()
        self.latency = self.lag = 0.0
        self.rival(0)

    def _plan(
        self,
        kind: Kind,
        count: float,
        method: str,
        path: str,
        seconds: float | None,
        status: int = 0,
        retry_after: int | None = None,
    ) -> None:
        until = math.inf if seconds is None else anyio.current_time() + seconds
        left = count if seconds is None else math.inf
        self._planned.append(_Fault(kind, left, until, method, path, status, retry_after))

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Spare what the cluster does itself from webhooks and rivals."""
        webhooks, rivals = self._webhooks, self._rivals
        self._webhooks, self._rivals, self.quiet = set(), 0, True
        try:
            yield
        finally:
            self._webhooks, self._rivals, self.quiet = webhooks, rivals, False

    async def before(self, method: str, path: str) -> bool:
        """Act before a request is done; returns whether its reply is to be lost."""
        if self.latency:
            await anyio.sleep(self.latency)
        fault = self._take(method, path)
        if fault is None:
            return False
        if fault.kind == "hanging":
            await anyio.sleep_forever()
        if fault.kind == "refused":
            raise Broken("connection refused")
        if fault.kind == "status":
            raise _failure(fault)
        return True

    def _take(self, method: str, path: str) -> _Fault | None:
        now = anyio.current_time()
        self._planned = [fault for fault in self._planned if fault.left and now < fault.until]
        for fault in self._planned:
            if fault.method in ("", method) and fault.path in path:
                fault.left -= 1
                return fault
        return None

    def rival_is_faster(self, method: str, target: Target) -> bool:
        """Whether somebody else changes an object right before this write."""
        if not self._rivals or method not in ("PUT", "PATCH", "DELETE"):
            return False
        key = (target.kind.storage, target.namespace, target.name, target.subresource)
        count = self._writes[key] = self._writes.get(key, 0) + 1
        return count % self._rivals == 1 % self._rivals

    def admit(self, request: Request) -> None:
        """Refuse a write that a webhook would have to admit."""
        if request.kind.resource.plural in self._webhooks:
            message = f"Internal error occurred: {_WEBHOOK}"
            raise Failure(500, "InternalError", message, {"causes": [{"message": _WEBHOOK}]})


def _failure(fault: _Fault) -> Failure:
    if fault.status == 429:
        return Failure(429, "", _BUSY, {"retryAfterSeconds": fault.retry_after or 1}, plain=True)
    reason = _REASONS.get(fault.status, "")
    details = {"retryAfterSeconds": fault.retry_after} if fault.retry_after is not None else None
    return Failure(fault.status, reason, f"planned: {reason or fault.status}", details)
