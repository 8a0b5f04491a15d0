"""Chooses what the suite runs against: the fake in virtual time, or with CHBACKUP_CONFORMANCE=real the real servers."""

import os
from collections.abc import AsyncIterator
from functools import partial

import looptime
import pytest
from tests.conformance.sidecar.fake_rig import fake_rig
from tests.conformance.sidecar.rig import Rig
from tests.real import RealClickHouse, RealS3, find_binaries
from tests.real.processes import loopback
from tests.real.sidecar import ABSENT

from chbackup.testing import FakeStorage

REAL = os.environ.get("CHBACKUP_CONFORMANCE") == "real"
FAKES = ["2.7.4", "2.8.1-dev"]


SERVERS = find_binaries() if REAL else FAKES
collect_ignore_glob = [] if SERVERS else ["test_*.py"]


def pytest_report_header() -> str:
    return "" if SERVERS else f"sidecar conformance: skipped, {ABSENT}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", SERVERS, ids=lambda server: getattr(server, "version", server))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return ("asyncio", {} if REAL else {"loop_factory": partial(looptime.new_event_loop, noop_cycles=0)})


@pytest.fixture(scope="session")
async def real_store() -> AsyncIterator[RealS3]:
    async with RealS3() as s3:
        yield s3


@pytest.fixture(scope="session")
async def real_clickhouse() -> AsyncIterator[RealClickHouse]:
    async with RealClickHouse(loopback(41)) as clickhouse:
        yield clickhouse


if REAL:
    from tests.conformance.sidecar.real_rig import real_rig

    @pytest.fixture
    async def rig(server, real_clickhouse: RealClickHouse, real_store: RealS3) -> AsyncIterator[Rig]:
        async with real_rig(server, real_clickhouse, real_store) as made:
            yield made
else:

    @pytest.fixture
    async def rig(server) -> AsyncIterator[Rig]:
        async with fake_rig(server, FakeStorage()) as made:
            yield made
