"""Tables that ZooKeeper shares between the replicas of a shard: when they may be restored, and how it is proven. Pure.

Seen on 2.7.4 and 2.8.1-dev: rows come twice unless the table is gone from every replica, and a replica whose entry in
ZooKeeper was left makes its table under another path, apart from the others.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from chbackup import Table
from cozydrivers.api.base import KubeObject
from cozydrivers.drivers.clickhouse.checkpoint import Part
from cozydrivers.drivers.clickhouse.engines import is_replicated, shared_by
from cozydrivers.drivers.clickhouse.places import Place, replicas_of
from cozydrivers.drivers.clickhouse.record import Recorded
from cozydrivers.drivers.clickhouse.selecting import is_recorded, replicated_names

_NAMED = 5
ARRIVED = 0.9
"""Share of the first replica's bytes that counts as all of them."""
Plan = tuple[Recorded, Part, Place]
"""An archive, what of it is restored, and where."""


def parts(entries: Sequence[Recorded], first: Place, replicas: Sequence[Place], *, shared: bool) -> list[Plan]:
    """What the replicas of one shard restore: the first all of its archive, each other one its own.

    With `shared` each other one is first given the bare tables that it has in common with the first: their rows come
    from there, and a second restore of them would double them.
    """
    plan: list[Plan] = [(entries[0], "whole", first)]
    for place in replicas:
        if place != first and shared:
            plan.append((entries[0], "schema", place))
        plan += [(entry, "own", place) for entry in entries[1:] if place != first and entry.replica == place.replica]
    return plan


def may_share(entry: Recorded, chosen: Iterable[str], live: Sequence[Table]) -> bool:
    """Whether any of the chosen tables is, or may turn out to be, a replicated one."""
    names = replicated_names(entry, live)
    unknown = set() if is_recorded(entry) else set(chosen) - {table.full_name for table in live}
    return not (names | unknown).isdisjoint(chosen)


def alive(entry: Recorded, chosen: Collection[str], live: Sequence[Table]) -> list[str]:
    """Replicated ones among the chosen tables that exist on any replica of their shard."""
    there = {table.full_name for table in live}
    return sorted(replicated_names(entry, live) & there & set(chosen))


def drop_first(shard: int, names: Sequence[str]) -> str:
    """Why tables that are alive keep a restore from beginning, with what to run."""
    drops = "; ".join(f"DROP TABLE {name} ON CLUSTER '{{cluster}}' SYNC" for name in names[:_NAMED])
    more = f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"shard {shard}: replicated tables must be gone from every replica before they are restored, else their rows "
        f"would come twice: {drops}{more}"
    )


def joins(label: str, names: Sequence[str]) -> str:
    """Why replicated tables are not restored to another application."""
    return (
        f"{label}: {', '.join(names[:_NAMED])} is replicated; in another application that uses the same ZooKeeper it "
        "would join the source's table and double its rows, and no sidecar tells which one it uses: "
        "leave it out by spec.options.tables"
    )


def replicas_missing(application: KubeObject, replicas: Iterable[Place]) -> str:
    """A replica without a Pod may still have its tables, and its entries in ZooKeeper; empty when all are there."""
    found, wanted = len(list(replicas)), replicas_of(application)
    if found >= wanted:
        return ""
    return f"a shard with replicated tables has {found} of its {wanted} replicas; each must be asked what it has"


def apart(tables: Iterable[Table], recorded: Mapping[str, str], first: Mapping[str, str]) -> list[str]:
    """Tables that were made under another path in ZooKeeper than the archive's, or than the first replica's."""
    found = {table.full_name: shared_by(table) for table in tables if is_replicated(table)}
    return sorted(
        name for name, mark in found.items() if mark != recorded.get(name, mark) or mark != first.get(name, mark)
    )


def is_late(table: Table, first: Table | None) -> bool:
    """Whether a replica has markedly less of a table than the first one; merges make small differences."""
    return first is not None and table.total_bytes < ARRIVED * first.total_bytes


def is_apart(label: str, names: Sequence[str]) -> str:
    """What to say of them."""
    return (
        f"{label}: {', '.join(names[:_NAMED])} was made under another path in ZooKeeper, apart from the other "
        "replicas, because an entry of the old one was left: drop it on every replica with SYNC, remove what is left "
        "by SYSTEM DROP REPLICA, then restore again"
    )
