"""What a restore may touch, and what it has made: decisions of verified_restore, without any I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ._steps import not_verified
from .errors import Refused
from .models import Archive, Table

# These keep their rows outside of what is frozen: an archive has their schema only, and a restore empties them.
_NOT_IN_ARCHIVES = frozenset(
    ("Log", "TinyLog", "StripeLog", "Memory", "Set", "Join", "File", "Buffer", "EmbeddedRocksDB")
)


@dataclass(frozen=True)
class RestoredTable:
    """A table after a restore: its bytes in the archive and now. Merges change the latter.

    Where only `partitions` were replaced, the bytes are theirs, and 0 in the archive, where they are not known.
    """

    name: str
    engine: str
    archived_bytes: int
    total_bytes: int
    replaced: bool
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True)
class RestoreReport:
    """What a restore has made; `left_out` are tables that it would have emptied, as they were before."""

    archive: Archive
    tables: tuple[RestoredTable, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The tables to restore, those of them that exist, and those left as they are.

    `partitions` are the only ones to replace, by table; none means whole tables.
    """

    tables: tuple[Table, ...]
    replaced: frozenset[str]
    left_out: tuple[str, ...] = ()
    partitions: dict[str, tuple[str, ...]] = field(default_factory=dict)


def plan_restore(name: str, archived: Sequence[Table], live: Sequence[Table], *, overwrite: bool) -> Plan:
    """Decide which tables a restore may make.

    Raises Refused for tables that exist, unless they are to be overwritten; for replicated ones always, because the
    other replicas would bring back their rows.
    """
    existing = {table.full_name: table for table in live}
    taken = [existing[table.full_name] for table in archived if table.full_name in existing]
    if taken and not overwrite:
        raise Refused(f"restore {name}: these tables exist: {_names(taken)}; overwrite=True drops them")
    if replicated := _replicated(taken):
        drops = " ".join(f"DROP TABLE {table.full_name} ON CLUSTER ... SYNC;" for table in replicated)
        raise Refused(f"restore {name}: replicated tables must be gone from all replicas first: {drops}")
    left_out = tuple(table.full_name for table in taken if table.engine_family in _NOT_IN_ARCHIVES)
    chosen = tuple(table for table in archived if table.full_name not in left_out)
    if not chosen:
        raise Refused(f"restore {name}: it has no table with rows to restore; left out: {', '.join(left_out)}")
    return Plan(chosen, frozenset(table.full_name for table in taken).difference(left_out), left_out)


def plan_partitions(
    name: str, archived: Sequence[Table], live: Sequence[Table], partitions: Sequence[str], *, overwrite: bool
) -> Plan:
    """Decide which partitions of which tables a restore may replace.

    A partition that the archive does not hold would be dropped from the live table, and nothing be put in its place.

    Raises Refused for such partitions, for tables that do not exist or are replicated, and without `overwrite`.
    """
    held = {table.full_name: {partition.partition_id for partition in table.partitions} for table in archived}
    missing = [partition for partition in partitions if not any(partition in ids for ids in held.values())]
    if missing:
        known = "; ".join(f"{table} holds {', '.join(sorted(ids)) or 'none'}" for table, ids in held.items())
        raise Refused(f"restore {name}: no table of it holds partition {', '.join(missing)}: {known}")
    chosen = tuple(table for table in archived if held[table.full_name].intersection(partitions))
    existing = {table.full_name: table for table in live}
    if absent := [table for table in chosen if table.full_name not in existing]:
        raise Refused(f"restore {name}: partitions go into tables that exist: {_names(absent)} does not")
    if replicated := _replicated([existing[table.full_name] for table in chosen]):
        raise Refused(f"restore {name}: partitions of replicated tables cannot be replaced: {_names(replicated)}")
    if not overwrite:
        raise Refused(f"restore {name}: overwrite=True replaces partitions of {_names(chosen)}")
    picked = {table.full_name: tuple(_in_order(partitions, held[table.full_name])) for table in chosen}
    return Plan(chosen, frozenset(picked), partitions=picked)


def report_of(archive: Archive, plan: Plan, live: Sequence[Table]) -> RestoreReport:
    """Say what is there after a restore.

    Raises NotVerified when a table or a partition is missing, or empty though the archive has rows of it.
    """
    found = {table.full_name: table for table in live}
    problems = [f"{table.full_name} is missing" for table in plan.tables if table.full_name not in found]
    restored = [_restored(table, found[table.full_name], plan) for table in plan.tables if table.full_name in found]
    problems += [f"{table.name} is empty" for table in restored if table.archived_bytes and not table.total_bytes]
    for table, partitions in plan.partitions.items():
        there = {item.partition_id for item in found[table].partitions} if table in found else set(partitions)
        problems += [f"partition {item} of {table} is missing" for item in partitions if item not in there]
    if problems:
        raise not_verified(f"restore {archive.name}", problems)
    return RestoreReport(archive, tuple(restored), plan.left_out)


def _restored(archived: Table, live: Table, plan: Plan) -> RestoredTable:
    name = archived.full_name
    partitions = plan.partitions.get(name, ())
    before, now = archived.total_bytes, live.total_bytes
    if partitions:
        before, now = (_bytes_of(table, partitions) for table in (archived, live))
    return RestoredTable(name, live.engine, before, now, name in plan.replaced, partitions)


def _bytes_of(table: Table, partitions: Sequence[str]) -> int:
    return sum(item.total_bytes for item in table.partitions if item.partition_id in partitions)


def _replicated(tables: Sequence[Table]) -> list[Table]:
    return [table for table in tables if table.engine.startswith("Replicated")]


def _in_order(wanted: Sequence[str], held: set[str]) -> list[str]:
    return [partition for partition in dict.fromkeys(wanted) if partition in held]


def _names(tables: Sequence[Table]) -> str:
    return ", ".join(table.full_name for table in tables)
