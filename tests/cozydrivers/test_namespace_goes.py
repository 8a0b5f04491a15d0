"""A namespace that is deleted goes, whatever runs in it, and every archive stays."""

from typing import Any

import anyio
import pytest
from tests.cozydrivers.backups import deletions, says, with_backups
from tests.cozydrivers.checks import TABLE, forget, pod_name, slow
from tests.cozydrivers.stage import APP, TENANT, Stage

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup
from cozydrivers.api.base import KubeObject
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import Namespace, Pod, Secret
from cozydrivers.controllers.ledger import LEAVING_LIMIT
from cozydrivers.errors import NotFound
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import empty_namespace

pytestmark = pytest.mark.anyio


async def with_both_policies() -> Stage:
    """A Backup that is deleted with its archives, and one that leaves them."""
    stage = await with_backups("goes", policy="Delete")
    await says(stage, "Retain")
    async with stage.managed():
        await stage.end_of(await stage.backup("stays"))
    await says(stage, "Delete")
    forget(stage)
    return stage


async def leave(stage: Stage) -> None:
    space = await stage.kube.get(Namespace, TENANT)
    await stage.kube.delete(Namespace, TENANT, uid=space.metadata.uid)


async def seconds_to_go(cluster: FakeCluster) -> float:
    """Empty the namespace over and over, as its controller does."""
    began = anyio.current_time()
    with anyio.fail_after(3600):
        while not empty_namespace(cluster, TENANT):  # noqa: ASYNC110 - as the namespace controller does
            await anyio.sleep(5)
    return anyio.current_time() - began


async def begin_backup(stage: Stage) -> None:
    slow(stage, 60)
    await stage.backup("nightly")


async def begin_restore(stage: Stage) -> None:
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.drop(TABLE)
    slow(stage, 60)
    await stage.restore("undo", "stays")


async def begin_nothing(stage: Stage) -> None:
    """Nothing runs."""


@pytest.mark.parametrize("later", [0.0, 0.3, 10.0])
@pytest.mark.parametrize("begin", [begin_nothing, begin_backup, begin_restore], ids=lambda begin: begin.__name__)
async def test_a_namespace_goes_with_jobs_that_run_and_its_archives_stay(begin: Any, later: float):
    stage = await with_both_policies()
    archives = stage.archives()
    assert len(archives) == 4
    async with stage.managed():
        await begin(stage)
        await anyio.sleep(later)
        await leave(stage)
        assert await seconds_to_go(stage.cluster) <= LEAVING_LIMIT.total_seconds() + 30
        await anyio.sleep(60)
    assert archives <= stage.archives()
    assert not [asked for asked in deletions(stage) if "/remote/" in asked and any(name in asked for name in archives)]
    with pytest.raises(NotFound):
        await stage.kube.get(Namespace, TENANT)
    assert (await stage.kube.list(Backup)).items == []
    assert [lease for lease in (await stage.kube.list(Lease)).items if lease.metadata.namespace == TENANT] == []


async def test_a_namespace_with_nothing_but_backups_goes_at_once():
    stage = await with_both_policies()
    async with stage.managed():
        await leave(stage)
        assert await seconds_to_go(stage.cluster) <= 10


async def test_a_namespace_goes_that_was_deleted_while_no_controller_was_there():
    stage = await with_both_policies()
    archives = stage.archives()
    await leave(stage)
    assert not empty_namespace(stage.cluster, TENANT)
    async with stage.managed():
        assert await seconds_to_go(stage.cluster) <= 10
    assert stage.archives() == archives


async def test_archives_stay_also_while_the_application_is_still_there():
    """What uninstalls it may take its time, and the Backups are gone before."""
    stage = await with_both_policies()
    archives = stage.archives()
    held: list[tuple[type[KubeObject], str]] = [(ClickHouse, APP), *((Pod, pod_name(shard)) for shard in (0, 1))]
    held.append((Secret, f"clickhouse-{APP}-backup-api-auth"))
    for kind, name in held:
        await stage.kube.merge_patch(kind, name, {"metadata": {"finalizers": ["example.com/held"]}}, TENANT)
    async with stage.managed():
        await leave(stage)
        assert not empty_namespace(stage.cluster, TENANT)
        await anyio.sleep(5)
        assert (await stage.kube.list(Backup)).items == []
        for kind, name in held:
            await stage.kube.merge_patch(kind, name, {"metadata": {"finalizers": None}}, TENANT)
        await seconds_to_go(stage.cluster)
    assert stage.archives() == archives
