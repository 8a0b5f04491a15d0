from functools import partial

import looptime
import pytest


@pytest.fixture
def anyio_backend():
    """Asyncio in virtual time."""
    return "asyncio", {"loop_factory": partial(looptime.new_event_loop, noop_cycles=0)}
