"""What can go wrong between a client and a cluster, on demand."""

from dataclasses import dataclass
from typing import Literal

import anyio

from cozydrivers.testing._status import Failure

Kind = Literal["status", "refused", "lost", "hanging"]

_REASONS = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}


class Unreachable(Exception):
    """There is no answer; what was asked may have been done."""


@dataclass
class _Fault:
    kind: Kind
    left: int
    method: str
    path: str
    status: int = 0
    retry_after: int | None = None


class Faults:
    """Troubles for the next requests; `latency` is in seconds, for every request.

    `method` and `path` narrow a trouble to requests of that method whose path contains that text.
    """

    def __init__(self) -> None:
        self.latency: float = 0.0
        self._planned: list[_Fault] = []

    def fail(
        self, count: int = 1, *, status: int = 500, retry_after: int | None = None, method: str = "", path: str = ""
    ) -> None:
        """Answer with an error, and do nothing."""
        self._planned.append(_Fault("status", count, method, path, status, retry_after))

    def refuse(self, count: int = 1, *, method: str = "", path: str = "") -> None:
        """Refuse the connection: nothing is done."""
        self._planned.append(_Fault("refused", count, method, path))

    def lose_reply(self, count: int = 1, *, method: str = "", path: str = "") -> None:
        """Do what is asked, and lose the answer."""
        self._planned.append(_Fault("lost", count, method, path))

    def hang(self, count: int = 1, *, method: str = "", path: str = "") -> None:
        """Do nothing, and never answer."""
        self._planned.append(_Fault("hanging", count, method, path))

    def clear(self) -> None:
        """Take back what was planned."""
        self._planned.clear()
        self.latency = 0.0

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
            raise Unreachable("connection refused")
        if fault.kind == "status":
            raise _failure(fault)
        return True

    def _take(self, method: str, path: str) -> _Fault | None:
        for fault in self._planned:
            if fault.left and fault.method in ("", method) and fault.path in path:
                fault.left -= 1
                return fault
        return None


def _failure(fault: _Fault) -> Failure:
    reason = _REASONS.get(fault.status, "")
    details = {"retryAfterSeconds": fault.retry_after} if fault.retry_after is not None else None
    return Failure(fault.status, reason, f"planned: {reason or fault.status}", details)
