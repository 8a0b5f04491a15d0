"""Events: the form of events.k8s.io, its rules, and that the core group shows the same objects."""

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from tests.conformance.kube.rig import Rig
from tests.whole import whole

from cozydrivers.api.base import KubeObject, Metadata, Resource
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.api.events import Event
from cozydrivers.errors import Invalid, NotFound
from cozydrivers.runtime import EventRecorder

TIME = "2026-01-01T00:00:00.000000Z"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class CoreEvent(KubeObject):
    resource = Resource("", "v1", "Event", "events", namespaced=True, status=False)


def event(namespace: str, **changes: Any) -> dict[str, Any]:
    """An event in the new form; None takes a field out."""
    about = {"apiVersion": "backups.cozystack.io/v1alpha1", "kind": "BackupJob", "name": "nightly", "uid": "u-1"}
    body = {
        "metadata": {"generateName": "nightly-"},
        "eventTime": TIME,
        "reportingController": "cozydrivers",
        "reportingInstance": "cozydrivers-0",
        "action": "Backup",
        "reason": "BackupCompleted",
        "regarding": {**about, "namespace": namespace},
        "note": "done",
        "type": "Normal",
    }
    return {field: value for field, value in (body | changes).items() if value is not None}


def core_event(namespace: str) -> dict[str, Any]:
    """An event in the core group's form."""
    return {
        "metadata": {"generateName": "nightly."},
        "involvedObject": {"kind": "BackupJob", "name": "nightly", "namespace": namespace},
        "reason": "BackupStarted",
        "message": "started",
        "type": "Normal",
        "source": {"component": "cozydrivers"},
        "count": 1,
    }


async def refused(rig: Rig, **changes: Any) -> list[tuple[str, str]]:
    """The causes of a refusal: field and reason."""
    with pytest.raises(Invalid) as caught:
        await rig.kube.create(Event, event(rig.namespace, **changes), rig.namespace)
    return [(cause.field, cause.reason.removeprefix("FieldValue")) for cause in caught.value.causes]


async def test_an_event_is_kept_as_it_is_sent(rig: Rig):
    made = await rig.kube.create(whole(Event), event(rig.namespace), rig.namespace)
    assert (made.regarding.name, made.note, made.reporting_controller) == ("nightly", "done", "cozydrivers")
    assert made.event_time == NOW
    assert made.series is None
    deprecated = {key: value for key, value in made.raw.items() if key.startswith("deprecated")}
    assert deprecated == {
        "deprecatedSource": {},
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
    }


async def test_both_groups_show_the_same_event(rig: Rig):
    new = await rig.kube.create(Event, event(rig.namespace), rig.namespace)
    shown = (await rig.kube.get(whole(CoreEvent), new.metadata.name, rig.namespace)).raw
    assert (shown["message"], shown["involvedObject"]["name"], shown["reportingComponent"]) == (
        *("done", "nightly", "cozydrivers"),
    )
    assert shown["metadata"]["uid"] == new.metadata.uid
    old = await rig.kube.create(CoreEvent, core_event(rig.namespace), rig.namespace)
    seen = await rig.kube.get(Event, old.metadata.name, rig.namespace)
    assert (seen.note, seen.deprecated_count, seen.deprecated_source, seen.event_time) == (
        *("started", 1, {"component": "cozydrivers"}, None),
    )
    for kind in (Event, CoreEvent):
        assert len((await rig.kube.list(kind, rig.namespace)).items) == 2


@pytest.mark.parametrize(
    ("changes", "causes"),
    [
        ({"reportingInstance": None}, [("reportingInstance", "Required")]),
        ({"action": None}, [("action", "Required")]),
        ({"reason": ""}, [("reason", "Required")]),
        ({"type": None}, [("type", "Invalid")]),
        ({"type": "Error"}, [("type", "Invalid")]),
        ({"eventTime": None}, [("eventTime", "Required")]),
        ({"reportingController": "a b"}, [("reportingController", "Invalid")]),
        ({"reportingController": None}, [("reportingController", kind) for kind in ("Required", "Invalid", "Invalid")]),
        ({"deprecatedCount": 1}, [("count", "Invalid")]),
        ({"deprecatedFirstTimestamp": "2026-01-01T00:00:00Z"}, [("firstTimestamp", "Invalid")]),
        ({"deprecatedSource": {"component": "c"}}, [("source", "Invalid")]),
        ({"series": {"count": 1, "lastObservedTime": TIME}}, [("series.count", "Invalid")]),
        ({"series": {"count": 2}}, [("series.lastObservedTime", "Required")]),
    ],
    ids=str,
)
async def test_what_an_event_must_have(rig: Rig, changes: dict[str, Any], causes: list[tuple[str, str]]):
    assert await refused(rig, **changes) == causes


@pytest.mark.parametrize(
    ("field", "named", "longest"),
    [
        ("note", "message", 1024),
        ("reason",) * 2 + (128,),
        ("action",) * 2 + (128,),
        ("reportingInstance",) * 2 + (128,),
    ],
)
async def test_texts_have_a_longest_length_in_bytes(rig: Rig, field: str, named: str, longest: int):
    await rig.kube.create(Event, event(rig.namespace, **{field: "é" * (longest // 2)}), rig.namespace)
    assert await refused(rig, **{field: "é" * (longest // 2) + "x"}) == [(named, "Invalid")]


@pytest.mark.parametrize("changes", [{"eventTime": "2026-01-01T00:00:00Z"}, {"series": {"lastObservedTime": "now"}}])
async def test_times_have_microseconds(rig: Rig, changes: dict[str, Any]):
    with pytest.raises(Invalid, match="parsing time"):
        await rig.kube.create(Event, event(rig.namespace, **changes), rig.namespace)


async def test_an_event_on_a_cluster_wide_object_is_in_default(rig: Rig):
    about = {"apiVersion": "v1", "kind": "Namespace", "name": rig.namespace}
    assert await refused(rig, regarding=about) == [("involvedObject.namespace", "Invalid")]
    made = await rig.kube.create(Event, event("", regarding=about), "default")
    assert made.metadata.namespace == "default"


async def test_only_an_event_without_a_time_is_held_to_the_namespace_of_its_object(rig: Rig):
    await rig.kube.create(Event, event("elsewhere"), rig.namespace)
    with pytest.raises(Invalid, match=r"does not match event\.namespace"):
        await rig.kube.create(CoreEvent, core_event("elsewhere"), rig.namespace)


async def test_the_prefix_of_a_name_has_no_dot_at_its_end(rig: Rig):
    with pytest.raises(Invalid) as caught:
        await rig.kube.create(Event, event(rig.namespace, metadata={"generateName": "nightly."}), rig.namespace)
    assert {cause.field for cause in caught.value.causes} == {"metadata.generateName"}
    made = await rig.kube.create(Event, event(rig.namespace, metadata={"generateName": "n" * 253 + "-"}), rig.namespace)
    assert len(made.metadata.name) == 63


async def test_the_series_of_an_event_goes_on(rig: Rig):
    name = (await rig.kube.create(Event, event(rig.namespace), rig.namespace)).metadata.name
    for count in (2, 5):
        series = {"count": count, "lastObservedTime": "2026-01-01T01:00:00.500000Z"}
        patched = await rig.kube.merge_patch(Event, name, {"series": series}, rig.namespace)
        assert patched.series is not None
        assert patched.series.count == count
    shown = (await rig.kube.get(whole(CoreEvent), name, rig.namespace)).raw
    assert shown["series"] == {"count": 5, "lastObservedTime": "2026-01-01T01:00:00.500000Z"}
    for wrong in ({"count": 1}, {"lastObservedTime": None}, {"lastObservedTime": "2026-01-01T01:00:00.5Z"}):
        with pytest.raises(Invalid):
            await rig.kube.merge_patch(Event, name, {"series": wrong}, rig.namespace)


@pytest.mark.parametrize(
    ("field", "named", "times"),
    [("note", "message", 1), ("reason", "reason", 2), ("action", "action", 1), ("reportingInstance",) * 2 + (1,)],
)
async def test_the_rest_of_an_event_stays(rig: Rig, field: str, named: str, times: int):
    name = (await rig.kube.create(Event, event(rig.namespace), rig.namespace)).metadata.name
    with pytest.raises(Invalid, match="field is immutable") as caught:
        await rig.kube.merge_patch(Event, name, {field: "Other"}, rig.namespace)
    assert [cause.field for cause in caught.value.causes] == [named] * times
    await rig.kube.merge_patch(CoreEvent, name, {named: "Other"}, rig.namespace)


async def test_an_event_that_is_gone_is_not_found(rig: Rig):
    series = {"series": {"count": 2, "lastObservedTime": TIME}}
    with pytest.raises(NotFound):
        await rig.kube.merge_patch(Event, "gone", series, rig.namespace)


async def test_events_are_found_by_their_object(rig: Rig):
    await rig.kube.create(Event, event(rig.namespace), rig.namespace)
    for kind, field in ((Event, "regarding"), (CoreEvent, "involvedObject")):
        for name, count in (("nightly", 1), ("other", 0)):
            selector = f"{field}.kind=BackupJob,{field}.name={name}"
            assert len((await rig.kube.list(kind, rig.namespace, field_selector=selector)).items) == count
    with pytest.raises(Invalid, match="field label not supported"):
        await rig.kube.list(Event, rig.namespace, field_selector="source=cozydrivers")


async def test_what_the_recorder_writes_is_taken(rig: Rig):
    recorder = EventRecorder(rig.kube, "cozydrivers")
    long = ConfigMap(metadata=Metadata(name="n" * 57 + ".a" * 98, namespace=rig.namespace, uid="u-7"))
    wide = Namespace(metadata=Metadata(name=rig.namespace, uid=f"u-{rig.namespace}"))
    for about in (long, wide):
        for _ in range(2):
            await recorder.record(about, "BackupStarted", "é" * 2000, warning=True, now=NOW)
            await anyio.sleep(0.1)
    for about, namespace in ((long, rig.namespace), (wide, "default")):
        selector = f"regarding.uid={about.metadata.uid}"
        (written,) = (await rig.kube.list(Event, namespace, field_selector=selector)).items
        assert written.series is not None
        assert (written.series.count, written.type, written.regarding.name) == (2, "Warning", about.metadata.name)
