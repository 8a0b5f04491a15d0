"""Chooses the cluster: the fake one in virtual time, or with COZYDRIVERS_CONFORMANCE=real a real API server."""

import os
from collections.abc import AsyncIterator
from functools import partial

import looptime
import pytest
from tests.conformance.kube.rig import CRDS, Rig, fake_rig, real_rig
from tests.real import RealCluster
from tests.real.report import participants

REAL = os.environ.get("COZYDRIVERS_CONFORMANCE") == "real"
NEEDED = ("etcd", "kube-apiserver")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return ("asyncio", {} if REAL else {"loop_factory": partial(looptime.new_event_loop, noop_cycles=0)})


if REAL:

    @pytest.fixture(scope="session")
    async def real_cluster() -> AsyncIterator[RealCluster]:
        absent = [str(each) for each in participants() if each.name in NEEDED and not each.version]
        if absent:
            pytest.skip(", ".join(absent))
        async with RealCluster() as cluster:
            await cluster.apply_crds(CRDS)
            yield cluster

    @pytest.fixture
    async def rig(real_cluster: RealCluster) -> AsyncIterator[Rig]:
        async with real_rig(real_cluster) as made:
            yield made
else:

    @pytest.fixture
    async def rig() -> AsyncIterator[Rig]:
        async with fake_rig() as made:
            yield made
