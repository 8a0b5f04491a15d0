"""A kopf operator that backs up before it upgrades: BackupJobs are reconciled by its own handlers, beside its own kind.

kopf watches and comes back; the controller does the passes. Nothing of kopf is written on a BackupJob.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import kopf
import yaml
from anyio.from_thread import start_blocking_portal

from cozydrivers import BackupJobController, ClickHouseDriver, KubeClient
from cozydrivers.api.backups import BackupClass, BackupJob
from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.api.strategy import Altinity
from cozydrivers.errors import AlreadyExists
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import Installation, Network

FIXTURES = Path(__file__).parents[1] / "fixtures"
TENANT = "tenant-user"


class Upgrade(KubeObject):
    resource: ClassVar = Resource("example.com", "v1", "Upgrade", "upgrades", namespaced=True)


def handlers(kube: KubeClient, controller: BackupJobController) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf.login_with_kubeconfig)

    @kopf.on.event("backups.cozystack.io", "v1alpha1", "backupjobs", registry=registry)
    async def backup_job(namespace: str | None, name: str, uid: str, logger: kopf.Logger, **_: Any) -> None:
        """Pass after pass, until only a change matters: then kopf calls again."""
        again: float | None = 0.0
        while again is not None:
            await asyncio.sleep(again)
            try:
                again = await controller.reconcile(namespace or "", name, uid)
            except Exception as error:  # noqa: BLE001 - kopf would drop the job
                logger.warning("again in 5 s: %r", error)
                again = 5.0

    @kopf.on.create("example.com", "v1", "upgrades", id="upgrade", registry=registry)
    async def upgrade(namespace: str | None, name: str, spec: kopf.Spec, **_: Any) -> dict[str, str]:
        """Order a backup, wait for its end, upgrade."""
        reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": spec["application"]}
        job = {"applicationRef": reference, "backupClassName": "clickhouse-data-backup"}
        with suppress(AlreadyExists):
            await kube.create(BackupJob, {"metadata": {"name": name}, "spec": job}, namespace)
        status = (await kube.get(BackupJob, name, namespace)).status
        if status.phase == "Failed":
            raise kopf.PermanentError(f"not upgraded, its backup failed: {status.message}")
        if status.phase != "Succeeded" or status.backup_ref is None:
            raise kopf.TemporaryError(f"its backup is {status.phase or 'new'}: {status.message}", delay=0.2)
        return {"message": f"upgraded to {spec['version']}, after Backup {status.backup_ref.name}"}

    return registry


async def operate(cluster: FakeCluster, network: Network) -> None:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    stop = asyncio.Event()
    driver = ClickHouseDriver(
        connect=network.connect, objects=network.objects.open
    )  # on a real cluster: ClickHouseDriver()
    async with (
        KubeClient.connect() as kube,
        BackupJobController(kube, drivers=[driver], namespace=TENANT, now=cluster.now) as controller,
        asyncio.TaskGroup() as tasks,
    ):
        story = tasks.create_task(play(kube, network, stop))
        registry = handlers(kube, controller)
        await kopf.operator(registry=registry, settings=settings, namespaces=[TENANT], standalone=True, stop_flag=stop)
        story.cancel()


async def play(kube: KubeClient, network: Network, stop: asyncio.Event) -> None:
    """The platform and the tenant: an application with rows, and the wish to upgrade it."""
    application = Installation(network, namespace=TENANT, name="my-clickhouse")
    await application.deploy(kube)
    application.sidecar(0).tables.add_table("shop.orders", rows=1000)
    strategy, backup_class = yaml.safe_load_all((FIXTURES / "seed/clickhouse.yaml").read_text())
    await kube.create(Altinity, strategy)
    await kube.create(BackupClass, backup_class)
    spec = {"application": "my-clickhouse", "version": "24.9"}
    wish = await kube.create(Upgrade, {"metadata": {"name": "to-24.9"}, "spec": spec}, TENANT)
    while "upgrade" not in wish.raw.get("status", {}):
        await asyncio.sleep(0.1)
        wish = await kube.get(Upgrade, "to-24.9", TENANT)
    print(f"Upgrade to-24.9: {wish.raw['status']['upgrade']['message']}")
    job = await kube.get(BackupJob, "to-24.9", TENANT)
    print(f"kopf's on the BackupJob: {[key for key in job.metadata.annotations if 'kopf' in key]}")
    stop.set()


def main() -> None:
    names, version = {"kind": "Upgrade", "plural": "upgrades"}, {"name": "v1", "served": True, "storage": True}
    crd = {"spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}}
    cluster = FakeCluster(crds=[FIXTURES / "crds", crd])
    with (
        TemporaryDirectory() as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(cluster.serve()) as url,
    ):
        os.environ["KUBECONFIG"] = f"{folder}/kubeconfig"
        cluster.kubeconfig(url, os.environ["KUBECONFIG"])
        asyncio.run(operate(cluster, Network()))


if __name__ == "__main__":
    main()
