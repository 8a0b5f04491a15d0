"""One sidecar with its ClickHouse: all state, and how an operation begins and ends."""

import uuid
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ._archives import Archive, FakeStorage, Metadata
from ._databases import Tables
from ._faults import Faults
from ._history import CANCEL, ERROR, SUCCESS, History, Row
from ._metrics import Metrics
from ._settings import Durations, Settings, Version
from ._timeline import Cancelled, Job, OperationError, ProcessExit, Steps
from ._zone import in_zone
from ._zookeeper import FakeZooKeeper


@dataclass
class Callback:
    """A message that the server owes to a `callback` URL."""

    url: str
    payload: dict[str, str]


@dataclass
class Pod:
    """State that survives the process (tables, archives, cache) and state that does not (history, metrics)."""

    version: Version
    settings: Settings
    storage: FakeStorage
    path: str
    started: datetime
    alive: bool = True
    tables: Tables = field(init=False)
    local: dict[str, Archive] = field(default_factory=dict)
    cache: dict[str, Metadata] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    duration: Durations = field(default_factory=Durations)
    callbacks: list[Callback] = field(default_factory=list)
    history: History = field(default_factory=History)
    metrics: Metrics = field(default_factory=Metrics)
    pids: dict[str, str] = field(default_factory=dict)
    macros: dict[str, str] = field(default_factory=dict)
    zookeeper: FakeZooKeeper | None = None
    processes: int = 0
    operations: int = 0
    resuming: Job | None = None

    def __post_init__(self) -> None:
        self.storage.sidecars += 1
        self.number = self.storage.sidecars
        self.tables = Tables(
            self.zookeeper, self.macros, lambda: not self.faults.clickhouse_down, lambda: self.storage.timeline.time
        )
        self.boot()

    @property
    def now(self) -> datetime:
        """The time, naive and in UTC."""
        return self.started + timedelta(seconds=self.storage.timeline.time)

    @property
    def local_now(self) -> datetime:
        """The wall clock in the server's own zone."""
        return in_zone(self.now, self.settings.tz)

    def stamp(self, moment: datetime) -> str:
        """Write a time as the server does: in its own zone without naming it, in whole seconds."""
        return in_zone(moment, self.settings.tz).isoformat(" ", "seconds")

    @property
    def remote(self) -> dict[str, Archive]:
        """The archives below this sidecar's path."""
        return self.storage.archives(self.path)

    @property
    def locked(self) -> bool:
        """Whether a further operation is refused."""
        return self.history.busy and not self.settings.api_allow_parallel

    def skips(self, command: str) -> bool:
        """Whether a command leaves no row: a setting since 2.7.0."""
        return self.version.since(2, 7, 0) and command in self.settings.api_backup_actions_skip_commands.split(",")

    def boot(self) -> None:
        """Begin a process: nothing in memory."""
        self.alive = True
        self.pids.clear()  # those of a killed process are left, and harmless
        self.processes += 1
        limit = self.settings.status_history_size if self.version.since(2, 8, 1) else 0
        self.history, self.metrics = History(limit), Metrics()

    def die(self) -> None:
        """End the process at once; work stops where it stands."""
        self.alive = False
        for row in self.history.rows:
            if row.job:
                row.job.drop()
        if self.resuming:
            self.resuming.drop()
            self.resuming = None

    def new_row(self, command: str, *, with_id: bool = False, callbacks: list[str] | None = None) -> Row:
        """Register an operation as running."""
        operation_id = self.new_id() if with_id else ""
        return self.history.add(Row(command, self.now, operation_id, callbacks=callbacks or []))

    def run(self, row: Row, steps: Steps, *, deaf: bool = False, counted: bool = True) -> Job:
        """Start the row's work; its end is written into the row, and into the metrics when it counts there."""
        verb, begun = row.command.split(" ", 1)[0], self.storage.timeline.time
        if counted:
            self.metrics.begin(verb, self.now)

        def on_end(error: Exception | None) -> None:
            if counted:
                self.metrics.end(verb, self.now, self.storage.timeline.time - begun, error)
            self.close(row, error)

        row.job = self.storage.timeline.start(steps, on_end)
        row.job.deaf = deaf
        return row.job

    def close(self, row: Row, error: Exception | None) -> None:
        """Write how the work of a row ended, unless a kill wrote it before."""
        if isinstance(error, ProcessExit):
            self.die()
            return
        if row.running:
            row.end(ERROR if error else SUCCESS, str(error or ""), self.now)
        self._owe_callbacks(row, error)

    def start_resume(self, steps: Steps) -> None:
        """Start the work that a new process does by itself; its rows share one job."""
        self.resuming = self.storage.timeline.start(steps, self._after_resume, delay=0.05)
        self.resuming.deaf = not self.version.since(2, 8, 1)

    def _after_resume(self, error: Exception | None) -> None:
        self.resuming = None

    def cancel(self, row: Row, reason: str) -> None:
        """Mark a row as cancelled and stop its work, as far as that listens."""
        row.end(CANCEL, reason, self.now)
        if row.job:
            self.storage.timeline.cancel(row.job)

    def _owe_callbacks(self, row: Row, error: Exception | None) -> None:
        legacy = not self.version.since(2, 8, 1)
        status, text = row.status, row.error
        if isinstance(error, Cancelled) and legacy:
            status, text = ERROR, str(error) or "context canceled"
        payload = {"status": status, "error": text, "operation_id": row.operation_id}
        if not legacy:
            seconds = ((row.finish or self.now) - row.start).total_seconds()
            payload |= {"command": row.command, "duration": f"{seconds:g}s"}
        self.callbacks.extend(Callback(url, payload) for url in row.callbacks)

    def new_id(self) -> str:
        """Return a uuid of version 1: one node and clock part per process, counting up."""
        self.operations += 1
        node = zlib.crc32(f"{self.path}/{self.number}".encode()) | self.number << 32
        ticks = 0x1F1_E6D7_0000_0000 + self.operations + int(self.storage.timeline.time * 1e7)
        low, middle, high = ticks & 0xFFFF_FFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0xFFF
        clock = self.processes % 0x4000
        return str(uuid.UUID(fields=(low, middle, high | 0x1000, 0x80 | clock >> 8, clock & 0xFF, node)))


def require_clickhouse(pod: Pod) -> Steps:
    """Wait until ClickHouse answers, for ever if need be."""
    while pod.faults.clickhouse_down:
        yield 1.0


def require_s3(pod: Pod, error: str, request: str) -> Steps:
    """Wait while the object store hangs; give up with an error when it refuses or denies long enough."""
    for _ in range(7):
        while pod.faults.s3 == "hanging":
            yield 0.5
        if pod.faults.s3 is None:
            return
        yield 7.0 if pod.faults.s3 == "refused" else 5.0
    raise OperationError(f"{error}, {s3_error(pod, request)}")


def s3_error(pod: Pod, request: str) -> str:
    """Say in the words of the AWS SDK why a request failed."""
    if pod.faults.s3 == "denied":
        return "https response error StatusCode: 403, RequestID: , HostID: , api error AccessDenied: Access Denied"
    if pod.faults.s3 == "no_bucket":
        return (
            "https response error StatusCode: 404, RequestID: , HostID: , "
            "api error NoSuchBucket: The specified bucket does not exist"
        )
    return (
        "exceeded maximum number of attempts, 3, https response error StatusCode: 0, RequestID: , HostID: , "
        f"request send failed, {request}: dial tcp 127.0.0.1:9000: connect: connection refused"
    )
