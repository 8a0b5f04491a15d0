"""One shard, or one replica of it: a real ClickHouse and the sidecar beside it."""

import json
import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from tests.real import RealClickHouse, RealSidecar
from tests.real.processes import wait_until

DATABASE = "shop"

# At LOG_LEVEL=debug a sidecar logs every row when it begins, so that a log tells also what a killed one was asked for.
_BEGUN = re.compile(r"status\.Start .*?\{Command:(.*?) Status:")


@dataclass(frozen=True)
class Shard:
    """A ClickHouse with its sidecar."""

    clickhouse: RealClickHouse
    sidecar: RealSidecar

    async def fill(self, **tables: int) -> None:
        """Add rows to tables by name, which are made where absent."""
        there = await self.tables()
        for table, rows in tables.items():
            if table not in there:
                await self.clickhouse.create_table(f"{DATABASE}.{table}", partitions=2)
            await self.clickhouse.insert(f"{DATABASE}.{table}", rows)

    async def replicate(self, table: str) -> None:
        """Make a replicated table, or this replica of it."""
        engine = f"ReplicatedMergeTree('/clickhouse/tables/{{shard}}/{table}', '{{replica}}')"
        await self.clickhouse.create_table(f"{DATABASE}.{table}", partitions=2, engine=engine)

    async def tables(self) -> list[str]:
        """The tables that exist."""
        found = await self.clickhouse.query(f"SELECT name FROM system.tables WHERE database = '{DATABASE}'")
        return sorted(found.split())

    async def waits_for(self, table: str, rows: int) -> None:
        """Wait until a replicated table has this many rows."""

        async def arrived() -> bool:
            return await self.clickhouse.count(f"{DATABASE}.{table}") == rows

        await wait_until(arrived, timeout=30, what=f"{rows} rows of {table} on {self.clickhouse.address}")

    async def rows(self) -> str:
        """Number of rows and their hash, of each table that has any."""
        if not await self.tables():
            return ""
        return await self.clickhouse.query(
            "SELECT _table AS name, count(), sum(cityHash64(d, id, s)) "
            f"FROM merge('{DATABASE}', '.*') GROUP BY name ORDER BY name"
        )

    async def drop(self) -> None:
        """Drop every table."""
        for table in await self.tables():
            await self.clickhouse.drop(f"{DATABASE}.{table}")

    def asked(self, *verbs: str) -> list[str]:
        """Every operation of these verbs that the sidecar ever began, as its rows say, over all its restarts."""
        begun = _BEGUN.findall(self.sidecar.log.read_text())
        return [command for command in begun if command.split()[0] in verbs]

    async def archives(self, where: str) -> list[dict[str, Any]]:
        """The sidecar's list, `local` or `remote`."""
        async with self.sidecar.client() as client:
            response = await client.get(f"/backup/list/{where}")
        return [json.loads(line) for line in response.raise_for_status().text.splitlines()]

    async def running(self) -> list[str]:
        """What the sidecar does at this moment."""
        async with self.sidecar.client() as client:
            response = await client.get("/backup/actions", params={"filter": "in progress"})
        return [json.loads(line)["command"] for line in response.raise_for_status().text.splitlines()]

    async def creating(self) -> bool:
        """Whether a local archive is begun and not complete: `metadata.json` is written last."""
        backups = Path(self.clickhouse.data) / "backup"
        return any(not (folder / "metadata.json").exists() for folder in backups.glob("*"))

    async def crash(self, when: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a moment, kill the sidecar in it, and start it again a little later."""
        await wait_until(when, timeout=60, what="the moment to kill the sidecar")
        await self.sidecar.kill()
        assert await when(), "the moment had passed when the sidecar died"
        await anyio.sleep(1)
        await self.sidecar.start()

    async def empty(self) -> None:
        """Drop what earlier tests have left."""
        shutil.rmtree(Path(self.clickhouse.data) / "backup", ignore_errors=True)
        await self.clickhouse.query(f"DROP DATABASE IF EXISTS {DATABASE}")
        await self.clickhouse.query(f"CREATE DATABASE {DATABASE}")
