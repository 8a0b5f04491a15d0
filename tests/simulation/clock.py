"""The event loop of a simulation."""

from asyncio import AbstractEventLoop

import looptime


def new_event_loop() -> AbstractEventLoop:
    """A loop in virtual time that moves on at once when nothing is left to do: no thread and no socket joins in."""
    loop: AbstractEventLoop = looptime.new_event_loop(noop_cycles=0)
    return loop
