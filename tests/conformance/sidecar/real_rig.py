"""A real sidecar, ClickHouse and object store behind the rig."""

import contextlib
import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx
from tests.conformance.sidecar.rig import Receiver, Rig, clients
from tests.real import RealClickHouse, RealS3, RealSidecar
from tests.real.processes import free_ports, loopback
from tests.real.sidecar import Binary

from chbackup.testing._serve import serving
from cozydrivers.api.core import Pod
from cozydrivers.clients.objects import ObjectStore, open_store
from cozydrivers.drivers.clickhouse.coordinates import Storage, storage_of
from cozydrivers.drivers.clickhouse.environment import PORT_NAME

PATHS = itertools.count(1)
SLOW = {"UPLOAD_CONCURRENCY": "1", "DOWNLOAD_CONCURRENCY": "1", "S3_CONCURRENCY": "1"}
Answered = tuple[int, dict[str, str], bytes]
QUICK = {"RETRIES_ON_FAILURE": "1", "RETRIES_PAUSE": "100ms"}


class RealReceiver(Receiver):
    """Takes what the sidecar posts."""

    async def received(self) -> list[tuple[str, dict[str, Any]]]:
        await anyio.sleep(0.5)
        return self.taken


class RealRig(Rig):
    """A sidecar beside a ClickHouse that has been emptied, on a path of its own."""

    def __init__(self, sidecar: RealSidecar) -> None:
        self.sidecar, self.clickhouse, self.s3 = sidecar, sidecar.clickhouse, sidecar.s3
        self.path = sidecar.path
        self.number = _number(sidecar.binary.version)

    async def create_table(self, table: str, rows: int, *, engine: str = "MergeTree", partitions: int = 0) -> None:
        await self.clickhouse.query(f"CREATE DATABASE IF NOT EXISTS {table.partition('.')[0]}")
        by = f" PARTITION BY id % {partitions}" if partitions else ""
        order = f"{by} ORDER BY id" if "MergeTree" in engine else ""
        await self.clickhouse.query(f"CREATE TABLE {table} (id UInt64, s String) ENGINE = {engine}{order}")
        await self.insert(table, rows)

    async def insert(self, table: str, rows: int) -> None:
        if rows:
            noise = "concat(toString(rand(0)), toString(rand(1)), toString(rand(2)))"
            numbers = f"number + {await self.count(table)}, {noise} FROM system.numbers LIMIT {rows}"
            await self.clickhouse.query(f"INSERT INTO {table} SELECT {numbers}")

    async def drop_table(self, table: str) -> None:
        await self.clickhouse.drop(table)

    async def counts(self, table: str, modulus: int) -> dict[int, int]:
        found = await self.clickhouse.query(f"SELECT id % {modulus} AS rest, count() FROM {table} GROUP BY rest")
        return {int(rest): int(count) for rest, count in (line.split("\t") for line in found.splitlines())}

    async def kill(self) -> None:
        await self.sidecar.kill()

    async def start(self) -> None:
        await self.sidecar.start()

    async def alive(self) -> bool:
        await anyio.sleep(0.2)
        return self.sidecar.running

    async def slow(self, seconds: float) -> None:
        size = int(
            await self.clickhouse.query("SELECT sum(bytes) FROM system.parts WHERE active AND database != 'system'")
        )
        await self.configure(**SLOW, UPLOAD_MAX_BYTES_PER_SECOND=str(int(size / seconds) if seconds else 0))

    async def slow_create(self) -> None:
        for number in range(100):
            await self.create_table(f"demo.many{number}", 10)

    async def configure(self, **env: str) -> None:
        self.sidecar.env |= env
        await self.sidecar.restart()

    @contextlib.asynccontextmanager
    async def s3_refused(self) -> AsyncIterator[None]:
        await self.s3.kill()
        try:
            yield
        finally:
            await self.s3.start()

    @contextlib.asynccontextmanager
    async def s3_hanging(self) -> AsyncIterator[None]:
        self.s3.freeze()
        try:
            yield
        finally:
            self.s3.thaw()

    @contextlib.asynccontextmanager
    async def no_bucket(self) -> AsyncIterator[None]:
        await self.configure(S3_BUCKET="nosuch")
        await self.forget_cache()
        try:
            yield
        finally:
            await self.configure(S3_BUCKET=self.s3.bucket)

    async def objects(self, name: str) -> dict[str, int]:
        prefix = f"{self.sidecar.path}/{name}/"
        return {key.removeprefix(prefix): size for key, size in (await self.s3.objects(prefix)).items()}

    def store(self) -> contextlib.AbstractAsyncContextManager[ObjectStore]:
        env = [{"name": name, "value": value} for name, value in self.sidecar.environment().items()]
        sidecar = {"name": "sidecar", "env": env, "ports": [{"name": PORT_NAME, "containerPort": self.sidecar.port}]}
        storage = storage_of(Pod.model_validate({"metadata": {"name": "p"}, "spec": {"containers": [sidecar]}}), {})
        assert isinstance(storage, Storage), storage
        assert storage.path == self.path
        return open_store(storage.coordinates)

    async def remove_object(self, name: str, key: str) -> None:
        await self.s3.delete(f"{self.sidecar.path}/{name}/{key}")

    async def write_metadata(self, name: str, content: str) -> None:
        await self._put(f"{name}/metadata.json", content)

    async def put_stray(self, name: str) -> None:
        await self._put(name, "x")

    async def _put(self, key: str, content: str) -> None:
        async with httpx.AsyncClient(trust_env=False, auth=("any", "any")) as client:
            url = f"{self.s3.url}/{self.s3.bucket}/{self.sidecar.path}/{key}"
            (await client.put(url, content=content)).raise_for_status()

    async def forget_cache(self) -> None:
        for file in self.sidecar.folder.glob(".clickhouse-backup-metadata.cache.*"):
            file.unlink()

    async def break_local(self, name: str) -> None:
        self._local_metadata(name).unlink()

    async def write_local_metadata(self, name: str, content: str) -> None:
        self._local_metadata(name).write_text({"garbage": "no"}.get(content, content))

    def _local_metadata(self, name: str) -> Path:
        return Path(self.clickhouse.data) / "backup" / name / "metadata.json"

    @contextlib.asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        async def take(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answered:
            receiver.taken.append((f"{path}?{query}", json.loads(body)))
            return 200, {"Content-Length": "0"}, b""

        async with serving(take, self.clickhouse.address, 0) as url:
            receiver = RealReceiver(url)
            yield receiver

    @contextlib.asynccontextmanager
    async def sibling(self) -> AsyncIterator[Rig]:
        async with (
            RealClickHouse(loopback(42)) as clickhouse,
            real_rig(self.sidecar.binary, clickhouse, self.s3, self.sidecar.path) as rig,
        ):
            yield rig


def _number(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)(.*)", version)
    assert found, version
    major, minor, patch = (int(part) for part in found.groups()[:3])
    return (major, minor, patch + bool(found[4]))


@contextlib.asynccontextmanager
async def real_rig(binary: Binary, clickhouse: RealClickHouse, s3: RealS3, path: str = "") -> AsyncIterator[Rig]:
    """Make a rig around a new sidecar, with nothing left of earlier ones."""
    await _empty(clickhouse)
    (port,) = free_ports(clickhouse.address, 1)
    sidecar = RealSidecar(binary, clickhouse, s3, path=path or f"run{next(PATHS)}", port=port, env=QUICK)
    async with sidecar:
        rig = RealRig(sidecar)
        async with clients(rig, sidecar.url):
            yield rig


async def _empty(clickhouse: RealClickHouse) -> None:
    shutil.rmtree(Path(clickhouse.data) / "backup", ignore_errors=True)
    for database in (await clickhouse.query("SHOW DATABASES")).splitlines():
        if database not in {"default", "system"}:
            await clickhouse.query(f"DROP DATABASE {database}")
