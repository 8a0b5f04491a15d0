"""MariaDB from a BackupJob to a RestoreJob: real server, real clients, and mariadb-operator where its binary is."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.e2e.mariadb_scene import MariaDBScene, mariadb_scene
from tests.real import RealCluster, RealMariaDB, RealS3, find_operators
from tests.real.mariadb_operator import Operator, Working, at_work
from tests.real.mariadb_pods import Fault
from tests.real.processes import loopback

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
async def maria() -> AsyncIterator[RealMariaDB]:
    async with RealMariaDB(loopback(71)) as server:
        yield server


@pytest.fixture(
    scope="module",
    params=[*find_operators(), None],
    ids=lambda operator: operator.version if operator else "simulator",
)
def operator(request: pytest.FixtureRequest) -> Operator | None:
    found: Operator | None = request.param
    return found


@pytest.fixture(scope="module")
async def working(operator: Operator | None, cluster: RealCluster) -> AsyncIterator[Working]:
    async with at_work(operator, cluster) as working:
        yield working


@pytest.fixture
async def scene(
    operator: Operator | None, working: Working, cluster: RealCluster, store: RealS3, maria: RealMariaDB
) -> AsyncIterator[MariaDBScene]:
    async with mariadb_scene(cluster, store, maria, operator, working) as scene:
        yield scene


async def test_what_was_dumped_comes_back_and_nothing_is_left_to_run_again(scene: MariaDBScene):
    first = await scene.back_up("first")
    await scene.server.query("UPDATE shop.orders SET what = 'wrong'; INSERT INTO shop.orders VALUES (3, 'c')")
    await scene.back_up("second")
    assert first.status.artifact is not None
    assert first.status.artifact.uri.removeprefix(f"s3://{scene.s3.bucket}/") in await scene.s3.objects(scene.namespace)
    job = await scene.restore("back", first.metadata.name)
    assert job.status.phase == "Succeeded", job.status
    assert await scene.orders() == "1\ta\n2\tb"
    assert await scene.operators() == []


async def test_a_dump_that_fails_is_a_failure(scene: MariaDBScene):
    scene.pods.fault = lambda job, container: "fail" if container == "mariadb" else None
    job = await scene.submit("bad")
    assert job.status.phase == "Failed", job.status
    assert await scene.operators() == []
    assert await scene.s3.objects(scene.namespace) == {}


async def test_a_push_that_fails_is_tried_again_with_a_new_dump_and_the_other_is_removed(scene: MariaDBScene):
    faults: Iterator[Fault] = iter(["end-badly"])
    scene.pods.fault = lambda job, container: next(faults, None) if container == "mariadb-operator" else None
    backup = await scene.back_up("nightly")
    assert [each.code for each in scene.pods.ran if each.container == "mariadb-operator"] == [1, 0]
    assert backup.status.artifact is not None
    (key,) = await scene.s3.objects(scene.namespace)
    assert backup.status.artifact.uri == f"s3://{scene.s3.bucket}/{key}"


async def test_a_restore_that_fails_says_how_to_go_back(scene: MariaDBScene):
    backup = await scene.back_up("nightly")
    scene.pods.fault = lambda job, container: "end-badly" if "-restore" in job else None
    job = await scene.restore("back", backup.metadata.name)
    assert job.status.phase == "Failed", job.status
    assert "HalfRestored" in str(job.status.conditions)
    assert await scene.operators() == []
