"""A CustomResourceDefinition that is deleted, and created again."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from tests.conformance.kube.rig import Rig
from tests.real.processes import wait_until

from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.errors import ApiError, Gone, NotFound

NAME = "widgets.conformance.example.com"
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": NAME},
    "spec": {
        "group": "conformance.example.com",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
            }
        ],
    },
}


class Widget(KubeObject):
    resource = Resource("conformance.example.com", "v1", "Widget", "widgets", namespaced=True, status=False)


@pytest.fixture
async def defined(rig: Rig) -> AsyncIterator[Rig]:
    await rig.controls.define(CRD)
    yield rig
    await _gone(rig)


async def _gone(rig: Rig) -> None:
    """Delete the definition, and wait until the kind is served no more."""

    async def is_gone() -> bool:
        return (await rig.send("GET", Widget.resource.path(rig.namespace))).status == 404

    if not await is_gone():
        await rig.controls.undefine(NAME)
        await wait_until(is_gone, timeout=30, what=f"{NAME} gone")


async def _widget(rig: Rig, name: str, **metadata: Any) -> Widget:
    return await rig.kube.create(Widget, {"metadata": {"name": name, **metadata}}, rig.namespace)


async def _version(rig: Rig) -> str:
    return (await rig.kube.list(Widget, rig.namespace)).resource_version


async def _follow(rig: Rig, version: str, seen: list[str]) -> None:
    watch = rig.kube.watch(Widget, rig.namespace, resource_version=version, timeout=40)
    seen += [event.type async for event in watch]


async def test_its_watches_show_the_deletions_and_end(defined: Rig):
    await _widget(defined, "a")
    version, seen = await _version(defined), list[str]()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_follow, defined, version, seen)
            await anyio.sleep(0.5)
            await _gone(defined)
    assert [kind for kind in seen if kind != "BOOKMARK"] == ["DELETED"]


async def test_what_is_not_served_is_not_found(defined: Rig):
    version = await _version(defined)
    await _gone(defined)
    for attempt in (_version(defined), _follow(defined, version, []), _widget(defined, "a")):
        with pytest.raises(NotFound):
            await attempt
    answer = await defined.send("GET", Widget.resource.path(defined.namespace))
    assert (answer.status, answer.body) == (404, "404 page not found\n")


async def test_a_finalizer_keeps_the_kind_but_nothing_new_comes(defined: Rig):
    await _widget(defined, "held", finalizers=["example.com/held"])
    await defined.controls.undefine(NAME)

    async def is_leaving() -> bool:
        return (await defined.kube.get(Widget, "held", defined.namespace)).metadata.deletion_timestamp is not None

    await wait_until(is_leaving, timeout=20, what="its objects leaving")
    with pytest.raises(ApiError, match="create not allowed while custom resource definition is terminating") as caught:
        await _widget(defined, "new")
    assert (caught.value.status, caught.value.reason) == (405, "MethodNotAllowed")
    await defined.kube.merge_patch(Widget, "held", {"metadata": {"finalizers": None}}, defined.namespace)
    await _gone(defined)


async def test_created_again_it_is_empty_and_knows_no_older_version(defined: Rig):
    await _widget(defined, "a")
    version = await _version(defined)
    await _gone(defined)
    await defined.controls.define(CRD)
    assert (await defined.kube.list(Widget, defined.namespace)).items == []
    with pytest.raises(Gone, match=f"too old resource version: {version}"):
        await _follow(defined, version, [])
