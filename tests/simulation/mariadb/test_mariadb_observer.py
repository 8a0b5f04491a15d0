"""Each rule of the observer can be broken, and then it says so."""

from copy import deepcopy
from typing import Any

import anyio
import pytest
from tests.cozydrivers.mariadb_stage import APP, SERVER
from tests.simulation.ground import Violation
from tests.simulation.mariadb.flows import world_of
from tests.simulation.mariadb.world import World

from cozydrivers.api import mariadb
from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.drivers.owned import RUN
from cozydrivers.testing._mariadb_pod import read_pod

pytestmark = pytest.mark.anyio
JOBS, BACKUPS = "backupjobs.backups.cozystack.io", "backups.backups.cozystack.io"


async def with_backup() -> World:
    """A world with the Backup `nightly`, in which nothing is at work."""
    return await world_of("delete", "a test")


def sees(world: World, what: str) -> None:
    for _ in range(2):  # also where somebody has swallowed the first one
        with pytest.raises(Violation, match=what):
            world.observer.look()


def changed(world: World, storage: str, name: str, **metadata) -> dict[str, Any]:
    """A copy of an object with other metadata, put in the store."""
    obj = deepcopy(next(each for each in world.cluster._store.all(storage) if each["metadata"]["name"] == name))
    obj["metadata"] |= metadata
    return world.cluster._store.put(storage, obj)


async def until(holds) -> None:
    with anyio.fail_after(60):
        while not holds():  # noqa: ASYNC110 - the world tells nobody
            await anyio.sleep(0.1)


def one(world: World, storage: str, text: str) -> dict[str, Any]:
    """The one object of a kind with this in its name."""
    (obj,) = (each for each in world.cluster._store.all(storage) if text in each["metadata"]["name"])
    return obj


@pytest.fixture
async def at_work():
    """A world whose BackupJob `weekly` has a Pod at work; the controller is dead."""
    world = await with_backup()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.beside)
        process = world.process()
        tasks.start_soon(process.run)
        world.backs_up("weekly")
        await until(lambda: any("weekly" in pod["metadata"]["name"] for pod in world.cluster._store.all("pods")))
        process.kill()
        tasks.cancel_scope.cancel()
    return world


@pytest.fixture
async def restoring():
    """A world whose RestoreJob `undo` has a Pod that is about to load; the controller is dead."""
    world = await with_backup()
    world.writes(APP, 7)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.beside)
        process = world.process()
        tasks.start_soon(process.run)
        world.restores("undo", "nightly")
        await until(lambda: world.cluster._store.all("restores.k8s.mariadb.com"))
        process.kill()
        await until(lambda: any(done.what == "loading" for done in world.pods.done))
        tasks.cancel_scope.cancel()
    return world


async def test_an_object_that_is_made_twice(at_work):
    thing = one(at_work, "backups.k8s.mariadb.com", "weekly")
    changed(at_work, "backups.k8s.mariadb.com", thing["metadata"]["name"], uid="another")
    sees(at_work, "made twice")


async def test_a_job_that_runs_twice(at_work):
    job = one(at_work, "jobs.batch", "weekly")
    changed(at_work, "jobs.batch", job["metadata"]["name"], uid="another")
    sees(at_work, "run twice")


async def test_a_job_that_somebody_has_deleted_may_run_twice(at_work):
    job = one(at_work, "jobs.batch", "weekly")
    at_work.by_hand.add(job["metadata"]["uid"])
    changed(at_work, "jobs.batch", job["metadata"]["name"], uid="another")
    at_work.observer.look()


async def test_what_is_left_of_a_job_that_is_gone(at_work):
    job = at_work.find(BackupJob, "weekly")
    at_work.cluster._store.remove(JOBS, job)
    sees(at_work, "left: Backup weekly")


async def test_success_while_the_object_is_there(at_work):
    job = deepcopy(at_work.find(BackupJob, "weekly"))
    at_work.cluster._store.put(JOBS, {**job, "status": {"phase": "Succeeded"}})
    sees(at_work, "success before the end")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("no Job", "success without its Job"),
        ("no Backup", "success without a Backup"),
        ("no file", "success without a dump"),
        ("another's", "success with another's dump"),
        ("a failed Pod's", "success with the dump of a Pod that has failed"),
        ("other rows", "success without the rows"),
    ],
)
async def test_success_without_a_witness(damage, what):
    world = await with_backup()
    observer, backup = world.observer, deepcopy(world.find(Backup, "nightly"))
    known = next(iter(observer._jobs.values()))
    record = backup["spec"]["driverMetadata"]
    match damage:
        case "no Job":
            observer._things.clear()
        case "no Backup":
            world.cluster._store.remove(BACKUPS, backup)
            observer._backups.clear()
        case "no file":
            del record["k8s.mariadb.com/file"]
        case "another's":
            record["k8s.mariadb.com/prefix"] = "shop/nightly-eb1167-0123456789ab-dump/"
        case "a failed Pod's":
            world.pods.done.clear()
        case "other rows":
            observer._contents[APP] = [(0.0, {})]
    if damage != "no Backup":
        world.cluster._store.put(BACKUPS, backup)
    with pytest.raises(Violation, match=what):
        observer._succeeded(known)


async def test_a_restore_without_the_rows():
    world = await with_backup()
    world.writes(APP, 7)
    world.restores("undo", "nightly")
    world.observer.look()
    known = next(each for each in world.observer._jobs.values() if each.obj["kind"] == "RestoreJob")
    with pytest.raises(Violation, match=r"success without the rows: RestoreJob undo: shop"):
        world.observer._restore_is_whole(known)


@pytest.mark.parametrize("damage", ["cut short", "gone"])
async def test_a_kept_dump_that_is_hurt(damage):
    world = await with_backup()
    (key,) = world.bucket.keys
    content = world.bucket.content(key)
    world.bucket.remove(key)
    if damage == "cut short":
        world.bucket.put(key, content[:-9], world.now())
    sees(world, "kept dump hurt: Backup nightly")


async def test_a_backup_that_nobody_has_deleted():
    world = await with_backup()
    changed(world, BACKUPS, "nightly", deletionTimestamp="2026-11-23T00:00:00Z")
    sees(world, "kept Backup deleted: nightly")


async def test_a_run_that_is_recorded_twice():
    world = await with_backup()
    backup = deepcopy(world.find(Backup, "nightly"))
    backup["metadata"] |= {"name": "nightly-2", "uid": "another"}
    world.cluster._store.put(BACKUPS, backup)
    sees(world, "recorded twice")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("over", "replayed"),
        ("another dump", "another dump"),
        ("another target", "another target"),
        ("no safety dump", "no safety dump"),
        ("", ""),
    ],
)
async def test_a_load_that_must_not_be(restoring, damage, what):
    pod, file = read_pod(one(restoring, "pods", "-restore")), restoring.pods.done[-1].file
    job = deepcopy(restoring.find(RestoreJob, "undo"))
    match damage:
        case "over":
            restoring.observer._jobs[job["metadata"]["uid"]].over = True
        case "another dump":
            file = "backup.2020-01-01T00:00:00Z.sql"
        case "another target":
            job["spec"]["targetApplicationRef"] = {"name": "other"}
            restoring.observer._jobs[job["metadata"]["uid"]].obj = job
        case "no safety dump":
            for key in [key for key in restoring.bucket.keys if "-safety/" in key]:
                restoring.bucket.remove(key)
    if not damage:
        restoring.observer.about_to_load(pod, file)
        return
    with pytest.raises(Violation, match=what):
        restoring.observer.about_to_load(pod, file)


async def test_two_runs_at_once_on_a_server(restoring):
    pod = deepcopy(one(restoring, "pods", "-restore"))
    pod["metadata"] |= {"name": "second", "uid": "another"}
    pod["metadata"]["labels"] = {**pod["metadata"]["labels"], "job-name": "another"}
    restoring.cluster._store.put("pods", pod)
    sees(restoring, f"two at once on {SERVER}")


async def test_a_dump_that_is_left_at_the_end():
    world = await with_backup()
    (key,) = world.bucket.keys
    world.bucket.put(key.replace("nightly", "another"), b"", world.now())
    with pytest.raises(Violation, match="dump left"):
        world.observer.at_end()


async def test_a_wait_without_an_end():
    world = await with_backup()
    world.backs_up("weekly")  # and no controller is there
    with pytest.raises(Violation, match="after 60 s without accidents there is still BackupJob weekly"):
        await world.calm(60)


async def test_what_is_foreign_is_nobodys_fault():
    """Somebody's own objects and Jobs are not looked at."""
    world = await with_backup()
    world.create(mariadb.Backup, "by-hand", {"mariaDbRef": {"name": SERVER}, "storage": {"volume": {}}})
    world.observer.look()
    assert RUN not in world.find(mariadb.Backup, "by-hand")["metadata"].get("labels", {})
