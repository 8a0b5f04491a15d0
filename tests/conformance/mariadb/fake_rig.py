"""The simulator on a fake cluster, in virtual time."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from tests.conformance.mariadb.rig import Backup, Job, MariaDB, Restore, Rig, a_mariadb

from cozydrivers.api.core import Namespace
from cozydrivers.errors import AlreadyExists
from cozydrivers.kube import KubeClient
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.mariadb import MariaDBOperator, Version, admission

CRDS = Path(__file__).parents[3] / "fixtures" / "crds" / "mariadb-operator"
_ENDLESS = 10


class FakeOperator:
    """The harness of the simulator."""

    def __init__(self, cluster: FakeCluster, version: Version) -> None:
        self.version: str = version
        self._kube = cluster.kube()
        self._operator = MariaDBOperator(self._kube, version=version, now=cluster.now)

    async def settle(self) -> None:
        """Let it take steps until one changes nothing, or ten where each does."""
        before: Mapping[str, Any] | None = None
        for _ in range(_ENDLESS):
            now = await self._versions()
            if now == before:
                return
            before = now
            await self._operator.step()
            await anyio.sleep(1)

    async def _versions(self) -> Mapping[str, Any]:
        found = [item for kind in (MariaDB, Backup, Restore, Job) for item in (await self._kube.list(kind)).items]
        return {item.metadata.uid: item.metadata.resource_version for item in found}

    async def mariadb(self, kube: KubeClient, name: str, namespace: str, *, ready: bool) -> None:
        """Make a MariaDB, and play its Pods."""
        with suppress(AlreadyExists):
            await kube.create(MariaDB, a_mariadb(name), namespace)
        await self._operator.play_ready(namespace, name, ready=ready)


@asynccontextmanager
async def fake_rig(version: Version) -> AsyncGenerator[Rig, None]:
    """Make a rig around a fresh fake cluster."""
    cluster = FakeCluster([CRDS / version])
    cluster.webhooks.append(partial(admission, version=version))
    kube = cluster.kube()
    await kube.create(Namespace, {"metadata": {"name": "tenant"}})
    yield Rig(kube, FakeOperator(cluster, version), "tenant")
