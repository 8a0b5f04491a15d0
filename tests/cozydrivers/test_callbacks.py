"""What a sidecar calls at the end of an operation has its job looked at, and proves nothing."""

import anyio
import pytest
from tests.cozydrivers.checks import slow, staged
from tests.cozydrivers.stage import APP, TENANT

from chbackup import InvalidInput
from cozydrivers import ClickHouseDriver, Manager
from cozydrivers.drivers.callbacks import Callbacks
from cozydrivers.metrics import Metrics

pytestmark = pytest.mark.anyio

URL = "http://10.0.0.1:8080/called"


def controller(stage, callbacks, metrics=None):
    driver = ClickHouseDriver(
        connect=stage.network.connect, objects=stage.network.objects.open, callbacks=callbacks, metrics=metrics
    )
    return Manager(stage.kube, drivers=[driver], callbacks=callbacks, now=stage.now)


async def test_an_application_has_one_address_that_nobody_can_guess():
    callbacks = Callbacks(URL + "/")
    told: list[tuple[str, str]] = []
    callbacks.subscribe(lambda namespace, application: told.append((namespace, application)))
    url = callbacks.url(TENANT, APP)
    assert url.startswith(URL + "/")
    assert len(url) > len(URL) + 40
    assert callbacks.url(TENANT, APP) == url
    assert callbacks.url(TENANT, "other") != url
    assert callbacks.called("/any/mount/" + url.rpartition("/")[2])
    assert not callbacks.called("/called/guess")
    assert told == [(TENANT, APP)]


@pytest.mark.parametrize("url", ["", "10.0.0.1", "http://user:secret@10.0.0.1", "ftp://10.0.0.1"])
async def test_what_is_no_address_is_refused(url):
    with pytest.raises(InvalidInput, match="base_url"):
        Callbacks(url)


async def test_an_end_that_is_called_is_seen_at_once_and_without_a_call_at_the_next_poll():
    stage = await staged(shards=1)
    slow(stage, 95)
    callbacks = Callbacks(URL)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(controller(stage, callbacks).run)
        submitted = anyio.current_time()
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        asked = next(request for request in stage.app.sidecar(0).requests if "create_remote" in request.path)
        assert "callback=http" in asked.query
        path = callbacks.url(TENANT, APP)
        await anyio.sleep(95.5 - anyio.current_time() + submitted)
        assert not any(row.running for row in stage.app.sidecar(0)._look().history.rows)
        assert callbacks.called(path)
        await anyio.sleep(0.05)
        assert (await stage.backup_job("nightly")).status.phase == "Succeeded"
        await stage.end_of(job)
        tasks.cancel_scope.cancel()


async def test_a_call_that_lies_ends_nothing():
    stage = await staged(shards=1)
    slow(stage, 60)
    callbacks = Callbacks(URL)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(controller(stage, callbacks).run)
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        for _ in range(20):
            assert callbacks.called(callbacks.url(TENANT, APP))
            await anyio.sleep(1)
        assert (await stage.backup_job("nightly")).status.phase == "Running"
        job = await stage.end_of(job)
        assert job.status.phase == "Succeeded"
        tasks.cancel_scope.cancel()


async def test_requests_to_sidecars_are_counted():
    stage, metrics = await staged(shards=1), Metrics()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(controller(stage, None, metrics).run)
        await stage.end_of(await stage.backup("nightly"))
        tasks.cancel_scope.cancel()
    name = "cozydrivers_sidecar_requests_total"
    counted = {
        method: sum(metrics.value(name, code=code, method=method) or 0 for code in ("200", "201"))
        for method in ("GET", "POST")
    }
    made = [request.method for request in stage.app.sidecar(0).requests]
    assert counted == {method: made.count(method) for method in counted}
