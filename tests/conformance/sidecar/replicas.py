"""Sidecars whose ClickHouses share a ZooKeeper, fake and real: replicas of one shard, on one path of one store."""

import contextlib
import itertools
import shutil
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
from tests.conformance.sidecar.fake_rig import PATH, FakeRig
from tests.conformance.sidecar.real_rig import QUICK, RealRig, _empty
from tests.conformance.sidecar.rig import Rig, clients
from tests.real import RealClickHouse, RealS3, RealSidecar, RealZooKeeper
from tests.real.processes import free_ports, loopback
from tests.real.sidecar import Binary

from chbackup.testing import FakeSidecar, FakeStorage, FakeZooKeeper

SHARD = "01"
PATHS = itertools.count(1)
_PARENTS = (f"/clickhouse/tables/{SHARD}", f"/clickhouse/tables/real/{SHARD}/demo")


class Replica(Rig):
    """A rig whose tables may have replicas on others."""

    @abstractmethod
    async def lose_table(self, table: str) -> None:
        """Take a table away as a lost disk does: its entry in ZooKeeper stays."""

    @abstractmethod
    async def delete_entry(self, path: str) -> None:
        """Delete a path in ZooKeeper with everything below it."""

    @abstractmethod
    def server_down(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Let its ClickHouse be away while the block lasts."""

    async def query(self, table: str) -> str:
        """Return what `/backup/tables` gives as the table's definition."""
        [row] = await self.get(f"/backup/tables?table={table}")
        return str(row["CreateTableQuery"])


class FakeReplica(FakeRig, Replica):
    """A fake one."""

    def __init__(self, version: str, storage: FakeStorage, zookeeper: FakeZooKeeper, replica: str) -> None:
        super().__init__(version, storage)
        self.fake = FakeSidecar(
            username="backup",
            password="secret",
            version=version,
            storage=storage,
            zookeeper=zookeeper,
            path=PATH,
            shard=SHARD,
            replica=replica,
        )

    async def lose_table(self, table: str) -> None:
        self.fake.tables.lose(table)

    async def delete_entry(self, path: str) -> None:
        self.fake.zookeeper.delete(path)

    @contextlib.asynccontextmanager
    async def server_down(self) -> AsyncIterator[None]:
        self.fake.faults.clickhouse_down = True
        yield
        self.fake.faults.clickhouse_down = False


class RealReplica(RealRig, Replica):
    """A real one."""

    async def lose_table(self, table: str) -> None:
        await self.clickhouse.query(f"DETACH TABLE {table}")
        data, path = Path(self.clickhouse.data), table.replace(".", "/")
        (data / f"metadata/{path}.sql").unlink()
        shutil.rmtree(data / f"data/{path}")

    async def delete_entry(self, path: str) -> None:
        assert self.clickhouse.zookeeper
        await self.clickhouse.zookeeper.delete(path)

    @contextlib.asynccontextmanager
    async def server_down(self) -> AsyncIterator[None]:
        await self.clickhouse.kill()
        yield
        await self.clickhouse.start()


@contextlib.asynccontextmanager
async def fake_replicas(version: str, names: Sequence[str]) -> AsyncIterator[list[Replica]]:
    """Make fake replicas of these names."""
    storage, zookeeper = FakeStorage(), FakeZooKeeper()
    async with contextlib.AsyncExitStack() as stack:
        made: list[Replica] = []
        for name in names:
            rig = FakeReplica(version, storage, zookeeper, name)
            await stack.enter_async_context(clients(rig, f"http://{name}.fake", rig.fake.transport()))
            made.append(rig)
        yield made


@contextlib.asynccontextmanager
async def real_servers(names: Sequence[str]) -> AsyncIterator[Sequence[RealClickHouse]]:
    """Start a ZooKeeper, and a ClickHouse for each name."""
    async with contextlib.AsyncExitStack() as stack:
        zookeeper = await stack.enter_async_context(RealZooKeeper(loopback(49)))
        yield [
            await stack.enter_async_context(RealClickHouse(loopback(43 + number), SHARD, name, zookeeper=zookeeper))
            for number, name in enumerate(names)
        ]


@contextlib.asynccontextmanager
async def real_replicas(binary: Binary, servers: Sequence[RealClickHouse], s3: RealS3) -> AsyncIterator[list[Replica]]:
    """Put a new sidecar beside each server; of earlier ones nothing is left, in ZooKeeper either."""
    path = f"replicas{next(PATHS)}"
    async with contextlib.AsyncExitStack() as stack:
        made: list[Replica] = []
        for server in servers:
            await _drop_tables(server)
            await _empty(server)
            (port,) = free_ports(server.address, 1)
            sidecar = RealSidecar(binary, server, s3, path=path, port=port, env=QUICK)
            await stack.enter_async_context(sidecar)
            rig = RealReplica(sidecar)
            await stack.enter_async_context(clients(rig, sidecar.url))
            made.append(rig)
        await _forget_entries(servers[0])
        yield made


async def _drop_tables(server: RealClickHouse) -> None:
    """Drop all tables, and the folders that lost ones and those that could not be made have left."""
    for table in (await server.query("SELECT database, name FROM system.tables WHERE data_path != ''")).splitlines():
        database, _, name = table.partition("\t")
        if database != "system":
            await server.drop(f"{database}.{name}")
    _remove_folders(Path(server.data, "data"))


def _remove_folders(data: Path) -> None:
    for folder in data.glob("*/*"):
        if folder.parent.name != "system":
            shutil.rmtree(folder)


async def _forget_entries(server: RealClickHouse) -> None:
    """Delete the entries that lost tables have left."""
    assert server.zookeeper
    if [path for path in _PARENTS if await _children(server, path)]:
        await server.zookeeper.delete("/clickhouse")


async def _children(server: RealClickHouse, path: str) -> str:
    try:
        return await server.query(f"SELECT name FROM system.zookeeper WHERE path = '{path}'")
    except RuntimeError:  # there is no such path
        return ""


async def arrive(replicas: Sequence[Replica], table: str, *rows: int) -> None:
    """Wait until each replica has this many rows; TimeoutError tells what they had."""
    found: list[int] = []
    try:
        with anyio.fail_after(30):
            while found != list(rows):
                await anyio.sleep(0.1)
                found = [await replica.count(table) for replica in replicas]
    except TimeoutError:
        raise TimeoutError(f"{table} has {found}, not {list(rows)}") from None


async def all_have(replicas: Sequence[Replica], table: str, *rows: int) -> None:
    """Wait until each replica has this many rows, and require that it stays so for a moment."""
    await arrive(replicas, table, *rows)
    await anyio.sleep(0.5)
    assert [await replica.count(table) for replica in replicas] == list(rows)
