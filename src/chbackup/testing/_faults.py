"""What a test may let go wrong."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from ._answers import Answer


class ReplyCutError(ConnectionResetError):
    """A connection that is lost in the middle of an answer; `answer` is what came before."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("connection lost in the middle of the answer")
        self.answer = answer


@dataclass
class Spoiling:
    """An order to spoil the replies to some requests: the real answer goes in, what the client gets comes out."""

    spoil: Callable[[Answer], Answer]
    path: str
    times: float
    after_work: bool


@dataclass
class Faults:
    """What goes wrong from now on. Set an attribute back to heal it, or `heal()` all.

    `s3`: connections to the object store are `refused`, `denied` with 403, `hanging` without an answer, or there is
    `no_bucket`; every one of them makes the remote list empty (or, hanging, endless) with status 200.
    `unlisted`: archives that the remote list leaves out, as when the store fails in the middle of it.
    `disk_full`: no space for downloads. `clickhouse_down`: nothing answers that needs ClickHouse. `broken_config`: the
    server's configuration cannot be read, for this reason. `refuse`: the sidecar takes no connections. `delay`: seconds
    before each answer, after the work was done or begun.
    """

    s3: Literal["refused", "denied", "hanging", "no_bucket"] | None = None
    unlisted: Collection[str] = ()
    disk_full: bool = False
    clickhouse_down: bool = False
    broken_config: str = ""
    refuse: bool = False
    delay: float = 0.0
    replies: list[Spoiling] = field(default_factory=list)

    def heal(self) -> None:
        """Let everything go right again."""
        healthy = Faults()
        for each in fields(self):
            setattr(self, each.name, getattr(healthy, each.name))

    def lose_reply(self, *, after_work: bool = True, path: str = "", times: float = 1) -> None:
        """Drop the connection of the next requests whose path contains `path`, after or before their work was done."""

        def drop(answer: Answer) -> Answer:
            raise ConnectionResetError(f"connection lost {'after' if after_work else 'before'} the work")

        self.replies.append(Spoiling(drop, path, times, after_work))

    def cut_reply(self, keep: int, *, path: str = "", times: float = 1) -> None:
        """Lose the connection after `keep` bytes of the body."""

        def cut(answer: Answer) -> Answer:
            raise ReplyCutError(answer._replace(body=answer.body[:keep]))

        self.replies.append(Spoiling(cut, path, times, after_work=True))

    def replace_reply(
        self,
        status: int,
        body: str | bytes = "",
        *,
        headers: Mapping[str, str] | None = None,
        after_work: bool = False,
        path: str = "",
        times: float = 1,
    ) -> None:
        """Answer in the server's place, as a proxy does; the request reaches the server only with `after_work`."""
        content = body.encode() if isinstance(body, str) else body
        given = Answer(status, {"Content-Length": str(len(content)), **(headers or {})}, content)
        self.replies.append(Spoiling(lambda answer: given, path, times, after_work))

    def take(self, path: str) -> Spoiling | None:
        """Return the oldest order that is meant for a path, and count it."""
        order = next((order for order in self.replies if order.path in path), None)
        if order:
            order.times -= 1
            if order.times <= 0:
                self.replies.remove(order)
        return order
