"""Sets of archives, told by nothing but a list: which archives belong together, and which make a set whole. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chbackup import Archive, ArchiveName, parse_archive_name
from chbackup.evidence import chain_problems
from cozydrivers.api.backups import Backup
from cozydrivers.drivers.clickhouse.record import ARCHIVE, is_of
from cozydrivers.drivers.owned import hex_of


@dataclass(frozen=True)
class Listed:
    """An archive of a set, with what its name says and what speaks against it; `trouble` is empty for a good one."""

    name: ArchiveName
    archive: Archive
    trouble: str = ""


@dataclass(frozen=True)
class Found:
    """A set as it is listed. `gap` says why it is no whole backup, and is empty where `members` are one.

    The first member of each shard is the fullest; further replicas of the shard follow it.
    """

    name: ArchiveName
    archives: Sequence[Listed]
    members: Sequence[Listed] = ()
    gap: str = ""

    @property
    def size(self) -> int:
        """Bytes in the store."""
        return sum(each.archive.size for each in self.archives)


def find_sets(archives: Sequence[Archive], application: str) -> list[Found]:
    """The sets of an application in a list, of whatever namespace, the newest first."""
    sets: dict[str, list[Listed]] = {}
    for archive in archives:
        name = parse_archive_name(archive.name)
        if name is None or not is_of(name, application):
            continue
        trouble = archive.broken or "; ".join(chain_problems(archives, archive.name))
        sets.setdefault(name.set_name, []).append(Listed(name, archive, trouble))
    found = [_judge(members) for members in sets.values()]
    return sorted(found, key=lambda each: (each.name.taken, each.name.set_name), reverse=True)


def _judge(listed: Sequence[Listed]) -> Found:
    """All shards or none (I7)."""
    name, shards = listed[0].name, max(each.name.shards for each in listed)
    if any(each.name.shards != shards for each in listed):
        return Found(name, listed, gap="its archives disagree on how many shards there are")
    members: list[Listed] = []
    for shard in range(shards):
        chosen, gap = _of_shard([each for each in listed if each.name.shard == shard])
        if gap:
            return Found(name, listed, gap=f"shard {shard} of {shards} {gap}")
        members += chosen
    return Found(name, listed, members)


def _of_shard(listed: Sequence[Listed]) -> tuple[list[Listed], str]:
    """The good archives of a shard, each replica's last attempt; a broken one is left out if it was given up for one.

    A name that is given up is followed by a higher attempt. So what is broken and has the highest is missing.
    """
    last: dict[int, Listed] = {}
    for each in sorted(listed, key=lambda each: each.name.attempt):
        last[each.name.replica] = each
    good = [each for each in last.values() if not each.trouble]
    highest = max((each.name.attempt for each in good), default=0)
    bad = [each for each in last.values() if each.trouble and each.name.attempt >= highest]
    if bad:
        return [], f"is not whole: {bad[0].archive.name}: {bad[0].trouble}"
    if not good:
        return [], "is not listed"
    return sorted(good, key=lambda each: (-each.archive.data_size, each.name.replica)), ""


def merged(lists: Iterable[Sequence[Archive]]) -> list[Archive]:
    """What several sidecars list of one storage path. A list can be partial; of two that differ the worse counts."""
    found: dict[str, Archive] = {}
    for archive in (archive for archives in lists for archive in archives if archive.location == "remote"):
        known = found.get(archive.name)
        if known is None or (archive.broken and not known.broken):
            found[archive.name] = archive
    return list(found.values())


def named_by(backups: Iterable[Backup]) -> dict[str, str]:
    """The Backups by the archives that they record, read tolerantly; those that are being deleted as well."""
    return {
        archive: backup.metadata.name
        for backup in backups
        for key, archive in backup.spec.driver_metadata.items()
        if key.startswith(ARCHIVE)
    }


def hash_of(namespace_uid: str) -> str:
    """What the names of a namespace's archives hold of it."""
    return hex_of(namespace_uid, 6)
