"""Not there yet."""

from cozydrivers.drivers.base import Outcome, RestoreRun
from cozydrivers.drivers.mariadb.store import Access


async def step(run: RestoreRun, access: Access) -> Outcome:
    """Not there yet."""
    raise NotImplementedError
