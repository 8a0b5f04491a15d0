"""BackupJobs: each makes one Backup, or fails saying why."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.controllers import restored
from cozydrivers.controllers.deletion import latched
from cozydrivers.controllers.job import JobController
from cozydrivers.controllers.ledger import CLASS, JOB_UID
from cozydrivers.controllers.lock import target_of
from cozydrivers.controllers.resolve import (
    Absence,
    Refusal,
    Target,
    backup_target,
    driver_for_application,
    stand_in,
    without_strategy,
)
from cozydrivers.controllers.restored import Restored
from cozydrivers.controllers.status import with_conditions
from cozydrivers.controllers.wiring import application_of, backups_of
from cozydrivers.drivers.base import Artifact, BackupRun, Driver, Outcome, Run, Succeeded
from cozydrivers.errors import AlreadyExists, NotFound


class BackupJobController(JobController[BackupJob]):
    """Follows BackupJobs; see `JobController`."""

    kind = BackupJob
    done_reason = "BackupCompleted"

    async def resolve(self, job: BackupJob) -> Target:
        """By its BackupClass."""
        spec = job.spec
        return await backup_target(
            self.caches, self.drivers, job.metadata.namespace, spec.application_ref, spec.backup_class_name
        )

    async def resolve_for_cleanup(self, job: BackupJob) -> Target:
        """By its BackupClass where that still resolves, else by the application's kind alone."""
        try:
            return await self.resolve(job)
        except (Absence, Refusal):
            reference = job.spec.application_ref
            driver = driver_for_application(self.drivers, reference)
            application = stand_in(driver, reference, job.metadata.namespace)
            return await without_strategy(self.caches, driver, application)

    async def run_of(self, job: BackupJob, target: Target) -> BackupRun:
        """The run of a backup."""
        return BackupRun(
            **self.situation(job, target),
            earlier=backups_of(self.caches, target.application),
            restored_at=self._restored_at(target),
        )

    def _restored_at(self, target: Target) -> Callable[[], Awaitable[datetime | None]]:
        """Tells of the last restore to the application: by its lock, read once, and by RestoreJobs that have begun."""
        told: list[Sequence[Restored]] = []

        async def at() -> datetime | None:
            if not told:
                told.append(await restored.look(self.kube, target_of(target.application)))
            return max([*(each.at for each in told[0]), *self._restores(target.application)], default=None)

        return at

    def _restores(self, application: KubeObject) -> list[datetime]:
        """When RestoreJobs have ended that have begun something there; now for those that have not."""
        metadata, jobs = application.metadata, self.caches.of(RestoreJob, selected=True)
        begun = [job for job in jobs.list(metadata.namespace) if job.status.started_at is not None]
        return [job.status.completed_at or self.now() for job in begun if application_of(job) == metadata.name]

    async def refusal(self, job: BackupJob, target: Target) -> str:
        """A backup can be made again and again."""
        return ""

    async def step(self, driver: Driver, run: Run) -> Outcome:
        """One step of the backup."""
        assert isinstance(run, BackupRun)
        return await driver.backup(run)

    async def finish(self, job: BackupJob, target: Target, outcome: Succeeded) -> dict[str, Any]:
        """Write the Backup, once: named like its job, or with the UID added where another run's has that name."""
        if outcome.artifact is None:
            raise RuntimeError(f"{job.metadata.name}: the driver made nothing")
        names = (job.metadata.name, f"{job.metadata.name[:240]}-{job.metadata.uid[:8]}")
        for name in names:
            if await self._create(job, target, outcome.artifact, name):
                return {"backupRef": {"name": name}}
        raise Refusal(f"both names that its Backup could have are taken: {', '.join(names)}")

    async def _create(self, job: BackupJob, target: Target, artifact: Artifact, name: str) -> bool:
        body = _body(job, target, artifact, name, self.now())
        try:
            await self.kube.create(Backup, body, job.metadata.namespace)
        except AlreadyExists:
            return await self._is_written(job, artifact, name)
        return True

    async def _is_written(self, job: BackupJob, artifact: Artifact, name: str) -> bool:
        """Whether the Backup there is the one that this run wrote: an annotation alone could be anybody's."""
        try:
            existing = await self.kube.get(Backup, name, job.metadata.namespace)
        except NotFound:
            return False
        is_ours = existing.metadata.annotations.get(JOB_UID) == job.metadata.uid
        return is_ours and existing.spec.driver_metadata == dict(artifact.driver_metadata)

    async def has_result(self, job: BackupJob) -> bool:
        """Whether any Backup in the namespace was made by this run."""
        backups = (await self.kube.list(Backup, job.metadata.namespace)).items
        return any(backup.metadata.annotations.get(JOB_UID) == job.metadata.uid for backup in backups)

    async def not_begun_by_us(self, job: BackupJob) -> float | None:
        """Leave it alone: another controller may be at work on it."""
        return None


def _body(job: BackupJob, target: Target, artifact: Artifact, name: str, now: datetime) -> Mapping[str, Any]:
    spec = {
        "applicationRef": job.spec.application_ref.written(),
        "strategyRef": target.strategy_ref.written(),
        "takenAt": artifact.taken_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "driverMetadata": dict(artifact.driver_metadata),
    }
    if job.spec.plan_ref is not None:
        spec["planRef"] = {"name": job.spec.plan_ref.name}
    annotations = {JOB_UID: job.metadata.uid, CLASS: target.class_name}
    return {
        "metadata": {"name": name, "labels": dict(job.metadata.labels), **latched(target.deletion_policy, annotations)},
        "spec": spec,
        "status": {
            "phase": "Ready",
            "artifact": {"uri": artifact.uri, "sizeBytes": artifact.size_bytes},
            "conditions": with_conditions([], artifact.conditions, now, 1),
        },
    }
