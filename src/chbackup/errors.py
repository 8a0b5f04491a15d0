"""What can go wrong, each with the server's own words.

ChbackupError
├── while sending
│   ├── InvalidInput (ValueError)     the input is refused before anything was touched
│   ├── Refused                       the state forbids it: a name or tables exist, an archive is broken
│   │   └── RequiredByOthers          increments need this archive
│   ├── Busy                          another operation holds the sidecar
│   ├── Unauthorized
│   ├── NotFound
│   ├── Unsupported                   not in the server's version
│   ├── ConnectionFailed              no answer: not sent, or outcome unknown
│   └── ServerError                   any other answer that is no success
└── while waiting
    ├── OperationFailed
    ├── OperationCancelled
    ├── OperationLost                 the server has forgotten it
    ├── NotVerified                   it ended well, but what it left behind does not prove it
    └── WaitTimeout (TimeoutError)
"""

from collections.abc import Iterable
from typing import Any

from .models import Action, Archive


class ChbackupError(Exception):
    """The base of everything raised on purpose.

    `operation` is what was asked for, `status_code` the HTTP status of the answer (None without one),
    `words` the server's own words, `rows` the rows of its history that belong to the case.
    `retryable` says that trying again later may help; whether that is safe is for the caller to decide.
    """

    retryable = False

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        status_code: int | None = None,
        words: str = "",
        rows: Iterable[Action] = (),
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.status_code = status_code
        self.words = words
        self.rows: tuple[Action, ...] = tuple(rows)

    @property
    def message(self) -> str:
        """One sentence for people."""
        return str(self.args[0])

    @message.setter
    def message(self, text: str) -> None:
        self.args: tuple[Any, ...] = (text,)


class InvalidInput(ChbackupError, ValueError):
    """The input is not acceptable; nothing was done."""


class Refused(ChbackupError):
    """The state forbids it; nothing was done."""


class RequiredByOthers(Refused):
    """Increments need this archive; `dependents` names them, nearest first."""

    dependents: tuple[str, ...] = ()


class Busy(ChbackupError):
    """Another operation holds the sidecar."""

    retryable = True

    @property
    def holder(self) -> Action | None:
        """The row of that operation, where the server told."""
        return next((row for row in self.rows if row.running), None)


class Unauthorized(ChbackupError):
    """The credentials are missing, wrong, or sent to a server that has none configured."""


class NotFound(ChbackupError):
    """What was named does not exist."""


class Unsupported(ChbackupError):
    """The server's version does not have this, and would ignore it without a word."""


class ConnectionFailed(ChbackupError):
    """No answer came. `sent` is False when no connection was made, so that nothing can have happened."""

    retryable = True
    sent: bool = True


class ServerError(ChbackupError):
    """An answer that is neither a success nor any of the other cases."""

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether the status is one that passes by itself."""
        return self.status_code in (409, 429) or (self.status_code or 0) >= 500


class OperationFailed(ChbackupError):
    """The engine says that the operation failed."""


class OperationCancelled(ChbackupError):
    """The operation's row says `cancel`: it was killed, or the server was restarted over HTTP."""


class OperationLost(ChbackupError):
    """The server has no row of the operation; `local` and `remote` are what its lists show of the archive.

    `restarted` tells a restart of the server's process from a row that was dropped, None when nothing does.
    """

    local: Archive | None = None
    remote: Archive | None = None
    restarted: bool | None = None


class NotVerified(ChbackupError):
    """The result is not proven; `problems` says sentence by sentence what is missing."""

    problems: tuple[str, ...] = ()


class WaitTimeout(ChbackupError, TimeoutError):
    """The deadline has passed; what was started may still be running."""
