"""The real operator on a real API server; its StatefulSets and Jobs are played."""

import contextlib
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import httpx
from tests.conformance.mariadb.rig import Backup, MariaDB, Restore, Rig, a_mariadb
from tests.real import RealCluster, RealMariaDBOperator

from cozydrivers.api.core import Secret
from cozydrivers.errors import AlreadyExists, NotFound
from cozydrivers.kube import KubeClient

_BUSY = re.compile(r"^(?:workqueue_depth|controller_runtime_active_workers)\{.*\} (\S+)$", re.MULTILINE)
_DONE = re.compile(r"^controller_runtime_reconcile_total\{.*\} (\S+)$", re.MULTILINE)
_QUIET, _ENDLESS = 0.5, 3.0


class RealOperator:
    """The harness of a real operator."""

    def __init__(self, server: RealMariaDBOperator) -> None:
        self.version = server.operator.version
        self._server = server

    async def settle(self) -> None:
        """Wait until it has been idle for half a second, or for three seconds where it never is."""
        quiet_since, before = anyio.current_time(), ""
        async with self._server.metrics() as client:
            with anyio.move_on_after(_ENDLESS):
                while anyio.current_time() - quiet_since < _QUIET:
                    await anyio.sleep(0.05)
                    now = await self._state(client)
                    if now != before:
                        quiet_since, before = anyio.current_time(), now

    async def _state(self, client: httpx.AsyncClient) -> str:
        text = (await client.get("/metrics")).text
        busy = sum(float(each) for each in _BUSY.findall(text))
        return f"{busy} {_DONE.findall(text)}"

    async def mariadb(self, kube: KubeClient, name: str, namespace: str, *, ready: bool) -> None:
        """Make a MariaDB, and report on its StatefulSet."""
        with contextlib.suppress(AlreadyExists):
            secret = {"metadata": {"name": "root"}, "stringData": {"password": "secret"}}
            await kube.create(Secret, secret, namespace)
        with contextlib.suppress(AlreadyExists):
            await kube.create(MariaDB, a_mariadb(name), namespace)
        await self._server.play_ready(namespace, name, ready=ready)


@asynccontextmanager
async def real_rig(cluster: RealCluster, server: RealMariaDBOperator) -> AsyncGenerator[Rig, None]:
    """Make a rig in a fresh namespace of a real cluster."""
    async with KubeClient.connect(kubeconfig=str(cluster.kubeconfig())) as kube:
        namespace = await cluster.namespace("tenant")
        yield Rig(kube, RealOperator(server), namespace)
        await _forget(kube, namespace)


async def _forget(kube: KubeClient, namespace: str) -> None:
    """Leave nothing that the operator goes on with: it looks at all namespaces."""
    for kind in (Restore, Backup, MariaDB):
        for found in (await kube.list(kind, namespace)).items:
            await kube.merge_patch(kind, found.metadata.name, {"metadata": {"finalizers": []}}, namespace)
            with contextlib.suppress(NotFound):
                await kube.delete(kind, found.metadata.name, namespace, uid=found.metadata.uid)
