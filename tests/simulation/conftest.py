import looptime
import pytest


@pytest.fixture
def anyio_backend():
    """Asyncio in virtual time."""
    return "asyncio", {"loop_factory": looptime.new_event_loop}
