"""What of an archive is restored, what is left out and why. Pure.

The server drops and makes anew whatever a restore names, so each replica is told its tables by name as soon as they
are not all of the archive's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from chbackup import Archive, Table
from chbackup.evidence import remote_problems
from cozydrivers.drivers.clickhouse.checkpoint import Part
from cozydrivers.drivers.clickhouse.engines import is_replicated, loses_rows
from cozydrivers.drivers.clickhouse.options import Options
from cozydrivers.drivers.clickhouse.record import Recorded, tables_hash
from cozydrivers.errors import InvalidInput

_SPECIAL = frozenset("*?[]\\,")
"""What the server would read as a pattern, in a table's name."""
ROWS_NOT_IN_IT = "only its schema is in the archive"
CONSUMES = "it would start to consume from its source"


def reads_as_pattern(name: str) -> bool:
    """Whether the server would take a table's name for more, or less, than that table."""
    return not _SPECIAL.isdisjoint(name)


@dataclass(frozen=True)
class Choice:
    """The tables of an archive that one replica restores by it; `left_out` are others that were asked for, and why."""

    tables: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    is_everything: bool = False

    @property
    def pattern(self) -> list[str]:
        """The tables as a request names them.

        Raises InvalidInput for names that the server would read as a pattern.
        """
        if self.is_everything:
            return ["*.*"]
        odd = next((name for name in self.tables if reads_as_pattern(name)), "")
        if odd:
            raise InvalidInput(
                f"{odd!r} can't be restored beside tables that are left out: its name reads as a pattern"
            )
        return list(self.tables)


@dataclass(frozen=True)
class Asked:
    """What a choice depends on beyond the archive: the options, and whether the target is another application."""

    options: Options
    elsewhere: bool


def choose(
    entry: Recorded,
    archived: Iterable[Table],
    part: Part,
    asked: Asked,
    *,
    here: Sequence[Table] = (),
    others: Sequence[Table] = (),
) -> Choice:
    """Choose what a replica restores of an archive; `here` are its own tables, `others` those of the shard's replicas.

    The latter matter only for parts of an archive.
    """
    names = sorted({table.full_name for table in archived})
    wanted = [name for name in names if _is_asked_for(name, asked.options.tables)]
    if part != "whole":
        shared = replicated_names(entry, [*here, *others])
        wanted = [name for name in wanted if (name in shared) == (part == "schema")]
    why = _left_out(entry, here, asked)
    left = {name: why[name] for name in wanted if name in why}
    kept = tuple(name for name in wanted if name not in left)
    return Choice(kept, left, is_everything=bool(names) and len(kept) == len(names))


def _is_asked_for(name: str, patterns: Collection[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _left_out(entry: Recorded, live: Sequence[Table], asked: Asked) -> dict[str, str]:
    """Tables without rows in the archive would come back empty; consumers would take a source's messages away."""
    why: dict[str, str] = {}
    if not asked.options.schema_only:
        lossy = [*entry.tables.schema_only, *(table.full_name for table in live if loses_rows(table))]
        why |= dict.fromkeys(lossy, ROWS_NOT_IN_IT)
    if asked.elsewhere:
        why |= dict.fromkeys(entry.tables.consuming, CONSUMES)
    return why


def replicated_names(entry: Recorded, live: Iterable[Table]) -> set[str]:
    """Tables that ZooKeeper shares between a shard's replicas, as recorded and as seen."""
    return {*entry.tables.replicated, *(table.full_name for table in live if is_replicated(table))}


def existing(chosen: Iterable[str], live: Iterable[Table]) -> dict[str, int]:
    """Those among the chosen tables that exist, with their bytes."""
    wanted = set(chosen)
    return {table.full_name: table.total_bytes for table in live if table.full_name in wanted}


def fingerprint(names: Collection[str]) -> str:
    """What a checkpoint keeps of the tables that were found: empty for none."""
    return tables_hash(names) if names else ""


def is_recorded(entry: Recorded) -> bool:
    """Whether the Backup tells what is in the archive; of an explicit one only the list does."""
    return bool(entry.tables.hash)


def is_read(entry: Recorded, archived: Sequence[Table], remote: Archive | None) -> bool:
    """Whether the archive's tables were read in full: an outage of the store makes them look like less."""
    if is_recorded(entry):
        return tables_hash(table.full_name for table in archived) == entry.tables.hash
    return remote is not None and bool(archived) and not remote_problems(remote, archived)


def whole_size(entry: Recorded, archived: Iterable[Table]) -> int:
    """Bytes that a complete local copy measures: of an increment, its own and those of its bases."""
    if is_recorded(entry) and not entry.required:
        return entry.data_size
    return sum(table.total_bytes for table in archived)
