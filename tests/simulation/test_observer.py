"""Each rule of the observer can be broken, and then it says so."""

import base64

import anyio
import pytest
from tests.cozydrivers.stage import TENANT
from tests.simulation.ground import Violation
from tests.simulation.story import Story
from tests.simulation.world import TABLES, World

from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.testing.operators import PASSWORD, USERNAME

pytestmark = pytest.mark.anyio


async def a_world() -> World:
    world = World(Story("a test"))
    await world.set_up()
    return world


async def with_backup() -> World:
    """A world with the Backup `nightly`, and no controller any more."""
    world = await a_world()
    async with anyio.create_task_group() as tasks:
        process = world.process()
        tasks.start_soon(process.run)
        world.backs_up("nightly")
        await world.calm()
        process.stop()
    return world


async def ask(world: World, path: str, query: str = "", shard: int = 0) -> None:
    token = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    await world.app.sidecar(shard).handle("POST", path, query, {"authorization": f"Basic {token}"}, b"")


def sees(world: World, what: str) -> None:
    with pytest.raises(Violation, match=what):
        world.observer.look()
    with pytest.raises(Violation, match=what):  # also where somebody has swallowed the first one
        world.observer.look()


async def test_a_name_that_is_submitted_twice():
    world = await with_backup()
    name = min(world.archives())
    await ask(world, "/backup/create_remote", f"name={name}")
    sees(world, f"submitted twice: create_remote {name}")


async def test_a_job_with_two_backups():
    world = await with_backup()
    backup = world.find(Backup, "nightly")
    metadata = {**backup["metadata"], "name": "nightly-2", "uid": "another"}
    world.cluster._store.put("backups.backups.cozystack.io", {**backup, "metadata": metadata})
    sees(world, "recorded twice")


async def test_a_restore_that_is_submitted_twice():
    world = await with_backup()
    name, query = min(world.archives()), "table=no.such,cozydrivers_0123456789ab.a1"
    for _ in range(2):
        await ask(world, f"/backup/restore/{name}", query)
    sees(world, "submitted twice: restore")


@pytest.mark.parametrize("damage", ["a part", "a table", "metadata.json", "all of it", "a shard"])
async def test_success_without_every_member_whole(damage):
    world = await with_backup()
    backup, job = world.find(Backup, "nightly"), world.find(BackupJob, "nightly")
    world.deletes(Backup, "nightly")
    name = max(world.archives())
    archive = world.app.sidecar(0).remote[name]
    match damage:
        case "a part":
            archive.remove_object(min(key for key in archive.objects() if key.startswith("shadow")))
        case "a table":
            archive.remove_object(min(key for key in archive.objects() if key.startswith("metadata/")))
        case "metadata.json":
            archive.lose_metadata()
        case "all of it":
            del world.app.sidecar(0).remote[name]
        case _:
            recorded = backup["spec"]["driverMetadata"]
            backup["spec"]["driverMetadata"] = {key: recorded[key] for key in recorded if not key.endswith(".1")}
    world.cluster._store.put("backups.backups.cozystack.io", backup)
    world.cluster._store.put("backupjobs.backups.cozystack.io", {**job, "status": {**job["status"], "phase": ""}})
    world.observer._look_at_jobs()
    world.cluster._store.put("backupjobs.backups.cozystack.io", job)
    sees(world, "success without")


async def test_success_without_the_rows_of_that_time():
    world = await with_backup()
    job = world.find(BackupJob, "nightly")
    await anyio.sleep(60)
    world.inserts(world.app, 5)
    await anyio.sleep(60)
    world.observer._jobs.clear()
    world.cluster._store.put("backupjobs.backups.cozystack.io", job)
    sees(world, "success without the rows")


@pytest.mark.parametrize("is_base", [False, True], ids=["its own archive", "its base"])
async def test_what_a_kept_set_needs(is_base):
    world = await with_backup()
    remote = world.app.sidecar(0).remote
    if is_base:
        world.app.sidecar(0).add_remote("base")
        archive = remote[min(world.archives() - {"base"})]
        assert archive.metadata
        object.__setattr__(archive.metadata, "required", "base")
        world.observer.look()
        del remote["base"]
    else:
        del remote[min(world.archives())]
    sees(world, "kept set hurt: Backup nightly")


async def test_a_half_set_of_a_job_that_is_let_go():
    world = await a_world()
    world.backs_up("nightly")
    world.observer.look()
    uid = world.find(BackupJob, "nightly")["metadata"]["uid"].replace("-", "")[:12]
    world.app.sidecar(1).add_local(f"cozy-shop-abcdef-20261123T000000Z-{uid}-a1-s1of2-r0")
    world.deletes(BackupJob, "nightly")
    sees(world, "half set left: nightly is let go")


@pytest.mark.parametrize("where", ["remote", "local"])
async def test_a_half_set_at_the_end(where):
    world = await with_backup()
    add = world.app.sidecar(0).add_remote if where == "remote" else world.app.sidecar(0).add_local
    add("cozy-shop-abcdef-20261123T000000Z-0123456789ab-a1-s0of2-r0")
    with pytest.raises(Violation, match="half set left"):
        world.observer.at_end()


async def test_a_table_that_nobody_named():
    world = await a_world()
    world.app.sidecar(0).tables.drop(TABLES[0])
    sees(world, f"table replaced: {TABLES[0]} .* no restore names it")


@pytest.mark.parametrize("asked", [False, True], ids=["without a job", "without a check"])
async def test_a_table_that_was_not_checked(asked):
    world = await with_backup()
    name, uid = min(world.archives()), "0123456789ab"
    if asked:
        world.restores("undo", "nightly")
        path = f"/apis/backups.cozystack.io/v1alpha1/namespaces/{TENANT}/restorejobs/undo"
        uid = world.cluster.act("GET", path)["metadata"]["uid"].replace("-", "")[:12]
    await ask(world, f"/backup/download/{name}")
    await anyio.sleep(10)
    await ask(world, f"/backup/restore/{name}", f"table=*.*,cozydrivers_{uid}.a1")
    await anyio.sleep(10)
    sees(world, "not checked before" if asked else "no RestoreJob has asked")


async def test_a_wait_without_an_end():
    world = await a_world()
    world.backs_up("nightly")
    with pytest.raises(Violation, match=r"wait: .* BackupJob nightly"):
        await world.calm(within=60)
