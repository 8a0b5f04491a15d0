"""RestoreJobs: each restores the Backup that it names, or fails saying why."""

from dataclasses import replace
from typing import Any

from cozydrivers.api.backups import Backup, RestoreJob
from cozydrivers.controllers import restored
from cozydrivers.controllers.job import JobController
from cozydrivers.controllers.ledger import BACKUP_LIMIT, ledger_of
from cozydrivers.controllers.lock import target_of
from cozydrivers.controllers.resolve import (
    Absence,
    Refusal,
    Target,
    driver_for_application,
    restore_target,
    stand_in,
    without_strategy,
)
from cozydrivers.drivers.base import Driver, Failed, Outcome, RestoreRun, Run, Succeeded
from cozydrivers.errors import NotFound


class RestoreJobController(JobController[RestoreJob]):
    """Follows RestoreJobs; see `JobController`."""

    kind = RestoreJob
    done_reason = "RestoreCompleted"

    async def resolve(self, job: RestoreJob) -> Target:
        """By the Backup that it names."""
        if not job.spec.backup_ref.name:
            raise Refusal("spec.backupRef.name is empty")
        backup = await self._backup(job)
        if backup is None:
            raise self._without_backup(job)
        if not _has_begun(job):
            _check_phase(backup)
        target = await restore_target(
            self.caches, self.drivers, job.metadata.namespace, backup, job.spec.target_application_ref
        )
        return replace(target, timeout=restored.timeout(job, target.timeout))

    async def resolve_for_cleanup(self, job: RestoreJob) -> Target:
        """By the Backup where that still resolves, else by what the job's lock was for."""
        try:
            return await self.resolve(job)
        except (Absence, Refusal):
            reference = ledger_of(job).application
            driver = driver_for_application(self.drivers, reference)
            return await without_strategy(self.caches, driver, stand_in(driver, reference, job.metadata.namespace))

    async def _backup(self, job: RestoreJob) -> Backup | None:
        """Before anything is begun it is read uncached: another Backup may have its name by now (I1, I11).

        After that it is the one that it was, also where it has been deleted since: a restore is not broken off for it.
        """
        uid, begun = job.metadata.uid, _has_begun(job)
        known = self._held.get(uid) if begun else None
        get = self.caches.get if begun else self.kube.get
        try:
            found = await get(Backup, job.spec.backup_ref.name, job.metadata.namespace)
        except NotFound:
            return known
        if known is not None and known.metadata.uid != found.metadata.uid:
            return known
        if begun:
            self._held[uid] = found
        return found

    def _without_backup(self, job: RestoreJob) -> Refusal | Absence:
        """A restore that has begun is not broken off at once: its Backup may be applied again."""
        message = f"Backup {job.metadata.namespace}/{job.spec.backup_ref.name} does not exist (spec.backupRef.name)"
        created = job.metadata.creation_timestamp
        late = created is not None and self.now() - created > BACKUP_LIMIT
        return Refusal(message) if late and not _has_begun(job) else Absence("BackupNotFound", message)

    async def run_of(self, job: RestoreJob, target: Target) -> RestoreRun:
        """The run of a restore."""
        options = {key: value for key, value in job.spec.options.items() if key != restored.REPEAT}
        return RestoreRun(**self.situation(job, target), backup=await self._backup(job), options=options)

    async def refusal(self, job: RestoreJob, target: Target) -> str:
        """One that was done already is not done again."""
        word = job.spec.options.get(restored.REPEAT, "a word")
        if not isinstance(word, str) or not word:
            return f"spec.options.{restored.REPEAT} must be a text that is not empty"
        backup = await self._backup(job)
        if backup is None or restored.is_dry_run(job):
            return ""
        new = restored.entry(job, target.application, backup, self.now())
        return restored.refusal(new, await restored.look(self.kube, target_of(target.application)))

    async def step(self, driver: Driver, run: Run) -> Outcome:
        """One step of the restore."""
        assert isinstance(run, RestoreRun)
        return await driver.restore(run)

    async def finish(self, job: RestoreJob, target: Target, outcome: Succeeded) -> dict[str, Any]:
        """Let the application's lock tell of the restore."""
        backup = await self._backup(job)
        if backup is not None and not restored.is_dry_run(job):
            new = restored.entry(job, target.application, backup, self.now())
            await restored.record(self.kube, target_of(target.application), new)
        return {}

    async def has_result(self, job: RestoreJob) -> bool:
        """A restore leaves nothing behind that its clean-up could remove."""
        return False

    async def not_begun_by_us(self, job: RestoreJob) -> float | None:
        """Fail it, untouched: what another controller has begun can't be taken over."""
        message = "it is Running and was not begun by this controller; create a new RestoreJob"
        return await self.end(job, Failed("Refused", message))


def _has_begun(job: RestoreJob) -> bool:
    return ledger_of(job).driver is not None


def _check_phase(backup: Backup) -> None:
    if backup.status.phase == "Failed":
        raise Refusal(f"Backup {backup.metadata.name} is Failed (spec.backupRef.name)")
    if backup.status.phase != "Ready":
        phase = backup.status.phase or "not set"
        raise Absence("BackupNotReady", f"Backup {backup.metadata.name} is not Ready; its phase is {phase}")
