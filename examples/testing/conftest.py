import looptime
import pytest
import trio.testing


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Both loops under a clock that jumps over every wait: hours of polling take milliseconds."""
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": looptime.new_event_loop}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
