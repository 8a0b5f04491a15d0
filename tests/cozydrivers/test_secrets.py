"""Secrets stay secret (I9): neither plain nor as base64 of `user:password`, wherever anybody may look."""

import base64
import json
import logging
import traceback

import anyio
import pytest
from tests.cozydrivers.checks import TABLE, drop, patched, reason_of, staged
from tests.cozydrivers.stage import APP, TENANT, Stage
from tests.whole import whole

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, RestoreJob
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import ConfigMap, Namespace, Pod, Secret
from cozydrivers.api.events import Event
from cozydrivers.api.strategy import Altinity
from cozydrivers.controllers.backupjob import BackupJobController
from cozydrivers.drivers.base import BackupRun
from cozydrivers.drivers.clickhouse.look import open_eyes
from cozydrivers.metrics import Metrics
from cozydrivers.runtime import Controller, Key, WorkQueue
from cozydrivers.runtime.logs import OURS, JsonFormatter, TextFormatter
from cozydrivers.testing.operators import PASSWORD, USERNAME

pytestmark = pytest.mark.anyio

HELM_PASSWORD = "of-a-user-in-the-helm-values"
WRONG = "an-old-password"
FORMATTERS = (TextFormatter(), JsonFormatter())
NAMESPACED = (Pod, ClickHouse, BackupJob, RestoreJob, Backup, Lease, Event, ConfigMap)


def secrets():
    pairs = [base64.b64encode(f"{USERNAME}:{word}".encode()).decode() for word in (PASSWORD, WRONG)]
    return [PASSWORD, WRONG, *pairs, base64.b64encode(PASSWORD.encode()).decode()]


def ours(record: logging.LogRecord) -> bool:
    """Whether a record is one that is written when the level is DEBUG."""
    return record.name.split(".")[0] in OURS or record.levelno >= logging.WARNING


def assert_silent(text: str, *more: str) -> None:
    assert [secret for secret in (*secrets(), *more) if secret in text] == []


async def everything(stage: Stage) -> dict[str, str]:
    """All objects of the cluster but its Secrets, as text by kind."""
    found = {kind.__name__: (await stage.kube.list(whole(kind), TENANT)).items for kind in NAMESPACED}
    found |= {kind.__name__: (await stage.kube.list(whole(kind))).items for kind in (Namespace, BackupClass, Altinity)}
    return {kind: json.dumps([thing.raw for thing in things]) for kind, things in found.items()}


async def lived_through():
    """A backup, a restore, and the failures that could quote a password."""
    stage = await staged()
    helm = {"spec": {"users": {"admin": {"password": HELM_PASSWORD}}}}
    await patched(ClickHouse, APP, helm, TENANT)(stage)
    secret = f"clickhouse-{APP}-backup-api-auth"
    sidecar = stage.app.sidecar(1)
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
        drop(stage)
        await stage.end_of(await stage.restore("undo", "nightly"))
    async with stage.managed():
        await patched(Secret, secret, {"stringData": {"password": WRONG}}, TENANT)(stage)
        job = await stage.stands(await stage.backup("unauthorized"), "SidecarUnreachable")
        await patched(Secret, secret, {"stringData": {"password": PASSWORD}}, TENANT)(stage)
        await stage.end_of(job)
        sidecar.faults.broken_config = f"yaml: can't read {USERNAME}:{PASSWORD}, nor {secrets()[2]}"
        job = await stage.stands(await stage.backup("quoting"), "SidecarUnreachable")
        sidecar.faults.broken_config, sidecar.faults.refuse = "", True
        await anyio.sleep(11)
        sidecar.faults.refuse = False
        await stage.end_of(job)
        text = '{{ printf "%d" .Application.spec.users.admin.password }}'
        template = {"spec": {"template": {"spec": {"restartPolicy": text}}}}
        await patched(Altinity, "clickhouse-data-altinity-strategy", template)(stage)
        refused = await stage.end_of(await stage.backup("templated"))
        assert reason_of(refused) == ("Failed", "Refused")
    return stage


async def test_no_object_event_log_or_address_holds_a_password(caplog):
    caplog.set_level(logging.DEBUG)
    stage = await lived_through()
    for kind, text in (await everything(stage)).items():
        more = () if kind == "ClickHouse" else (HELM_PASSWORD,)
        assert_silent(text, *more)
    assert caplog.records
    assert_silent(caplog.text, HELM_PASSWORD)
    for formatter in FORMATTERS:
        assert_silent("".join(formatter.format(record) for record in caplog.records if ours(record)), HELM_PASSWORD)
    assert_silent("\n".join(path for _, path in stage.cluster.requests), HELM_PASSWORD)
    for sidecar in stage.app.sidecars.values():
        assert_silent(str(sidecar.requests))


async def run_of(stage, driver):
    controller = BackupJobController(stage.kube, drivers=[driver], now=stage.now)
    job = await stage.backup("nightly")
    return await controller.run_of(job, await controller.resolve(job))


async def test_no_repr_of_what_a_driver_works_with_holds_a_password():
    stage = await staged()
    await patched(ClickHouse, APP, {"spec": {"password": HELM_PASSWORD}}, TENANT)(stage)
    async with stage.driver() as driver:
        run = await run_of(stage, driver)
        assert isinstance(run, BackupRun)
        eyes = await open_eyes(run, driver._access)
        client = await eyes.client(eyes.places[0])
        secret = await stage.kube.get(Secret, f"clickhouse-{APP}-backup-api-auth", TENANT)
        outcome = await driver.backup(run)
        held = await driver._access.credentials(run)
        shown = [driver, driver._access, run, run.application, eyes, held, client, secret, outcome, stage.kube]
        operation = await client.create("by-hand")
        for thing in [*shown, operation, operation.token, secret.model_dump(), secret.model_dump_json()]:
            assert_silent(f"{thing!r} {thing}", HELM_PASSWORD)
        await operation.wait()


async def test_no_failed_pass_is_logged_or_counted_with_a_password(caplog):
    """Whatever an exception quotes: a foreign text is left out, and no label is made of one."""
    caplog.set_level(logging.DEBUG)
    metrics = Metrics()

    async def reconcile(key: Key) -> None:
        try:
            raise KeyError(f"{USERNAME}:{PASSWORD}")
        except KeyError:
            logging.getLogger("cozydrivers").exception("quoting")
            raise

    queue = WorkQueue(name="BackupJob", metrics=metrics)
    queue.add(Key(TENANT, "nightly"))
    with anyio.move_on_after(30):
        await Controller("BackupJob", reconcile, queue, metrics=metrics).run()
    assert_silent("".join(formatter.format(record) for record in caplog.records for formatter in FORMATTERS))
    assert_silent("".join(record.getMessage() for record in caplog.records))
    text = metrics.exposition()[0].decode()
    assert 'result="error"' in text
    assert_silent(text)


@pytest.mark.parametrize("trouble", ["refuse", "reset", "unauthorized", "quoted"])
async def test_no_exception_holds_a_password(trouble):
    stage = await staged()
    sidecar = stage.app.sidecar(0)
    async with stage.driver() as driver:
        eyes = await open_eyes(await run_of(stage, driver), driver._access)
        client = await eyes.client(eyes.places[0])
        sidecar.faults.refuse = trouble == "refuse"
        if trouble == "reset":
            sidecar.faults.lose_reply()
        if trouble == "unauthorized":
            sidecar._credentials = (USERNAME, "another")
        if trouble == "quoted":
            sidecar.faults.broken_config = f"{USERNAME}:{PASSWORD} {secrets()[2]}"
        with pytest.raises(Exception) as caught:
            await client.list_local()
    error = caught.value
    assert_silent("".join(traceback.format_exception(error)))
    chain = [error, error.__cause__, error.__context__]
    for each in [link for link in chain if link is not None]:
        assert_silent(f"{each!r} {each} {vars(each)}")
    assert TABLE in sidecar.tables
