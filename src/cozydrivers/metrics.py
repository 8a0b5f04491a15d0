"""What Prometheus is told: under controller-runtime's names, and under our own with the prefix `cozydrivers_`.

What happens is counted when it happens. What is (`Observed`) is computed when it is asked for, by functions that the
controllers give: no gauge is kept up by hand, so none drifts. No label holds a name that a tenant can choose at will,
but those of objects that exist.
"""

from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, get_args
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

Result = Literal["success", "error", "requeue", "requeue_after"]
"""How a pass ended, in the words of controller-runtime."""

Observed = Literal[
    "last_success_timestamp_seconds",
    "suspicious_sets",
    "failed_audits",
    "unfinished_cleanups",
    "jobs_running",
    "jobs_waiting",
]
"""A gauge that is computed at each scrape."""

Read = Callable[[], Iterable[tuple[tuple[str, ...], float]]]
"""Gives an observed gauge: the values of its labels, and its value."""

MOST_VALUES = 50
"""Values of one label that are told apart; what comes later is `other`."""

# As controller-runtime 0.21 has them.
_RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5),
    *(1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60),
)
_QUEUE_BUCKETS = tuple(10.0**power for power in range(-8, 4))
_JOB_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
_SIZE_BUCKETS = tuple(4.0**power * 2**20 for power in range(12))

_APPLICATION = ("namespace", "kind", "application")
_OBSERVED: dict[Observed, tuple[str, tuple[str, ...]]] = {
    "last_success_timestamp_seconds": (
        "Unix time of an application's newest good Backup; 0 where there is none",
        _APPLICATION,
    ),
    "suspicious_sets": ("Backups of an application that are much smaller than the one before", _APPLICATION),
    "failed_audits": ("Backups of an application whose archives were not found again", _APPLICATION),
    "unfinished_cleanups": ("Jobs at their end of which something is left to be removed", ("namespace", "kind")),
    "jobs_running": ("Jobs whose operation was submitted and has not ended", ("namespace", "kind")),
    "jobs_waiting": ("Jobs that wait for their turn, a lock or a dependency", ("namespace", "kind")),
}
_QUEUES = {
    "workqueue_depth": "Current depth of workqueue",
    "workqueue_unfinished_work_seconds": "How many seconds of work is in progress and not in work_duration yet",
    "workqueue_longest_running_processor_seconds": "How many seconds the longest running processor has been running",
}


class Queue(Protocol):
    """What is looked at of a queue when it is scraped."""

    def __len__(self) -> int:
        """Count the keys that wait."""
        ...

    def ages(self) -> Collection[float]:
        """List the seconds for which each key in work has been worked on."""
        ...


@dataclass(frozen=True)
class QueueMetrics:
    """What a queue counts: keys added, those added for later, and the seconds waited and worked."""

    adds: Counter
    retries: Counter
    waited: Histogram
    worked: Histogram


class Metrics:
    """All metrics of one controller process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._queues: dict[str, WeakSet[Queue]] = {}
        self._reads: dict[Observed, list[Read]] = {}
        self._values: dict[str, set[str]] = {}
        ProcessCollector(registry=self._registry)
        self._registry.register(_AtScrape(self._look_at_queues))
        self._registry.register(_AtScrape(self._look))
        self._register_controller_runtime()
        self._register_own()

    def _register_controller_runtime(self) -> None:
        count, gauge, histogram = self._counter, self._gauge, self._histogram
        self._reconciles = count("controller_runtime_reconcile_total", "Reconciliations", "controller", "result")
        self._errors = count("controller_runtime_reconcile_errors_total", "Reconciliation errors", "controller")
        self._times = histogram(
            "controller_runtime_reconcile_time_seconds", "Length of time per pass", _RECONCILE_BUCKETS, "controller"
        )
        self._active = gauge("controller_runtime_active_workers", "Number of currently used workers", "controller")
        self._most = gauge("controller_runtime_max_concurrent_reconciles", "Maximum number of workers", "controller")
        queue = ("name", "controller")
        self._adds = count("workqueue_adds_total", "Adds handled by workqueue", *queue)
        self._retries = count("workqueue_retries_total", "Retries handled by workqueue", *queue)
        self._waited = histogram(
            "workqueue_queue_duration_seconds", "How long an item stays in workqueue", _QUEUE_BUCKETS, *queue
        )
        self._worked = histogram(
            "workqueue_work_duration_seconds", "How long processing an item takes", _QUEUE_BUCKETS, *queue
        )
        self._requests = count("rest_client_requests_total", "Requests to the API server", "code", "method", "host")
        self._leading = gauge("leader_election_master_status", "Whether this process is the leader", "name")

    def _register_own(self) -> None:
        job = ("kind", "application_kind")
        self._durations = self._histogram(
            "cozydrivers_job_duration_seconds", "From a job's start to its end", _JOB_BUCKETS, *job, "phase"
        )
        self._sizes = self._histogram("cozydrivers_job_size_bytes", "Size of what was backed up", _SIZE_BUCKETS, *job)
        self._failures = self._counter("cozydrivers_job_failures_total", "Failed jobs by reason", *job, "reason")
        self._asked = self._counter("cozydrivers_sidecar_requests_total", "Requests to sidecars", "code", "method")
        self._paused = self._gauge("cozydrivers_paused", "Whether nothing is begun or ended, by reason", "reason")

    # Told by the runtime

    def reconciled(self, controller: str, result: Result, seconds: float) -> None:
        """Count a pass over one key."""
        self._reconciles.labels(controller, result).inc()
        if result == "error":
            self._errors.labels(controller).inc()
        self._times.labels(controller).observe(seconds)

    @contextmanager
    def working(self, controller: str) -> Generator[None, None, None]:
        """Count a worker as active for the length of the context."""
        with self._active.labels(controller).track_inprogress():
            yield

    @contextmanager
    def workers(self, controller: str, number: int) -> Generator[None, None, None]:
        """Count workers as there for the length of the context; what they are to count begins at 0."""
        for result in get_args(Result):
            self._reconciles.labels(controller, result)
        self._errors.labels(controller)
        there = self._most.labels(controller)
        there.inc(number)
        try:
            yield
        finally:
            there.dec(number)

    def queue(self, name: str, queue: Queue) -> QueueMetrics:
        """Look at a queue at each scrape, for as long as it lives; returns what it counts with."""
        self._queues.setdefault(name, WeakSet()).add(queue)
        return QueueMetrics(
            self._adds.labels(name, name),
            self._retries.labels(name, name),
            self._waited.labels(name, name),
            self._worked.labels(name, name),
        )

    def requested(self, method: str, code: str, host: str) -> None:
        """Count a request to the API server; `code` is `<error>` where no answer came, `host` is `host:port`."""
        self._requests.labels(code, method, host).inc()

    def leads(self, name: str, leading: Callable[[], bool]) -> None:
        """Ask at each scrape whether this process leads by the Lease of that name."""
        self._leading.labels(name).set_function(leading)

    # Told by controllers and drivers

    def job_ended(
        self, kind: str, application_kind: str, phase: str, reason: str, seconds: float, size: int | None = None
    ) -> None:
        """Count the end of a BackupJob or RestoreJob; `size` in bytes is known of some successes only."""
        labels = (kind, self._bounded("application_kind", application_kind))
        self._durations.labels(*labels, phase).observe(seconds)
        if size is not None:
            self._sizes.labels(*labels).observe(size)
        if phase == "Failed":
            self._failures.labels(*labels, self._bounded("reason", reason)).inc()

    def sidecar_asked(self, method: str, code: str) -> None:
        """Count a request to a sidecar; `code` is `<error>` where no answer came."""
        self._asked.labels(code, method).inc()

    def paused(self, reason: str, paused: bool) -> None:
        """Say whether the controller has paused itself for that reason."""
        self._paused.labels(self._bounded("pause", reason)).set(paused)

    def observe(self, name: Observed, read: Read) -> None:
        """Compute a gauge at each scrape; of several functions each tells of other objects.

        The labels are `namespace`, `kind` and `application`; of jobs and cleanups `namespace` and the job's `kind`.
        """
        self._reads.setdefault(name, []).append(read)

    # Shown

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Write everything in the format that an `Accept` header asks for; returns it with its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(_AtScrape(self._collect)), content_type

    def value(self, name: str, /, **labels: str) -> float | None:
        """Return a sample's value, None where there is none; for tests and for the program itself."""
        return self._registry.get_sample_value(name, labels)

    def _collect(self) -> Iterable[Metric]:
        """All but the times of creation, which Go's clients don't have and which double the number of series."""
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family

    def _look(self) -> Iterable[Metric]:
        for name, (documentation, labels) in _OBSERVED.items():
            family = GaugeMetricFamily(f"cozydrivers_{name}", documentation, labels=labels)
            for values, value in self._observed(name).items():
                family.add_metric(values, value)
            yield family

    def _observed(self, name: Observed) -> dict[tuple[str, ...], float]:
        return {values: value for read in self._reads.get(name, ()) for values, value in read()}

    def _look_at_queues(self) -> Iterable[Metric]:
        families = [GaugeMetricFamily(*described, labels=("name", "controller")) for described in _QUEUES.items()]
        for name, queues in self._queues.items():
            ages = [age for queue in queues for age in queue.ages()]
            values = (sum(map(len, queues)), sum(ages), max(ages, default=0.0))
            for family, value in zip(families, values, strict=True):
                family.add_metric((name, name), value)
        return families

    def _bounded(self, label: str, value: str) -> str:
        known = self._values.setdefault(label, set())
        if value not in known and len(known) >= MOST_VALUES:
            return "other"
        known.add(value)
        return value

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self._registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, registry=self._registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, documentation, labels, buckets=buckets, registry=self._registry)


class _AtScrape(Collector):
    """Families that are made when they are asked for."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()
