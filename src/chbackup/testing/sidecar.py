"""A clickhouse-backup sidecar in memory, with the real one's semantics and its traps."""

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import anyio
import httpx

from ._answers import Answer, Request
from ._archives import Archive, FakeStorage, Metadata
from ._databases import Tables
from ._faults import Faults
from ._pod import Callback, Pod
from ._resume import resume_all
from ._routes import answer
from ._serve import serving
from ._settings import Durations, parse_version, read_settings
from ._timeline import Steps
from ._transport import FakeTransport, client_over
from ._zookeeper import FakeZooKeeper

if TYPE_CHECKING:
    from chbackup import Client

NOTHING = Answer(200, {}, b"")
Damage = Literal["missing", "unopenable", "unreadable", "garbage", "null"]
FIRST_DAY = datetime(2026, 1, 1, 12)


class LoggedRequest(NamedTuple):
    """A request that the fake received. Headers are not kept, so no credentials either."""

    method: str
    path: str
    query: str


class FakeSidecar:
    """One sidecar and its ClickHouse.

    Everything it does takes time by the event loop's clock and happens when it is looked at: there are no tasks, no
    threads and no real time, so tests can run hours of backups in milliseconds. Sidecars that are given one
    `FakeStorage` and the same path see each other's remote archives. `{shard}` and `{replica}` in the path are
    replaced. Those that are given one `FakeZooKeeper` and the same shard are replicas of each other, as far as their
    tables are replicated.

    `version` is 2.7.4, 2.8.1-dev or `newest` (the latter of them); 2.5.29 and 2.6.39 are modelled as far as their
    recordings go. `now` is the time at the first look, naive and in UTC, as all times that tests give or read; `env`
    are the server's settings by environment variable, its time zone `TZ` among them.
    """

    def __init__(
        self,
        *,
        username: str = "",
        password: str = "",
        version: str = "2.7.4",
        storage: FakeStorage | None = None,
        zookeeper: FakeZooKeeper | None = None,
        path: str = "backup",
        shard: str = "0",
        replica: str = "0",
        env: Mapping[str, str] | None = None,
        now: datetime = FIRST_DAY,
    ) -> None:
        self._credentials = (username, password)
        self.storage: FakeStorage = storage or FakeStorage()
        self.path: str = path.replace("{shard}", shard).replace("{replica}", replica)
        settings = read_settings(env or {})
        macros = {"cluster": "clickhouse", "shard": shard, "replica": replica}
        self._pod = Pod(
            parse_version(version), settings, self.storage, self.path, now, macros=macros, zookeeper=zookeeper
        )
        self.requests: list[LoggedRequest] = []

    @property
    def zookeeper(self) -> FakeZooKeeper:
        """The ZooKeeper of its ClickHouse, its own unless one was given."""
        return self._look().tables.zookeeper

    @property
    def tables(self) -> Tables:
        """The tables of its ClickHouse."""
        return self._look().tables

    @property
    def local(self) -> dict[str, Archive]:
        """Local archives by name."""
        return self._look().local

    @property
    def remote(self) -> dict[str, Archive]:
        """Remote archives by name, those of other sidecars on the same path included."""
        return self._look().remote

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self._look().faults

    @property
    def duration(self) -> Durations:
        """How long the phases of operations take, in seconds."""
        return self._look().duration

    @property
    def callbacks(self) -> list[Callback]:
        """Callbacks that are owed and were not pumped yet."""
        return self._look().callbacks

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._look().alive

    @property
    def now(self) -> datetime:
        """The time, naive and in UTC."""
        return self._look().now

    async def handle(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer one request; path and query are raw, header names lower case.

        Raises ConnectionRefusedError when nobody listens and ConnectionResetError when the answer is lost.
        """
        pod = self._look()
        if not pod.alive or pod.faults.refuse:
            raise ConnectionRefusedError("connection refused")
        self.requests.append(LoggedRequest(method, path, query))
        order = pod.faults.take(path)
        if order and not order.after_work:
            return order.spoil(NOTHING)
        process = pod.processes
        answered = await answer(pod, Request(method, path, query, headers, body), self._credentials)
        await anyio.sleep(pod.faults.delay)
        if not pod.alive or pod.processes != process:
            raise ConnectionResetError("connection lost after the work")
        return order.spoil(answered) if order else answered

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport for httpx clients in this process."""
        return FakeTransport(self.handle)

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncGenerator["Client", None]:
        """Return a `chbackup.Client` that speaks to this sidecar; options go to the client."""
        from chbackup import Client

        username, password = self._credentials
        http_client = client_over(self.transport())
        async with Client(
            "http://sidecar.fake", username=username, password=password, http_client=http_client, **options
        ) as client:
            yield client

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> AbstractAsyncContextManager[str]:
        """Serve it on a port (0: a free one) while the block lasts; yields the address. Not under a virtual clock."""
        return serving(self.handle, host, port)

    def kill_process(self) -> None:
        """End the process as `kill -9` does: history gone, work stopped where it stands, files left."""
        self._look().die()

    def start_process(self) -> None:
        """Start the process; a moment later it resumes what left a state file."""
        pod = self._look()
        if pod.alive:
            raise ValueError("the process is running; kill_process() first")
        pod.boot()
        if pod.settings.api_complete_resumable_after_restart:
            pod.start_resume(resume_all(pod))

    def configure(self, **env: str) -> None:
        """Change settings by environment variable; most take effect at once, some at the next start."""
        self._look().settings = read_settings(env, self._pod.settings)

    def add_remote(
        self,
        name: str,
        *,
        created: datetime | None = None,
        data_size: int = 1000,
        required: str = "",
        broken: bool = False,
    ) -> Archive:
        """Put an archive without tables into the object store, for tests that only list and delete."""
        moment = created or self.now
        metadata = None if broken else Metadata(moment, (), data_size, 100, data_size, required)
        self.remote[name] = Archive(name, moment, metadata)
        return self.remote[name]

    def add_local(
        self,
        name: str,
        *,
        created: datetime | None = None,
        data_size: int = 1000,
        required: str = "",
        broken: bool = False,
    ) -> Archive:
        """Put an archive without tables beside ClickHouse, for tests that only list and delete."""
        moment = created or self.now
        metadata = None if broken else Metadata(moment, (), data_size, 100, 0, required)
        self.local[name] = Archive(name, moment, metadata)
        return self.local[name]

    def add_stray(self, name: str) -> None:
        """Put an object beside the archives: listed as a broken one, and in the way of `clean/remote_broken`.

        The empty name is the object whose key is the path itself.
        """
        self.remote[name] = Archive(name, self.now, damage="stray")

    def break_remote(self, name: str, how: Damage = "missing") -> None:
        """Damage a remote `metadata.json`, and make this sidecar forget what it remembers of it.

        It is missing, or there and `unopenable`, `unreadable`, `garbage`, or `null`: listed without name and reason.
        """
        _break(self.remote[name], how)
        self.forget_cache()

    def break_local(self, name: str, how: Literal["missing", "garbage", "null"] = "missing") -> None:
        """Damage a local `metadata.json`, as `break_remote` does a remote one."""
        _break(self.local[name], how)

    def occupy(self, command: str = "create_remote foreign", seconds: float = math.inf) -> None:
        """Let somebody else's operation run, that does nothing but hold the lock; a kill ends it."""
        pod = self._look()
        pod.run(pod.new_row(command, with_id=True), _idle(seconds), counted=False)

    def forget_history(self) -> None:
        """Drop all finished rows, as a server does that trims its history."""
        history = self._look().history
        history.rows = [row for row in history.rows if row.running]

    def forget_cache(self) -> None:
        """Remove the metadata cache, which otherwise hides what happened to archives it knows."""
        self._look().cache.clear()

    async def pump(self, send: Callable[[str, dict[str, str]], Awaitable[object]]) -> None:
        """Hand each owed callback, URL and payload, to `send`."""
        while self.callbacks:
            callback = self.callbacks.pop(0)
            await send(callback.url, callback.payload)

    def _look(self) -> Pod:
        self.storage.timeline.advance()
        return self._pod


def _break(archive: Archive, how: Damage) -> None:
    archive.lose_metadata() if how == "missing" else archive.spoil_metadata(how)


def _idle(seconds: float) -> Steps:
    yield seconds
