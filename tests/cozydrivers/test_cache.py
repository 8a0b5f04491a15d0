"""Caches: what a process knows of the cluster without asking."""

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import current_time

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.core import ConfigMap, Namespace, Pod
from cozydrivers.errors import NotFound
from cozydrivers.runtime import Key
from cozydrivers.runtime.cache import Caches
from cozydrivers.testing import FakeCluster

CRDS = Path(__file__).parents[2] / "fixtures" / "crds"
APP = "app"


async def create(cluster: FakeCluster, name: str, namespace: str = "default", **metadata: Any) -> ConfigMap:
    return await cluster.kube().create(ConfigMap, {"metadata": {"name": name, **metadata}}, namespace)


async def served(*namespaces: str) -> FakeCluster:
    cluster = FakeCluster()
    for namespace in namespaces:
        await cluster.kube().create(Namespace, {"metadata": {"name": namespace}})
    return cluster


def names(objects: Any) -> list[str]:
    return sorted(obj.metadata.name for obj in objects)


async def test_objects_are_found_by_key_namespace_owner_label_and_what_is_asked_for():
    cluster = await served("one", "two")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "plan", "uid": "u-1"}
    await create(cluster, "a", "one", labels={APP: "shop"}, ownerReferences=[owner])
    await create(cluster, "b", "two", labels={APP: "shop"}, annotations={"by": "hand"})
    await create(cluster, "c", "two", labels={APP: "blog"}, annotations={"by": "hand"})
    await create(cluster, "unlabelled", "two")
    caches = Caches(cluster.kube())
    cache = caches.of(ConfigMap, label=APP)
    cache.add_index("by", lambda obj: [obj.metadata.annotations.get("by", "")])
    async with caches:
        assert names(cache.list()) == ["a", "b", "c"]
        assert names(cache.list("two")) == ["b", "c"]
        assert names(cache.owned_by("u-1")) == ["a"]
        assert names(cache.by("by", "hand")) == ["b", "c"]
        assert names(cache.by("by", "nobody")) == []
        asked = len(cluster.requests)
        assert names(await caches.labelled(ConfigMap, "two", APP, "shop")) == ["b"]
        assert len(cluster.requests) == asked
        found = cache.get(Key("one", "a"))
        assert found
        assert found.metadata.labels == {APP: "shop"}
        assert cache.get(Key("one", "b")) is None


async def test_an_index_follows_changes_and_deletions():
    cluster = await served()
    a = await create(cluster, "a", labels={APP: "shop"})
    await create(cluster, "b", labels={APP: "shop"})
    caches = Caches(cluster.kube())
    caches.of(ConfigMap, label=APP)
    async with caches:
        await cluster.kube().merge_patch(ConfigMap, "b", {"metadata": {"labels": {APP: "blog"}}}, "default")
        await cluster.kube().delete(ConfigMap, "a", "default", uid=a.metadata.uid)
        await anyio.sleep(1)
        assert names(await caches.labelled(ConfigMap, "default", APP, "shop")) == []
        assert names(await caches.labelled(ConfigMap, "default", APP, "blog")) == ["b"]


async def test_what_has_not_that_label_in_a_cache_is_asked_for():
    cluster = await served()
    await create(cluster, "a", labels={APP: "shop", "tier": "db"})
    caches = Caches(cluster.kube())
    caches.of(ConfigMap, label=APP)
    async with caches:
        assert names(await caches.labelled(ConfigMap, "default", "tier", "db")) == ["a"]
        assert ("GET", "/api/v1/namespaces/default/configmaps") in cluster.requests


async def test_our_own_writes_are_there_at_once_and_told_once():
    cluster, told = await served(), list[str]()
    caches = Caches(cluster.kube())
    cache = caches.of(ConfigMap)
    cache.subscribe(lambda old, new: told.append(new.metadata.name if new else "-"))
    async with caches:
        cache.put(await create(cluster, "a"))
        assert (names(cache.list()), told) == (["a"], ["a"])
        await anyio.sleep(1)
        assert told == ["a"]


async def test_what_is_there_is_not_asked_for_and_an_absence_always_is():
    cluster = await served()
    await create(cluster, "a")
    caches = Caches(cluster.kube())
    caches.of(ConfigMap)
    async with caches:
        cluster.requests.clear()
        assert (await caches.get(ConfigMap, "a", "default")).metadata.name == "a"
        assert cluster.requests == []
        await create(cluster, "late")
        assert (await caches.get(ConfigMap, "late", "default")).metadata.name == "late"
        with pytest.raises(NotFound):
            await caches.get(ConfigMap, "absent", "default")
        await caches.get(Namespace, "default")
        assert [path.rsplit("/", 1)[1] for method, path in cluster.requests if method == "GET"] == [
            "late",
            "absent",
            "default",
        ]


async def test_several_namespaces_and_nothing_of_others():
    cluster, told = await served("one", "two", "three"), list[str]()
    for namespace in ("one", "two", "three"):
        await create(cluster, "a", namespace)
    caches = Caches(cluster.kube(), ["one", "two"])
    cache, namespaces = caches.of(ConfigMap), caches.of(Namespace)
    cache.subscribe(lambda old, new: told.append(new.metadata.namespace if new else "-"))
    async with caches:
        assert sorted(told) == ["one", "two"]
        assert [len(cache.list(namespace)) for namespace in ("one", "two", "three")] == [1, 1, 0]
        assert len(cache.list()) == 2
        assert namespaces.get(Key("", "three"))
        assert (await caches.get(ConfigMap, "a", "three")).metadata.namespace == "three"
        assert names(await caches.labelled(ConfigMap, "three", APP, "x")) == []
        cache.put(await create(cluster, "b", "three"))
        assert len(cache.list()) == 2
    assert not [path for _, path in cluster.requests if path == "/api/v1/configmaps"]


async def test_a_selector_is_for_the_kinds_that_ask_for_it():
    cluster = await served()
    await create(cluster, "mine", labels={"team": "a", APP: "x"})
    await create(cluster, "unlabelled", labels={"team": "a"})
    await create(cluster, "theirs", labels={"team": "b", APP: "x"})
    caches = Caches(cluster.kube(), selector="team=a")
    selected = caches.of(ConfigMap, selected=True)
    both = Caches(cluster.kube(), selector="team=a")
    labelled = both.of(ConfigMap, label=APP, selected=True)
    unselected = Caches(cluster.kube(), selector="team=a")
    all_ = unselected.of(ConfigMap)
    async with caches, both, unselected:
        assert names(selected.list()) == ["mine", "unlabelled"]
        assert names(labelled.list()) == ["mine"]
        assert names(all_.list()) == ["mine", "theirs", "unlabelled"]


async def test_one_cache_for_each_kind_and_label():
    caches = Caches((await served()).kube())
    assert caches.of(ConfigMap) is caches.of(ConfigMap)
    assert caches.of(ConfigMap) is not caches.of(ConfigMap, label=APP)
    assert len(list(caches.unsynced())) == 2


async def test_a_kind_that_is_not_served_does_not_hold_up_the_others_and_is_looked_for_each_minute():
    cluster = await served()
    await create(cluster, "a")
    caches = Caches(cluster.kube())
    applications, configs = caches.of(ClickHouse), caches.of(ConfigMap)
    async with caches:
        assert (applications.served, configs.served, len(configs.list())) == (False, True, 1)
        cluster.add_crd(CRDS / "apps.cozystack.io_clickhouses.yaml")
        await cluster.kube().create(ClickHouse, {"metadata": {"name": "shop"}, "spec": {}}, "default")
        assert (await caches.get(ClickHouse, "shop", "default")).metadata.name == "shop"
        await anyio.sleep(61)
        assert applications.served
        assert names(applications.list()) == ["shop"]


async def test_all_is_known_before_the_first_use():
    cluster = await served()
    await create(cluster, "a")
    cluster.faults.latency = 10
    caches = Caches(cluster.kube())
    configs, pods = caches.of(ConfigMap), caches.of(Pod)
    started = current_time()
    async with caches:
        assert (names(configs.list()), pods.list()) == (["a"], [])
        assert current_time() - started == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("when", ["while it starts", "while it runs"])
async def test_a_cancellation_leaves_no_task(when: str):
    cluster = await served()
    if when == "while it starts":
        cluster.faults.hang(20, method="GET")
    before = asyncio.all_tasks()
    with anyio.move_on_after(5):
        async with Caches(cluster.kube()) as caches:
            await anyio.sleep_forever()
        pytest.fail(f"{caches} ended by themselves")
    assert asyncio.all_tasks() == before


async def test_an_error_in_the_block_is_the_blocks_own():
    caches = Caches((await served()).kube())
    caches.of(ConfigMap)
    before = asyncio.all_tasks()

    async def block() -> None:
        async with caches:
            raise NotFound("of the block")

    with pytest.raises(NotFound, match="of the block"):
        await block()
    assert asyncio.all_tasks() == before


async def test_an_error_of_a_listener_ends_the_block():
    cluster = await served()
    caches = Caches(cluster.kube())

    def listen(old: ConfigMap | None, new: ConfigMap | None) -> None:
        raise ValueError("of the listener")

    caches.of(ConfigMap).subscribe(listen)
    before = asyncio.all_tasks()

    async def block() -> None:
        async with caches:
            await create(cluster, "a")
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await block()
    assert caught.group_contains(ValueError, match="of the listener")
    assert asyncio.all_tasks() == before
