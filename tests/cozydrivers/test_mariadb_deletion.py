"""A dump goes with its Backup where all says so: the recorded one, alone, and never by what a tenant has written."""

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cozydrivers.checks import gone, without
from tests.cozydrivers.fate import Fate, LostReply, fated_kube
from tests.cozydrivers.mariadb_backups import (
    DUMP,
    HOUR,
    backed_up,
    delete,
    deployed,
    dumped,
    exists,
    followed,
)
from tests.cozydrivers.mariadb_stage import APP, CREDENTIALS, staged
from tests.cozydrivers.stage import TENANT

from cozydrivers.api import apps
from cozydrivers.api.backups import Backup
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import Namespace, PersistentVolumeClaim, Secret
from cozydrivers.clients.objects import StoredObject, StoreError
from cozydrivers.controllers.backup import BackupController
from cozydrivers.controllers.ledger import FORMER
from cozydrivers.drivers.base import Failed, Inspection, Intent, Running, Succeeded
from cozydrivers.drivers.mariadb import MariaDBDriver, deleting, record
from cozydrivers.drivers.mariadb.auditing import Seen
from cozydrivers.drivers.mariadb.deleting import SAFETY_KEPT, decide, expired
from cozydrivers.drivers.mariadb.record import Recorded
from cozydrivers.drivers.mariadb.storage import place_of
from cozydrivers.drivers.mariadb.store import Access
from cozydrivers.errors import NotFound
from cozydrivers.runtime.audit import LOGGER
from cozydrivers.runtime.locks import storage_lock

pytestmark = pytest.mark.anyio


async def retained(stage, *words, keys=None):
    """The Backup `nightly` is gone, its dump is not, and the one event says why."""
    keys = keys if keys is not None else stage.bucket.keys
    async with followed(stage):
        await delete(stage)
        await gone(stage, Backup, "nightly")
    (note,) = await stage.events("ArchiveRetained")
    assert all(word in note for word in words), note
    assert stage.bucket.keys == keys
    assert not [request for request in stage.bucket.requests if request[0] == "delete"]


async def waiting(stage, reason, *, within=600):
    """The Backup `nightly` is there after a while, and nothing was deleted."""
    async with followed(stage):
        await delete(stage)
        await anyio.sleep(within)
    assert await exists(stage)
    assert await stage.events(reason)
    assert not [request for request in stage.bucket.requests if request[0] == "delete"]


async def test_a_dump_goes_with_its_backup_and_no_other_does():
    stage = await staged()
    await stage.parameters(deletionPolicy="Delete")
    async with stage.working():
        await stage.backed_up("first")
        (kept,) = stage.bucket.keys
        backup = await stage.backed_up("second")
    (going,) = set(stage.bucket.keys) - {kept}
    size, lines = len(stage.bucket.content(going)), list[Any]()
    async with followed(stage, audit=lines.append):
        await delete(stage, backup.metadata.name)
        await gone(stage, Backup, backup.metadata.name)
    assert stage.bucket.keys == [kept]
    assert [(line["outcome"], line["archive"], line["bytes"]) for line in lines] == [
        ("about to", going, size),
        ("done", going, size),
    ]
    assert await stage.events("ArchiveDeleted")


async def test_what_lies_beside_the_dump_in_its_folder_goes_too_with_lines_of_its_own():
    stage = await deployed()
    found = await dumped(stage, "nightly")
    await backed_up(stage, found)
    beside = [f"{found.prefix}{name}" for name in ("backup.2026-11-20T00:00:00Z.gzip.sql", "deeper/x")]
    neighbours = [f"{APP}/{found.name}-x/dump", f"{APP}/backup.2026-11-20T00:00:00Z.gzip.sql"]
    for key in [*beside, *neighbours]:
        stage.bucket.put(key, DUMP, stage.now())
    lines: list[Any] = []
    async with followed(stage, audit=lines.append):
        await delete(stage)
        await gone(stage, Backup, "nightly")
    assert stage.bucket.keys == sorted(neighbours)
    both = {(outcome, key) for outcome in ("about to", "done") for key in [found.key, *beside]}
    assert {(line["outcome"], line["archive"]) for line in lines} == both


async def test_a_dump_that_is_gone_already_is_no_trouble():
    stage = await deployed()
    found = await dumped(stage, "nightly")
    await backed_up(stage, found)
    stage.bucket.remove(found.key)
    async with followed(stage):
        await delete(stage)
        await gone(stage, Backup, "nightly")
    assert await stage.events("ArchiveDeleted")


async def test_an_empty_list_is_no_proof_that_it_is_gone():
    """I2: the store must deny the object itself."""
    stage = await deployed()
    found = await dumped(stage, "nightly")
    await backed_up(stage, found)
    stage.bucket.hidden.add(found.key)
    await waiting(stage, "ArchiveNotListed")
    stage.bucket.hidden.clear()
    async with followed(stage):
        await gone(stage, Backup, "nightly")
    assert stage.bucket.keys == []


async def test_while_the_store_can_t_be_asked_it_is_waited_for():
    stage = await deployed()
    await backed_up(stage, await dumped(stage, "nightly"))
    stage.bucket.fault = "the store is away"
    await waiting(stage, "StoreNotReadable")
    stage.bucket.fault = ""
    await without(Secret, CREDENTIALS, TENANT)(stage)
    async with followed(stage):
        await anyio.sleep(600)
    assert await exists(stage)


async def test_a_dump_of_another_size_is_not_the_recorded_one():
    stage = await deployed()
    found = await dumped(stage, "nightly")
    await backed_up(stage, found)
    stage.bucket.put(found.key, b"", stage.now())
    await retained(stage, "0 bytes", str(found.size))


@pytest.mark.parametrize("application", [APP, "blog"])
async def test_what_another_backup_records_stays(application):
    """Also one of another application, as far as they share a prefix."""
    stage = await deployed()
    found = await dumped(stage, "nightly")
    await backed_up(stage, found)
    await backed_up(stage, found, "other", application=application, recorded={record.PREFIX + "file": "x.sql"})
    await retained(stage, "Backup other records")


async def test_beside_a_backup_of_a_newer_version_nothing_is_deleted():
    stage = await deployed()
    await backed_up(stage, await dumped(stage, "nightly"))
    await backed_up(stage, await dumped(stage, "other"), "other", recorded={record.PREFIX + "schema": "2"})
    await waiting(stage, "RecordNotReadable")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("prefix", "blog/", "is recorded under blog/"),
        ("prefix", "", "does not fit"),
        ("storage", "s3/elsewhere:9000/db-backups/shop/", "keeps dumps in"),
        ("backup-name", "nightly-ffffff-0123456789ab-dump", "another namespace"),
        ("backup-name", "nightly", "none of this driver's"),
        ("file", "../other/backup.sql", "no file's name"),
        ("size", "999", "999"),
    ],
)
async def test_what_a_tenant_writes_deletes_nothing(key, value, word):
    """I12."""
    stage = await deployed()
    found = await dumped(stage, "nightly")
    stage.bucket.put("blog/backup.2026-11-20T00:00:00Z.sql", DUMP, stage.now())
    await backed_up(stage, found, recorded={record.PREFIX + key: value or None})
    await retained(stage, word)


async def test_a_dump_that_was_made_before_this_namespace_stays():
    stage = await deployed()
    await stage.kube.merge_patch(Namespace, TENANT, {"metadata": {"annotations": {FORMER: "abcdef"}}})
    await backed_up(stage, await dumped(stage, "nightly", home="abcdef"))
    await retained(stage, "another namespace")


async def test_what_a_restore_to_another_application_reads_stays_until_that_has_ended():
    """Such a restore holds the lock of the storage; that of the Backup's own application it does not."""
    stage = await deployed()
    found = await dumped(stage, "nightly")
    await backed_up(stage, found)
    lock = storage_lock(found.storage)
    body = {"metadata": {"name": lock.name}, "spec": {"holderIdentity": "Purge/1"}}
    await stage.kube.create(Lease, body, lock.namespace)
    await waiting(stage, "StorageLocked")


async def test_what_was_not_announced_is_not_deleted():
    """What comes into the folder between the two looks is announced first."""
    stage = await deployed()
    found = await dumped(stage, "nightly")
    await backed_up(stage, found)
    late, lines = f"{found.prefix}late", list[Any]()

    def audit(line):
        if not lines:
            stage.bucket.put(late, DUMP, stage.now())
        lines.append((line["outcome"], line["archive"], found.key in stage.bucket.keys))

    async with followed(stage, audit=audit):
        await delete(stage)
        await gone(stage, Backup, "nightly")
    assert stage.bucket.keys == []
    announced = [(key, there) for outcome, key, there in lines if outcome == "about to"]
    assert announced == [(found.key, True), (late, True)]


# Accidents


class FatedBucket:
    """The bucket, as one controller reaches it."""

    def __init__(self, stage, fate):
        self._bucket = stage.bucket
        self._fate = fate
        self.list, self.part = stage.bucket.list, stage.bucket.part

    @contextlib.asynccontextmanager
    async def open(self, coordinates, /):
        async with self._bucket.open(coordinates):
            yield self

    async def delete(self, key):
        try:
            await self._fate.meet("DELETE", key, lambda: self._bucket.delete(key))
        except LostReply:
            raise StoreError("lost") from None


@pytest.mark.parametrize("dies", [True, False])
@pytest.mark.parametrize("number", range(1, 7))
async def test_an_accident_around_any_request_is_made_good(number, dies):
    """A crash after each request, and before the next; or its reply is lost."""
    stage = await deployed()
    kept = await dumped(stage, "older")
    await backed_up(stage, kept, "older")
    await backed_up(stage, await dumped(stage, "nightly"))
    fate = Fate(number, dies=dies)
    driver = MariaDBDriver(objects=FatedBucket(stage, fate).open)
    controller = BackupController(fated_kube(stage, fate), drivers=[driver], now=stage.now)
    async with anyio.create_task_group() as tasks:

        async def first() -> None:
            async with controller:
                await controller.run()

        tasks.start_soon(first)
        await anyio.sleep(1)
        await delete(stage)
        with anyio.move_on_after(300):
            await fate.struck.wait()
        if not dies:
            await gone(stage, Backup, "nightly")
        tasks.cancel_scope.cancel()
    async with followed(stage):
        await gone(stage, Backup, "nightly")
        await anyio.sleep(60)
    assert stage.bucket.keys == [kept.key], fate.where
    assert await exists(stage, "older")


# Where nobody can look


async def test_with_credentials_that_only_the_operator_can_use_it_stays():
    stage = await deployed()
    await stage.template(storage={"s3": {"sessionTokenSecretKeyRef": {"name": "token", "key": "token"}}})
    await backed_up(stage, await dumped(stage, "nightly"))
    await retained(stage, "not an access key and a secret key")


async def on_claim(stage, **changes):
    await stage.template(storage={"s3": None, "persistentVolumeClaim": {"resources": {"requests": {"storage": "1Gi"}}}})
    found = await dumped(stage, "nightly")
    stage.bucket.remove(found.key)
    claim = await stage.kube.create(PersistentVolumeClaim, {"metadata": {"name": found.name}, "spec": {}}, TENANT)
    on = replace(found, storage="persistentVolumeClaim", prefix="", file="", size=0, claim=found.name)
    await backed_up(stage, replace(on, **{"claim_uid": claim.metadata.uid, **changes}))
    return found.name


async def has_claim(stage, name):
    try:
        return bool(await stage.kube.get(PersistentVolumeClaim, name, TENANT))
    except NotFound:
        return False


async def test_a_claim_that_the_run_has_made_goes_by_its_uid():
    stage = await deployed()
    name = await on_claim(stage)
    async with followed(stage):
        await delete(stage)
        await gone(stage, Backup, "nightly")
    assert not await has_claim(stage, name)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"claim_uid": "another"}, "ArchiveDeleted"),
        ({"claim_uid": ""}, "ArchiveRetained"),
        ({"claim": "mariadb-data", "claim_uid": "x"}, "ArchiveRetained"),
        ({"claim": "", "claim_uid": ""}, "ArchiveRetained"),
    ],
)
async def test_another_claim_stays(changes, reason):
    stage = await deployed()
    name = await on_claim(stage, **changes)
    async with followed(stage):
        await delete(stage)
        await gone(stage, Backup, "nightly")
    assert await has_claim(stage, name)
    assert await stage.events(reason)


async def test_one_dump_among_others_on_a_volume_can_t_be_deleted():
    stage = await deployed()
    await stage.template(storage={"s3": None, "volume": {"nfs": {"server": "nas", "path": "/"}}})
    found = await dumped(stage, "nightly")
    await backed_up(stage, replace(found, storage="volume", prefix="", file="", size=0))
    await retained(stage, "nobody can delete one dump alone")


# Age


async def aged(stage):
    """Two Backups that are older than the strategy keeps them; the dump of the newer one."""
    await stage.template(maxRetention="24h")
    await backed_up(stage, await dumped(stage, "older", age=72 * HOUR), "older")
    newer = await dumped(stage, "newer", age=48 * HOUR)
    await backed_up(stage, newer, "newer")
    return newer


async def test_an_old_backup_goes_with_its_dump_and_the_newest_good_one_stays():
    stage = await deployed()
    newer = await aged(stage)
    async with followed(stage):
        await gone(stage, Backup, "older")
    assert await exists(stage, "newer")
    assert stage.bucket.keys == [newer.key]


async def gone_from_the_store(stage, newer):
    stage.bucket.remove(newer.key)


async def not_listed(stage, newer):
    stage.bucket.hidden.add(newer.key)


async def of_another_size(stage, newer):
    stage.bucket.put(newer.key, DUMP[:-1], stage.now())


async def where_the_strategy_looks_no_more(stage, newer):
    await stage.kube.merge_patch(
        Backup, "newer", {"spec": {"driverMetadata": {"k8s.mariadb.com/storage": "s3/elsewhere/b/shop/"}}}, TENANT
    )


@pytest.mark.parametrize(
    "happens", [gone_from_the_store, not_listed, of_another_size, where_the_strategy_looks_no_more]
)
async def test_none_goes_because_of_one_whose_dump_is_not_seen_in_the_store(happens):
    """I4: the Backup that is to stand for those that go must be one that can be restored."""
    stage = await deployed()
    newer = await aged(stage)
    await happens(stage, newer)
    async with followed(stage):
        await anyio.sleep(200)
    assert await exists(stage, "older")
    assert await exists(stage, "newer")
    assert not [request for request in stage.bucket.requests if request[0] == "delete"]


# Safety dumps


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def expire(stage, **options):
    """What the next restore that succeeds does, and its lines in the audit log."""
    lines: list[Any] = []
    application = await stage.kube.get(apps.MariaDB, APP, TENANT)
    home = await stage.kube.get(Namespace, TENANT)
    run = run_of(stage, application, uid=home.metadata.uid, audit=lambda *line, rule: lines.append(line))
    place = place_of(json.loads(json.dumps(stage.seed[0]["spec"]).replace("{{ .Application.metadata.name }}", APP)))
    await deleting.expire(replace(run, **options), Access(stage.bucket.open), place)
    return lines


def run_of(stage, application, *, uid, **more):
    now = stage.now()
    return Inspection(
        kube=stage.kube,
        reader=None,  # type: ignore[arg-type]
        namespace=TENANT,
        namespace_uid=uid,
        cluster_uid="c",
        application=application,
        strategy={},
        name=APP,
        uid="0",
        created=now,
        now=now,
        **more,
    )


async def test_safety_dumps_are_kept_for_30_days():
    stage = await deployed()
    old = await dumped(stage, "undo", purpose="safety", age=SAFETY_KEPT + HOUR)
    stays = [
        await dumped(stage, "redo", purpose="safety", age=SAFETY_KEPT - HOUR),
        await dumped(stage, "nightly", age=2 * SAFETY_KEPT),
        await dumped(stage, "foreign", purpose="safety", age=2 * SAFETY_KEPT, home="abcdef"),
        imported := await dumped(stage, "imported", purpose="safety", age=2 * SAFETY_KEPT),
    ]
    await backed_up(stage, imported, "imported")
    assert await expire(stage) == [("about to", old.key, old.size), ("done", old.key, old.size)]
    assert stage.bucket.keys == sorted(each.key for each in stays)


async def test_the_next_restore_that_succeeds_deletes_them_and_says_so_in_the_audit_log(caplog):
    stage = await staged()
    old = await dumped(stage, "older", purpose="safety", age=SAFETY_KEPT + HOUR)
    async with stage.working():
        backup = await stage.backed_up()
        job = await stage.end_of(await stage.restore("undo", backup.metadata.name))
    assert job.status.phase == "Succeeded", job.status.message
    assert old.key not in stage.bucket.keys
    assert len([key for key in stage.bucket.keys if "-safety/" in key]) == 1
    lines = [json.loads(each.getMessage()) for each in caplog.records if each.name == LOGGER]
    told = [(line["action"], line["outcome"], line["kind"]) for line in lines if line["archive"] == old.key]
    assert told == [("delete", "about to", "RestoreJob"), ("delete", "done", "RestoreJob")]
    assert all("30 days" in line["rule"] for line in lines if line["archive"] == old.key)


async def test_claims_of_safety_dumps_are_kept_as_long():
    stage = await deployed()
    names = [(await dumped(stage, job, purpose=purpose)).name for job, purpose in (("undo", "safety"), ("x", "dump"))]
    claims = [
        await stage.kube.create(PersistentVolumeClaim, {"metadata": {"name": name}, "spec": {}}, TENANT)
        for name in [*names, "data"]
    ]
    home = await stage.kube.get(Namespace, TENANT)
    run = run_of(stage, await stage.kube.get(apps.MariaDB, APP, TENANT), uid=home.metadata.uid)
    place = place_of({"template": {"storage": {"persistentVolumeClaim": {}}}})
    for ahead, left in ((SAFETY_KEPT - HOUR, 3), (SAFETY_KEPT + HOUR, 2)):
        await deleting.expire(replace(run, now=stage.now() + ahead), Access(stage.bucket.open), place)
        there = [await has_claim(stage, each.metadata.name) for each in claims]
        assert there == [left == 3, True, True]


async def test_what_can_t_be_deleted_or_written_to_the_audit_log_stays_until_the_next_restore():
    stage = await deployed()
    old = await dumped(stage, "undo", purpose="safety", age=SAFETY_KEPT + HOUR)

    def full(*line, rule):
        raise OSError("the disk is full")

    assert await expire(stage, audit=full) == []
    stage.bucket.fault = "the store is away"
    assert await expire(stage) == []
    assert stage.bucket.keys == [old.key]


# Decisions

FOLDER = "shop/nightly-0a1b2c-0123456789ab-dump/"
RECORDED = Recorded("nightly-0a1b2c-0123456789ab-dump", "s3/x", NOW, "c", FOLDER, "backup.sql", 7)
KEYS = [
    FOLDER + "backup.sql",
    FOLDER + "other.sql",
    FOLDER + "deep/er",
    "shop/nightly-0a1b2c-0123456789ab-dumped/x",
    "x",
]
STORED = st.builds(StoredObject, st.sampled_from(KEYS), st.sampled_from([0, 7, 8]), st.just(NOW))
OBJECTS = st.lists(STORED, unique_by=lambda each: each.key)


def other(metadata, *, going):
    deletion = {"deletionTimestamp": "2026-11-23T12:00:00Z"} if going else {}
    return Backup.decode({"metadata": {"name": "other", **deletion}, "spec": {"driverMetadata": metadata}})


OTHERS = st.lists(
    st.builds(
        other,
        st.sampled_from(
            [
                {},
                {record.PREFIX + "backup-name": RECORDED.name},
                {record.PREFIX + "prefix": FOLDER},
                {record.PREFIX + "schema": "9"},
                {record.PREFIX + "schema": "x"},
            ]
        ),
        going=st.booleans(),
    ),
    max_size=2,
)


@given(st.builds(Seen, OBJECTS, st.booleans()), OTHERS, st.sampled_from(["backup.sql", ""]))
def test_nothing_but_the_own_folder_is_deleted_and_nothing_is_gone_that_is_not_denied(seen, others, file):
    recorded = replace(RECORDED, file=file)
    outcome = decide(recorded, seen, others)
    held = [each for each in others if each.metadata.deletion_timestamp is None]
    if isinstance(outcome, Succeeded | Intent):
        assert not any(record.PREFIX + "backup-name" in each.spec.driver_metadata for each in held)
        assert not any(each.spec.driver_metadata.get(record.PREFIX + "schema") == "9" for each in held)
    if isinstance(outcome, Intent):
        inside = {each.key: each.size for each in seen.objects if each.key.startswith(FOLDER)}
        assert outcome.checkpoint == {"archives": inside}
        assert inside.get(recorded.key, 7) == 7
        assert recorded.key in inside or seen.denied or not file
    if isinstance(outcome, Succeeded):
        assert seen.denied
        assert not any(each.key.startswith(FOLDER) for each in seen.objects)
    assert isinstance(outcome, Succeeded | Intent | Failed | Running)


@given(st.integers(-100, 100), st.sampled_from(["dump", "safety", "restore"]), st.booleans())
def test_only_what_is_old_of_this_namespace_and_of_a_restore_expires(hours, purpose, own):
    place = place_of({"template": {"storage": {"s3": {"bucket": "dumps", "endpoint": "x:1", "prefix": "shop"}}}})
    taken = NOW - SAFETY_KEPT - timedelta(hours=hours)
    home = "0a1b2c" if own else "abcdef"
    key = f"shop/undo-{home}-0123456789ab-{purpose}/backup.{taken:%Y-%m-%dT%H:%M:%SZ}.sql"
    application = apps.MariaDB.decode({"metadata": {"name": APP}})
    run: Any = run_of(_Clock(), application, uid="0a1b2c3d-0000")
    found = expired(place, [StoredObject(key, 7, NOW)], [], run)
    assert bool(found) == (hours > 0 and purpose == "safety" and own)


class _Clock:
    kube = None

    def now(self):
        return NOW
