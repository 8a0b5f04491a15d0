import pytest
from tests.simulation.clock import new_event_loop


@pytest.fixture
def anyio_backend():
    """Asyncio in virtual time."""
    return "asyncio", {"loop_factory": new_event_loop}
