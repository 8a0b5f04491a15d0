"""Chooses the operator: the simulator in virtual time, or with COZYDRIVERS_CONFORMANCE=real mariadb-operator itself."""

import os
from collections.abc import AsyncIterator
from functools import partial

import looptime
import pytest
from tests.conformance.mariadb.fake_rig import fake_rig
from tests.conformance.mariadb.real_rig import real_rig
from tests.conformance.mariadb.rig import Rig
from tests.real import RealCluster, RealMariaDBOperator, find_operators
from tests.real.mariadb_operator import ABSENT
from tests.real.report import participants

from cozydrivers.testing.mariadb import Version

REAL = os.environ.get("COZYDRIVERS_CONFORMANCE") == "real"
NEEDED = ("etcd", "kube-apiserver")
VERSIONS: tuple[Version, ...] = ("25.10.2", "26.6.0")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" not in metafunc.fixturenames:
        return
    if not REAL:
        metafunc.parametrize("version", VERSIONS, scope="session")
        return
    absent = pytest.param("", id="absent", marks=pytest.mark.skip(reason=ABSENT))
    metafunc.parametrize("version", [each.version for each in find_operators()] or [absent], scope="session")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return ("asyncio", {} if REAL else {"loop_factory": partial(looptime.new_event_loop, noop_cycles=0)})


if REAL:

    @pytest.fixture(scope="session")
    async def server(version: str) -> AsyncIterator[tuple[RealCluster, RealMariaDBOperator]]:
        """A cluster of its own for each version: their CRDs differ."""
        absent = [str(each) for each in participants() if each.name in NEEDED and not each.version]
        if absent:
            pytest.skip(", ".join(absent))
        (operator,) = (each for each in find_operators() if each.version == version)
        async with RealCluster() as cluster, RealMariaDBOperator(operator, cluster) as server:
            yield cluster, server

    @pytest.fixture
    async def rig(server: tuple[RealCluster, RealMariaDBOperator]) -> AsyncIterator[Rig]:
        async with real_rig(*server) as made:
            yield made
else:

    @pytest.fixture
    async def rig(version: Version) -> AsyncIterator[Rig]:
        async with fake_rig(version) as made:
            yield made
