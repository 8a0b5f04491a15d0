"""What can happen to a world with MariaDB. Each accident is over, and healed, when its function returns."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from tests.cozydrivers.mariadb_stage import CREDENTIALS
from tests.cozydrivers.stage import TENANT
from tests.simulation.accidents_everywhere import API_SERVER, CONTROLLERS
from tests.simulation.mariadb.world import World

from cozydrivers.api import mariadb
from cozydrivers.api.base import KubeObject
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Pod, Secret
from cozydrivers.drivers.mariadb.naming import server_of
from cozydrivers.drivers.owned import RUN
from cozydrivers.testing._status import Failure
from cozydrivers.testing.buckets import FORBIDDEN, UNREACHABLE
from cozydrivers.testing.dumps import Fault

Accident = Callable[[World, random.Random], Awaitable[None]]

_FAULTS: list[Fault] = [
    "dump_fails",
    "push_fails",
    "killed_in_upload",
    "killed_after_upload",
    "killed_after_upload",
    "restore_fails_midway",
    "slow",
    "disk_full",
    "empty_dump",
]
_UNSEEN: Fault = "truncated_dump"
"""Nothing but the whole dump shows it."""


# Pods and Jobs


async def pods_fail(world: World, chance: random.Random) -> None:
    """Something goes wrong in the next Pods."""
    faults = [*_FAULTS, _UNSEEN] if world.given.get("verify") == "stream" else _FAULTS
    fault, times = chance.choice(faults), chance.choice([1, 1, 2, 4])
    if chance.random() < 0.03:
        fault = "image_pull"  # half an hour is waited for it
    world.story.tell(f"{fault} in {times} Pods")
    world.pods.fail(fault, times=times)
    await anyio.sleep(chance.uniform(5, 60))
    world.pods.recover()


async def pods_are_slow(world: World, chance: random.Random) -> None:
    """Dumps and loads take long."""
    world.story.tell("dumps and loads take long")
    usual = world.pods.dump_seconds, world.pods.load_seconds
    world.pods.dump_seconds = world.pods.load_seconds = chance.uniform(20, 300)
    await anyio.sleep(chance.uniform(1, 60))
    world.pods.dump_seconds, world.pods.load_seconds = usual


async def somebody_deletes_a_job(world: World, chance: random.Random) -> None:
    """A Job is deleted, at work or at its end: the operator makes it again."""
    if job := await _soon(world, chance, "jobs.batch"):
        world.by_hand.add(job["metadata"]["uid"])
        _deletes(world, Job, job)


async def somebody_deletes_an_object(world: World, chance: random.Random) -> None:
    """A Backup or Restore of the operator's is deleted."""
    kinds: list[type[KubeObject]] = [mariadb.Backup, mariadb.Restore]
    kind = chance.choice(kinds)
    if thing := await _soon(world, chance, f"{kind.resource.plural}.{kind.resource.group}"):
        _deletes(world, kind, thing)


async def somebody_deletes_a_pod(world: World, chance: random.Random) -> None:
    """A Pod of a Job is deleted, or evicted."""
    if pod := await _soon(world, chance, "pods"):
        _deletes(world, Pod, pod)


async def somebody_suspends_a_job(world: World, chance: random.Random) -> None:
    """A Job is suspended for a while."""
    if job := await _soon(world, chance, "jobs.batch"):
        _patches(world, Job, job, {"suspend": True})
        await anyio.sleep(chance.uniform(0, 60))
        world.by_hand.add(job["metadata"]["uid"])
        _patches(world, Job, job, {"suspend": False})


async def somebody_resumes_jobs(world: World, chance: random.Random) -> None:
    """Whatever Job is suspended is resumed."""
    for _ in range(chance.choice([5, 50])):
        for job in world.cluster._store.all("jobs.batch"):
            if job["spec"].get("suspend"):
                world.by_hand.add(job["metadata"]["uid"])
                _patches(world, Job, job, {"suspend": False})
        await anyio.sleep(0.3)


# The operator and its servers


async def operator_is_down(world: World, chance: random.Random) -> None:
    """The operator does nothing for a while."""
    seconds = chance.choice([2.0, chance.uniform(1, 20), chance.uniform(20, 120)])
    world.story.tell(f"the operator is down for {seconds:.1f} s")
    world.engine.down = True
    await anyio.sleep(seconds)
    world.engine.down = False


async def server_is_suspended(world: World, chance: random.Random) -> None:
    """Somebody suspends a MariaDB for a while."""
    app = chance.choice(world.apps)
    world.story.tell(f"the MariaDB of {app} is suspended")
    world.patch(mariadb.MariaDB, server_of(app), {"spec": {"suspend": True}})
    await anyio.sleep(chance.uniform(1, 90))
    world.story.tell(f"the MariaDB of {app} is resumed")
    world.patch(mariadb.MariaDB, server_of(app), {"spec": {"suspend": False}})


async def server_is_not_ready(world: World, chance: random.Random) -> None:
    """A MariaDB is not ready for a while."""
    app = chance.choice(world.apps)
    world.story.tell(f"the MariaDB of {app} is not ready")
    await world.operator.play_ready(TENANT, server_of(app), ready=False)
    await anyio.sleep(chance.uniform(1, 90))
    await world.operator.play_ready(TENANT, server_of(app))


async def secret_is_gone(world: World, chance: random.Random) -> None:
    """The keys of the bucket are not there for a while."""
    path = Secret.resource.path(TENANT, CREDENTIALS)
    try:
        secret = world.cluster.act("GET", path)
        world.cluster.act("DELETE", path)
    except Failure:
        return
    world.story.tell("the keys of the bucket are gone")
    await anyio.sleep(chance.uniform(1, 60))
    body = {"metadata": {"name": CREDENTIALS}, "data": secret["data"]}
    world.cluster.act("POST", Secret.resource.path(TENANT), body)
    world.story.tell("the keys of the bucket are back")


async def somebody_dumps(world: World, chance: random.Random) -> None:
    """Somebody makes a Backup by hand, and deletes it again."""
    name, server = f"by-hand-{chance.randrange(10**6)}", server_of(chance.choice(world.apps))
    storage = {"s3": {**world.seed[0]["spec"]["template"]["storage"]["s3"], "prefix": "by-hand"}}
    for key in ("accessKeyIdSecretKeyRef", "secretAccessKeySecretKeyRef"):
        storage["s3"][key] = {**storage["s3"][key], "name": CREDENTIALS}
    storage["s3"]["tls"] = {"enabled": False}
    world.create(mariadb.Backup, name, {"mariaDbRef": {"name": server}, "storage": storage})
    await anyio.sleep(chance.uniform(5, 60))
    world.deletes(mariadb.Backup, name)


# The object store


async def store_is_down(world: World, chance: random.Random) -> None:
    """The bucket can't be reached, or says no."""
    fault = chance.choice([UNREACHABLE, FORBIDDEN])
    seconds = chance.choice([chance.uniform(0.2, 5), chance.uniform(5, 60), chance.uniform(60, 280)])
    world.story.tell(f"{fault}, for {seconds:.1f} s")
    world.bucket.fault = fault
    await anyio.sleep(seconds)
    world.bucket.fault = ""
    world.story.tell("the object store is back")


async def list_is_partial(world: World, chance: random.Random) -> None:
    """Lists leave out some of the dumps, also those that are made meanwhile."""
    until = anyio.current_time() + chance.uniform(0.5, 120)
    world.story.tell("lists of the bucket are partial")
    while anyio.current_time() < until:
        world.bucket.hidden = {key for key in world.bucket.keys if chance.random() < 0.6}
        await anyio.sleep(1.0)
    world.bucket.hidden = set()
    world.story.tell("lists of the bucket are whole")


async def store_loses_replies(world: World, chance: random.Random) -> None:
    """Some replies of the object store are lost."""
    world.bucket.losing = chance.randint(1, 4)
    world.story.tell(f"the object store loses {world.bucket.losing} replies")
    await anyio.sleep(chance.uniform(1, 30))
    world.bucket.losing = 0


ACCIDENTS: list[Accident] = [
    pods_fail,
    pods_fail,
    pods_fail,
    pods_are_slow,
    somebody_deletes_a_job,
    somebody_deletes_an_object,
    somebody_deletes_a_pod,
    somebody_suspends_a_job,
    somebody_resumes_jobs,
    operator_is_down,
    server_is_suspended,
    server_is_not_ready,
    secret_is_gone,
    somebody_dumps,
    store_is_down,
    list_is_partial,
    store_loses_replies,
    *API_SERVER,
    *CONTROLLERS,
]


async def _soon(world: World, chance: random.Random, storage: str) -> Any:
    """Some object of ours, in some state: the first that is seen, or a later one; None where there is none for long."""
    passed = chance.choice([0, 0, 2, 6, 20])
    for _ in range(60):
        found = [obj for obj in world.cluster._store.all(storage) if RUN in obj["metadata"].get("labels", {})]
        if found and passed == 0:
            return chance.choice(found)
        passed -= bool(found)
        await anyio.sleep(0.7)
    return None


def _deletes(world: World, kind: type[KubeObject], obj: Any) -> None:
    name, uid = obj["metadata"]["name"], obj["metadata"]["uid"]
    world.story.tell(f"somebody deletes {kind.resource.kind} {name}")
    options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
    try:
        world.cluster.act("DELETE", kind.resource.path(TENANT, name), options)
    except Failure:
        return


def _patches(world: World, kind: type[KubeObject], obj: Any, spec: dict[str, Any]) -> None:
    name = obj["metadata"]["name"]
    world.story.tell(f"somebody changes {kind.resource.kind} {name}: {spec}")
    try:
        world.cluster.act("PATCH", kind.resource.path(TENANT, name), {"spec": spec})
    except Failure:
        return
