"""A purge deletes what its plan says and the cluster still allows, and nothing else."""

import json
import logging
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from tests.cozydrivers.backups import archive_of, change, delete, deletions, exists, increment_on
from tests.cozydrivers.checks import forget, patched, slow, staged, without_pod
from tests.cozydrivers.stage import APP, TENANT, Stage, recorded

from chbackup import Retention
from cozydrivers.admin.purge import Request, open_purge
from cozydrivers.admin.purge_facts import Scope
from cozydrivers.admin.purge_lock import LASTS, PATIENCE
from cozydrivers.admin.purge_plan import Rules
from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, RestoreJob
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import Namespace
from cozydrivers.controllers.ledger import PAUSE
from cozydrivers.drivers.clickhouse.places import storage_id
from cozydrivers.errors import NotFound
from cozydrivers.runtime.audit import LOGGER
from cozydrivers.runtime.locks import STORAGE_NAMESPACE, Holder, Locks, storage_lock, storage_lock_name
from cozydrivers.testing.operators import PASSWORD, Installation

pytestmark = pytest.mark.anyio

DAY = 24 * 3600.0
STORAGE = storage_id({"S3_BUCKET": "backups", "S3_ENDPOINT": "http://s3.invalid", "S3_PATH": APP})
LEASE = storage_lock_name(STORAGE)
ELSEWHERE = f"cozy-{APP}-000000-20261101T000000Z-0123456789ab-a1-s0of1-r0"
FOREIGN = (f"clickhouse-{APP}-20261101000000", "by-hand", ELSEWHERE)
PAUSED = {"metadata": {"annotations": {PAUSE: "true"}}}


async def daily(*names: str, **installation: Any) -> Stage:
    """A stage with Backups, one a day; the controller is off again."""
    stage = await staged(**installation)
    for name in names:
        await back_up(stage, name)
    forget(stage)
    return stage


async def back_up(stage: Stage, name: str) -> None:
    async with stage.managed():
        job = await stage.end_of(await stage.backup(name))
    assert job.status.phase == "Succeeded", job.status.message
    await anyio.sleep(DAY)


async def orphaned(stage: Stage, *names: str) -> None:
    """Delete Backups and leave their archives, as nobody has a policy that says otherwise."""
    for name in names:
        await delete(stage, name)


def request(stage: Stage, *, keep: int = 1, names=(), **rules: Any) -> Request:
    scope = Scope(TENANT, names=names)
    return Request(scope, Rules(Retention(keep_last=keep), **rules), "ann@desk", "run-1", stage.now)


@asynccontextmanager
async def planned(stage: Stage, *, both: bool = True, kube=None, **options: Any):
    """A purge of all that may go, which has only been planned."""
    rules = {"orphans": both, "delete_backups": both, **options}
    async with open_purge(kube or stage.kube, request(stage, **rules), connect=stage.network.connect) as purge:
        yield purge


async def purged(stage: Stage, **options: Any):
    """Carry a purge out; what became of the archives, the refusals, and the reasons of what was planned to be kept."""
    async with planned(stage, **options) as purge:
        results = [result async for result in purge.run]
        kept = {row.set: row.reason for row in purge.rows if not row.delete}
        return results, [why for _, why in purge.refused], kept


async def nothing_goes(stage: Stage, *words: str, **options: Any) -> None:
    """No archive goes, and somewhere it is said why."""
    before = stage.archives()
    results, refused, kept = await purged(stage, **options)
    assert stage.archives() == before
    assert not [result for result in results if result.ok]
    told = " | ".join([*(result.reason for result in results), *refused, *kept.values()])
    assert all(word in told for word in words), told


def references(backup: Backup) -> dict[str, Any]:
    return {
        "applicationRef": backup.spec.application_ref.written(),
        "strategyRef": backup.spec.strategy_ref.written(),
    }


@pytest.fixture
def audited(caplog):
    caplog.set_level(logging.INFO, LOGGER)
    return lambda: [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER]


async def lease_holder(stage: Stage) -> str:
    return (await stage.kube.get(Lease, LEASE, STORAGE_NAMESPACE)).spec.holder_identity


# What goes, and how


async def test_an_old_backup_goes_with_its_archives_and_nothing_else(audited):
    stage = await daily("one", "two")
    old, new = recorded(await stage.made("one")), recorded(await stage.made("two"))
    uid = (await stage.made("one")).metadata.uid
    stage.app.sidecar(0).requests.clear()
    results, refused, _ = await purged(stage)
    assert {result.archive: result.outcome for result in results} == dict.fromkeys(old, "deleted")
    assert (stage.archives(), refused) == (new, [])
    assert (await exists(stage, "one"), await exists(stage, "two")) == (False, True)
    assert await lease_holder(stage) == ""
    told = [(line["outcome"], line["archive"]) for line in audited()]
    assert told == [
        *((outcome, archive) for archive in sorted(old) for outcome in ("about to", "done")),
        ("about to", ""),
        ("done", ""),
    ]
    for line in audited():
        assert (line["actor"], line["kind"], line["name"], line["uid"]) == ("ann@desk", "Backup", "one", uid)
    assert audited()[0]["rule"] == "no rule keeps it (--keep-last 1)"


async def test_without_being_asked_to_nothing_goes():
    stage = await daily("one", "two", "three")
    await orphaned(stage, "one")
    await nothing_goes(stage, "--delete-backups", "--orphans", both=False)
    assert deletions(stage) == []


async def test_an_orphan_goes_when_that_is_asked_for_and_backups_stay(audited):
    stage = await daily("one", "two", "three")
    orphan = recorded(await stage.made("one"))
    await orphaned(stage, "one")
    await purged(stage, both=False, orphans=True)
    assert stage.archives() == recorded(await stage.made("two")) | recorded(await stage.made("three"))
    assert {(line["kind"], line["name"]) for line in audited()} == {("ClickHouse", APP)}
    assert {line["archive"] for line in audited()} == orphan


async def test_names_that_are_not_ours_are_never_touched():
    """I12, and the reference's archives."""
    stage = await daily("one", "two")
    async with stage.app.sidecar(0).client() as sidecar:
        for name in FOREIGN:
            await (await sidecar.create_remote(name)).wait()
            await sidecar.delete_local(name)
    _, _, kept = await purged(stage)
    assert stage.archives() == {*FOREIGN, *recorded(await stage.made("two"))}
    assert all(kept[name].startswith("not ours") for name in FOREIGN)


async def test_a_local_copy_goes_first():
    """It would upload itself again when its sidecar starts."""
    stage = await daily("one", "two")
    old = await archive_of(stage, "one")
    async with stage.app.sidecar(1).client() as sidecar:
        await (await sidecar.download(old)).wait()
    forget(stage)
    await purged(stage)
    assert old not in stage.archives() | stage.local_copies()
    assert [asked.partition("?")[0].split("/")[3] for asked in deletions(stage)].count("local") == 1


async def test_a_lost_answer_is_looked_for_and_the_audit_log_has_the_end(audited):
    stage = await daily("one", "two")
    for sidecar in stage.app.sidecars.values():
        sidecar.faults.lose_reply(path="/backup/delete/remote")
    results, _, _ = await purged(stage)
    assert [result.outcome for result in results] == ["deleted", "deleted"]
    outcomes = [line["outcome"] for line in audited() if line["archive"] == results[0].archive]
    assert (outcomes[0], outcomes[-1]) == ("about to", "done")


# What stays


async def test_an_increment_keeps_its_base_and_the_backup_of_it():
    """I8: whatever the server's version allows."""
    stage = await daily("one", "two")
    await increment_on(stage, await archive_of(stage, "one"), "by-hand")
    await nothing_goes(stage, "base of by-hand")
    assert await exists(stage, "one")


async def test_an_increment_that_is_made_after_the_plan_keeps_its_base():
    stage = await daily("one", "two")
    async with planned(stage) as purge:
        await increment_on(stage, await archive_of(stage, "one", 1), "by-hand", shard=1)
        results = [result async for result in purge.run]
    assert "by-hand" in " ".join(result.reason for result in results)
    assert await exists(stage, "one")
    assert await archive_of(stage, "one", 1) in stage.archives()


@pytest.mark.parametrize(
    "told",
    [
        {"conditions": [{"type": "Suspicious", "status": "True", "reason": "Empty", "message": "no table"}]},
        {"conditions": [{"type": "Ready", "status": "False", "reason": "ArchiveBroken", "message": "hollow"}]},
        {"phase": "Failed"},
    ],
)
async def test_a_backup_that_is_no_good_one_pushes_none_out(told):
    stage = await daily("one", "two")
    conditions = [{**each, "lastTransitionTime": "2026-11-23T00:00:00Z"} for each in told.get("conditions", [])]
    await change(stage, "two", status={**told, "conditions": conditions})
    await nothing_goes(stage)


async def test_what_a_job_is_at_work_on_is_not_touched():
    stage = await daily("one")
    slow(stage, 600)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage.manager().run)
        job = await stage.stands(await stage.backup("two"), "InProgress")
        await anyio.sleep(400)
        await nothing_goes(stage, f"BackupJob {TENANT}/two is at work on it")
        slow(stage, 1)
        assert (await stage.end_of(job, within=3600)).status.phase == "Succeeded"
        tasks.cancel_scope.cancel()


async def test_what_a_restore_is_to_restore_stays():
    stage = await daily("one", "two")
    await stage.restore("undo", "one")
    await nothing_goes(stage, "RestoreJob undo restores it")
    job = await stage.kube.get(RestoreJob, "undo", TENANT)
    await stage.kube.delete(RestoreJob, "undo", TENANT, uid=job.metadata.uid)
    assert len((await purged(stage))[0]) == 2


def silent(stage):
    stage.app.sidecar(1).faults.refuse = True


def outage(stage):
    for sidecar in stage.app.sidecars.values():
        sidecar.faults.s3 = "refused"


@pytest.mark.parametrize(("fault", "word"), [(silent, "127.20.0.3"), (outage, "empty")])
async def test_what_can_not_be_asked_is_refused(fault, word):
    """I4: an empty list may be an outage."""
    stage = await daily("one", "two")
    fault(stage)
    async with planned(stage) as purge:
        assert (purge.rows, purge.plan.delete) == ([], ())
        assert word in purge.refused[0][1]


async def test_an_application_that_can_not_be_asked_does_not_hold_up_another():
    stage = await daily("one", "two")
    other = Installation(stage.network, namespace=TENANT, name="other", shards=1)
    await other.deploy(stage.kube)
    other.sidecar(0).faults.refuse = True
    results, refused, _ = await purged(stage)
    assert (len(results), len(refused)) == (2, 1)


@pytest.mark.parametrize(
    ("happens", "word"),
    [
        (patched(Namespace, TENANT, PAUSED), f"paused by the annotation {PAUSE} of Namespace"),
        (patched(ClickHouse, APP, PAUSED, TENANT), f"paused by the annotation {PAUSE} of ClickHouse"),
        (without_pod, "no Pod with a port"),
        (lambda stage: change(stage, "one", recorded={"clickhouse.backup/cluster": "another"}), "another cluster"),
        (lambda stage: change(stage, "one", recorded={"clickhouse.backup/schema": "2"}), "newer version"),
    ],
)
async def test_what_happens_after_the_plan_keeps_what_was_to_go(happens, word):
    """I4: the cluster is read again before each set."""
    stage = await daily("one", "two")
    async with planned(stage) as purge:
        assert len(purge.plan.delete) == 2
        await happens(stage)
        forget(stage)
        results = [result async for result in purge.run]
    assert {result.outcome for result in results} == {"kept"}
    assert word in results[0].reason
    assert (deletions(stage), await exists(stage, "one")) == ([], True)


@pytest.mark.parametrize("archives", [0, 1])
async def test_a_backup_that_was_made_anew_under_its_name_is_not_deleted(archives):
    """I11, I4: before the first archive goes the old one's are found to be an orphan's; after it the UID decides."""
    stage = await daily("one", "two")
    made = await stage.made("one")
    async with planned(stage, both=False, delete_backups=True) as purge:
        results = [await anext(purge.run) for _ in range(archives)]
        await delete(stage, "one")
        spec = {**references(made), "takenAt": "2026-11-23T00:00:00Z"}
        await stage.kube.create(Backup, {"metadata": {"name": "one"}, "spec": spec}, TENANT)
        results += [result async for result in purge.run]
    assert [result.outcome for result in results] == (["deleted", "deleted", "failed"] if archives else ["kept"] * 2)
    assert await exists(stage, "one")


async def test_nothing_is_deleted_that_the_audit_log_does_not_have(monkeypatch):
    stage = await daily("one", "two")

    class Full(logging.Handler):
        def emit(self, record):
            raise OSError("no space left on device")

    handler = Full()
    logging.getLogger(LOGGER).addHandler(handler)
    try:
        with pytest.raises(OSError, match="no space"):
            await purged(stage)
    finally:
        logging.getLogger(LOGGER).removeHandler(handler)
    assert (deletions(stage), await exists(stage, "one")) == ([], True)
    assert await lease_holder(stage) == ""


# Storage paths that are shared


async def sharing(**options: Any) -> tuple[Stage, Installation]:
    """Two applications of one name in two namespaces, on one storage path."""
    stage = await daily("one", "two")
    storage = stage.app.sidecar(0).storage
    other = Installation(stage.network, namespace="tenant-b", name=APP, shards=1, storage=storage, **options)
    await other.deploy(stage.kube)
    return stage, other


async def test_who_shares_a_path_is_asked_and_its_archives_stay():
    stage, other = await sharing()
    async with other.sidecar(0).client() as sidecar:
        await (await sidecar.create_remote(ELSEWHERE)).wait()
    results, refused, kept = await purged(stage)
    assert ([result.outcome for result in results], refused) == (["deleted"] * 2, [])
    assert kept[ELSEWHERE].startswith("not ours")
    assert ELSEWHERE in stage.archives()
    assert any(asked.path == "/backup/actions" for asked in other.sidecar(0).requests)


async def test_a_backup_elsewhere_that_names_the_archives_keeps_them():
    stage, _ = await sharing()
    one = await stage.made("one")
    spec = {**references(one), "driverMetadata": one.spec.driver_metadata, "takenAt": "2026-11-23T00:00:00Z"}
    await stage.kube.create(Backup, {"metadata": {"name": "copy"}, "spec": spec}, "tenant-b")
    await nothing_goes(stage, "Backup tenant-b/copy")


async def test_who_shares_a_path_and_can_not_be_asked_keeps_all_of_it():
    stage, other = await sharing()
    other.sidecar(0).faults.refuse = True
    await nothing_goes(stage)


async def test_what_runs_on_any_sidecar_of_the_path_is_waited_for_under_the_lock():
    """Nothing is deleted below an operation that needs it, whoever's sidecar runs it; meanwhile the lock is renewed."""
    stage, other = await sharing()
    old = await archive_of(stage, "one")
    other.sidecar(0).duration.download = 250
    waiting = Locks(stage.kube, never)
    async with other.sidecar(0).client() as sidecar, anyio.create_task_group() as tasks:
        await sidecar.download(old)
        tasks.start_soon(purged, stage)
        for _ in range(12):
            await anyio.sleep(20)
            assert not await waiting.acquire(storage_lock(STORAGE), Holder("BackupJob", "u", "a", "b"), stage.now())
            assert (await stage.kube.get(Lease, LEASE, STORAGE_NAMESPACE)).spec.lease_duration_seconds == LASTS
        assert old in stage.archives()
    assert old not in stage.archives()


async def never(holder: Holder) -> bool:
    return False


# The lock


async def test_a_job_that_holds_the_storage_path_keeps_all_of_it():
    stage = await daily("one", "two")
    slow(stage, 3600)
    async with planned(stage) as purge, anyio.create_task_group() as tasks:
        tasks.start_soon(stage.manager().run)
        await stage.stands(await stage.backup("three"), "InProgress")
        forget(stage)
        began = anyio.current_time()
        results = [result async for result in purge.run]
        assert anyio.current_time() - began == pytest.approx(PATIENCE, abs=10)
        tasks.cancel_scope.cancel()
    assert {result.reason for result in results} == {"a job works on the application or its storage path"}
    assert deletions(stage) == []


async def test_a_purge_that_has_crashed_holds_the_lock_only_until_it_runs_out():
    stage = await daily("one", "two")
    lease = await stage.kube.get(Lease, LEASE, STORAGE_NAMESPACE)
    spec = {"holderIdentity": "Purge//desk/crashed", "leaseDurationSeconds": LASTS, "leaseTransitions": 9}
    await stage.kube.merge_patch(Lease, lease.metadata.name, {"spec": spec}, STORAGE_NAMESPACE)
    began = anyio.current_time()
    async with stage.managed():
        job = await stage.end_of(await stage.backup("three"))
    assert job.status.phase == "Succeeded"
    assert LASTS <= anyio.current_time() - began < 2 * LASTS
    spec["leaseTransitions"] = 99
    await stage.kube.merge_patch(Lease, lease.metadata.name, {"spec": spec}, STORAGE_NAMESPACE)
    assert {result.outcome for result in (await purged(stage))[0]} == {"deleted"}


async def test_a_job_waits_for_the_end_of_a_purge_and_a_lost_lock_ends_it():
    stage = await daily("one", "two", "three")
    old = [await archive_of(stage, "one", shard) for shard in (0, 1)]
    async with planned(stage) as purge:
        result = await anext(purge.run)
        assert (await lease_holder(stage)).startswith("Purge//ann@desk/run-1")
        await stage.kube.merge_patch(Lease, LEASE, {"spec": {"holderIdentity": "Backup/a/b/c"}}, STORAGE_NAMESPACE)
        rest = [each async for each in purge.run]
    assert (result.outcome, {each.outcome for each in rest}) == ("deleted", {"kept"})
    assert "was lost" in " ".join(each.reason for each in rest)
    assert len(stage.archives() & set(old)) == 1
    assert await exists(stage, "one")
    assert await lease_holder(stage) == "Backup/a/b/c"


async def test_the_next_purge_goes_on_with_a_set_that_was_half_deleted():
    """I7: the Backup is the last to go; who stops gives the lock back."""
    stage = await daily("one", "two")
    async with planned(stage) as purge:
        await anext(purge.run)
    assert (await exists(stage, "one"), await lease_holder(stage)) == (True, "")
    await purged(stage)
    assert stage.archives() == recorded(await stage.made("two"))
    assert not await exists(stage, "one")


# What is said


async def test_no_secret_is_said(audited):
    """I9."""
    stage = await daily("one", "two")
    async with planned(stage) as purge:
        results = [result async for result in purge.run]
        told = repr((purge.rows, purge.refused, purge.plan, results, audited(), vars(purge)))
    assert PASSWORD not in told


async def test_an_application_that_is_not_there_is_named():
    stage = await daily()
    with pytest.raises(NotFound, match=f"there is no ClickHouse nothing in namespace {TENANT}"):
        async with planned(stage, names=("nothing",)):
            pass
