"""Not there yet."""

from collections.abc import Mapping

from cozydrivers.drivers.base import AuditRun, Finding
from cozydrivers.drivers.mariadb.store import Access


async def audit(run: AuditRun, access: Access) -> Mapping[str, Finding]:
    """Not there yet."""
    raise NotImplementedError
