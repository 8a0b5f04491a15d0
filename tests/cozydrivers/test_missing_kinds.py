"""A definition that is missing switches its driver off, not the controller, and is looked for again each minute."""

from datetime import timedelta

import anyio
import pytest
import yaml
from tests.cozydrivers.checks import TABLE, assert_one_sentence, reason_of, staged
from tests.cozydrivers.stage import APP, FIXTURES, TENANT, Stage

from cozydrivers import Manager
from cozydrivers.api import strategy
from cozydrivers.api.apps import ClickHouse, MariaDB
from cozydrivers.api.backups import BackupClass
from cozydrivers.drivers.mariadb import MariaDBDriver

pytestmark = pytest.mark.anyio

DEFINITION = FIXTURES / "crds/apps.cozystack.io_clickhouses.yaml"


async def lose_applications(stage: Stage) -> ClickHouse:
    """Delete the definition of ClickHouse, and with it the application."""
    lost = await stage.kube.get(ClickHouse, APP, TENANT)
    stage.cluster.remove_crd(f"{ClickHouse.resource.plural}.{ClickHouse.resource.group}")
    return lost


async def test_a_job_waits_for_the_definition_and_goes_on_once_it_is_there():
    stage = await staged()
    lost = await lose_applications(stage)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "KindNotServed", within=200)
        assert job.status.phase == "Pending"
        assert_one_sentence(job.status.message, "clickhouses.apps.cozystack.io")
        stage.cluster.add_crd(DEFINITION)
        await stage.kube.create(ClickHouse, {"metadata": {"name": APP}, "spec": lost.spec}, TENANT)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_it_is_not_waited_for_without_end():
    stage = await staged()
    await lose_applications(stage)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "KindNotServed", within=200)
        stage.later = timedelta(hours=1)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert TABLE in stage.app.sidecar(0).tables


async def test_without_the_operator_s_definitions_its_jobs_wait_and_all_others_go_on():
    stage = await staged()
    seed = list(yaml.safe_load_all((FIXTURES / "seed/mariadb.yaml").read_text()))
    await stage.kube.create(MariaDB, {"metadata": {"name": "shop"}, "spec": {}}, TENANT)
    await stage.kube.create(strategy.MariaDB, seed[0])
    await stage.kube.create(BackupClass, seed[1])
    manager = Manager(stage.kube, drivers=[MariaDBDriver(), stage.driver()], now=stage.now)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(manager.run)
        reference = {"apiGroup": "apps.cozystack.io", "kind": "MariaDB", "name": "shop"}
        theirs = await stage.backup("theirs", applicationRef=reference, backupClassName=seed[1]["metadata"]["name"])
        theirs = await stage.stands(theirs, "MariaDBMissing")
        assert (await stage.end_of(await stage.backup("nightly"))).status.phase == "Succeeded"
        stage.later = timedelta(minutes=31)
        assert reason_of(await stage.end_of(theirs)) == ("Failed", "TimedOut")
        tasks.cancel_scope.cancel()
