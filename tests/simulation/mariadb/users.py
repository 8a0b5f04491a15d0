"""What the users of an application do, one thing after another, whether the last one has ended or not."""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
from tests.simulation.mariadb.world import World
from tests.simulation.users_everywhere import PATIENCE, AnyUser, act

from cozydrivers.api.backups import BackupJob, RestoreJob

OPTIONS: list[dict[str, object]] = [
    {},
    {},
    {"skipSafetyCopy": True},
    {"database": "shop"},
    {"requireIdle": True},
    {"dryRun": True},
    {"timeoutSeconds": 20},
]


class User(AnyUser):
    """One user of one application."""

    pause = 2.0

    def __init__(self, world: World, app: str, chance: random.Random) -> None:
        super().__init__(world, app, chance)
        self.world = world
        self.app = app

    def _asks_for_backup(self, name: str) -> None:
        self.world.backs_up(name, self.app)

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
    await act(user, does)
