"""Starts the real servers once, and a scene of its own for each test: `make e2e`."""

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import kube, mariadb_scene
from tests.e2e.mariadb_operators import label, operating, those_at_hand
from tests.e2e.mariadb_scene import MariaDBScene
from tests.e2e.scene import Controller, Scene, opened
from tests.real import RealClickHouse, RealCluster, RealMariaDB, RealS3, RealZooKeeper, find_binaries
from tests.real.mariadb_operator import Operator
from tests.real.processes import loopback
from tests.real.report import participants
from tests.real.sidecar import ABSENT, Binary

REAL = os.environ.get("COZYDRIVERS_E2E") == "1"
FIXTURES = Path(__file__).parents[2] / "fixtures"
PASSWORD = secrets.token_hex(12)
NEEDED = ("mariadb", "s3", "etcd", "kube-apiserver")


collect_ignore_glob = [] if REAL else ["test_*.py"]


def pytest_report_header() -> list[str]:
    return [str(each) for each in participants()] if REAL else ["end to end: on real servers only, by `make e2e`"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REAL and not _missing():
        operators = ", ".join(label(each) for each in those_at_hand())
        terminalreporter.write_line(f"Backups and Restores of MariaDB were worked on by {operators}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    newest = metafunc.definition.get_closest_marker("newest")
    if "binary" in metafunc.fixturenames:
        found = find_binaries() if REAL else []
        _parametrize(metafunc, "binary", found[-1:] if newest else found, ABSENT, ids=lambda binary: binary.version)
    if "operator" in metafunc.fixturenames:
        operators = those_at_hand() if REAL and not _missing() else []
        _parametrize(metafunc, "operator", operators[-1:] if newest else operators, _missing(), ids=label)


def _parametrize(
    metafunc: pytest.Metafunc, name: str, found: Sequence[object], absent: str, *, ids: Callable[[Any], str]
) -> None:
    """With each that was found, else one test that is skipped and says why."""
    reason = absent if REAL else "on real servers only: make e2e"
    skipped = pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))
    if found:
        metafunc.parametrize(name, found, ids=ids, scope="module")
    else:
        metafunc.parametrize(name, [skipped])


@cache
def _missing() -> str:
    """What a test of MariaDB can't do without and is not on this machine, empty where all is."""
    return ", ".join(str(each) for each in participants() if each.name in NEEDED and not each.version)


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


@pytest.fixture(scope="session")
async def mariadbs() -> AsyncIterator[tuple[RealMariaDB, RealMariaDB]]:
    """Two servers with one password, which is found nowhere else."""
    first, second = (RealMariaDB(loopback(number), password=PASSWORD) for number in (66, 67))
    async with first, second:
        yield first, second


@pytest.fixture(scope="module")
async def mariadb_tenant(
    operator: Operator | None, cluster: RealCluster, store: RealS3, mariadbs: tuple[RealMariaDB, RealMariaDB]
) -> AsyncIterator[MariaDBScene]:
    """A tenant with MariaDB in a new namespace, and a controller for it: one for all tests of a file."""
    async with (
        operating(operator, cluster) as playing,
        mariadb_scene.tenancy(cluster, store, mariadbs, playing, operator) as tenant,
    ):
        yield tenant


@pytest.fixture
async def mariadb(mariadb_tenant: MariaDBScene) -> AsyncIterator[MariaDBScene]:
    """The tenant with empty databases, and a strategy and a class of the test's own."""
    scene = await mariadb_scene.begun(mariadb_tenant)
    yield scene
    await mariadb_scene.ended(scene)
