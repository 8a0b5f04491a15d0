"""Backups of MariaDB rebuilt from the bucket alone; whose dumps they may name; and what the commands say of them."""

import gzip
from contextlib import asynccontextmanager

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cozydrivers import mariadb_restores as restores
from tests.cozydrivers.checks import without
from tests.cozydrivers.mariadb_backups import DUMP, HOUR, deployed, dumped, file_of
from tests.cozydrivers.mariadb_stage import APP, BUCKET, CLASS, STRATEGY, staged
from tests.cozydrivers.stage import TENANT, Stage, condition
from tests.cozydrivers.test_mariadb_deletion import NOW, run_of

from chbackup import Client, Retention
from cozydrivers._cli_purge import Manner, run_purge
from cozydrivers.admin.importing import carry_out, plan_import, planned
from cozydrivers.admin.purge import Request
from cozydrivers.admin.purge_facts import Scope
from cozydrivers.admin.purge_plan import Rules
from cozydrivers.admin.recoverability import recoverability
from cozydrivers.api import apps, strategy
from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.api.core import Namespace
from cozydrivers.cli import app
from cozydrivers.clients.objects import StoredObject
from cozydrivers.controllers.deletion import DELETION_POLICY
from cozydrivers.controllers.ledger import FORMER
from cozydrivers.drivers.mariadb import record
from cozydrivers.drivers.mariadb.importing import Stock, candidates
from cozydrivers.drivers.mariadb.storage import place_of
from cozydrivers.drivers.mariadb.verify import HEAD
from cozydrivers.errors import InvalidInput

pytestmark = pytest.mark.anyio


async def plan_of(stage, name=APP):
    before = len(stage.bucket.requests)
    plan = await plan_import(stage.kube, [stage.driver()], TENANT, name, now=stage.now())
    assert {verb for verb, _ in stage.bucket.requests[before:]} <= {"list", "part"}
    return plan


async def imported(stage):
    """What has become of each folder, by its name."""
    plan = await plan_of(stage)
    assert plan.problems == ()
    return {each.set: each for each in await carry_out(stage.kube, plan)}


async def test_a_backup_is_made_of_what_the_bucket_shows_and_records_what_a_run_would_have():
    stage = await staged()
    async with stage.working():
        was = await stage.backed_up()
    await without(Backup, was.metadata.name, TENANT)(stage)
    await without(BackupJob, "nightly", TENANT)(stage)
    (done,) = (await imported(stage)).values()
    made = await stage.made(done.backup)
    differs = {"k8s.mariadb.com/cluster": "unknown", "k8s.mariadb.com/imported": "true"}
    assert made.spec.driver_metadata == dict(was.spec.driver_metadata) | differs
    assert made.spec.application_ref == was.spec.application_ref
    assert made.spec.strategy_ref == was.spec.strategy_ref
    assert made.spec.taken_at == was.spec.taken_at
    assert made.status.artifact == was.status.artifact
    assert made.metadata.annotations[DELETION_POLICY] == "Retain"
    assert (condition(made, "Verified").status, condition(made, "Verified").reason) == ("False", "Imported")
    (found,) = await recoverability(stage.kube, [stage.driver()], now=stage.now())
    assert [(each.backup, each.verified) for each in found.found.good] == [(done.backup, False)]
    assert found.found.orphans == []


async def test_dumps_of_a_namespace_that_is_gone_are_imported_and_allowed_by_its_annotation():
    """I12: what a tenant can write gives no right; the annotation on the Namespace does."""
    stage = await deployed()
    dump = await dumped(stage, "nightly", home="abcdef")
    done = await imported(stage)
    assert (done[dump.name].action, done[dump.name].origin) == ("imported", "abcdef")
    assert (await stage.kube.get(Namespace, TENANT)).metadata.annotations[FORMER] == "abcdef"
    (found,) = await recoverability(stage.kube, [stage.driver()], now=stage.now())
    assert [each.backup for each in found.found.good] == [dump.name]


async def test_dumps_of_a_namespace_that_exists_are_not_imported():
    stage = await deployed()
    home = (await stage.kube.create(Namespace, {"metadata": {"name": "tenant-other"}})).metadata.uid.replace("-", "")[
        :6
    ]
    dump = await dumped(stage, "nightly", home=home)
    done = await imported(stage)
    assert (done[dump.name].action, "which exists" in done[dump.name].reason) == ("skipped", True)
    assert (await stage.kube.list(Backup, TENANT)).items == []


async def test_a_second_time_nothing_is_made_twice():
    stage = await deployed()
    dump = await dumped(stage, "nightly")
    assert [each.action for each in (await imported(stage)).values()] == ["imported"]
    again = (await imported(stage))[dump.name]
    assert (again.action, again.reason) == ("skipped", f"Backup {dump.name} records it already")


async def test_a_safety_dump_is_imported_so_that_one_can_go_back():
    stage = await deployed()
    dump = await dumped(stage, "undo", purpose="safety")
    done = await imported(stage)
    assert done[dump.name].action == "imported"
    assert "safety dump of a restore" in condition(await stage.made(dump.name), "Verified").message


async def test_and_so_one_goes_back_to_what_a_restore_has_replaced():
    async with restores.backed_up() as stage:
        assert (await restores.restored(stage)).status.phase == "Succeeded"
        (back,) = [each for each in (await imported(stage)).values() if each.action == "imported"]
        job = await restores.restored(stage, "back", back.backup)
        assert job.status.phase == "Succeeded", job.status.message
        assert restores.rows(stage) == restores.LATER


async def test_what_can_t_be_told_from_names_is_not_imported_and_says_why():
    stage = await deployed()
    several, empty = await dumped(stage, "several"), await dumped(stage, "empty", content=b"")
    stage.bucket.put(several.prefix + file_of(NOW), DUMP, NOW)
    theirs = f"{APP}/{file_of(NOW)}"
    for key in (theirs, f"{APP}/notes.txt", f"{APP}/strange/{file_of(NOW)}", f"{APP}/{several.name}-x/{file_of(NOW)}"):
        stage.bucket.put(key, DUMP, NOW)
    job = await stage.backup("busy")
    busy = await dumped(stage, "busy", uid=job.metadata.uid.replace("-", "")[:12])
    done = await imported(stage)
    assert {name: each.action for name, each in done.items()} == dict.fromkeys(
        [several.name, empty.name, busy.name, theirs], "skipped"
    )
    words = {several.name: "several dumps", empty.name: "no dump", busy.name: "not over", theirs: "assumeNearest"}
    assert {name for name, word in words.items() if word in done[name].reason} == set(done)


BEGIN, END = b"-- MariaDB dump\n", b"-- Dump completed\n"
LONG = BEGIN + b"x\n" * HEAD


@pytest.mark.parametrize(
    ("content", "name", "word"),
    [
        (gzip.compress(BEGIN + END), "gzip.sql", ""),
        (BEGIN + END, "sql", ""),
        (LONG + END, "sql", ""),
        (gzip.compress(BEGIN), "gzip.sql", "cut short"),
        (gzip.compress(BEGIN + END)[:-4], "gzip.sql", "cut short"),
        (gzip.compress(gzip.compress(BEGIN + END)), "gzip.sql", "compressed twice"),
        (BEGIN, "sql", "cut short"),
        (LONG, "sql", "cut short"),
        (b"<html>", "sql", "does not begin"),
    ],
    ids=["gzip", "plain", "long", "gzip cut", "gzip broken off", "gzip twice", "plain cut", "long cut", "else"],
)
async def test_a_dump_that_is_seen_not_to_be_whole_is_not_imported(content, name, word):
    """I4: a plain one that is cut short is restored without an error."""
    stage = await deployed()
    dump = await dumped(stage, "nightly")
    stage.bucket.remove(dump.key)
    stage.bucket.put(f"{dump.prefix}backup.2026-11-20T00:00:00Z.{name}", content, stage.now())
    (one,) = planned(await plan_of(stage))
    assert (one.action, word in one.reason) == ("skipped" if word else "import", True)


async def test_where_applications_share_a_prefix_the_plan_says_what_to_look_at():
    """I1: a name does not tell which application's a dump is."""
    stage = await deployed()
    dump = await dumped(stage, "nightly")
    (one,) = planned(await plan_of(stage))
    assert (one.action, one.reason) == ("import", "")
    await stage.kube.merge_patch(
        strategy.MariaDB, STRATEGY, {"spec": {"template": {"storage": {"s3": {"prefix": APP}}}}}
    )
    (one,) = planned(await plan_of(stage))
    assert (one.set, one.action, "of this one" in one.reason) == (dump.name, "import", True)


async def test_what_can_t_be_listed_is_a_problem():
    stage = await deployed()
    await dumped(stage, "nightly")
    stage.bucket.fault = "the store is away"
    plan = await plan_of(stage)
    assert (list(plan.sets), "the store is away" in plan.problems[0]) == ([], True)
    await stage.template(storage={"s3": None, "volume": {}})
    assert "on a volume" in (await plan_of(stage)).problems[0]


# Two kinds of application


async def two_kinds():
    """A stage with a MariaDB and a ClickHouse of one name."""
    stage = await deployed()
    other = Stage()
    await stage.kube.create(apps.ClickHouse, {"metadata": {"name": APP}, "spec": {"shards": 1}}, TENANT)
    return stage, [other.driver(), stage.driver()]


async def test_applications_of_one_name_are_all_shown_and_told_apart_for_an_import():
    stage, drivers = await two_kinds()
    found = await recoverability(stage.kube, drivers, namespace=TENANT, names=[APP], now=stage.now())
    assert [(each.kind, each.name) for each in found] == [("ClickHouse", APP), ("MariaDB", APP)]
    with pytest.raises(InvalidInput, match=f"say clickhouse/{APP} or mariadb/{APP}"):
        await plan_import(stage.kube, drivers, TENANT, APP, now=stage.now())
    plan = await plan_import(stage.kube, drivers, TENANT, f"mariadb/{APP}", now=stage.now())
    assert (plan.target.class_name, plan.application.resource) == (CLASS, apps.MariaDB.resource)


async def test_a_purge_says_what_becomes_of_the_dumps_of_a_mariadb(capsys):
    stage = await deployed()

    async def purge(*names):
        rules = Rules(Retention(keep_last=1), orphans=True)
        asked = Request(Scope(TENANT, "", names), rules, actor="me", uid="1", now=stage.now)
        return await run_purge(stage.kube, request=asked, manner=Manner(dry_run=True), connect=Client)

    with pytest.raises(InvalidInput, match=r"MariaDB shop: it has no sidecars to purge.*maxRetention.*status"):
        await purge(APP)
    assert await purge() == 0
    assert f"MariaDB {TENANT}/{APP}: it has no sidecars" in capsys.readouterr().err


@asynccontextmanager
async def typed(stage, tmp_path, capsys):
    """Yield what runs a command against the stage, on a real port; it returns exit code, stdout and stderr."""

    async def run(*arguments):
        given = [*arguments, "-n", TENANT, "--kubeconfig", str(tmp_path / "kubeconfig")]
        code = await anyio.to_thread.run_sync(lambda: app(given, standalone_mode=False))
        return code, *capsys.readouterr()

    async with stage.cluster.serve() as url:
        stage.cluster.kubeconfig(url, tmp_path / "kubeconfig")
        yield run


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_commands_know_mariadb(anyio_backend, tmp_path, capsys):
    stage = await deployed()
    await stage.kube.merge_patch(
        strategy.MariaDB, STRATEGY, {"spec": {"template": {"storage": {"s3": {"endpoint": "127.0.0.1:1"}}}}}
    )
    async with typed(stage, tmp_path, capsys) as run:
        code, out, _ = await run("status", APP)
        assert (code, f"MariaDB {TENANT}/{APP}" in out, "object store" in out) == (1, True, True)
        code, out, _ = await run("import", f"mariadb/{APP}", "--dry-run", "-o", "json")
        assert code == 1


# Decisions

PLACE = place_of({"template": {"storage": {"s3": {"bucket": BUCKET, "endpoint": "x:1", "prefix": "shop"}}}})
FOLDERS = [
    f"nightly-{home}-0123456789ab-{what}" for home in ("0a1b2c", "abcdef") for what in ("dump", "safety", "restore")
]
FILES = [file_of(NOW), file_of(NOW - HOUR), "notes.txt", f"deep/{file_of(NOW)}"]
KEYS = [f"shop/{folder}/{name}" for folder in [*FOLDERS, "by-hand", "nightly"] for name in FILES]
STORED = st.builds(
    StoredObject, st.sampled_from([*KEYS, *(f"shop/{name}" for name in FILES)]), st.integers(0, 2), st.just(NOW)
)


class Clock:
    kube = None

    def now(self):
        return NOW


@given(st.lists(STORED, unique_by=lambda each: each.key, max_size=12), st.sets(st.sampled_from(FOLDERS)))
def test_each_dump_that_is_imported_is_one_of_its_own_run_and_its_record_is_believed(objects, named):
    run = run_of(
        Clock(), apps.MariaDB.decode({"metadata": {"name": APP}}), uid="0a1b2c3d-0000", former_namespaces=["abcdef"]
    )
    stock = Stock(PLACE, objects, dict.fromkeys(named, "other"))
    found = candidates(stock, run)
    assert len({each.name for each in found}) == len(found)
    sizes = {each.key: each.size for each in objects}
    for each in found:
        assert (each.artifact is None) == bool(each.reason)
        if each.artifact is not None:
            recorded = record.checked(each.artifact.driver_metadata, run, PLACE)
            assert recorded.name == each.name not in named
            assert each.artifact.uri == f"s3://{BUCKET}/{recorded.key}"
            assert sizes[recorded.key] == recorded.size == each.artifact.size_bytes > 0
            assert each.origin == ("" if "0a1b2c" in each.name else "abcdef")
