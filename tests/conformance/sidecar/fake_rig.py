"""The fake sidecar behind the rig, in virtual time."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Literal

from tests.conformance.sidecar.rig import Receiver, Rig, clients

from chbackup.testing import FakeSidecar, FakeStorage
from cozydrivers.clients.objects import Coordinates, ObjectStore
from cozydrivers.testing.objects import ACCESS_KEY, SECRET_KEY, FakeObjects

PATH = "conformance"


class FakeReceiver(Receiver):
    """Takes what the fake owes."""

    def __init__(self, fake: FakeSidecar) -> None:
        super().__init__("http://receiver.fake")
        self._fake = fake

    async def received(self) -> list[tuple[str, dict[str, Any]]]:
        async def take(url: str, payload: dict[str, str]) -> None:
            self.taken.append((url.removeprefix(self.url), payload))

        await self._fake.pump(take)
        return self.taken


class FakeRig(Rig):
    """A fake sidecar; killing and starting it are its own controls."""

    def __init__(self, version: str, storage: FakeStorage) -> None:
        self.version = version
        self.path = PATH
        self.number = tuple(int(part) for part in version.removesuffix("-dev").split("."))
        self.fake = FakeSidecar(username="backup", password="secret", version=version, storage=storage, path=PATH)

    async def create_table(self, table: str, rows: int, *, engine: str = "MergeTree", partitions: int = 0) -> None:
        self.fake.tables.add_table(table, rows, engine=engine, partitions=partitions or None)

    async def insert(self, table: str, rows: int) -> None:
        self.fake.tables.insert(table, rows)

    async def drop_table(self, table: str) -> None:
        self.fake.tables.drop(table)

    async def counts(self, table: str, modulus: int) -> dict[int, int]:
        return dict(Counter(row % modulus for row in self.fake.tables.rows(table)))

    async def kill(self) -> None:
        self.fake.kill_process()

    async def start(self) -> None:
        self.fake.start_process()

    async def alive(self) -> bool:
        return self.fake.running

    async def slow(self, seconds: float) -> None:
        self.fake.duration.upload = seconds
        await self.configure()

    async def slow_create(self) -> None:
        self.fake.duration.create = 2

    async def configure(self, **env: str) -> None:
        self.fake.configure(**env)
        self.fake.kill_process()
        self.fake.start_process()

    def s3_refused(self) -> contextlib.AbstractAsyncContextManager[None]:
        return self._s3("refused")

    def s3_hanging(self) -> contextlib.AbstractAsyncContextManager[None]:
        return self._s3("hanging")

    def no_bucket(self) -> contextlib.AbstractAsyncContextManager[None]:
        return self._s3("no_bucket")

    @contextlib.asynccontextmanager
    async def _s3(self, fault: Literal["refused", "hanging", "no_bucket"]) -> AsyncIterator[None]:
        self.fake.faults.s3 = fault
        try:
            yield
        finally:
            self.fake.faults.s3 = None

    async def objects(self, name: str) -> dict[str, int]:
        prefix = f"{PATH}/{name}/"
        return {key.removeprefix(prefix): size for key, size in self.fake.storage.objects(prefix).items()}

    def store(self) -> contextlib.AbstractAsyncContextManager[ObjectStore]:
        there = Coordinates("backups", ACCESS_KEY, SECRET_KEY, endpoint="http://s3.invalid")
        return FakeObjects(self.fake.storage).open(there)

    async def remove_object(self, name: str, key: str) -> None:
        self.fake.remote[name].remove_object(key)

    async def write_metadata(self, name: str, content: str) -> None:
        self.fake.remote[name].spoil_metadata(content)

    async def put_stray(self, name: str) -> None:
        self.fake.add_stray(name)

    async def forget_cache(self) -> None:
        self.fake.forget_cache()

    async def break_local(self, name: str) -> None:
        self.fake.local[name].lose_metadata()

    async def write_local_metadata(self, name: str, content: str) -> None:
        self.fake.local[name].spoil_metadata(content)

    @contextlib.asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        yield FakeReceiver(self.fake)

    @contextlib.asynccontextmanager
    async def sibling(self) -> AsyncIterator[Rig]:
        async with fake_rig(self.version, self.fake.storage) as rig:
            yield rig


@contextlib.asynccontextmanager
async def fake_rig(version: str, storage: FakeStorage) -> AsyncIterator[Rig]:
    """Make a rig around a new fake."""
    rig = FakeRig(version, storage)
    async with clients(rig, "http://sidecar.fake", rig.fake.transport()):
        yield rig
