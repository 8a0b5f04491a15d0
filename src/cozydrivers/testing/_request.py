"""What a request asks for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from cozydrivers.testing._fields import Writer
from cozydrivers.testing._kinds import Kind

Headers = list[tuple[str, str]]


class Unreachable(Exception):
    """There is no answer; what was asked may have been done."""


class Broken(Unreachable):
    """There is no connection, or it broke."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


@dataclass(frozen=True)
class Target:
    """What a path leads to; `name` is empty for a collection."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True)
class Request:
    """One request; `time` is when it came, as metadata has it."""

    method: str
    target: Target
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    time: str

    @property
    def kind(self) -> Kind:
        """The kind that it is about."""
        return self.target.kind

    @property
    def media_type(self) -> str:
        """The body's media type, without parameters."""
        return self.headers.get("content-type", "application/json").partition(";")[0].strip()

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored."""
        return self.query.get("dryRun") == "All"

    @property
    def writer(self) -> Writer:
        """Who writes: `fieldManager`, else the first word of the User-Agent."""
        agent = self.headers.get("user-agent", "").partition("/")[0] or "unknown"
        return Writer(self.query.get("fieldManager") or agent, self.target.subresource, self.time)


def find_target(path: str, kinds: Iterable[Kind]) -> Target | None:
    """Find what a path leads to; None where nothing is served."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api":
        group, version, rest = "", parts[1:2], parts[2:]
    else:
        group, version, rest = "".join(parts[1:2]), parts[2:3], parts[3:]
    served = {
        kind.resource.plural: kind
        for kind in kinds
        if kind.resource.group == group and [kind.resource.version] == version
    }
    if not rest:
        return None
    if rest[0] == "namespaces" and len(rest) > 2 and (kind := served.get(rest[2])):
        return _target(kind, rest[1], rest[3:]) if kind.resource.namespaced else None
    found = served.get(rest[0])
    if found is None or (found.resource.namespaced and len(rest) > 1):
        return None
    return _target(found, "", rest[1:])


def _target(kind: Kind, namespace: str, rest: list[str]) -> Target | None:
    if len(rest) > 2:
        return None
    name, subresource = [*rest, "", ""][:2]
    return Target(kind, namespace, name, subresource)
