from functools import partial

import looptime
import pytest
import trio.testing

VERSIONS = {"asyncio": "2.7.4", "trio": "2.8.1-dev"}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": partial(looptime.new_event_loop, noop_cycles=0)}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def version(anyio_backend):
    """Each backend with a version of its own: both of both, at half the cost of all four pairs."""
    return VERSIONS[anyio_backend[0]]


@pytest.fixture
def fake(version):
    from chbackup.testing import FakeSidecar

    sidecar = FakeSidecar(username="backup", password="secret-of-tests", version=version)
    sidecar.tables.add_table("shop.orders", 1000, partitions=6)
    sidecar.tables.add_table("shop.items", 10)
    return sidecar


@pytest.fixture
async def client(fake):
    async with fake.client() as client:
        yield client
