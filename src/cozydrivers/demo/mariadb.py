"""MariaDB: backup, loss, restore of the older Backup, a dump that fails, a Backup that goes with its dump."""

from itertools import count

import anyio
from anyio.abc import TaskStatus

from cozydrivers.api import apps, mariadb
from cozydrivers.api.backups import Backup
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Namespace, Secret
from cozydrivers.demo.acts import Tenant, apply_seed
from cozydrivers.demo.screen import Screen
from cozydrivers.drivers.mariadb import MariaDBDriver
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.testing import FakeBucket, FakeCluster, FakeDatabase, MariaDBOperator, MariaDBPods
from cozydrivers.testing.buckets import ACCESS_KEY, SECRET_KEY
from cozydrivers.testing.mariadb import admission
from cozydrivers.testing.operators import JobRunner, collect_garbage

TENANT = "tenant-shop"
APP = "my-mariadb"
SERVER = f"mariadb-{APP}"
DATABASE, TABLE = "shop", "orders"
CLASS = "mariadb-data-backup"
STEP = 0.1
"""Seconds between two steps of all that works beside the controller."""


class MariaDBStory:
    """The acts, each in a method."""

    def __init__(self, screen: Screen, cluster: FakeCluster) -> None:
        self.screen = screen
        self.cluster = cluster
        self.kube: KubeClient = cluster.kube()
        self.bucket: FakeBucket = FakeBucket("db-backups", endpoint="seaweedfs-s3.tenant-root.svc:8333")
        self.pods: MariaDBPods = MariaDBPods(cluster, self.bucket)
        self.pods.dump_seconds = self.pods.push_seconds = self.pods.pull_seconds = 0.2
        self.pods.load_seconds = 0.4
        self.server: FakeDatabase = self.pods.database(TENANT, SERVER)
        self.operator: MariaDBOperator = MariaDBOperator(self.kube, now=cluster.now)
        reference = {"apiGroup": "apps.cozystack.io", "kind": "MariaDB", "name": APP}
        self.tenant: Tenant = Tenant(screen, self.kube, TENANT, reference, CLASS)

    def driver(self) -> MariaDBDriver:
        """A driver that finds the bucket."""
        return MariaDBDriver(objects=self.bucket.open)

    async def work(self) -> None:
        """What works beside the controller: mariadb-operator, its Jobs with their Pods, the garbage collector."""
        runner = JobRunner(self.cluster, self.pods.play)
        runner.first_retry = STEP
        for step in count():
            self._step(runner)
            await self.operator.step()
            if step % 10 == 0:
                collect_garbage(self.cluster)
            await anyio.sleep(STEP)

    def _step(self, runner: JobRunner) -> None:
        """A step of all Jobs; one that fails does so at once, so that the operator has its say before it is gone."""
        runner.step()
        jobs = [Job.decode(each) for each in self.cluster.act("GET", Job.resource.path(TENANT))["items"]]
        if any(job.condition("FailureTarget") and not job.condition("Failed") for job in jobs):
            runner.step()

    async def tell(self) -> None:
        """All acts in order."""
        older = await self.back_up("monday", 1000)
        await self.back_up("tuesday", 500)
        self.lose()
        await self.restore(older)
        await self.fail("wednesday")
        await self.delete(older)

    async def set_up(self) -> None:
        """The platform team's part: a MariaDB that is ready, its Secrets, and the seed's strategy and BackupClass."""
        self.screen.act("Beside it: a MariaDB, mariadb-operator 25.10.2, and a bucket for its dumps")
        self.cluster.webhooks.append(admission)
        await self.kube.create(Namespace, {"metadata": {"name": TENANT}})
        await self.secret("root", password=self.server.users["root"])
        await self.secret(f"{APP}-mariadb-backup-creds", AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
        await self.secret(f"{APP}-mariadb-backup-ca", **{"ca.crt": "not a real certificate"})
        root = {"rootPasswordSecretKeyRef": {"name": "root", "key": "password"}}
        server = {"metadata": {"name": SERVER}, "spec": {"storage": {"size": "1Gi"}, **root}}
        await self.kube.create(apps.MariaDB, {"metadata": {"name": APP}, "spec": {}}, TENANT)
        await self.kube.create(mariadb.MariaDB, server, TENANT)
        await self.operator.play_ready(TENANT, SERVER)
        await self.operator.step()
        await apply_seed(self.screen, self.kube, "mariadb.yaml", deletionPolicy="Delete")

    async def secret(self, name: str, **data: str) -> None:
        """Create a Secret."""
        await self.kube.create(Secret, {"metadata": {"name": name}, "stringData": data}, TENANT)

    async def back_up(self, name: str, rows: int) -> Backup:
        """A tenant's BackupJob, after some rows were added."""
        self.screen.act(f"{rows} rows are added to {DATABASE}.{TABLE}; the tenant creates BackupJob {name}")
        first = len(self.server.rows(DATABASE, TABLE))
        self.server.add(DATABASE, TABLE, *((number, name) for number in range(first, first + rows)))
        job = await self.tenant.back_up(name)
        self.tenant.check_success(job)
        backup = await self.tenant.made_by(job)
        self.show_dumps()
        self.screen.check(dump_of(backup) in self.bucket.keys, f"Backup {name} records a dump that is in the bucket")
        return backup

    def lose(self) -> None:
        """What backups are for."""
        self.screen.act(f"DROP TABLE {DATABASE}.{TABLE}")
        del self.server.databases[DATABASE][TABLE]

    async def restore(self, backup: Backup) -> None:
        """A RestoreJob of the older Backup: just its rows, whatever the operator would take for the nearest dump."""
        name = backup.metadata.name
        self.screen.act(f"The tenant creates a RestoreJob of {name}, the older of the two Backups")
        job = await self.tenant.restore("undo", backup)
        self.tenant.check_success(job)
        for condition in job.status.conditions:
            if condition.type == "SafetyCopy":
                self.screen.say(f"SafetyCopy: {condition.message}")
        rows = self.server.rows(DATABASE, TABLE)
        self.screen.check(
            rows == [(number, name) for number in range(1000)],
            f"{DATABASE}.{TABLE} has just the 1000 rows of {name}, not the 1500 of tuesday",
        )
        await self.check_nothing_is_left()

    async def fail(self, name: str) -> None:
        """The operator says `Complete=True` of a dump that has failed."""
        self.screen.act(f"The tenant creates BackupJob {name}; the server goes away under each of its dumps")
        self.pods.fail("dump_fails", times=3)
        async with anyio.create_task_group() as watching:
            told: list[str] = await watching.start(self._listen)
            job = await self.tenant.back_up(name)
            watching.cancel_scope.cancel()
        said = ", then ".join(dict.fromkeys(told))
        self.screen.check(told[-1:] == ["Complete=True"], f"mariadb-operator says of its Backup: {said}")
        self.screen.check(job.status.phase == "Failed", f"BackupJob {name} is Failed all the same")
        self.screen.check(await self.is_gone(name), f"there is no Backup {name}")
        await self.check_nothing_is_left()

    async def delete(self, backup: Backup) -> None:
        """Delete a Backup; its class says that its dump goes as well."""
        name, dump = backup.metadata.name, dump_of(backup)
        self.screen.act(f"Backup {name} is deleted")
        kept = [key for key in self.bucket.keys if key != dump]
        await self.kube.delete(Backup, name, TENANT, uid=backup.metadata.uid)
        while not await self.is_gone(name):  # noqa: ASYNC110 - a cluster has no events of anyio's
            await anyio.sleep(0.05)
        self.show_dumps()
        self.screen.check(self.bucket.keys == kept, f"the dump of {name} is gone, and no other")

    async def _listen(self, *, task_status: TaskStatus[list[str]]) -> None:
        """Keep what the operator says of its Backups from now on."""
        told: list[str] = []
        version = (await self.kube.list(mariadb.Backup, TENANT)).resource_version
        task_status.started(told)
        async for event in self.kube.watch(mariadb.Backup, TENANT, resource_version=version):
            said = event.object.status.condition(mariadb.COMPLETE) if event.type == "MODIFIED" else None
            if said is not None:
                told.append(f"Complete={said.status}")

    async def is_gone(self, name: str) -> bool:
        """Whether there is no Backup of that name."""
        try:
            await self.kube.get(Backup, name, TENANT)
        except NotFound:
            return True
        return False

    async def check_nothing_is_left(self) -> None:
        """What stays of the operator's is run once more as soon as somebody deletes its Job."""
        backups, restores = await self.kube.list(mariadb.Backup, TENANT), await self.kube.list(mariadb.Restore, TENANT)
        left = [f"{each.resource.kind} {each.metadata.name}" for each in (*backups.items, *restores.items)]
        self.screen.say("$ kubectl get backups.k8s.mariadb.com,restores.k8s.mariadb.com")
        self.screen.say(", ".join(left) or f"No resources found in {TENANT} namespace.")
        self.screen.check(not left, "nothing is left that the operator could run again over the live data")

    def show_dumps(self) -> None:
        """Print what is in the bucket."""
        self.screen.table(
            ("dump in the bucket", "bytes"), [(key, len(self.bucket.content(key))) for key in self.bucket.keys]
        )


def dump_of(backup: Backup) -> str:
    """The key of the dump that a Backup records."""
    return "".join(backup.spec.driver_metadata.get(f"k8s.mariadb.com/{part}", "") for part in ("prefix", "file"))
