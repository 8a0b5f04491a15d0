"""Bad input (I5, I6, I12): what is absent waits, what can't be done is refused at once, and nothing is touched."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

import anyio
import pytest
from tests.cozydrivers.checks import (
    STRATEGY,
    TABLE,
    Change,
    assert_one_sentence,
    assert_refused,
    backed_up,
    patched,
    pod_name,
    reason_of,
    slow,
    staged,
    unchanged,
    without,
    without_pod,
)
from tests.cozydrivers.stage import APP, CLASS, TENANT, Stage

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupClass
from cozydrivers.api.core import Pod, Secret
from cozydrivers.api.strategy import Altinity

pytestmark = pytest.mark.anyio

SECRET = f"clickhouse-{APP}-backup-api-auth"
MINUTE = timedelta(minutes=1)


# What is absent is waited for


def again(kind, manifest: Callable[[Stage], dict[str, Any]], namespace=None) -> Change:
    async def change(stage):
        await stage.kube.create(kind, manifest(stage), namespace)

    return change


def refusing(refuse: bool) -> Change:
    async def change(stage):
        stage.app.sidecar(1).faults.refuse = refuse

    return change


async def start_pod(stage):
    await stage.app.start_pod(stage.kube, 1)


async def without_pods(stage):
    for shard in (0, 1):
        await without(Pod, pod_name(shard), TENANT)(stage)


async def start_pods(stage):
    for shard in (0, 1):
        await stage.app.start_pod(stage.kube, shard)


def ready(ready: bool) -> Change:
    async def change(stage):
        pod = await stage.kube.get(Pod, pod_name(1), TENANT)
        await stage.app.report(stage.kube, 1, 0, address=pod.status.pod_ip, ready=ready)

    return change


def shards(count) -> Change:
    return patched(ClickHouse, APP, {"spec": {"shards": count}}, TENANT)


def password(value) -> Change:
    return patched(Secret, SECRET, {"stringData": {"password": value}}, TENANT)


class Absent(NamedTuple):
    remove: Change
    bring: Change
    reason: str
    words: tuple[str, ...]


ABSENT = {
    "class": Absent(
        without(BackupClass, CLASS),
        again(BackupClass, lambda stage: stage.seed[1]),
        "BackupClassNotFound",
        ("BackupClass clickhouse-data-backup does not exist",),
    ),
    "strategy": Absent(
        without(Altinity, STRATEGY),
        again(Altinity, lambda stage: stage.seed[0]),
        "StrategyNotFound",
        (f"Altinity {STRATEGY} does not exist",),
    ),
    "Secret": Absent(
        without(Secret, SECRET, TENANT),
        again(
            Secret,
            lambda stage: {
                "metadata": {"name": SECRET},
                "stringData": {"username": "backup", "password": "not-a-real-password"},
            },
            TENANT,
        ),
        "SecretMissing",
        (f"Secret {TENANT}/{SECRET} does not exist",),
    ),
    "key": Absent(
        patched(Secret, SECRET, {"data": {"password": None}}, TENANT),
        password("not-a-real-password"),
        "SecretMissing",
        (f"Secret {TENANT}/{SECRET}", "no key password"),
    ),
    "credentials": Absent(
        password("an-old-password"),
        password("not-a-real-password"),
        "SidecarUnreachable",
        ("shard 0 replica 0", pod_name(0), "401"),
    ),
    "sidecar": Absent(
        refusing(True), refusing(False), "SidecarUnreachable", ("shard 1 replica 0", pod_name(1), "connection refused")
    ),
    "Pod": Absent(
        without(Pod, pod_name(1), TENANT),
        start_pod,
        "ShardsMissing",
        (f"ClickHouse {APP}", "2 shards", "serves shard 1"),
    ),
    "all Pods": Absent(without_pods, start_pods, "SidecarUnreachable", (pod_name(0)[:-2], "nobody listens there")),
    "readiness": Absent(ready(False), ready(True), "ShardsMissing", ("shard 1 is ready",)),
    "third shard": Absent(shards(3), shards(2), "ShardsMissing", ("3 shards", "serves shard 2")),
    "spec of a second shard": Absent(
        shards(1), shards(2), "ShardsMissing", ("1 shards", "spec.shards", "serve shard 1 as well")
    ),
}
absent = pytest.mark.parametrize("case", ABSENT.values(), ids=ABSENT.keys())


@absent
async def test_what_is_absent_is_waited_for_and_named(case):
    stage = await staged()
    await case.remove(stage)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), case.reason)
        assert job.status.phase == "Pending"
        assert_one_sentence(job.status.message, *case.words)
        assert stage.touched() == []
        await case.bring(stage)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


@absent
async def test_what_stays_absent_for_half_an_hour_ends_the_job(case):
    stage = await staged()
    await case.remove(stage)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), case.reason)
        stage.later = 29 * MINUTE
        await anyio.sleep(11)
        assert (await stage.backup_job("nightly")).status.phase == "Pending"
        stage.later = 31 * MINUTE
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert_one_sentence(job.status.message, "0:30:00", *case.words)
    assert stage.touched() == []


async def test_the_half_hour_begins_anew_after_it_was_there():
    stage = await staged()
    stage.app.sidecar(1).duration.upload = 3600
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        for minutes in (20, 40):
            stage.app.sidecar(1).faults.refuse = True
            await stage.stands(job, "SidecarUnreachable")
            stage.later = minutes * MINUTE
            await anyio.sleep(11)
            stage.app.sidecar(1).faults.refuse = False
            await stage.stands(job, "InProgress")
        assert (await stage.backup_job("nightly")).status.phase == "Running"


# What can't be done as it is written is refused at once


def reference(**fields) -> dict[str, Any]:
    return {"applicationRef": {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": APP, **fields}}


def templated(text) -> Change:
    return patched(Altinity, STRATEGY, {"spec": {"template": {"spec": {"restartPolicy": text}}}})


def annotated(name, value) -> Change:
    key = f"cozydrivers.cozystack.io/{name}"
    return patched(Altinity, STRATEGY, {"metadata": {"annotations": {key: value}}})


def configured(**settings) -> Change:
    async def change(stage):
        stage.app.sidecar(1).configure(**settings)

    return change


async def watching(stage):
    sidecar = stage.app.sidecar(1)
    async with sidecar.client() as client:
        await client._ask("POST", ["backup", "watch"])
    sidecar.requests.clear()


BOUND_TO_POSTGRES = {
    "spec": {
        "strategies": [
            {
                "application": {"apiGroup": "apps.cozystack.io", "kind": "Postgres"},
                "strategyRef": {"apiGroup": "strategy.backups.cozystack.io", "kind": "CNPG", "name": "x"},
            }
        ]
    }
}


class Bad(NamedTuple):
    change: Change
    words: tuple[str, ...]
    spec: Mapping[str, Any] = MappingProxyType({})


BAD_BACKUPS = {
    "application absent": Bad(
        unchanged,
        (f"ClickHouse {TENANT}/nothing does not exist", "spec.applicationRef.name"),
        reference(name="nothing"),
    ),
    "foreign group": Bad(
        unchanged,
        ("spec.applicationRef.apiGroup is example.com", "apps.cozystack.io"),
        reference(apiGroup="example.com"),
    ),
    "kind not bound": Bad(
        patched(BackupClass, CLASS, BOUND_TO_POSTGRES),
        (f"BackupClass {CLASS}", "kind ClickHouse", "spec.applicationRef.kind"),
    ),
    "unknown function": Bad(
        templated('{{ env "HOME" }}'),
        (f"Altinity {STRATEGY}", "spec.template.spec.restartPolicy", "env is not supported"),
    ),
    "missing field": Bad(
        templated("{{ .Application.spec.nothing }}"),
        (f"Altinity {STRATEGY}", "spec.template.spec.restartPolicy", ".Application.spec.nothing is missing"),
    ),
    "other execution": Bad(
        annotated("execution", "job"), (f"Altinity {STRATEGY}", "execution", "'job'", "sidecar, pod")
    ),
    "no duration": Bad(annotated("timeout", "soon"), (f"Altinity {STRATEGY}", "timeout", "'soon'", "90m")),
    "absurd duration": Bad(annotated("timeout", f"{'9' * 30}h"), (f"Altinity {STRATEGY}", "timeout", "9h")),
    "remote retention": Bad(configured(BACKUPS_TO_KEEP_REMOTE="3"), ("BACKUPS_TO_KEEP_REMOTE", pod_name(1))),
    "local retention": Bad(configured(BACKUPS_TO_KEEP_LOCAL="-1"), ("BACKUPS_TO_KEEP_LOCAL is -1", pod_name(1))),
    "watch": Bad(watching, ("`watch` runs", pod_name(1))),
}


@pytest.mark.parametrize("case", BAD_BACKUPS.values(), ids=BAD_BACKUPS.keys())
async def test_a_backup_that_can_not_be_done_is_refused_untouched(case):
    stage = await staged()
    await case.change(stage)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly", **case.spec), within=5)
    assert_refused(stage, job, *case.words)
    assert (await stage.kube.list(Backup, TENANT)).items == []


async def test_a_server_that_is_too_old_is_refused_with_the_version_that_would_do():
    stage = await staged(version="2.6.39")
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"), within=5)
    assert_refused(stage, job, "2.6.39", "2.6.40", pod_name(0))


async def test_a_sidecar_that_is_alone_may_keep_a_number_of_archives():
    stage = await staged(shards=1)
    stage.app.sidecar(0).configure(BACKUPS_TO_KEEP_REMOTE="3")
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded", job.status.message


BAD_RESTORES = {
    "unknown option": Bad(unchanged, ("spec.options.force", "overwrite"), {"options": {"force": True}}),
    "option of another type": Bad(
        unchanged, ("spec.options.overwrite", "true or false"), {"options": {"overwrite": "yes"}}
    ),
    "another kind": Bad(
        unchanged,
        ("spec.targetApplicationRef.kind is Postgres",),
        {"targetApplicationRef": {"apiGroup": "apps.cozystack.io", "kind": "Postgres", "name": APP}},
    ),
    "another group": Bad(
        unchanged,
        ("spec.targetApplicationRef.apiGroup is example.com",),
        {"targetApplicationRef": {"apiGroup": "example.com", "kind": "ClickHouse", "name": APP}},
    ),
    "target absent": Bad(
        unchanged,
        (f"ClickHouse {TENANT}/nothing does not exist", "spec.targetApplicationRef.name"),
        {"targetApplicationRef": {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "nothing"}},
    ),
    "application gone": Bad(without(ClickHouse, APP, TENANT), (f"ClickHouse {TENANT}/{APP} does not exist",)),
    "Backup that failed": Bad(
        patched(Backup, "nightly", {"status": {"phase": "Failed"}}, TENANT), ("Backup nightly is Failed", "backupRef")
    ),
    "unknown function": Bad(templated('{{ env "HOME" }}'), (f"Altinity {STRATEGY}", "env is not supported")),
}


@pytest.mark.parametrize("case", BAD_RESTORES.values(), ids=BAD_RESTORES.keys())
async def test_a_restore_that_can_not_be_done_is_refused_untouched(case):
    stage = await backed_up()
    await case.change(stage)
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly", **case.spec), within=5)
    assert_refused(stage, job, *case.words)


async def test_another_number_of_shards_is_refused():
    stage = await backed_up()
    await shards(1)(stage)
    await without_pod(stage)
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly"), within=5)
    assert_refused(stage, job, "2 shards", f"ClickHouse {APP} has 1")


KEEPING = {"overwrite": False}


@pytest.mark.parametrize("place", [(0, 0), (1, 1)], ids=["where the archive is from", "on another replica"])
async def test_a_table_that_exists_on_any_replica_is_refused_and_keeps_its_rows(place):
    stage = await backed_up(replicas=2)
    stage.app.sidecar(*place).tables.add_table(TABLE, 7)
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "nightly", options=KEEPING), within=5)
    assert_refused(stage, job, f"shard {place[0]}", f"{TABLE} exists", "drop", "spec.options.overwrite")
    assert stage.app.sidecar(*place).tables.count(TABLE) == 7


async def test_a_table_that_is_made_while_the_archives_come_is_refused_and_keeps_its_rows():
    stage = await backed_up()
    slow(stage, 5)
    async with stage.managed():
        job = await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        stage.app.sidecar(1).tables.add_table(TABLE, 7)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Refused")
    assert_one_sentence(job.status.message, "shard 1", f"{TABLE} exists")
    assert stage.app.sidecar(1).tables.count(TABLE) == 7
    assert not any("/restore/" in asked for asked in stage.touched())


async def test_a_restore_that_names_nothing_is_refused():
    stage = await backed_up()
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", ""))
    assert reason_of(job) == ("Failed", "Refused")
    assert job.status.message == "spec.backupRef.name is empty"


async def test_a_backup_of_no_application_is_refused():
    stage = await staged()
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": ""}
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly", applicationRef=reference))
    assert reason_of(job) == ("Failed", "Refused")
    assert job.status.message == "spec.applicationRef.name is empty"
