"""Reading a whole fleet before anything is planned: what its storages hold, and which of them cannot be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ._purge_results import Outcome, PurgeResult
from ._sidecars import Sidecar, all_of, read, read_alike, settle
from ._storages import Reading, needed_locally, tell_apart
from .errors import ChbackupError, Refused
from .models import Archive


@dataclass(frozen=True)
class Survey:
    """What was seen, by storage; those in `problems` are not to be touched, their lists may be missing.

    `needed` are remote archives that local increments need. `blind` says that a sidecar whose storage nobody knows
    has not answered.
    """

    sidecars: Mapping[str, Sequence[Sidecar]]
    lists: Mapping[str, Sequence[Archive]]
    problems: Mapping[str, PurgeResult]
    needed: frozenset[str]
    blind: bool


async def survey(sidecars: Sequence[Sidecar], timeout: float) -> Survey:
    """Read all sidecars side by side, each for at most `timeout` seconds, and tell their storages apart."""
    found = await settle([partial(read, sidecar, timeout) for sidecar in sidecars])
    groups = tell_apart([(one.url, one.storage, _reading(seen)) for one, seen in zip(sidecars, found, strict=True)])
    by_storage = {storage: [sidecars[place] for place in places] for storage, places in groups.items()}
    seen = {storage: [found[place] for place in places] for storage, places in groups.items()}
    agreed = await settle([partial(_agree, by_storage[storage], seen[storage], timeout) for storage in groups])
    lists: dict[str, Sequence[Archive]] = {}
    problems: dict[str, PurgeResult] = {}
    needed: set[str] = set()
    for storage, result in zip(groups, agreed, strict=True):
        if isinstance(result, ChbackupError):
            outcome: Outcome = "refused" if isinstance(result, Refused) else "unreachable"
            problems[storage] = PurgeResult(outcome, storage, reason=result.message)
        if readings := [reading for reading in map(_reading, seen[storage]) if reading]:
            lists[storage] = (readings if isinstance(result, ChbackupError) else result)[0].remote
        needed |= needed_locally(readings)
    blind = any(
        isinstance(one, ChbackupError) and not sidecar.storage for sidecar, one in zip(sidecars, found, strict=True)
    )
    return Survey(by_storage, lists, problems, frozenset(needed), blind)


async def _agree(
    sidecars: Sequence[Sidecar], found: Sequence[Reading | ChbackupError], timeout: float
) -> Sequence[Reading]:
    """Return what all sidecars of a storage list alike, and let them remember their local copies.

    Raises ChbackupError when one of them has not answered; Refused when their lists go on differing.
    """
    agreed = await read_alike(sidecars, all_of(found), timeout)
    for sidecar, reading in zip(sidecars, agreed, strict=True):
        sidecar.local, sidecar.gate = reading.local, sidecars[0].gate
    return agreed


def _reading(found: Reading | ChbackupError) -> Reading | None:
    return found if isinstance(found, Reading) else None
