"""Not there yet."""

from cozydrivers.drivers.base import Inspection, Recoverability
from cozydrivers.drivers.mariadb.store import Access


async def inspect(run: Inspection, access: Access) -> Recoverability:
    """Not there yet."""
    raise NotImplementedError
