import logging

import pytest
from tests.simulation.clock import new_event_loop


@pytest.fixture
def anyio_backend():
    """Asyncio in virtual time."""
    return "asyncio", {"loop_factory": new_event_loop}


@pytest.fixture(autouse=True)
def _silence():
    """A story tells what happened; log lines cost a third of the time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
