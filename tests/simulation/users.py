"""What the users of an application do, one thing after another, whether the last one has ended or not."""

import random
from collections.abc import Awaitable, Callable

from tests.simulation.users_everywhere import AnyUser, act
from tests.simulation.world import World

from cozydrivers.api.backups import RestoreJob
from cozydrivers.testing.operators import Installation

OPTIONS: list[dict[str, object]] = [{}, {}, {"overwrite": False}, {"tables": ["shop.orders"]}]


class User(AnyUser):
    """One user of one application."""

    def __init__(self, world: World, app: Installation, chance: random.Random) -> None:
        super().__init__(world, app.name, chance)
        self.world = world
        self.app = app

    def _asks_for_backup(self, name: str) -> None:
        self.world.backs_up(name, self.app)

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
        await self._stops(RestoreJob, name, within=20)
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

    def writes(self) -> None:
        """Tables are there again, with more rows."""
        if not self._is_restoring():
            self.world.makes_tables(self.app, self.chance.randint(1, 9))
            self.world.inserts(self.app, self.chance.randint(1, 3))


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
    await act(user, does)
