"""Starts the real servers once, and a scene of its own for each test: `make e2e`."""

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.e2e import kube
from tests.e2e.scene import Controller, Scene, opened
from tests.real import RealClickHouse, RealCluster, RealS3, RealZooKeeper, find_binaries
from tests.real.processes import loopback
from tests.real.report import participants
from tests.real.sidecar import ABSENT, Binary

REAL = os.environ.get("COZYDRIVERS_E2E") == "1"
FIXTURES = Path(__file__).parents[2] / "fixtures"


collect_ignore_glob = [] if REAL else ["test_*.py"]


def pytest_report_header() -> list[str]:
    return [str(each) for each in participants()] if REAL else ["end to end: on real servers only, by `make e2e`"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "binary" in metafunc.fixturenames:
        reason = ABSENT if REAL else "on real servers only: make e2e"
        absent = pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))
        found = find_binaries() if REAL else []
        if metafunc.definition.get_closest_marker("newest"):
            found = found[-1:]
        metafunc.parametrize("binary", found or [absent], ids=lambda binary: binary.version)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
async def cluster() -> AsyncIterator[RealCluster]:
    """A cluster with the CRDs, and with the strategy and the BackupClass of the guide, unchanged."""
    async with RealCluster() as cluster:
        await cluster.apply_crds(FIXTURES / "crds")
        async with cluster.client() as client:
            await kube.apply_file(client, FIXTURES / "seed" / "clickhouse.yaml")
        yield cluster


@pytest.fixture(scope="session")
async def store() -> AsyncIterator[RealS3]:
    async with RealS3() as s3:
        yield s3


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Sequence[RealClickHouse]]:
    async with RealClickHouse(loopback(61), shard="0") as first, RealClickHouse(loopback(62), shard="1") as second:
        yield first, second


@pytest.fixture(scope="session")
async def replicas() -> AsyncIterator[Sequence[RealClickHouse]]:
    """Two replicas of one shard."""
    async with (
        RealZooKeeper(loopback(69)) as zookeeper,
        RealClickHouse(loopback(64), shard="0", replica="0", zookeeper=zookeeper) as first,
        RealClickHouse(loopback(65), shard="0", replica="1", zookeeper=zookeeper) as second,
    ):
        yield first, second


@pytest.fixture
async def scene(
    binary: Binary, cluster: RealCluster, store: RealS3, servers: Sequence[RealClickHouse]
) -> AsyncIterator[Scene]:
    """A tenant in a new namespace, with an application of two shards, and a controller for it."""
    async with _tenant(binary, cluster, store, servers) as scene:
        yield scene


@pytest.fixture
async def replicated(
    binary: Binary, cluster: RealCluster, store: RealS3, replicas: Sequence[RealClickHouse]
) -> AsyncIterator[Scene]:
    """A tenant in a new namespace, with an application of one shard and two replicas, and a controller for it."""
    async with _tenant(binary, cluster, store, replicas) as scene:
        yield scene


@contextlib.asynccontextmanager
async def _tenant(
    binary: Binary, cluster: RealCluster, store: RealS3, servers: Sequence[RealClickHouse]
) -> AsyncIterator[Scene]:
    namespace = await cluster.namespace("tenant")
    controller = Controller(cluster.kubeconfig(), namespace)
    async with opened(binary, cluster, store, servers, namespace, controller) as scene, controller:
        yield scene
        await controller.terminate()
