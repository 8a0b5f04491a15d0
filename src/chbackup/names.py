"""Names of archives: which are safe, and the scheme that tells a set's members from a list alone."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import InvalidInput

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_LONGEST = 200
_CLEANED = re.compile(r"[ /\\\x00-\x1f\x7f-\x9f\ud800-\udfff]|\.\.")
_LONGEST_EXISTING = 233  # bytes; one more, and the server's lock file has too long a name
_LONGEST_APP = 52  # leaves room for the longest rest, so that all members of a set shorten alike

_SCHEME = re.compile(
    r"cozy-(?P<app>.+)-(?P<namespace_hash>[0-9a-f]{6})-(?P<taken>[0-9]{8}T[0-9]{6}Z)-(?P<uid>[0-9a-f]{12})"
    r"-a(?P<attempt>[1-9][0-9]{0,2})-s(?P<shard>0|[1-9][0-9]{0,3})of(?P<shards>[1-9][0-9]{0,3})"
    r"-r(?P<replica>0|[1-9][0-9]{0,2})"
)


def check_name(name: str, *, existing: bool = False) -> str:
    """Return a name that every server keeps as it is.

    Others are cleaned by the server without a word, or are read as a flag or a path. For an `existing` archive every
    name is accepted that the server can hold and reads as it is sent.

    Raises InvalidInput.
    """
    return _check_existing_name(name) if existing else _check_new_name(name)


@dataclass(frozen=True)
class ArchiveName:
    """The name of one member of a set, at most 120 characters.

    `namespace_hash` is 6 hex digits, `uid` 12 hex digits of the job's UID, `taken` an aware time of whole seconds.
    An `app` of more than 52 characters is printed as its beginning and 8 hex digits of its SHA-256; the parser
    returns that form.

    Raises InvalidInput when the parts do not make a name that parses back.
    """

    app: str
    namespace_hash: str
    taken: datetime
    uid: str
    attempt: int
    shard: int
    shards: int
    replica: int

    def __post_init__(self) -> None:
        if self.taken.tzinfo is None:
            raise InvalidInput("taken must have a time zone")
        if not _SCHEME.fullmatch(check_name(str(self))):
            raise InvalidInput(f"{str(self)!r} is not of the form of a set's member")

    def __str__(self) -> str:
        return f"{self.set_name}-a{self.attempt}-s{self.shard}of{self.shards}-r{self.replica}"

    @property
    def set_name(self) -> str:
        """What all members, attempts and replicas of one run share."""
        taken = self.taken.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        return f"cozy-{_short(self.app)}-{self.namespace_hash}-{taken}-{self.uid}"


def parse_archive_name(text: str) -> ArchiveName | None:
    """Read a name of the scheme; None for any other."""
    found = _SCHEME.fullmatch(text)
    if not found:
        return None
    numbers = {key: int(found[key]) for key in ("attempt", "shard", "shards", "replica")}
    try:
        taken = datetime.fromisoformat(found["taken"])
        name = ArchiveName(found["app"], found["namespace_hash"], taken, found["uid"], **numbers)
    except ValueError:  # a time that no calendar has, or a name that is not safe
        return None
    return name if str(name) == text else None


def _check_new_name(name: str) -> str:
    if not _SAFE.fullmatch(name) or ".." in name or len(name) > _LONGEST:
        raise InvalidInput(
            f"{name[:_LONGEST]!r} is no name for an archive: letters, digits, '.', '_' and '-' are accepted, "
            f"at most {_LONGEST}, not starting with '.' or '-', without '..'"
        )
    return name


def _check_existing_name(name: str) -> str:
    if not name or name == "." or _CLEANED.search(name):
        raise InvalidInput(
            f"{name[:_LONGEST]!r} is no archive's name: the server holds none that is empty or '.', or that has '..', "
            "blanks, slashes, backslashes, control characters or lone surrogates"
        )
    if len(name.encode()) > _LONGEST_EXISTING:
        raise InvalidInput(f"{name[:_LONGEST]!r} is no archive's name: it has more than {_LONGEST_EXISTING} bytes")
    return name


def _short(app: str) -> str:
    if len(app) <= _LONGEST_APP:
        return app
    digest = hashlib.sha256(app.encode()).hexdigest()[:8]
    return f"{app[: _LONGEST_APP - 9].rstrip('.-')}-{digest}"
