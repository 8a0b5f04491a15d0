"""Not there yet."""

from cozydrivers.drivers.base import Importable, Inspection
from cozydrivers.drivers.mariadb.store import Access


async def find(run: Inspection, access: Access) -> Importable:
    """Not there yet."""
    raise NotImplementedError
