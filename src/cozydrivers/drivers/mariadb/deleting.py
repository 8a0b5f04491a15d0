"""Not there yet."""

from cozydrivers.drivers.base import DeleteRun, Outcome
from cozydrivers.drivers.mariadb.store import Access


async def step(run: DeleteRun, access: Access) -> Outcome:
    """Not there yet."""
    raise NotImplementedError
