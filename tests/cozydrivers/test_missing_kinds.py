"""A definition that is missing switches its driver off, not the controller, and is looked for again each minute."""

from datetime import timedelta

import pytest
from tests.cozydrivers.checks import TABLE, assert_one_sentence, reason_of, staged
from tests.cozydrivers.stage import APP, FIXTURES, TENANT, Stage

from cozydrivers.api.apps import ClickHouse

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
