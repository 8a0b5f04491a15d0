"""What the gauges of `Metrics.observe` show, computed from what the caches hold."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.controllers.ledger import FINALIZER
from cozydrivers.controllers.status import ended
from cozydrivers.metrics import Metrics
from cozydrivers.runtime.cache import Caches
from cozydrivers.runtime.store import Key

Labels = tuple[str, ...]
Job = BackupJob | RestoreJob
T = TypeVar("T")


def observe(
    metrics: Metrics,
    caches: Caches,
    kinds: Iterable[type[KubeObject]],
    not_looked_up: Callable[[], Collection[Key]] = tuple,
) -> None:
    """Have the gauges computed from the caches; `kinds` are the applications that may be backed up.

    `not_looked_up` are the Backups whose daily look came to nothing.
    """
    backups, applications = caches.of(Backup, selected=True), [caches.of(kind) for kind in kinds]
    backup_jobs, restore_jobs = caches.of(BackupJob, selected=True), caches.of(RestoreJob, selected=True)

    def all_jobs() -> list[Job]:
        return [*backup_jobs.list(), *restore_jobs.list()]

    metrics.observe(
        "last_success_timestamp_seconds",
        lambda: last_successes((each for cache in applications for each in cache.list()), backups.list()),
    )
    metrics.observe("suspicious_sets", lambda: suspicious_sets(backups.list()))
    metrics.observe("failed_audits", lambda: failed_audits(backups.list(), not_looked_up()))
    metrics.observe("jobs_running", lambda: jobs_running(all_jobs()))
    metrics.observe("jobs_waiting", lambda: jobs_waiting(all_jobs()))
    metrics.observe("unfinished_cleanups", lambda: unfinished_cleanups(all_jobs()))


def last_successes(applications: Iterable[KubeObject], backups: Iterable[Backup]) -> Iterable[tuple[Labels, float]]:
    """When the newest good Backup of each application was taken, in Unix time; 0 where there is none."""
    found = {_application(each): 0.0 for each in applications}
    for backup in backups:
        labels, taken = _backed_up(backup), backup.spec.taken_at
        if labels in found and taken is not None and backup.status.phase == "Ready" and not is_missing(backup):
            found[labels] = max(found[labels], taken.timestamp())
    return found.items()


def suspicious_sets(backups: Iterable[Backup]) -> Iterable[tuple[Labels, float]]:
    """How many Backups of each application are suspiciously small."""
    return _counted(backups, _backed_up, lambda backup: backup.says("Suspicious", "True"))


def failed_audits(backups: Iterable[Backup], not_looked_up: Collection[Key] = ()) -> Iterable[tuple[Labels, float]]:
    """How many Backups of each application have lost their archives, or could not be looked up the last time."""
    return _counted(backups, _backed_up, lambda backup: is_missing(backup) or Key.of(backup) in not_looked_up)


def jobs_running(jobs: Iterable[Job]) -> Iterable[tuple[Labels, float]]:
    """How many jobs of a kind run, by namespace."""
    return _counted(jobs, _kind, lambda job: job.status.phase == "Running")


def jobs_waiting(jobs: Iterable[Job]) -> Iterable[tuple[Labels, float]]:
    """How many jobs of a kind have not begun, by namespace."""
    return _counted(jobs, _kind, lambda job: job.status.phase in ("", "Pending"))


def unfinished_cleanups(jobs: Iterable[Job]) -> Iterable[tuple[Labels, float]]:
    """How many jobs of a kind are at their end, or deleted, and hold something that is still to be removed."""

    def unfinished(job: Job) -> bool:
        left = ended(job.status) or job.metadata.deletion_timestamp is not None
        return left and FINALIZER in job.metadata.finalizers

    return _counted(jobs, _kind, unfinished)


def is_missing(backup: Backup) -> bool:
    """Whether the daily look has not found the archives of a Backup that was good."""
    return backup.says("Ready", "False")


def _counted(
    things: Iterable[T], labels: Callable[[T], Labels], counts: Callable[[T], bool]
) -> Iterable[tuple[Labels, float]]:
    """Count by labels; 0 for those of which there are only others."""
    found: Counter[Labels] = Counter()
    for thing in things:
        found[labels(thing)] += counts(thing)
    return found.items()


def _application(application: KubeObject) -> Labels:
    return application.metadata.namespace, application.resource.kind, application.metadata.name


def _backed_up(backup: Backup) -> Labels:
    return backup.metadata.namespace, backup.spec.application_ref.kind, backup.spec.application_ref.name


def _kind(job: Job) -> Labels:
    return job.metadata.namespace, job.resource.kind
