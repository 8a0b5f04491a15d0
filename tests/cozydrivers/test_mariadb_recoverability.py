"""What a MariaDB application can be restored from: seen in the bucket; what can't be read is never taken for absent."""

from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cozydrivers.checks import without
from tests.cozydrivers.mariadb_backups import DUMP, HOUR, backed_up, deployed, dumped, file_of, followed
from tests.cozydrivers.mariadb_stage import APP, CREDENTIALS, SERVER
from tests.cozydrivers.stage import TENANT, condition
from tests.cozydrivers.test_mariadb_deletion import FOLDER, NOW, OBJECTS, RECORDED

from cozydrivers.admin.recoverability import recoverability
from cozydrivers.api import mariadb
from cozydrivers.api.backups import BackupClass
from cozydrivers.api.core import PersistentVolumeClaim, Secret
from cozydrivers.drivers.mariadb import record
from cozydrivers.drivers.mariadb.auditing import Seen, judge

pytestmark = pytest.mark.anyio


async def look(stage, *names):
    """What is found of the application; nothing was changed for it."""
    before = len(stage.bucket.requests)
    (found,) = await recoverability(stage.kube, [stage.driver()], namespace=TENANT, names=names, now=stage.now())
    assert not {verb for verb, _ in stage.bucket.requests[before:]} & {"put", "delete"}
    return found.found


def named(found):
    return [each.name for each in found]


async def test_backups_whose_dumps_are_there_whole_are_good_the_newest_first():
    stage = await deployed()
    first = await dumped(stage, "first", age=2 * HOUR)
    await backed_up(stage, first, "first")
    await backed_up(stage, await dumped(stage, "second"), "second", conditions=[])
    found = await look(stage)
    assert [(each.backup, each.size, each.verified) for each in found.good] == [
        ("second", len(DUMP), False),
        ("first", len(DUMP), True),
    ]
    assert found.good[1].name == first.name
    assert found.is_sound
    assert "everything written since" in found.lost_now[0]
    assert "users and grants" in found.lost_now[1]


async def test_one_that_is_gone_or_of_another_size_is_broken():
    stage = await deployed()
    lost, cut = await dumped(stage, "lost"), await dumped(stage, "cut")
    await backed_up(stage, lost, "lost")
    await backed_up(stage, cut, "cut")
    stage.bucket.remove(lost.key)
    stage.bucket.put(cut.key, DUMP[:-1], stage.now())
    found = await look(stage)
    assert [(each.name, each.reason.partition(" ")[2]) for each in found.broken] == [
        ("cut", f"has {len(DUMP) - 1} bytes, recorded are {len(DUMP)}"),
        ("lost", "is not in the store"),
    ]
    assert (found.good, found.is_sound) == ([], False)
    assert found.lost_now == ["there is no good backup: everything would be lost"]


@pytest.mark.parametrize("outage", ["hidden", "fault", "secret"])
async def test_an_outage_is_a_problem_and_nothing_is_gone(outage):
    stage = await deployed()
    dump = await dumped(stage, "nightly")
    await backed_up(stage, dump)
    if outage == "hidden":
        stage.bucket.hidden.add(dump.key)
    elif outage == "fault":
        stage.bucket.fault = "the store is away"
    else:
        await without(Secret, CREDENTIALS, TENANT)(stage)
    found = await look(stage)
    assert (found.good, found.broken, found.orphans, found.is_sound) == ([], [], [], False)
    assert any("can't be told" in problem for problem in found.problems)


async def test_what_does_not_count_says_why():
    stage = await deployed()
    alarm = {
        "type": "Suspicious",
        "status": "True",
        "reason": "Smaller",
        "message": "half of it",
        "observedGeneration": 1,
    }
    await backed_up(stage, await dumped(stage, "a"), "a", phase="Failed")
    await backed_up(stage, await dumped(stage, "b"), "b", conditions=[alarm])
    await backed_up(stage, await dumped(stage, "c"), "c", recorded={record.PREFIX + "prefix": "elsewhere/"})
    theirs = dict.fromkeys(record.write(RECORDED, TENANT)) | {record.PREFIX + "backup-name": "d-x7f2p"}
    await backed_up(stage, await dumped(stage, "d"), "d", recorded=theirs)
    found = await look(stage)
    assert [
        (each.name, word in each.reason)
        for each, word in zip(
            found.suspicious, ["phase is Failed", "half of it", "elsewhere/", "Cozystack's own controller"], strict=True
        )
    ] == [("a", True), ("b", True), ("c", True), ("d", True)]
    assert found.good == []


async def test_what_no_backup_names_is_told_apart():
    stage = await deployed()
    kept = await dumped(stage, "kept")
    await backed_up(stage, kept, "kept")
    orphan = await dumped(stage, "orphan")
    safety = await dumped(stage, "undo", purpose="safety")
    empty = await dumped(stage, "empty", content=b"")
    await dumped(stage, "foreign", home="abcdef")
    await backed_up(stage, await dumped(stage, "theirs"), "theirs", application="blog")
    attempt, theirs = kept.prefix + file_of(NOW), f"{APP}/{file_of(NOW)}"
    for key in (attempt, theirs, f"{APP}/notes.txt"):
        stage.bucket.put(key, DUMP, stage.now())
    found = await look(stage)
    assert named(found.orphans) == [orphan.name]
    assert [(each.name, safety.taken_at.isoformat()[:19] in each.reason) for each in found.safety_copies] == [
        (safety.name, True)
    ]
    assert named(found.debris) == [empty.name, attempt, theirs]
    assert "assumeNearest" in found.debris[-1].reason
    assert found.is_sound


async def test_what_a_job_is_making_is_no_orphan():
    stage = await deployed()
    job = await stage.backup("busy")
    await dumped(stage, "busy", uid=job.metadata.uid.replace("-", "")[:12])
    found = await look(stage)
    assert (found.orphans, found.debris) == ([], [])


async def test_dumps_of_a_namespace_that_is_gone_are_pointed_out():
    stage = await deployed()
    await dumped(stage, "nightly", home="abcdef")
    assert "1 dumps of another namespace" in (await look(stage)).problems[0]


async def operators(stage, kind, name, reason="", message="", server=SERVER, **more):
    s3 = {"bucket": "x", "endpoint": "y:1", "prefix": "z"}
    storage = {"s3": s3} if kind is mariadb.Restore else {"storage": {"s3": s3}}
    body = {"metadata": {"name": name, **more}, "spec": {"mariaDbRef": {"name": server}, **storage}}
    await stage.kube.create(kind, body, TENANT)
    if reason:
        said = {
            "type": "Complete",
            "status": "False" if message else "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": "2026-11-23T12:00:00Z",
        }
        await stage.kube.merge_patch(kind, name, {"status": {"conditions": [said]}}, TENANT, status=True)


async def test_finished_objects_of_the_operator_are_replays_in_waiting():
    stage = await deployed()
    await operators(stage, mariadb.Restore, "undo", "JobComplete")
    await operators(stage, mariadb.Backup, "by-hand", "JobFailed")
    await operators(stage, mariadb.Backup, "running", "JobRunning")
    await operators(stage, mariadb.Restore, "theirs", "JobComplete", server="mariadb-blog")
    await operators(stage, mariadb.Restore, "waiting", "Failed", "MariaDB not ready")
    found = await look(stage)
    assert [(each.name, each.reason) for each in found.replays] == [
        ("Backup by-hand", "Failed: runs again if its Job is deleted"),
        ("Restore undo", "Succeeded: runs again over the live data if its Job is deleted"),
        (
            "Restore waiting",
            "Waiting: MariaDB not ready: runs over the live data as soon as it can, or once more if its Job is deleted",
        ),
    ]


@pytest.mark.parametrize(("storage", "good"), [("persistentVolumeClaim", ["nightly"]), ("volume", [])])
async def test_on_a_volume_nothing_more_than_the_claim_can_be_seen(storage, good):
    stage = await deployed()
    await stage.template(storage={"s3": None, storage: {}})
    dump = await dumped(stage, "nightly")
    unseen = replace(dump, storage=storage, prefix="", file="", size=0)
    if storage == "persistentVolumeClaim":
        body = {"metadata": {"name": dump.name}, "spec": {}}
        claim = await stage.kube.create(PersistentVolumeClaim, body, TENANT)
        unseen = replace(unseen, claim=dump.name, claim_uid=claim.metadata.uid)
    await backed_up(stage, unseen, conditions=[])
    found = await look(stage)
    assert (named(found.orphans), named(found.safety_copies)) == ([], [])
    await stage.kube.create(
        PersistentVolumeClaim, {"metadata": {"name": f"{dump.name[:-4]}safety"}, "spec": {}}, TENANT
    )
    assert named((await look(stage)).safety_copies) == ([f"{dump.name[:-4]}safety"] if good else [])
    assert ([each.backup for each in found.good], named(found.suspicious)) == (
        (["nightly"], []) if good else ([], ["nightly"])
    )


async def test_without_a_strategy_nobody_knows_where_to_look():
    stage = await deployed()
    await without(BackupClass, "mariadb-data-backup")(stage)
    found = await look(stage)
    assert "where its dumps are is not known" in found.problems[0]


async def test_applications_of_one_name_are_told_apart_by_their_kind():
    stage = await deployed()
    assert await look(stage, APP) == await look(stage, f"mariadb/{APP}")
    with pytest.raises(ValueError, match="no application ClickHouse/shop"):
        await look(stage, f"ClickHouse/{APP}")


# The daily look


async def audited(stage):
    """The Backup `nightly` after the first look at it; nothing is asked before."""
    async with followed(stage):
        await anyio.sleep(2 * 3600)
    return await stage.made("nightly")


async def test_a_dump_that_is_gone_is_said_on_its_backup_and_one_that_is_back_too():
    stage = await deployed()
    dump = await dumped(stage, "nightly")
    await backed_up(stage, dump)
    stage.bucket.remove(dump.key)
    assert condition(await audited(stage), "Ready").reason == "ArchiveMissing"
    stage.bucket.put(dump.key, DUMP, stage.now())
    assert condition(await audited(stage), "Ready").reason == "ArchiveFound"
    stage.bucket.put(dump.key, DUMP + b"x", stage.now())
    assert condition(await audited(stage), "Ready").reason == "ArchiveBroken"


@pytest.mark.parametrize("outage", ["hidden", "fault"])
async def test_an_outage_is_no_finding(outage):
    stage = await deployed()
    dump = await dumped(stage, "nightly")
    await backed_up(stage, dump)
    stage.bucket.hidden.add(dump.key)
    stage.bucket.fault = "the store is away" if outage == "fault" else ""
    made = await audited(stage)
    assert [each.type for each in made.status.conditions] == ["Verified"]
    assert stage.bucket.requests


# Decisions

SEEN = st.builds(Seen, OBJECTS, st.booleans(), st.sampled_from(["", "uid", "other"]))
ON_CLAIM = replace(RECORDED, prefix="", file="", claim=RECORDED.name, claim_uid="uid")
RECORDS = [
    RECORDED,
    replace(RECORDED, file=""),
    replace(RECORDED, size=0),
    ON_CLAIM,
    replace(ON_CLAIM, claim="", claim_uid=""),
]


@given(st.sampled_from(RECORDS), SEEN)
def test_a_dump_is_missing_only_by_denial_and_whole_only_as_recorded(recorded, seen):
    finding = judge(recorded, seen)
    sizes = {each.size for each in seen.objects if each.key == recorded.key}
    if finding is None:
        assert not recorded.claim
    elif finding.reason == "ArchiveMissing":
        assert (seen.denied and not sizes) if recorded.prefix else seen.claim != recorded.claim_uid
    elif finding.reason == "ArchiveBroken":
        assert sizes - {recorded.size} or 0 in sizes
    elif recorded.file:
        assert recorded.size in sizes or (not recorded.size and sizes - {0})
    elif recorded.prefix:
        assert any(each.key.startswith(FOLDER) and each.size for each in seen.objects)
    else:
        assert seen.claim == "uid"
