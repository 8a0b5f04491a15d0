"""One step of a driver, or one look: in its time; what is absent is waited for, bad input is the end."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import anyio

from cozydrivers.drivers.base import Failed, Finding, Outcome, Patience, Running
from cozydrivers.errors import InvalidInput

T = TypeVar("T")

STEP_TIMEOUT = 120.0
"""Seconds that one step may take."""
LOOK_TIMEOUT = 600.0
"""Seconds that the look at all Backups of an application may take."""


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


async def audited(look: Awaitable[Mapping[str, Finding]]) -> Mapping[str, Finding]:
    """A look at Backups in its time; nothing is found of them where something is absent."""
    try:
        with anyio.fail_after(LOOK_TIMEOUT):
            return await look
    except (Missing, TimeoutError):
        return {}


async def seen(look: Awaitable[T], unseen: Callable[[str], T], *, too_long: str) -> T:
    """A look in its time; what is in its way is told to `unseen`, in a sentence."""
    try:
        with anyio.fail_after(LOOK_TIMEOUT):
            return await look
    except (Missing, InvalidInput, TimeoutError) as trouble:
        return unseen(str(trouble) or too_long)
