"""What the users of an application do, one thing after another, whether the last one has ended or not."""

import random
from collections.abc import Awaitable, Callable

import anyio
from tests.cozydrivers.stage import TENANT
from tests.simulation.world import World

from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.testing.operators import Installation

PATIENCE = 900.0
OPTIONS: list[dict[str, object]] = [{}, {}, {"overwrite": False}, {"tables": ["shop.orders"]}]


class User:
    """One user of one application."""

    def __init__(self, world: World, app: Installation, chance: random.Random) -> None:
        self.world = world
        self.app = app
        self.chance = chance
        self._number = 0

    def _name(self, what: str) -> str:
        self._number += 1
        return f"{what}-{self.app.name[:2]}-{self._number}"

    async def _end_of(self, kind: type[KubeObject], name: str, *, until_gone: bool = False) -> None:
        """Wait for the end of a job, but not for ever."""
        until = anyio.current_time() + PATIENCE
        while anyio.current_time() < until:
            found = self.world.find(kind, name)
            if found is None or (not until_gone and found.get("status", {}).get("phase") in ("Succeeded", "Failed")):
                return
            await anyio.sleep(0.5)

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
        await anyio.sleep(self.chance.choice([0.0, self.chance.uniform(0, 2), self.chance.uniform(0, 30)]))
        if self.world.find(BackupJob, name):
            self.world.deletes(BackupJob, name)

    async def _a_backup(self) -> str:
        found = self.world.backups(self.app)
        if not found:
            await self.backs_up()
            found = self.world.backups(self.app)
        return self.chance.choice(found) if found else ""

    async def restores(self) -> None:
        """Tables are lost, and brought back; who has lost them waits for the end."""
        if name := await self._begins_to_restore():
            await self._end_of(RestoreJob, name)

    async def _begins_to_restore(self) -> str:
        """The RestoreJob of tables that are lost; empty where there is nothing to restore them from."""
        backup = await self._a_backup()
        if not backup:
            return ""
        self.world.drops_tables(self.app)
        name = self._name("restore")
        self.world.restores(name, backup)
        return name

    async def restores_and_stops(self) -> None:
        """A RestoreJob that is deleted in the middle."""
        name = await self._begins_to_restore()
        if not name:
            return
        await anyio.sleep(self.chance.choice([0.0, self.chance.uniform(0, 2), self.chance.uniform(0, 20)]))
        if self.world.find(RestoreJob, name):
            self.world.deletes(RestoreJob, name)
        await self._end_of(RestoreJob, name, until_gone=True)

    async def restores_over_what_is_there(self) -> None:
        """A restore while the tables exist, with other rows."""
        backup = await self._a_backup()
        if not backup:
            return
        self.world.inserts(self.app, 3)
        name = self._name("restore")
        self.world.restores(name, backup, **self.chance.choice(OPTIONS))
        await self._end_of(RestoreJob, name)

    async def deletes(self) -> None:
        """The deletion of a Backup."""
        backup = await self._a_backup()
        if backup:
            self.world.deletes(Backup, backup)
            await anyio.sleep(self.chance.uniform(0, 5))

    def writes(self) -> None:
        """Tables are there again, with more rows."""
        if not self._is_restoring():
            self.world.makes_tables(self.app, self.chance.randint(1, 9))
            self.world.inserts(self.app, self.chance.randint(1, 3))

    def _is_restoring(self) -> bool:
        """Whether a restore of this application may still be at work: then nobody touches its tables."""
        found = self.world.cluster.act("GET", RestoreJob.resource.path(TENANT))["items"]
        return any(
            job.get("status", {}).get("phase") not in ("Succeeded", "Failed") or job["metadata"].get("finalizers")
            for job in found
        )


async def use(world: World, app: Installation, chance: random.Random) -> None:
    """Do some of it."""
    user = User(world, app, chance)
    does: list[Callable[[], Awaitable[object]]] = [
        user.backs_up,
        user.backs_up,
        user.backs_up_twice_at_once,
        user.backs_up_and_stops,
        user.restores,
        user.restores,
        user.restores_and_stops,
        user.restores_over_what_is_there,
        user.deletes,
    ]
    for _ in range(chance.choice([1, 1, 1, 2])):
        await chance.choice(does)()
        await anyio.sleep(chance.choice([0.0, chance.uniform(0, 5)]))
        if chance.random() < 0.5:
            user.writes()
