"""mariadb-operator as it takes part: its own binary where the machine has one, else the simulator of 25.10.2."""

import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import anyio
from tests.real import RealCluster, RealMariaDBOperator
from tests.real.mariadb_operator import Operator, find_operators

from cozydrivers.kube import KubeClient
from cozydrivers.testing.mariadb import MariaDBOperator, Version

SIMULATED: Version = "25.10.2"
_CRDS = Path(__file__).parents[2] / "fixtures" / "crds" / "mariadb-operator" / SIMULATED


class Playing(Protocol):
    """An operator at work, whose MariaDBs are made ready."""

    async def play_ready(self, namespace: str, name: str, *, ready: bool = True) -> None:
        """Have a MariaDB be Ready, or not."""
        ...


def those_at_hand() -> list[Operator | None]:
    """The operator's binaries; None stands for the simulator."""
    return [*find_operators()] or [None]


def label(operator: Operator | None) -> str:
    """What takes part, as tests and reports name it."""
    return f"mariadb-operator-{operator.version}" if operator else f"simulator-{SIMULATED}"


@contextlib.asynccontextmanager
async def operating(operator: Operator | None, cluster: RealCluster) -> AsyncGenerator[Playing, None]:
    """Have it work on the whole cluster, with the CRDs of its version."""
    if operator is not None:
        async with RealMariaDBOperator(operator, cluster) as server:
            yield server
        return
    await cluster.apply_crds(_CRDS)
    async with (
        KubeClient.connect(kubeconfig=str(cluster.kubeconfig())) as kube,
        anyio.create_task_group() as tasks,
    ):
        simulator = MariaDBOperator(kube, version=SIMULATED, now=lambda: datetime.now(UTC))
        tasks.start_soon(_keep_on, simulator)
        yield simulator
        tasks.cancel_scope.cancel()


async def _keep_on(simulator: MariaDBOperator) -> None:
    while True:
        await simulator.step()
        await anyio.sleep(0.5)
