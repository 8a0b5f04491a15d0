"""What the stories share: the guide's manifests, and a tenant whose jobs are followed on screen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import yaml

from cozydrivers.api import strategy
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.demo.screen import Screen
from cozydrivers.kube import KubeClient

Job = TypeVar("Job", BackupJob, RestoreJob)


def fixtures() -> Path:
    """The folder of manifests: packed into the wheel, or that of the source tree."""
    packed = Path(__file__).parent / "fixtures"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "fixtures"


async def apply_seed(screen: Screen, kube: KubeClient, file: str, **parameters: str) -> None:
    """Apply a strategy and a BackupClass of the guide, unchanged but for parameters of the class."""
    kinds: tuple[type[KubeObject], ...] = (strategy.Altinity, strategy.MariaDB, BackupClass)
    by_kind = {kind.resource.kind: kind for kind in kinds}
    for body in yaml.safe_load_all((fixtures() / "seed" / file).read_text(encoding="utf-8")):
        said = ""
        if parameters and body["kind"] == "BackupClass":
            body["spec"]["strategies"][0]["parameters"] = parameters
            said = f", with {', '.join(f'{key}: {value}' for key, value in parameters.items())}"
        await kube.create(by_kind[body["kind"]], body)
        screen.say(f"applied {body['kind']} {body['metadata']['name']}{said}")


@dataclass(frozen=True)
class Tenant:
    """Orders backups and restores of one application in its namespace."""

    screen: Screen
    kube: KubeClient
    namespace: str
    application: Mapping[str, str]
    class_name: str

    async def back_up(self, name: str) -> BackupJob:
        """Create a BackupJob, and follow it."""
        return await self._follow(
            BackupJob, name, {"applicationRef": dict(self.application), "backupClassName": self.class_name}
        )

    async def restore(self, name: str, backup: Backup) -> RestoreJob:
        """Create a RestoreJob of just that Backup, and follow it."""
        return await self._follow(RestoreJob, name, {"backupRef": {"name": backup.metadata.name}})

    async def made_by(self, job: BackupJob) -> Backup:
        """The Backup that a BackupJob has made."""
        reference = job.status.backup_ref
        return await self.kube.get(Backup, reference.name if reference else job.metadata.name, self.namespace)

    def check_success(self, job: BackupJob | RestoreJob) -> None:
        """Say that a job has succeeded."""
        name = f"{job.resource.kind} {job.metadata.name}"
        self.screen.check(job.status.phase == "Succeeded", f"{name} Succeeded: {job.status.message}")

    async def _follow(self, kind: type[Job], name: str, spec: Mapping[str, Any]) -> Job:
        """Create a job and print its phases as they change, until its end."""
        job = await self.kube.create(kind, {"metadata": {"name": name}, "spec": spec}, self.namespace)
        said = ""
        while True:
            now = f"{job.status.phase or 'new'}: {job.status.message}"
            if now != said:
                self.screen.say(f"[cyan]{kind.__name__} {name}[/cyan] {now}")
                said = now
            if job.status.phase in ("Succeeded", "Failed") and not job.metadata.finalizers:
                return job
            await anyio.sleep(0.05)
            job = await self.kube.get(kind, name, self.namespace)
