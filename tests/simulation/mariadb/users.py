"""What the users of an application do, one thing after another, whether the last one has ended or not."""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
from tests.simulation.mariadb.world import World

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject

PATIENCE = 900.0
OPTIONS: list[dict[str, object]] = [
    {},
    {},
    {"skipSafetyCopy": True},
    {"database": "shop"},
    {"requireIdle": True},
    {"dryRun": True},
    {"timeoutSeconds": 20},
]


class User:
    """One user of one application."""

    def __init__(self, world: World, app: str, chance: random.Random) -> None:
        self.world = world
        self.app = app
        self.chance = chance
        self._number = 0

    def _name(self, what: str) -> str:
        self._number += 1
        return f"{what}-{self.app[:2]}-{self._number}"

    async def _end_of(self, kind: type[KubeObject], name: str) -> None:
        """Wait for the end of a job, but not for ever."""
        until = anyio.current_time() + PATIENCE
        while anyio.current_time() < until:
            found = self.world.find(kind, name)
            if found is None or found.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                return
            await anyio.sleep(2.0)

    async def backs_up(self) -> None:
        """A backup, waited for."""
        name = self._name("backup")
        self.world.backs_up(name, self.app)
        await self._end_of(BackupJob, name)

    async def backs_up_twice_at_once(self) -> None:
        """Two backups; the second may wait for the first."""
        for name in (self._name("backup"), self._name("backup")):
            self.world.backs_up(name, self.app)
            await anyio.sleep(self.chance.choice([0.0, 0.1, 2.0]))

    async def backs_up_and_stops(self) -> None:
        """A BackupJob that is deleted in the middle."""
        name = self._name("backup")
        self.world.backs_up(name, self.app)
        await self._stops(BackupJob, name)

    async def _stops(self, kind: type[KubeObject], name: str) -> None:
        await anyio.sleep(self.chance.choice([0.0, self.chance.uniform(0, 2), self.chance.uniform(0, 30)]))
        if self.world.find(kind, name):
            self.world.deletes(kind, name)

    async def backs_up_under_one_name(self) -> None:
        """A BackupJob that is deleted, and created again under its name at once."""
        await self.backs_up_and_stops()
        name = f"backup-{self.app[:2]}-{self._number}"
        with anyio.move_on_after(PATIENCE):
            while self.world.find(BackupJob, name):  # noqa: ASYNC110 - nothing tells when it is gone
                await anyio.sleep(1.0)
        if self.world.find(BackupJob, name) is None:
            self.world.backs_up(name, self.app)
            await self._end_of(BackupJob, name)

    async def _a_backup(self) -> str:
        found = self.world.backups_of(self.app)
        if not found:
            await self.backs_up()
            found = self.world.backups_of(self.app)
        return self.chance.choice(found) if found else ""

    async def _begins_to_restore(self) -> str:
        """A RestoreJob; empty where there is nothing to restore from."""
        backup = await self._a_backup()
        if not backup:
            return ""
        if not self._is_restoring():
            change = self.chance.choice([self.world.loses_tables, lambda app: self.world.writes(app, 5)])
            change(self.app)
        name = self._name("restore")
        target = self.chance.choice(self.world.apps) if self.chance.random() < 0.5 else ""
        self.world.restores(name, backup, target, **self.chance.choice(OPTIONS))
        return name

    async def restores(self) -> None:
        """A restore, waited for."""
        if name := await self._begins_to_restore():
            await self._end_of(RestoreJob, name)

    async def restores_twice_at_once(self) -> None:
        """Two restores; the second waits for the first."""
        if await self._begins_to_restore():
            await anyio.sleep(self.chance.choice([0.0, 0.1, 5.0]))
            await self.restores()

    async def restores_and_backs_up(self) -> None:
        """A restore and a backup on one server."""
        if await self._begins_to_restore():
            await anyio.sleep(self.chance.choice([0.0, 0.1, self.chance.uniform(0, 20)]))
            await self.backs_up()

    async def restores_and_stops(self) -> None:
        """A RestoreJob that is deleted in the middle."""
        if name := await self._begins_to_restore():
            await self._stops(RestoreJob, name)

    async def deletes(self) -> None:
        """The deletion of a Backup."""
        backup = await self._a_backup()
        if backup:
            self.world.deletes(Backup, backup)
            await anyio.sleep(self.chance.uniform(0, 5))

    async def waits_long(self) -> None:
        """Two backups, and hours after: what is too old goes, where the strategy says so."""
        await self.backs_up()
        await anyio.sleep(2.0)
        await self.backs_up()
        if not any(self._jobs_at_work(kind) for kind in (BackupJob, RestoreJob)):
            self.world.story.tell("two hours pass")
            self.world.cluster.ahead += timedelta(hours=2)
            await self.backs_up()

    def writes(self) -> None:
        """Other rows are there."""
        if not self._is_restoring():
            self.world.writes(self.app, self.chance.randint(10, 99))

    def _is_restoring(self) -> bool:
        """Whether a restore may be at work: then nobody touches tables."""
        return bool(self._jobs_at_work(RestoreJob))

    def _jobs_at_work(self, kind: type[KubeObject]) -> list[str]:
        found = self.world.cluster.stored(kind.resource)
        return [
            job["metadata"]["name"]
            for job in found
            if job.get("status", {}).get("phase") not in ("Succeeded", "Failed") or job["metadata"].get("finalizers")
        ]


async def use(world: World, app: str, chance: random.Random) -> None:
    """Do some of it."""
    user = User(world, app, chance)
    does: list[Callable[[], Awaitable[object]]] = [
        user.backs_up,
        user.backs_up_twice_at_once,
        user.backs_up_and_stops,
        user.backs_up_under_one_name,
        user.restores,
        user.restores,
        user.restores_twice_at_once,
        user.restores_and_backs_up,
        user.restores_and_stops,
        user.deletes,
        user.waits_long,
    ]
    for _ in range(chance.choice([1, 1, 1, 2])):
        await chance.choice(does)()
        await anyio.sleep(chance.choice([0.0, chance.uniform(0, 5)]))
        if chance.random() < 0.5:
            user.writes()
