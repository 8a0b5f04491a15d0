"""Starts the real servers once, and a scene of its own for each test: `make e2e`."""

import contextlib
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import yaml
from tests.e2e import kube
from tests.e2e.scene import Controller, Scene
from tests.e2e.shard import Shard
from tests.real import RealClickHouse, RealCluster, RealS3, RealSidecar, find_binaries
from tests.real.report import participants
from tests.real.sidecar import ABSENT, Binary

REAL = os.environ.get("COZYDRIVERS_E2E") == "1"
FIXTURES = Path(__file__).parents[2] / "fixtures"
PATHS = itertools.count(1)


collect_ignore_glob = [] if REAL else ["test_*.py"]


def pytest_report_header() -> list[str]:
    return [str(each) for each in participants()] if REAL else ["end to end: on real servers only, by `make e2e`"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "binary" in metafunc.fixturenames:
        reason = ABSENT if REAL else "on real servers only: make e2e"
        absent = pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))
        found = find_binaries() if REAL else []
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
            for manifest in yaml.safe_load_all((FIXTURES / "seed" / "clickhouse.yaml").read_text()):
                await kube.apply(client, manifest)
        yield cluster


@pytest.fixture(scope="session")
async def store() -> AsyncIterator[RealS3]:
    async with RealS3() as s3:
        yield s3


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Sequence[RealClickHouse]]:
    async with RealClickHouse("127.0.0.61", shard="0") as first, RealClickHouse("127.0.0.62", shard="1") as second:
        yield first, second


@pytest.fixture
async def scene(
    binary: Binary, cluster: RealCluster, store: RealS3, servers: Sequence[RealClickHouse]
) -> AsyncIterator[Scene]:
    """Two empty shards with new sidecars on a path of their own, a new namespace, and a controller for it."""
    password, path = secrets.token_hex(12), f"e2e/{next(PATHS)}"
    namespace = await cluster.namespace("tenant")
    async with contextlib.AsyncExitStack() as stack:
        shards = []
        for clickhouse in servers:
            sidecar = RealSidecar(binary, clickhouse, store, path=path, password=password, env={"LOG_LEVEL": "debug"})
            shards.append(Shard(clickhouse, sidecar))
            await shards[-1].empty()
            await stack.enter_async_context(sidecar)
        client = await stack.enter_async_context(cluster.client())
        controller = Controller(cluster.kubeconfig(), namespace)
        scene = Scene(cluster, namespace, store, path, shards, controller, client, password)
        await scene.set_up()
        await stack.enter_async_context(controller)
        yield scene
        await controller.terminate()
