"""A BackupJob of a MariaDB, reconciled inside somebody else's program, by a strategy that reads dumps to their end.

The operator, its Pods and the bucket are simulated. On a real cluster: `KubeClient.connect()` and `MariaDBDriver()`.
"""

import asyncio
from pathlib import Path

import yaml

from cozydrivers import BackupJobController, KubeClient, MariaDBDriver
from cozydrivers.api import apps, mariadb, strategy
from cozydrivers.api.backups import Backup, BackupClass, BackupJob
from cozydrivers.api.core import Namespace, Secret
from cozydrivers.testing import FakeBucket, FakeCluster, MariaDBOperator, MariaDBPods
from cozydrivers.testing.buckets import ACCESS_KEY, SECRET_KEY
from cozydrivers.testing.operators import JobRunner

CRDS = Path(__file__).parents[1] / "fixtures/crds"
TENANT = "tenant-user"


async def deploy(kube: KubeClient, operator: MariaDBOperator) -> None:
    """A MariaDB that is ready, the Secrets, and the strategy and class of mariadb.yaml."""
    await kube.create(Namespace, {"metadata": {"name": TENANT}})
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    for name, data in (("root", {"password": "secret"}), ("my-mariadb-mariadb-backup-creds", keys)):
        await kube.create(Secret, {"metadata": {"name": name}, "stringData": data}, TENANT)
    root = {"rootPasswordSecretKeyRef": {"name": "root", "key": "password"}}
    server = {"metadata": {"name": "mariadb-my-mariadb"}, "spec": {"storage": {"size": "1Gi"}, **root}}
    await kube.create(apps.MariaDB, {"metadata": {"name": "my-mariadb"}, "spec": {}}, TENANT)
    await kube.create(mariadb.MariaDB, server, TENANT)
    await operator.play_ready(TENANT, "mariadb-my-mariadb")
    await operator.step()
    given, backup_class = yaml.safe_load_all((Path(__file__).parent / "mariadb.yaml").read_text())
    await kube.create(strategy.MariaDB, given)
    await kube.create(BackupClass, backup_class)


async def simulate(operator: MariaDBOperator, runner: JobRunner) -> None:
    """What mariadb-operator, the Jobs and their Pods do."""
    while True:
        await operator.step()
        runner.step()
        await asyncio.sleep(0.1)


async def main() -> None:
    cluster, bucket = FakeCluster([CRDS, CRDS / "mariadb-operator/26.6.0"]), FakeBucket("db-backups")
    kube, pods = cluster.kube(), MariaDBPods(cluster, bucket)
    pods.dump_seconds = pods.push_seconds = 0.2
    pods.database(TENANT, "mariadb-my-mariadb").add("shop", "orders", (1, "a"), (2, "b"))
    operator = MariaDBOperator(kube, version="26.6.0", now=cluster.now)
    await deploy(kube, operator)
    simulation = asyncio.create_task(simulate(operator, JobRunner(cluster, pods.play)))
    driver = MariaDBDriver(objects=bucket.open)
    async with BackupJobController(kube, drivers=[driver], namespace=TENANT, now=cluster.now) as controller:
        reference = {"apiGroup": "apps.cozystack.io", "kind": "MariaDB", "name": "my-mariadb"}
        spec = {"applicationRef": reference, "backupClassName": "mariadb-nightly"}
        await kube.create(BackupJob, {"metadata": {"name": "nightly"}, "spec": spec}, TENANT)
        again: float | None = 0.0
        while again is not None:
            await asyncio.sleep(min(again, 0.5))
            again = await controller.reconcile(TENANT, "nightly")
    simulation.cancel()
    job = await kube.get(BackupJob, "nightly", TENANT)
    print(f"BackupJob nightly {job.status.phase}: {job.status.message}")
    backup = await kube.get(Backup, "nightly", TENANT)
    print(f"its dump: {backup.spec.driver_metadata['k8s.mariadb.com/prefix']}")
    print(f"left of the operator's: {[each.metadata.name for each in (await kube.list(mariadb.Backup, TENANT)).items]}")


if __name__ == "__main__":
    asyncio.run(main())
