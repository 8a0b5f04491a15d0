import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from anyio import current_time

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.core import ConfigMap
from cozydrivers.runtime import Key, Reflector
from cozydrivers.testing import FakeCluster

CRDS = Path(__file__).parents[2] / "fixtures" / "crds"
PATH = "/configmaps"


class Told(list[str]):
    """What a listener was told."""

    def __call__(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        obj = new or old
        assert obj
        self.append(f"{'+' if not old else '-' if not new else '~'}{obj.metadata.name}")


@contextlib.asynccontextmanager
async def running(
    cluster: FakeCluster, *, told: Told | None = None, label_selector: str = ""
) -> AsyncGenerator[Reflector[ConfigMap], None]:
    reflector = Reflector(
        cluster.kube(),
        ConfigMap,
        "default",
        label_selector=label_selector,
        on_change=Told() if told is None else told,
        random=lambda: 0.0,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reflector.run)
        yield reflector
        tasks.cancel_scope.cancel()


async def create(
    cluster: FakeCluster, name: str, value: str = "1", namespace: str = "default", **labels: str
) -> ConfigMap:
    body = {"metadata": {"name": name, "labels": labels}, "data": {"k": value}}
    return await cluster.kube().create(ConfigMap, body, namespace)


async def change(cluster: FakeCluster, name: str, value: str) -> ConfigMap:
    return await cluster.kube().merge_patch(ConfigMap, name, {"data": {"k": value}}, "default")


async def delete(cluster: FakeCluster, obj: ConfigMap) -> None:
    await cluster.kube().delete(ConfigMap, obj.metadata.name, "default", uid=obj.metadata.uid)


def values(reflector: Reflector[ConfigMap]) -> dict[str, str]:
    return {obj.metadata.name: obj.data["k"] for obj in reflector.store}


def asked(cluster: FakeCluster) -> int:
    return sum(method == "GET" and path.endswith(PATH) for method, path in cluster.requests)


async def test_the_store_follows_the_cluster():
    cluster, told = FakeCluster(), Told()
    await create(cluster, "a")
    async with running(cluster, told=told) as reflector:
        await reflector.synced()
        assert values(reflector) == {"a": "1"}
        b = await create(cluster, "b")
        await change(cluster, "a", "2")
        await create(cluster, "elsewhere", namespace="kube-system")
        await delete(cluster, b)
        await anyio.sleep(1)
        assert values(reflector) == {"a": "2"}
    assert told == ["+a", "+b", "~a", "-b"]


async def test_more_than_one_page_is_listed():
    cluster = FakeCluster()
    for number in range(501):
        await create(cluster, f"n-{number}")
    async with running(cluster) as reflector:
        await reflector.synced()
        assert len(values(reflector)) == 501


async def test_the_answer_of_our_own_write_is_there_at_once_and_told_once():
    cluster, told = FakeCluster(), Told()
    async with running(cluster, told=told) as reflector:
        await reflector.synced()
        reflector.store.put(await create(cluster, "a"))
        reflector.store.put(await change(cluster, "a", "2"))
        assert values(reflector) == {"a": "2"}
        await anyio.sleep(1)
        assert values(reflector) == {"a": "2"}
    assert told == ["+a", "~a"]


async def test_an_object_that_leaves_the_selector_is_gone():
    cluster, told = FakeCluster(), Told()
    await create(cluster, "a", app="x")
    await create(cluster, "b", app="y")
    async with running(cluster, told=told, label_selector="app=x") as reflector:
        await reflector.synced()
        await cluster.kube().merge_patch(ConfigMap, "a", {"metadata": {"labels": {"app": "y"}}}, "default")
        await cluster.kube().merge_patch(ConfigMap, "b", {"metadata": {"labels": {"app": "x"}}}, "default")
        await anyio.sleep(1)
    assert told == ["+a", "-a", "+b"]


async def test_a_watch_that_the_server_ends_goes_on_without_a_new_list_or_a_pause():
    cluster, told = FakeCluster(), Told()
    async with running(cluster, told=told) as reflector:
        await reflector.synced()
        for number in range(3):
            await anyio.sleep(2)
            cluster.drop_watches()
            await create(cluster, f"n-{number}")
            await anyio.sleep(0.1)
            assert len(values(reflector)) == number + 1
        assert asked(cluster) == 1 + 4
        await anyio.sleep(3600)
        assert asked(cluster) == pytest.approx(5 + 3600 / 290, abs=1)
    assert told == ["+n-0", "+n-1", "+n-2"]


async def test_bookmarks_spare_a_new_list():
    cluster = FakeCluster()
    async with running(cluster) as reflector:
        await reflector.synced()
        for number in range(20):
            await create(cluster, f"n-{number}", namespace="kube-system")
        await anyio.sleep(130)
        cluster.compact()
        cluster.drop_watches()
        await create(cluster, "a")
        await anyio.sleep(0.1)
        assert values(reflector) == {"a": "1"}
        assert asked(cluster) == 3


async def test_a_version_that_is_too_old_is_listed_anew_and_only_the_differences_are_told():
    cluster, told = FakeCluster(), Told()
    await create(cluster, "a")
    b = await create(cluster, "b")
    async with running(cluster, told=told) as reflector:
        await reflector.synced()
        await anyio.sleep(10)
        cluster.faults.fail(3, status=503, method="GET", path=PATH)
        cluster.drop_watches()
        await anyio.sleep(0.1)
        await delete(cluster, b)
        await create(cluster, "c")
        cluster.compact()
        await anyio.sleep(20)
        assert values(reflector) == {"a": "1", "c": "1"}
    assert sorted(told[2:]) == ["+c", "-b"]


@pytest.mark.parametrize("trouble", ["status", "refused", "lost"])
async def test_troubles_are_tried_again_from_less_than_a_second_to_half_a_minute(trouble, caplog):
    cluster = FakeCluster()
    if trouble == "status":
        cluster.faults.fail(8, status=500)
    elif trouble == "refused":
        cluster.faults.refuse(8)
    else:
        cluster.faults.lose_reply(8)
    started = current_time()
    async with running(cluster) as reflector:
        await reflector.synced()
        assert current_time() - started == pytest.approx(0.8 + 1.6 + 3.2 + 6.4 + 12.8 + 25.6 + 30 + 30, abs=0.1)
    assert len(caplog.records) == 1


async def test_a_good_watch_ends_the_back_off():
    cluster = FakeCluster()
    cluster.faults.fail(8, method="GET", path=PATH)
    async with running(cluster) as reflector:
        await reflector.synced()
        await anyio.sleep(100)
        cluster.faults.fail(1, method="GET", path=PATH)
        cluster.drop_watches()
        await create(cluster, "a")
        await anyio.sleep(1)
        assert values(reflector) == {"a": "1"}


async def test_a_server_that_hangs_up_at_once_is_not_stormed():
    cluster = FakeCluster()

    async def hang_up() -> None:
        while True:
            cluster.drop_watches()
            await anyio.sleep(0.01)

    async with running(cluster) as reflector, anyio.create_task_group() as tasks:
        await reflector.synced()
        tasks.start_soon(hang_up)
        await anyio.sleep(100)
        assert asked(cluster) < 12
        tasks.cancel_scope.cancel()


async def test_chance_spreads_the_tries_of_many():
    cluster = FakeCluster()
    listed = set()
    for number in (0.0, 0.3, 0.9):
        reflector = Reflector(cluster.kube(), ConfigMap, on_change=Told(), random=lambda number=number: number)  # type: ignore[misc]
        cluster.faults.fail(1)
        started = current_time()
        with anyio.move_on_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reflector.run)
                await reflector.synced()
                listed.add(round(current_time() - started, 2))
                tasks.cancel_scope.cancel()
    assert listed == {0.8, 0.68, 0.44}


async def test_a_kind_that_is_not_served_is_looked_for_each_minute(caplog):
    cluster = FakeCluster()
    reflector = Reflector(cluster.kube(), ClickHouse, on_change=lambda old, new: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reflector.run)
        await reflector.synced()
        assert (reflector.served, reflector.store.list()) == (False, [])
        await anyio.sleep(3600)
        assert len(cluster.requests) == pytest.approx(60, abs=1)
        cluster.add_crd(CRDS / "apps.cozystack.io_clickhouses.yaml")
        await cluster.kube().create(ClickHouse, {"metadata": {"name": "shop"}, "spec": {}}, "default")
        await anyio.sleep(60)
        assert reflector.served
        assert reflector.store.get(Key("default", "shop"))
        tasks.cancel_scope.cancel()
    assert [record.getMessage() for record in caplog.records] == ["watch of clickhouses: the server does not serve it"]


async def test_a_kind_that_is_not_served_any_more_is_listed_anew_and_its_objects_kept_until_then():
    cluster = FakeCluster()
    a = await create(cluster, "a")
    async with running(cluster) as reflector:
        await reflector.synced()
        await anyio.sleep(10)
        cluster.faults.fail(1, status=404, method="GET", path=PATH)
        cluster.drop_watches()
        await anyio.sleep(1)
        await delete(cluster, a)
        assert (reflector.served, values(reflector)) == (False, {"a": "1"})
        cluster.compact()
        await anyio.sleep(60)
        assert (reflector.served, values(reflector), asked(cluster)) == (True, {}, 5)


async def test_synced_waits_for_the_whole_list():
    cluster = FakeCluster()
    await create(cluster, "a")
    cluster.faults.latency = 10
    async with running(cluster) as reflector:
        with anyio.move_on_after(9):
            await reflector.synced()
            pytest.fail("nothing has been answered yet")
        await reflector.synced()
        assert values(reflector) == {"a": "1"}


@pytest.mark.parametrize("chance", [0.0, 1.0])
async def test_a_version_that_the_answer_calls_too_old_is_listed_anew_after_a_pause_that_differs(chance: float):
    cluster = FakeCluster()
    await create(cluster, "a")
    reflector = Reflector(cluster.kube(), ConfigMap, "default", on_change=Told(), random=lambda: chance)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reflector.run)
        await reflector.synced()
        await anyio.sleep(10)
        cluster.faults.fail(1, status=410, method="GET", path=PATH)
        cluster.drop_watches()
        await anyio.sleep(0.01)
        await create(cluster, "b")
        pause = 0.8 * (1 - chance / 2)
        await anyio.sleep(pause - 0.1)
        assert (values(reflector), asked(cluster)) == ({"a": "1"}, 3)
        await anyio.sleep(0.2)
        assert (values(reflector), asked(cluster)) == ({"a": "1", "b": "1"}, 5)
        tasks.cancel_scope.cancel()


async def test_a_watch_that_goes_silent_is_given_up_after_its_time_and_taken_up_again():
    cluster = FakeCluster()
    async with running(cluster) as reflector:
        await reflector.synced()
        await anyio.sleep(10)
        cluster.faults.hang(1, method="GET", path=PATH)
        cluster.drop_watches()
        await anyio.sleep(1)
        await create(cluster, "a")
        await anyio.sleep(303)
        assert values(reflector) == {}
        await anyio.sleep(3)
        assert (values(reflector), asked(cluster)) == ({"a": "1"}, 4)


async def test_a_page_that_has_expired_is_read_again_from_the_first():
    cluster = FakeCluster()
    for number in range(1001):
        await create(cluster, f"n-{number}")
    cluster.faults.fail(1, status=410, method="GET", path=PATH)
    async with running(cluster) as reflector:
        await reflector.synced()
        assert len(values(reflector)) == 1001


async def test_nothing_is_asked_while_nothing_changes_but_a_watch_now_and_then():
    cluster = FakeCluster()
    await create(cluster, "a")
    async with running(cluster) as reflector:
        await reflector.synced()
        before = len(cluster.requests)
        await anyio.sleep(24 * 3600)
        assert len(cluster.requests) - before == pytest.approx(24 * 3600 / 290, abs=2)


async def test_a_cancellation_leaves_no_task():
    before = asyncio.all_tasks()
    async with running(FakeCluster()) as reflector:
        await reflector.synced()
        assert asyncio.all_tasks() != before
    assert asyncio.all_tasks() == before
