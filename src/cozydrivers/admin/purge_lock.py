"""The locks that a purge holds while it deletes. It is no object of the cluster, so that they last and are renewed."""

from collections.abc import Callable, Sequence
from datetime import datetime

import anyio

from cozydrivers.errors import ApiError
from cozydrivers.runtime.locks import Holder, Lock, Locks

LASTS = 120
"""Seconds for which a lock is held after the last renewal."""
RENEWED = 30.0
"""Seconds between two renewals."""
PATIENCE = LASTS + RENEWED
"""Seconds to wait for locks that others hold: so long, and those of a purge that has crashed have run out."""
_LOOK = 5.0
_RELEASE = 10.0


class Hold:
    """Locks that are held together. `lost` says why they are not any more."""

    def __init__(self, locks: Locks, holder: Holder, wanted: Sequence[Lock], now: Callable[[], datetime]) -> None:
        self.lost: str = ""
        self._locks = locks
        self._holder = holder
        self._wanted = wanted
        self._now = now
        self._turn = anyio.Lock()

    async def take(self) -> bool:
        """Take them all, or none; False when others have not given them back in time."""
        with anyio.move_on_after(PATIENCE):
            while True:
                if await self._try():
                    return True
                await anyio.sleep(_LOOK)
        return False

    async def _try(self) -> bool:
        for number, lock in enumerate(self._wanted):
            if not await self._locks.acquire(lock, self._holder, self._now(), lasts=LASTS):
                await self._release(self._wanted[:number])
                return False
        return True

    async def renew(self) -> str:
        """Renew them; answers what keeps from acting now, empty where nothing does."""
        async with self._turn:
            try:
                for lock in self._wanted:
                    if not self.lost and not await self._locks.renew(lock, self._holder, self._now(), lasts=LASTS):
                        self.lost = f"Lease {lock.namespace}/{lock.name} was lost"
            except ApiError as error:
                return f"the lock could not be renewed: {error}"
            return self.lost

    async def keep(self) -> None:
        """Renew them until cancelled."""
        while True:
            await anyio.sleep(RENEWED)
            await self.renew()

    async def release(self) -> None:
        """Give them back, even when cancelled; what can't be given back runs out."""
        with anyio.move_on_after(_RELEASE, shield=True):
            await self._release(self._wanted)

    async def _release(self, locks: Sequence[Lock]) -> None:
        for lock in locks:
            try:
                await self._locks.release(lock, self._holder)
            except ApiError:
                continue
