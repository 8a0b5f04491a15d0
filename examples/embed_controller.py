"""A BackupJob, reconciled inside somebody else's program.

`reconcile` does one pass over one job and says in how many seconds to call it again. Who calls it is up to the program
around it: here, a loop in asyncio.
"""

import asyncio
from pathlib import Path

import yaml

from cozydrivers import BackupJobController, ClickHouseDriver, KubeClient
from cozydrivers.api.backups import BackupClass, BackupJob
from cozydrivers.api.strategy import Altinity
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import Installation, Network

FIXTURES = Path(__file__).parents[1] / "fixtures"
TENANT = "tenant-user"


async def deploy(kube: KubeClient, network: Network) -> None:
    """A ClickHouse of two shards with rows, and the platform's strategy and BackupClass."""
    application = Installation(network, namespace=TENANT, name="my-clickhouse")
    await application.deploy(kube)
    for sidecar in application.sidecars.values():
        sidecar.tables.add_table("shop.orders", rows=1000)
    strategy, backup_class = yaml.safe_load_all((FIXTURES / "seed/clickhouse.yaml").read_text())
    await kube.create(Altinity, strategy)
    await kube.create(BackupClass, backup_class)


async def order(kube: KubeClient, name: str) -> None:
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "my-clickhouse"}
    spec = {"applicationRef": reference, "backupClassName": "clickhouse-data-backup"}
    await kube.create(BackupJob, {"metadata": {"name": name}, "spec": spec}, TENANT)


async def follow(controller: BackupJobController, kube: KubeClient, name: str) -> BackupJob:
    said = ""
    while True:
        again = await controller.reconcile(TENANT, name)
        job = await kube.get(BackupJob, name, TENANT)
        now = f"{job.status.phase or 'new'}: {job.status.message}"
        if now != said:
            print(f"BackupJob {name} {now}")
            said = now
        if job.status.phase in ("Succeeded", "Failed") and not job.metadata.finalizers:
            return job
        await asyncio.sleep(0.1 if again is None else again)


async def main() -> None:
    cluster, network = FakeCluster(crds=[FIXTURES / "crds"]), Network()
    kube = cluster.kube()  # on a real cluster: async with KubeClient.connect() as kube
    await deploy(kube, network)
    driver = ClickHouseDriver(connect=network.connect)  # on a real cluster: ClickHouseDriver()
    async with BackupJobController(kube, drivers=[driver], now=cluster.now) as controller:
        await order(kube, "nightly")
        job = await follow(controller, kube, "nightly")
    print(f"its Backup is {job.status.backup_ref.name if job.status.backup_ref else 'absent'}")


if __name__ == "__main__":
    asyncio.run(main())
