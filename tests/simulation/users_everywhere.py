"""What users of any engine do alike, one thing after another, whether the last one has ended or not."""

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

import anyio
from tests.simulation.ground import Ground

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject

PATIENCE = 900.0


class AnyUser(ABC):
    """One user of one application, called `called`, who looks every `pause` seconds."""

    pause: ClassVar[float] = 0.5

    def __init__(self, ground: Ground, called: str, chance: random.Random) -> None:
        self.chance = chance
        self._ground = ground
        self._called = called
        self._number = 0

    @abstractmethod
    def _asks_for_backup(self, name: str) -> None:
        """Create a BackupJob."""

    @abstractmethod
    def writes(self) -> None:
        """Change the data, unless a restore may be at work."""

    def _name(self, what: str) -> str:
        self._number += 1
        return f"{what}-{self._called[:2]}-{self._number}"

    async def _end_of(self, kind: type[KubeObject], name: str, *, until_gone: bool = False) -> None:
        """Wait for the end of a job, but not for ever."""
        until = anyio.current_time() + PATIENCE
        while anyio.current_time() < until:
            found = self._ground.find(kind, name)
            if found is None or (not until_gone and found.get("status", {}).get("phase") in ("Succeeded", "Failed")):
                return
            await anyio.sleep(self.pause)

    async def _stops(self, kind: type[KubeObject], name: str, *, within: float = 30) -> None:
        """Delete a job in the middle, if it is there yet."""
        await anyio.sleep(self.chance.choice([0.0, self.chance.uniform(0, 2), self.chance.uniform(0, within)]))
        if self._ground.find(kind, name):
            self._ground.deletes(kind, name)

    async def backs_up(self) -> None:
        """A backup, waited for."""
        name = self._name("backup")
        self._asks_for_backup(name)
        await self._end_of(BackupJob, name)

    async def backs_up_twice_at_once(self) -> None:
        """Two backups; the second may wait for the first."""
        for name in (self._name("backup"), self._name("backup")):
            self._asks_for_backup(name)
            await anyio.sleep(self.chance.choice([0.0, 0.1, 2.0]))

    async def backs_up_and_stops(self) -> None:
        """A BackupJob that is deleted in the middle."""
        name = self._name("backup")
        self._asks_for_backup(name)
        await self._stops(BackupJob, name)

    async def _a_backup(self) -> str:
        found = self._ground.backups_of(self._called)
        if not found:
            await self.backs_up()
            found = self._ground.backups_of(self._called)
        return self.chance.choice(found) if found else ""

    async def deletes(self) -> None:
        """The deletion of a Backup."""
        backup = await self._a_backup()
        if backup:
            self._ground.deletes(Backup, backup)
            await anyio.sleep(self.chance.uniform(0, 5))

    def _is_restoring(self) -> bool:
        """Whether a restore may still be at work: then nobody touches tables."""
        return bool(self._jobs_at_work(RestoreJob))

    def _jobs_at_work(self, kind: type[KubeObject]) -> list[str]:
        return [
            job["metadata"]["name"]
            for job in self._ground.cluster.stored(kind.resource)
            if job.get("status", {}).get("phase") not in ("Succeeded", "Failed") or job["metadata"].get("finalizers")
        ]


async def act(user: AnyUser, does: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Do some of it."""
    chance = user.chance
    for _ in range(chance.choice([1, 1, 1, 2])):
        await chance.choice(does)()
        await anyio.sleep(chance.choice([0.0, chance.uniform(0, 5)]))
        if chance.random() < 0.5:
            user.writes()
