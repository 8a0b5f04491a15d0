"""What works beside the controllers: mariadb-operator, the job controller, kubelets, and the garbage collector.

No fault of the API server hits them: a controller that is cut off finds a world that has moved on. Each takes a step
only when something has changed, or is due.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from cozydrivers.kube import KubeClient
from cozydrivers.testing import ADMIN_TOKEN, FakeCluster
from cozydrivers.testing._mariadb_pod import JobPod
from cozydrivers.testing._serve import InProcess
from cozydrivers.testing.dumps import MariaDBPods
from cozydrivers.testing.jobs import JobRunner
from cozydrivers.testing.mariadb import MariaDBOperator, Version
from cozydrivers.testing.operators import collect_garbage

TICK, LONGEST = 0.5, 4.0
"""Virtual seconds between two steps, while something moves, and when nothing does."""
GROUP = "k8s.mariadb.com"
THINGS = (f"backups.{GROUP}", f"restores.{GROUP}")
_WATCHED = (f"mariadbs.{GROUP}", *THINGS, "jobs.batch", "secrets")
_OWNED = (*THINGS, "jobs.batch", "pods")
_OWNERS = ("backupjobs.backups.cozystack.io", "restorejobs.backups.cozystack.io", *_OWNED)


class Pods(MariaDBPods):
    """Pods that tell before they load a dump; `loads` counts how often."""

    loads = 0
    before_load: Callable[[JobPod, str], None]

    def _loaded(self, pod: JobPod, file: str, *, first_part: bool) -> int:
        self.loads += 1
        self.before_load(pod, file)
        return super()._loaded(pod, file, first_part=first_part)


class Engine:
    """See the module. While it is `down` the operator does nothing."""

    def __init__(self, cluster: FakeCluster, pods: Pods, version: Version) -> None:
        self.down = False
        self.operator = MariaDBOperator(KubeClient(InProcess(self._ask, ADMIN_TOKEN)), version=version, now=cluster.now)
        self.runner = JobRunner(cluster, pods.play)
        self._cluster = cluster
        self._store = cluster._store
        self._seen: dict[str, int] = {}
        self._looked_at = 0.0

    async def _ask(self, method: str, path: str, query: Any, headers: Any, body: bytes) -> Any:
        """Ask the API server, whatever befalls others."""
        faults = self._cluster.faults
        planned, latency = faults._planned, faults.latency
        faults._planned, faults.latency = [], 0.0
        try:
            with faults.suspended():
                return await self._cluster.handle(method, path, query, headers, body)
        finally:
            faults._planned, faults.latency = planned, latency

    async def run(self, after_each: Callable[[], None]) -> None:
        """Work for ever."""
        pause = TICK
        while True:
            moved = await self.step()
            after_each()
            pause = TICK if moved else min(pause * 1.5, LONGEST)
            await anyio.sleep(min(pause, max(self._due() - anyio.current_time(), 0.01)))

    async def step(self) -> bool:
        """Let each take a step; answers whether anything has changed."""
        version = self._store.version
        if not self.down and self._has_changed("operator", *_WATCHED):
            await self.operator.step()
        due = self._due() <= anyio.current_time()
        if self._has_changed("runner", "jobs.batch", "pods") or due:
            self._looked_at = anyio.current_time()
            self.runner.step()
        if self._has_changed("collector", *_OWNERS) and self._has_orphans():
            collect_garbage(self._cluster)
        return self._store.version != version

    def _has_changed(self, who: str, *storages: str) -> bool:
        """Whether something has changed since this one was here last, by itself or by others."""
        latest = max(map(self._store.latest, storages))
        changed, self._seen[who] = latest != self._seen.get(who), latest
        return changed

    def _due(self) -> float:
        """When the next Pod goes on or a Job's next Pod is made."""
        retries = [
            self.runner._retry_at.get(job["metadata"]["uid"], 0.0)
            for job in self._store.all("jobs.batch")
            if not job["spec"].get("suspend")
        ]
        ends = [self._end(pod) for pod in self._store.all("pods")]
        return min([*ends, *(at for at in retries if at > self._looked_at)], default=math.inf)

    def _end(self, pod: Mapping[str, Any]) -> float:
        if pod["status"].get("phase") in ("Succeeded", "Failed"):
            return math.inf
        life = self.runner._lives.get(pod["metadata"]["uid"])
        return life.end if life else math.inf

    def _has_orphans(self) -> bool:
        there = {obj["metadata"]["uid"] for storage in _OWNERS for obj in self._store.all(storage)}
        there |= {obj["metadata"]["uid"] for obj in self._store.all(f"mariadbs.{GROUP}")}
        return any(
            owner["uid"] not in there
            for storage in _OWNED
            for obj in self._store.all(storage)
            if "deletionTimestamp" not in obj["metadata"]
            for owner in obj["metadata"].get("ownerReferences", ())
        )
