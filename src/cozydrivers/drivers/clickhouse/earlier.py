"""What earlier Backups of the application tell: the good sets, and whether a new one is oddly small. Pure.

A tenant can write a Backup, so it is a hint (I12): of one that is not good nothing is taken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chbackup import parse_archive_name
from cozydrivers.api.backups import Backup
from cozydrivers.api.base import Condition
from cozydrivers.drivers.base import BackupRun
from cozydrivers.drivers.clickhouse import record
from cozydrivers.drivers.clickhouse.record import Recorded
from cozydrivers.drivers.owned import hex_of
from cozydrivers.errors import InvalidInput

SHARE = 0.5
"""Under this share of the last good set's bytes or tables, a set is suspicious."""


@dataclass(frozen=True)
class Earlier:
    """A Backup that is Ready, was found the last time it was looked for, and is not suspicious."""

    backup: Backup
    members: Sequence[Recorded]

    @property
    def taken(self) -> datetime:
        """When it was taken."""
        return self.backup.spec.taken_at or datetime.min.replace(tzinfo=UTC)

    @property
    def spots(self) -> set[tuple[int, int]]:
        """Shard and replica of its archives."""
        return {(member.shard, member.replica) for member in self.members}


def last_good(run: BackupRun) -> Earlier | None:
    """The newest good set of the run's application, of another run than this one."""
    found = [good for backup in run.earlier if (good := _good(backup, run))]
    return max(found, key=lambda good: good.taken, default=None)


def _good(backup: Backup, run: BackupRun) -> Earlier | None:
    if not backup.counts:
        return None
    metadata = backup.spec.driver_metadata
    if metadata.get(record.CLUSTER) != run.cluster_uid:
        return None
    try:
        members = record.read(metadata, run, run.application.metadata.name)
    except InvalidInput:
        return None
    name = parse_archive_name(members[0].archive)
    is_own = name is not None and name.uid == hex_of(run.uid, 12)
    return None if is_own else Earlier(backup, members)


def apart(good: Earlier | None) -> set[tuple[int, int]]:
    """Replicas that were backed up beside another one of their shard: each held rows of its own."""
    spots = sorted(good.spots) if good else []
    shards = [shard for shard, _ in spots]
    return {spot for spot in spots if shards.count(spot[0]) > 1}


def suspicion(members: Sequence[Recorded], good: Earlier | None) -> Condition | None:
    """What is odd about a new set: it is empty, or much smaller than the last good one; None where nothing is."""
    if not any(member.tables.count for member in members):
        return _suspicious("Empty", "the set holds no table")
    if good is None:
        return None
    for what, new, old in (
        ("bytes", _bytes(members), _bytes(good.members)),
        ("tables", _tables(members), _tables(good.members)),
    ):
        if new < SHARE * old:
            before = f"Backup {good.backup.metadata.name}, the last good one, holds {old}"
            return _suspicious("Shrunk", f"the set holds {new} {what}; {before}")
    return None


def _suspicious(reason: str, message: str) -> Condition:
    return Condition(type="Suspicious", status="True", reason=reason, message=message)


def _bytes(members: Iterable[Recorded]) -> int:
    return sum(member.whole for member in members)


def _tables(members: Iterable[Recorded]) -> int:
    return sum(member.tables.count for member in members)
