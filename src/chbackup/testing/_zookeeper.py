"""What replicas of tables share: ZooKeeper, as far as ReplicatedMergeTree needs it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._clickhouse import Part, Table

FILLS_AFTER = 8.0
"""Seconds until a new replica fetches what others have, when nothing is inserted meanwhile (6 to 10 were seen)."""


class ReplicaExistsError(ValueError):
    """ZooKeeper has a replica of that name, of a table that lives or of one that was lost."""


@dataclass(frozen=True)
class Server:
    """What a replica's server is: the macros it puts into names, whether it is up, and its clock in seconds."""

    macros: Mapping[str, str]
    up: Callable[[], bool]
    clock: Callable[[], float]


@dataclass
class Replica:
    """A replica's entry in ZooKeeper, which outlives the table when that is lost and not dropped."""

    table: "ReplicatedTable | None"
    server: Server
    due: float

    @property
    def alive(self) -> bool:
        """Whether it has a table, on a server that is up."""
        return self.table is not None and self.server.up()

    @property
    def fetches(self) -> bool:
        """Whether it takes now what the others have."""
        return self.alive and self.server.clock() >= self.due


@dataclass
class Shared:
    """A path in ZooKeeper: the parts that every replica shall have, and the replicas."""

    parts: dict[str, Part] = field(default_factory=dict)
    blocks: dict[str, int] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)

    def wake(self) -> None:
        """Tell every replica that something has changed."""
        for replica in self.replicas.values():
            replica.due = 0.0

    def settle(self) -> None:
        """Let every replica that is up fetch what another one that is up has, and drop what is no more."""
        held = {part.name for each in self.replicas.values() if each.alive and each.table for part in each.table.parts}
        for each in self.replicas.values():
            if each.fetches and each.table:
                own = {part.name for part in each.table.parts}
                each.table.parts = [part for name, part in self.parts.items() if name in own or name in held]


@dataclass
class ReplicatedTable(Table):
    """One replica of a table: what is done to it, is done to all."""

    shared: Shared = field(default_factory=Shared)
    replica: str = ""

    def attach(self, partition: str, rows: tuple[Any, ...]) -> None:
        """Add one part under the partition's next block number, which all replicas count together."""
        number = self.shared.blocks.get(partition, 0)
        self.shared.blocks[partition] = number + 1
        part = Part(f"{partition}_{number}_{number}_0", partition, rows)
        self.shared.parts[part.name] = part
        self.parts.append(part)
        self.shared.wake()

    def drop_parts(self, gone: Callable[[Part], bool]) -> None:
        """Drop the parts that a rule names, everywhere."""
        self.shared.parts = {name: part for name, part in self.shared.parts.items() if not gone(part)}
        super().drop_parts(gone)
        self.shared.wake()


class FakeZooKeeper:
    """What the sidecars' ClickHouses share; give one to each of them that shall be replicas."""

    def __init__(self) -> None:
        self.paths: dict[str, Shared] = {}

    def has(self, path: str, replica: str) -> bool:
        """Whether a replica has an entry."""
        return path in self.paths and replica in self.paths[path].replicas

    def join(self, path: str, replica: str, table: Table, server: Server) -> ReplicatedTable:
        """Make a replica of a table, the first or one more; raises ReplicaExistsError when there is an entry of it."""
        if self.has(path, replica):
            raise ReplicaExistsError(f"Replica {path}/replicas/{replica} already exists")
        shared = self.paths.setdefault(path, Shared())
        made = ReplicatedTable(
            table.database,
            table.name,
            table.engine,
            table.query,
            table.partitions,
            shared=shared,
            replica=replica,
        )
        shared.replicas[replica] = Replica(made, server, server.clock() + FILLS_AFTER)
        return made

    def leave(self, table: ReplicatedTable) -> None:
        """Remove a replica; the last one takes the path with it."""
        table.shared.replicas.pop(table.replica, None)
        if not table.shared.replicas:
            self.paths = {path: shared for path, shared in self.paths.items() if shared is not table.shared}

    def delete(self, path: str) -> None:
        """Delete a path and all below it, as an administrator does with `…/replicas/r1` that was left over."""
        self.paths = {own: shared for own, shared in self.paths.items() if not f"{own}/".startswith(f"{path}/")}
        for own, shared in self.paths.items():
            below = [name for name in shared.replicas if f"{own}/replicas/{name}/".startswith(f"{path}/")]
            for name in below:
                del shared.replicas[name]

    def settle(self) -> None:
        """Let the replicas do what is due."""
        for shared in self.paths.values():
            shared.settle()


def expand(text: str, table: Table, macros: Mapping[str, str]) -> str:
    """Put the server's macros, and the table's names, into a path or a replica's name."""
    for macro, value in {**macros, "database": table.database, "table": table.name}.items():
        text = text.replace(f"{{{macro}}}", value)
    return text
