"""One step of a driver: in its time; what is absent is waited for, bad input is the end."""

from collections.abc import Awaitable

import anyio

from cozydrivers.drivers.base import Failed, Outcome, Patience, Running
from cozydrivers.errors import InvalidInput

STEP_TIMEOUT = 120.0
"""Seconds that one step may take."""


class Missing(Exception):
    """Something that a run needs is absent or out of reach; waited for, with `reason` as the condition's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


async def timed(step: Awaitable[Outcome]) -> Outcome:
    """A step in its time."""
    try:
        with anyio.fail_after(STEP_TIMEOUT):
            return await step
    except Missing as missing:
        return Running(missing.reason, missing.message, 5.0, patience=Patience.ABSENT)
    except InvalidInput as error:
        return Failed("Refused", str(error))
