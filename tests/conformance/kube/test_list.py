"""Lists: selectors, pages, versions."""

from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest
from tests.conformance.kube.rig import Rig
from tests.whole import whole

from cozydrivers.api.backups import BackupJob, Plan
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.errors import Invalid

LABELS: dict[str, dict[str, str]] = {
    "l-0": {"env": "prod", "tier": "a"},
    "l-1": {"env": "dev", "tier": "a"},
    "l-2": {"env": "prod", "tier": "b"},
    "l-3": {"env": "test", "level": "3"},
    "l-4": {"clickhouse.altinity.com/chi": "clickhouse-ch"},
}


@pytest.fixture
async def labelled(rig: Rig) -> Rig:
    for name, labels in LABELS.items():
        await rig.configmap(name, labels=labels)
    return rig


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("env=prod", "l-0 l-2"),
        ("env==prod", "l-0 l-2"),
        ("env!=prod", "l-1 l-3 l-4"),
        ("env in (prod,dev)", "l-0 l-1 l-2"),
        ("env notin (prod, dev)", "l-3 l-4"),
        ("env", "l-0 l-1 l-2 l-3"),
        ("!env", "l-4"),
        ("env=prod,tier!=a", "l-2"),
        ("env,tier in (b)", "l-2"),
        ("level>2", "l-3"),
        ("level<3", ""),
        ("clickhouse.altinity.com/chi", "l-4"),
        ("clickhouse.altinity.com/chi=clickhouse-ch", "l-4"),
        ("!env,clickhouse.altinity.com/chi", "l-4"),
        ("env,clickhouse.altinity.com/chi", ""),
    ],
)
async def test_label_selectors(labelled: Rig, selector: str, names: str):
    found = await labelled.kube.list(ConfigMap, labelled.namespace, label_selector=selector)
    assert [item.metadata.name for item in found.items] == names.split()


@pytest.mark.parametrize("selector", ["env in prod", "a=b,,c", "a=b c"])
async def test_a_selector_that_is_none(rig: Rig, selector: str):
    with pytest.raises(Invalid):
        await rig.kube.list(ConfigMap, rig.namespace, label_selector=selector)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("metadata.name=l-1", "l-1"),
        ("metadata.name!=l-1", "l-0 l-2 l-3 l-4"),
        ("metadata.name=l-1,metadata.name=l-2", ""),
    ],
)
async def test_field_selectors(labelled: Rig, selector: str, names: str):
    found = await labelled.kube.list(ConfigMap, labelled.namespace, field_selector=selector)
    assert [item.metadata.name for item in found.items] == names.split()


async def test_the_fields_that_a_definition_names_can_be_selected(rig: Rig):
    await rig.job()
    for name, count in (("ch", 1), ("other", 0)):
        selector = f"spec.applicationRef.name={name}"
        found = await rig.kube.list(BackupJob, rig.namespace, field_selector=selector)
        assert len(found.items) == count


async def test_other_fields_can_not_be_selected(rig: Rig):
    with pytest.raises(Invalid, match="field label not supported"):
        await rig.kube.list(BackupJob, rig.namespace, field_selector="spec.backupClassName=x")


async def test_all_pages_together_are_the_whole(labelled: Rig):
    found = await labelled.kube.list(ConfigMap, labelled.namespace, limit=2)
    assert [item.metadata.name for item in found.items] == list(LABELS)


async def test_all_namespaces(labelled: Rig):
    found = await labelled.kube.list(ConfigMap, limit=2)
    places = [(item.metadata.namespace, item.metadata.name) for item in found.items]
    assert [name for namespace, name in places if namespace == labelled.namespace] == list(LABELS)
    assert places == sorted(set(places))


async def test_one_of_all_namespaces_by_its_field(labelled: Rig):
    path, query = ConfigMap.resource.path(), {"fieldSelector": f"metadata.namespace={labelled.namespace}"}
    answer = await labelled.send("GET", path, **query)
    assert [item["metadata"]["name"] for item in answer.body["items"]] == list(LABELS)


async def test_leases_of_one_name_in_all_namespaces(rig: Rig):
    others = [await rig.kube.create(Namespace, {"metadata": {"generateName": "other-"}}) for _ in range(2)]
    places = sorted([rig.namespace, *(other.metadata.name for other in others)])
    name = f"elected-{rig.namespace}"
    for place in places:
        for each in (name, f"{name}-2"):
            await rig.kube.create(Lease, {"metadata": {"name": each}, "spec": {"holderIdentity": place}}, place)
    found = await rig.kube.list(Lease, field_selector=f"metadata.name={name}")
    assert [(item.metadata.namespace, item.metadata.name) for item in found.items] == [(at, name) for at in places]
    assert [item.spec.holder_identity for item in found.items] == places


async def test_every_answer_says_when_it_was_given(labelled: Rig):
    made = (await labelled.job()).metadata.creation_timestamp
    assert made is not None
    for path, status in ((ConfigMap.resource.path(labelled.namespace), 200), (f"{ConfigMap.resource.path()}/x", 404)):
        answer = await labelled.send("GET", path)
        given = parsedate_to_datetime(answer.headers["date"])
        assert answer.status == status
        assert answer.headers["date"].endswith(" GMT")
        assert abs(given - made) < timedelta(seconds=10)


async def test_items_of_a_list_know_their_kind_or_not(labelled: Rig):
    await labelled.job()
    built_in = await labelled.kube.list(whole(ConfigMap), labelled.namespace)
    custom = await labelled.kube.list(whole(BackupJob), labelled.namespace)
    assert "kind" not in built_in.items[0].raw
    assert custom.items[0].raw["kind"] == "BackupJob"


async def test_what_is_large_comes_whole(rig: Rig):
    """The real server compresses answers above 128 KiB for who takes that, and sends the lines of a watch in parts."""
    version, text = await rig.version(), "".join(chr(97 + i * i % 26) for i in range(300_000))
    for name in ("a", "b"):
        await rig.configmap(name, {"text": text})
    found = await rig.kube.list(whole(ConfigMap), rig.namespace, limit=1)
    followed = await rig.events(whole(ConfigMap), 2, version)
    for seen in (found.items, [event.object for event in followed]):
        assert [each.raw["data"]["text"] == text for each in seen] == [True, True]


async def test_pages_show_one_moment(labelled: Rig):
    path = ConfigMap.resource.path(labelled.namespace)
    first = (await labelled.send("GET", path, limit="2")).body
    assert first["metadata"]["remainingItemCount"] == 3
    await labelled.configmap("l-25")
    await labelled.kube.merge_patch(ConfigMap, "l-3", {"data": {"a": "2"}}, labelled.namespace)
    second = (await labelled.send("GET", path, **{"continue": first["metadata"]["continue"]})).body
    assert [item["metadata"]["name"] for item in second["items"]] == ["l-2", "l-3", "l-4"]
    assert second["items"][1]["data"] == {"a": "1"}
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_a_page_that_is_too_old(labelled: Rig):
    path = ConfigMap.resource.path(labelled.namespace)
    first = (await labelled.send("GET", path, limit="2")).body["metadata"]
    last = await labelled.configmap("later")
    await labelled.forget(int(last.metadata.resource_version))
    late = await labelled.send("GET", path, **{"continue": first["continue"]})
    assert late.status == 410
    assert late.body["reason"] == "Expired"
    rest = await labelled.send("GET", path, **{"continue": late.body["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in rest.body["items"]] == ["l-2", "l-3", "l-4", "later"]


async def test_an_exact_version(labelled: Rig):
    path, query = ConfigMap.resource.path(labelled.namespace), {"resourceVersionMatch": "Exact"}
    version = (await labelled.kube.list(ConfigMap, labelled.namespace)).resource_version
    last = await labelled.configmap("later")
    exact = await labelled.send("GET", path, resourceVersion=version, **query)
    assert [item["metadata"]["name"] for item in exact.body["items"]] == list(LABELS)
    await labelled.forget(int(last.metadata.resource_version))
    assert (await labelled.send("GET", path, resourceVersion=version, **query)).status == 410


async def test_an_empty_list_has_a_version(rig: Rig):
    found = await rig.kube.list(Plan, rig.namespace)
    assert found.items == []
    assert int(found.resource_version) > 0


async def test_a_namespace_that_is_not_there_is_empty(rig: Rig):
    assert (await rig.kube.list(Plan, "absent")).items == []


async def test_a_version_of_the_future(rig: Rig):
    answer = await rig.send("GET", ConfigMap.resource.path(rig.namespace), resourceVersion="99999999")
    assert answer.status == 504
    assert answer.headers["retry-after"] == "1"


async def test_a_list_that_can_not_be_parsed(rig: Rig):
    assert (await rig.send("GET", ConfigMap.resource.path(rig.namespace), resourceVersion="abc")).status == 400
    assert (await rig.send("GET", ConfigMap.resource.path(rig.namespace), **{"continue": "garbage"})).status == 400


async def test_metadata_only(labelled: Rig):
    path = ConfigMap.resource.path(labelled.namespace)
    accept = "json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    answer = await labelled.send("GET", path, accept=accept)
    assert answer.body["kind"] == "PartialObjectMetadataList"
    assert set(answer.body["items"][0]) == {"kind", "apiVersion", "metadata"}


async def _shown(rig: Rig, **query: str) -> tuple[list[str], dict[str, object]]:
    body = (await rig.send("GET", ConfigMap.resource.path(rig.namespace), **query)).body
    return [item["metadata"]["name"] for item in body["items"]], body["metadata"]


async def test_any_version_will_do(labelled: Rig):
    """From the watch cache, which has no pages: the limit has no effect."""
    names, metadata = await _shown(labelled, resourceVersion="0", limit="2")
    assert names == list(LABELS)
    assert set(metadata) == {"resourceVersion"}


async def test_not_older_than(labelled: Rig):
    first = (await labelled.kube.get(ConfigMap, "l-0", labelled.namespace)).metadata.resource_version
    names, metadata = await _shown(labelled, resourceVersion=first)
    assert names == list(LABELS)
    assert int(str(metadata["resourceVersion"])) > int(first)
    names, metadata = await _shown(labelled, resourceVersion=first, resourceVersionMatch="NotOlderThan", limit="2")
    assert (names, metadata["remainingItemCount"]) == (["l-0", "l-1"], 3)


async def test_a_limit_makes_a_version_exact(labelled: Rig):
    first = (await labelled.kube.get(ConfigMap, "l-0", labelled.namespace)).metadata.resource_version
    names, metadata = await _shown(labelled, resourceVersion=first, limit="2")
    assert (names, metadata["resourceVersion"]) == (["l-0"], first)


async def test_pages_may_change_their_size(labelled: Rig):
    names, metadata = await _shown(labelled, limit="2")
    token = str(metadata["continue"])
    assert (names, metadata["remainingItemCount"]) == (["l-0", "l-1"], 3)
    names, metadata = await _shown(labelled, limit="1", **{"continue": token})
    assert (names, metadata["remainingItemCount"]) == (["l-2"], 2)
    names, metadata = await _shown(labelled, **{"continue": token})
    assert (names, set(metadata)) == (["l-2", "l-3", "l-4"], {"resourceVersion"})


async def test_of_selected_items_nobody_counts_the_rest(labelled: Rig):
    _, metadata = await _shown(labelled, limit="2", labelSelector="env")
    assert set(metadata) == {"resourceVersion", "continue"}


async def test_versions_that_can_not_be_asked_for(labelled: Rig):
    path = ConfigMap.resource.path(labelled.namespace)
    token = (await _shown(labelled, limit="2"))[1]["continue"]
    answer = await labelled.send("GET", path, resourceVersion="5", **{"continue": str(token)})
    assert (answer.status, answer.body["message"]) == (
        400,
        "specifying resource version is not allowed when using continue",
    )
    answer = await labelled.send("GET", path, resourceVersion="0", resourceVersionMatch="Exact")
    assert (answer.status, answer.body["details"]["causes"][0]["field"]) == (422, "resourceVersionMatch")
    answer = await labelled.send("GET", path, limit="x")
    assert (answer.status, answer.body["message"]) == (400, 'strconv.ParseInt: parsing "x": invalid syntax')


async def test_one_name_in_one_of_all_namespaces(labelled: Rig):
    query = {"fieldSelector": f"metadata.name=l-1,metadata.namespace={labelled.namespace}"}
    for path in (ConfigMap.resource.path(), ConfigMap.resource.path(labelled.namespace)):
        answer = await labelled.send("GET", path, **query)
        assert [item["metadata"]["name"] for item in answer.body["items"]] == ["l-1"]
    answer = await labelled.send("GET", path, fieldSelector="metadata.namespace=other")
    assert answer.body["items"] == []


async def test_one_name_of_custom_resources(rig: Rig):
    for name in ("a", "b"):
        await rig.job(name)
    found = await rig.kube.list(BackupJob, rig.namespace, field_selector="metadata.name=b")
    assert [item.metadata.name for item in found.items] == ["b"]
