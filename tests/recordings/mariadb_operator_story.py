"""The sessions with mariadb-operator that were recorded, played to its simulator."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cozydrivers.api.base import KubeObject
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Namespace, Pod
from cozydrivers.api.mariadb import Backup, MariaDB, PhysicalBackup, Restore
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.mariadb import CronJob, MariaDBOperator, Version

CRDS = Path(__file__).parents[2] / "fixtures" / "crds" / "mariadb-operator"
SPACES = {"25.10.2": "t1", "26.6.0": "t2"}
KEYS = {
    "accessKeyIdSecretKeyRef": {"name": "s3creds", "key": "access-key-id"},
    "secretAccessKeySecretKeyRef": {"name": "s3creds", "key": "secret-access-key"},
}
END = {
    "Complete": ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods"),
    "Failed": ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"),
}
SERVER = {
    "image": "docker-registry1.mariadb.com/library/mariadb:11.8.2",
    "rootPasswordSecretKeyRef": {"name": "root", "key": "password"},
    "storage": {"size": "1Gi"},
    "tls": {"enabled": False},
}


class Story:
    """One session; `taken` are objects as they were when they were recorded, by the name of the recording."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.space = SPACES[version]
        self.cluster = FakeCluster([CRDS / version], now=datetime(2026, 11, 23, 0, 26, tzinfo=UTC))
        self.kube = self.cluster.kube()
        self.operator = MariaDBOperator(self.kube, version=version, now=self.cluster.now)
        self.taken: dict[str, dict[str, Any]] = {}

    async def run(self) -> None:
        await self.kube.create(Namespace, {"metadata": {"name": self.space}})
        await self._backup()
        await self._restores()
        await self._scheduled()
        await self._physical()
        await self._bootstrap()

    async def _backup(self) -> None:
        await self._create(MariaDB, "mdb", SERVER)
        await self._create(Backup, "b1", self._dump, labels={"app": "x"})
        await self._step()
        await self._take("mariadb-not-ready", MariaDB, "mdb")
        await self._take("backup-mariadb-not-ready", Backup, "b1")
        await self.operator.play_ready(self.space, "mdb")
        await self._step()
        await self._take("mariadb-ready", MariaDB, "mdb")
        await self._take("backup-job-running", Backup, "b1")
        await self._take("backup-job", Job, "b1")
        await self._end("b1", "Failed")
        await self._take("backup-job-failed", Job, "b1")
        await self._take("backup-failed", Backup, "b1")
        await self._delete(Job, "b1")
        await self._end("b1", "Complete")
        await self._take("backup-succeeded", Backup, "b1")
        await self._delete(Job, "b1")
        await self._take("backup-rerun-after-job-deleted", Backup, "b1")
        await self._end("b1", "Complete")
        await self._delete(Backup, "b1")
        await self._create(Backup, "b1", self._dump, labels={"app": "x"})
        await self._step()
        await self._take("backup-recreated-adopted-old-job", Backup, "b1")

    async def _restores(self) -> None:
        await self._delete(Job, "b1")
        missing = "r-nobackup" if self.version == "25.10.2" else "rnone"
        target = "2026-08-21T10:00:00Z"
        await self._create(Restore, "r1", {**self._of("b1"), "targetRecoveryTime": target})
        await self._create(Restore, missing, self._of("nope"))
        await self._step()
        await self._take("restore-backup-not-complete", Restore, "r1")
        await self._take("restore-backup-missing", Restore, missing)
        await self._end("b1", "Failed")
        await self._take("restore-job", Job, "r1")
        if self.version == "26.6.0":
            await self._take("restore-running", Restore, "r1")
        await self._end("r1", "Failed")
        await self._take("restore-job-failed", Job, "r1")
        await self._take("restore-failed", Restore, "r1")
        await self._delete(Job, "r1")
        await self._end("r1", "Complete")
        await self._take("restore-succeeded", Restore, "r1")
        other = {"bucket": "other", "endpoint": "127.0.0.1:19490", "prefix": "p"}
        await self._create(Restore, "rboth", {**self._of("nope"), "s3": other})
        await self._step()
        await self._take("restore-s3-and-backupref", Restore, "rboth")
        await self._same_name()

    async def _same_name(self) -> None:
        name = "same2" if self.version == "25.10.2" else "b1"
        if name == "same2":
            await self._create(Backup, name, self._dump)
            await self._step()
        else:
            await self._delete(Job, name)
        await self._end(name, "Complete")
        await self._create(Restore, name, self._of(name))
        await self._step()
        await self._take("restore-same-name-as-backup", Restore, name)
        if self.version == "25.10.2":
            await self._create(Restore, "x5", self._of(name))
            await self._step()
            await self._take("restore-running", Restore, "x5")
            await self._take("restore-job-no-target-time", Job, "x5")
            await self.kube.merge_patch(MariaDB, "mdb", {"spec": {"suspend": True}}, self.space)
            await self._step()
            await self._take("mariadb-suspended", MariaDB, "mdb")
            await self.kube.merge_patch(MariaDB, "mdb", {"spec": {"suspend": False}}, self.space)
            await self._step()

    async def _scheduled(self) -> None:
        bucket = "bk" if self.version == "25.10.2" else "bkt"
        zone = {"timeZone": "Europe/Berlin"} if self.version == "25.10.2" else {}
        storage = {"s3": {"bucket": bucket, "endpoint": "127.0.0.1:19490", "prefix": "s"}}
        spec = {"mariaDbRef": {"name": "mdb"}, "storage": storage, "schedule": {"cron": "*/5 * * * *"}, **zone}
        await self._create(Backup, "bs", spec)
        await self._step()
        await self._take("backup-scheduled", Backup, "bs")
        await self._take("backup-cronjob", CronJob, "bs")
        await self._cron("backup-scheduled-first-run-failed", lastScheduleTime="2026-11-23T00:35:00Z")
        await self._cron("backup-scheduled-succeeded", lastSuccessfulTime="2026-11-23T00:35:30Z")
        active = [{"apiVersion": "batch/v1", "kind": "Job", "name": "bs-1", "namespace": self.space}]
        await self._cron("backup-scheduled-running", lastScheduleTime="2026-11-23T00:40:00Z", active=active)
        await self._cron("backup-scheduled-failed", active=[])

    async def _cron(self, name: str, **status: Any) -> None:
        await self.kube.merge_patch(CronJob, "bs", {"status": status}, self.space, status=True)
        await self._step()
        await self._take(name, Backup, "bs")

    async def _physical(self) -> None:
        body = {
            "metadata": {"name": "mdb-0"},
            "spec": {"nodeName": "node1", "containers": [{"name": "m", "image": "m"}]},
        }
        await self.kube.create(Pod, body, self.space)
        storage = {"s3": {"bucket": "bk", "endpoint": "127.0.0.1:19490", "prefix": "phys"}}
        spec: dict[str, Any] = {"mariaDbRef": {"name": "mdb"}, "storage": storage}
        newer = {"target": "PreferReplica"} if self.version == "26.6.0" else {}
        await self._create(PhysicalBackup, "p1", {**spec, **newer})
        await self._step()
        await self._take("physicalbackup-running", PhysicalBackup, "p1")
        job = await self._physical_job("p1")
        await self._take("physicalbackup-job", Job, job)
        await self._end(job, "Failed")
        await self._take("physicalbackup-failed", PhysicalBackup, "p1")
        self.cluster.ahead = datetime(2026, 11, 23, 0, 37, 28) - datetime(2026, 11, 23, 0, 37, 19)
        await self._delete(Job, job)
        await self._end(await self._physical_job("p1"), "Complete")
        await self._take("physicalbackup-succeeded", PhysicalBackup, "p1")
        if self.version == "26.6.0":
            schedule = {"cron": "0 3 * * *", "immediate": False}
            await self._create(PhysicalBackup, "p3", {**spec, "schedule": schedule})
            await self._step()
            patch = {"spec": {"schedule": {"onDemand": "b"}}}
            await self.kube.merge_patch(PhysicalBackup, "p3", patch, self.space)
            await self._step()
            await self._take("physicalbackup-ondemand", PhysicalBackup, "p3")

    async def _physical_job(self, backup: str) -> str:
        jobs = (await self.kube.list(Job, self.space)).items
        return next(job.metadata.name for job in jobs if job.metadata.name.startswith(f"{backup}-"))

    async def _bootstrap(self) -> None:
        s3 = {"bucket": "bkt", "endpoint": "127.0.0.1:19490", "prefix": "t1/mdb"}
        source = {"s3": s3, "targetRecoveryTime": "2026-11-20T10:00:00Z"}
        await self._create(MariaDB, "mdb2", {**SERVER, "bootstrapFrom": source}, annotations={"poke": "1"})
        await self._step()
        await self.operator.play_ready(self.space, "mdb2")
        await self._step()
        await self._take("mariadb-bootstrap-restoring", MariaDB, "mdb2")
        await self._take("mariadb-bootstrap-restore", Restore, "mdb2-restore")
        await self._end("mdb2-restore", "Failed")
        await self._step()
        await self._take("mariadb-bootstrap-restore-failed", MariaDB, "mdb2")

    # What was done by hand

    @property
    def _dump(self) -> Mapping[str, Any]:
        place = {"bucket": "bk", "endpoint": "127.0.0.1:19490", "prefix": f"{self.space}/mdb", "region": "us-east-1"}
        return {
            "mariaDbRef": {"name": "mdb"},
            "compression": "gzip",
            "databases": ["demo", "demo2"],
            "maxRetention": "720h",
            "storage": {"s3": {**place, **KEYS}},
        }

    def _of(self, backup: str) -> Mapping[str, Any]:
        return {"mariaDbRef": {"name": "mdb"}, "backupRef": {"name": backup}}

    async def _create(self, kind: type[KubeObject], name: str, spec: Mapping[str, Any], **metadata: Any) -> None:
        await self.kube.create(kind, {"metadata": {"name": name, **metadata}, "spec": spec}, self.space)

    async def _delete(self, kind: type[KubeObject], name: str) -> None:
        found = await self.kube.get(kind, name, self.space)
        await self.kube.delete(kind, name, self.space, uid=found.metadata.uid)
        await self._step()

    async def _end(self, job: str, end: str) -> None:
        first, reason, message = END[end]
        conditions = [{"type": kind, "status": "True", "reason": reason, "message": message} for kind in (first, end)]
        at = "2026-11-23T00:40:00Z"
        done = {"completionTime": at, "succeeded": 1} if end == "Complete" else {"failed": 1}
        status = {"startTime": at, "conditions": conditions, **done}
        await self.kube.merge_patch(Job, job, {"status": status}, self.space, status=True)
        await self._step()

    async def _step(self) -> None:
        await self.operator.step()

    async def _take(self, recording: str, kind: type[KubeObject], name: str) -> None:
        self.taken[recording] = (await self.kube.get(kind, name, self.space)).raw
