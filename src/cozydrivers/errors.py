"""What cozydrivers raises.

    CozydriversError
    ├── ApiError                 an answer of the API server that is not the one asked for
    │   ├── NotFound             404
    │   ├── AlreadyExists        409 on create
    │   ├── Conflict             409: resourceVersion, UID or another field manager
    │   ├── Gone                 410: list and watch anew
    │   ├── Invalid              400, 422: the server refuses the object
    │   ├── Unauthorized         401
    │   ├── Forbidden            403
    │   └── Unavailable          429, 5xx: try again later
    │       └── ClusterUnreachable   no answer at all: whether the request was carried out is unknown
    ├── LeadershipLost           this process may no longer act: another does, or may soon
    ├── InvalidInput             also a ValueError: refused before anything was sent
    ├── TemplateError            a strategy's template that does not render
    └── NewerVersion             what a newer version of this program wrote: it is left untouched

Each prints as one sentence. None holds a Secret's data: what the server says about a Secret is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class CozydriversError(Exception):
    """Base of all errors of this package."""


class InvalidInput(CozydriversError, ValueError):
    """What was asked for can't be done; nothing was sent."""


class NewerVersion(CozydriversError):
    """Something was written by a newer version of this program."""


class LeadershipLost(CozydriversError):
    """A Lease that this process needs is no longer its own; whatever it did as the leader has been cancelled."""


class TemplateError(CozydriversError):
    """A template that does not render, with the field that holds it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Cause:
    """One of the causes in a Status: `reason` is CamelCase, `field` a path such as `spec.backupClassName`."""

    reason: str
    message: str
    field: str = ""


class ApiError(CozydriversError):
    """The API server did not do what was asked; `status` is the HTTP status, 0 where there was no answer.

    `retry_after` is in seconds. `retryable` says that the same request may succeed later, unchanged.
    """

    retryable = False

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        causes: Sequence[Cause] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.causes: tuple[Cause, ...] = tuple(causes)
        self.retry_after = retry_after


class NotFound(ApiError):
    """The object, its kind or its subresource does not exist."""


class AlreadyExists(ApiError):
    """An object of that name exists."""


class Conflict(ApiError):
    """Somebody else was faster: the resourceVersion, the UID or a field's manager is another one."""


class Gone(ApiError):
    """The resourceVersion or continue token is too old: list anew."""


class Invalid(ApiError):
    """The server's validation refuses the object; `causes` name the fields."""


class Unauthorized(ApiError):
    """The credentials are not accepted."""


class Forbidden(ApiError):
    """The credentials don't allow this, or the namespace is being deleted."""


class Unavailable(ApiError):
    """The server can't answer now."""

    retryable = True


class ClusterUnreachable(Unavailable):
    """No answer: the connection failed or broke, or the time was up. What was sent may have been carried out."""
