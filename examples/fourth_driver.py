"""A driver for another kind of application: this file, and one line that registers it (`drivers=` in `main`).

Its engine is a dict: pieces of work by name, and when each ends. An operator or an HTTP API would stand in its place.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import anyio

from cozydrivers import Manager
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.drivers import base
from cozydrivers.testing import FakeCluster

GROUP = "strategy.backups.cozystack.io"
SNAPSHOT = "redis.example/snapshot"


class Redis(KubeObject):
    resource: ClassVar[Resource] = Resource("apps.cozystack.io", "v1alpha1", "Redis", "redises", namespaced=True)


class RedisSnapshot(KubeObject):
    resource: ClassVar = Resource(GROUP, "v1alpha1", "RedisSnapshot", "redissnapshots", namespaced=False)


def decide(run: base.Run, name: str, left: float | None, done: base.Succeeded) -> base.Outcome | None:
    """What comes next; None is "send", which only the call right after the intent was saved may do.

    `left` is how many seconds the work still takes, None where the engine does not know it.
    """
    if run.checkpoint is None:
        return base.Intent({"name": name}, f"about to start {name}")
    if left is None:
        return None if run.fresh else base.Failed("Lost", f"the engine does not know {name}")
    return base.Running("InProgress", f"{name} is in progress", retry_after=left) if left > 0 else done


class RedisDriver:
    application: type[KubeObject] = Redis
    strategy: type[KubeObject] = RedisSnapshot
    watches: Sequence[base.Watch] = ()
    timeout = 600.0

    def __init__(self, engine: dict[str, float]) -> None:
        self.engine = engine

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def backup(self, run: base.BackupRun) -> base.Outcome:
        name, store = name_of(run), run.strategy.get("store")
        if not isinstance(store, str):
            return base.Failed("Refused", "the RedisSnapshot's spec.store must be a text")
        artifact = base.Artifact(f"{store}/{name}", 4096, run.created, {SNAPSHOT: name})
        return self._step(run, base.Succeeded(f"{name} is made", artifact))

    async def restore(self, run: base.RestoreRun) -> base.Outcome:
        name, owner = run.source.spec.driver_metadata.get(SNAPSHOT, ""), run.source.spec.application_ref.name
        if run.options or not name.startswith(f"{run.namespace}.{owner}.") or name not in self.engine:
            return base.Failed("Refused", f"no option is known, and {name!r} must be a snapshot of Redis {owner}")
        return self._step(run, base.Succeeded(f"{name} is loaded"))

    async def abort(self, run: base.Run) -> base.Outcome:
        self.engine.pop(name_of(run), None)
        return base.Succeeded("nothing of the run is left")

    def record(self, backup: Backup) -> base.Record | None:
        return None  # its Backups are not deleted from, and not looked up

    def retention(self, strategy: Mapping[str, Any]) -> timedelta | None:
        return None  # and none goes because of its age

    async def delete(self, run: base.DeleteRun) -> base.Outcome:
        return base.Failed("Refused", "snapshots are deleted in the engine")

    async def audit(self, run: base.AuditRun) -> Mapping[str, base.Finding]:
        return {}

    async def recoverability(self, run: base.Inspection) -> base.Recoverability:
        named = [(backup, backup.spec.driver_metadata.get(SNAPSHOT, "")) for backup in run.backups]
        good = [base.GoodSet(each.metadata.name, name, run.now) for each, name in named if name in self.engine]
        return base.Recoverability(good=good)

    async def importable(self, run: base.Inspection) -> base.Importable:
        return base.Importable()  # a snapshot's name does not tell enough

    def _step(self, run: base.Run, done: base.Succeeded) -> base.Outcome:
        name, now = name_of(run), anyio.current_time()
        left = self.engine[name] - now if name in self.engine else None
        outcome = decide(run, name, left, done)
        if outcome is None:
            self.engine[name] = now + 0.2
        return outcome or base.Running("Started", f"{name} is started", retry_after=0.1)


def name_of(run: base.Run) -> str:
    """Made of what can't change, and computed anew each time: a tenant can write the checkpoint."""
    return f"{run.namespace}.{run.application.metadata.name}.{run.uid}"


def crd(kind: type[KubeObject]) -> dict[str, Any]:
    of, anything = kind.resource, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": of.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    names, scope = {"kind": of.kind, "plural": of.plural}, "Namespaced" if of.namespaced else "Cluster"
    return {"spec": {"group": of.group, "names": names, "scope": scope, "versions": [version]}}


async def main() -> None:
    cluster = FakeCluster(crds=[Path(__file__).parents[1] / "fixtures/crds", crd(Redis), crd(RedisSnapshot)])
    kube = cluster.kube()
    await kube.create(Redis, {"metadata": {"name": "cache"}}, "default")
    await kube.create(RedisSnapshot, {"metadata": {"name": "s3"}, "spec": {"store": "s3://{{ .Release.Namespace }}"}})
    strategy = {"apiGroup": GROUP, "kind": "RedisSnapshot", "name": "s3"}
    bound = {"strategies": [{"application": {"kind": "Redis"}, "strategyRef": strategy}]}
    await kube.create(BackupClass, {"metadata": {"name": "daily"}, "spec": bound})
    manager = asyncio.create_task(Manager(kube, drivers=[RedisDriver({})], now=cluster.now).run())
    backup = {"applicationRef": {"kind": "Redis", "name": "cache"}, "backupClassName": "daily"}
    jobs: list[tuple[type[BackupJob | RestoreJob], dict[str, Any]]]
    jobs = [(BackupJob, backup), (RestoreJob, {"backupRef": {"name": "first"}})]
    for kind, spec in jobs:
        job = await kube.create(kind, {"metadata": {"name": "first"}, "spec": spec}, "default")
        while job.status.phase not in ("Succeeded", "Failed"):
            await anyio.sleep(0.05)
            job = await kube.get(kind, "first", "default")
        print(f"{kind.__name__} {job.status.phase}: {job.status.message}")
    manager.cancel()


if __name__ == "__main__":
    asyncio.run(main())
