"""BackupJobs and RestoreJobs, reconciled inside somebody else's program.

`reconcile` does one pass over one job and says in how many seconds to call it again. Who calls it is up to the program
around it: here, a loop in asyncio. `controller.run()` would follow all jobs by itself.
"""

import asyncio
from pathlib import Path
from typing import TypeVar

import yaml

from cozydrivers import BackupJobController, ClickHouseDriver, KubeClient, RestoreJobController
from cozydrivers.api.backups import BackupClass, BackupJob, RestoreJob
from cozydrivers.api.strategy import Altinity
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import Installation, Network

FIXTURES = Path(__file__).parents[1] / "fixtures"
TENANT = "tenant-user"
Job = TypeVar("Job", BackupJob, RestoreJob)


async def deploy(kube: KubeClient, network: Network) -> Installation:
    """A ClickHouse of two shards with rows, and the platform's strategy and BackupClass."""
    application = Installation(network, namespace=TENANT, name="my-clickhouse")
    await application.deploy(kube)
    for sidecar in application.sidecars.values():
        sidecar.tables.add_table("shop.orders", rows=1000)
    strategy, backup_class = yaml.safe_load_all((FIXTURES / "seed/clickhouse.yaml").read_text())
    await kube.create(Altinity, strategy)
    await kube.create(BackupClass, backup_class)
    return application


async def follow(controller: BackupJobController | RestoreJobController, kube: KubeClient, job: Job) -> Job:
    """Come back when told so, until nothing is left to do."""
    said, metadata = "", job.metadata
    again: float | None = 0.0
    while again is not None:
        await asyncio.sleep(again)
        again = await controller.reconcile(TENANT, metadata.name, metadata.uid)
        job = await kube.get(type(job), metadata.name, TENANT)
        now = f"{job.status.phase or 'new'}: {job.status.message}"
        if now != said:
            print(f"{job.resource.kind} {metadata.name} {now}")
            said = now
    return job


async def main() -> None:
    cluster, network = FakeCluster(crds=[FIXTURES / "crds"]), Network()
    kube = cluster.kube()  # on a real cluster: async with KubeClient.connect() as kube
    application = await deploy(kube, network)
    drivers = [
        ClickHouseDriver(connect=network.connect, objects=network.objects.open)
    ]  # on a real cluster: [ClickHouseDriver()]
    backups = BackupJobController(kube, drivers=drivers, namespace=TENANT, now=cluster.now)
    restores = RestoreJobController(kube, drivers=drivers, services=backups.services)
    async with backups, restores:
        reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "my-clickhouse"}
        spec = {"applicationRef": reference, "backupClassName": "clickhouse-data-backup"}
        job = await kube.create(BackupJob, {"metadata": {"name": "nightly"}, "spec": spec}, TENANT)
        job = await follow(backups, kube, job)
        print(f"its Backup is {job.status.backup_ref.name if job.status.backup_ref else 'absent'}")
        for sidecar in application.sidecars.values():
            sidecar.tables.drop("shop.orders")
        body = {"metadata": {"name": "back"}, "spec": {"backupRef": {"name": "nightly"}}}
        await follow(restores, kube, await kube.create(RestoreJob, body, TENANT))
    print(f"rows by shard: {[sidecar.tables.count('shop.orders') for sidecar in application.sidecars.values()]}")


if __name__ == "__main__":
    asyncio.run(main())
