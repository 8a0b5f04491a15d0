"""What a purge reports."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["deleted", "gone", "kept", "failed", "unreachable", "refused"]


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What became of an archive, or of a storage when `archive` is "".

    `deleted` by this run, `gone` without it, `kept` because something needs it or is in the way, `failed` by the
    server's words, `unreachable` when a sidecar does not answer, `refused` when the lists cannot be trusted. `bytes`
    are those freed, `url` is the sidecar that acted, `reason` the rule that it falls under or what hindered.
    """

    outcome: Outcome
    storage: str
    archive: str = ""
    url: str = ""
    bytes: int = 0
    reason: str = ""
    set_name: str = ""

    @property
    def ok(self) -> bool:
        """Whether the archive is away."""
        return self.outcome in ("deleted", "gone")


@dataclass
class PurgeSummary:
    """What a purge has done so far.

    `planned` archives are to be deleted, `counts` says what became of how many, `problems` are all results that are
    not ok, storages included.
    """

    planned: int = 0
    counts: Counter[Outcome] = field(default_factory=Counter)
    bytes_freed: int = 0
    problems: list[PurgeResult] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not self.problems

    def add(self, result: PurgeResult) -> None:
        """Count a result."""
        self.counts[result.outcome] += 1
        self.bytes_freed += result.bytes
        if not result.ok:
            self.problems.append(result)
