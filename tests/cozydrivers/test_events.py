import logging
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from cozydrivers.api.base import KubeObject, Metadata
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.api.events import Event
from cozydrivers.runtime import EventRecorder
from cozydrivers.runtime.events import MOST_KNOWN, _Kind, _Known
from cozydrivers.testing import FakeCluster

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def obj(uid: str = "u-1") -> ConfigMap:
    return ConfigMap(metadata=Metadata(name="nightly", namespace="default", uid=uid))


async def written(cluster: FakeCluster) -> list[Event]:
    return (await cluster.kube().list(Event)).items


async def say(recorder: EventRecorder, about: KubeObject, message: str = "started", *, warning: bool = False) -> None:
    await recorder.record(about, "BackupStarted", message, warning=warning, now=NOW)


async def test_an_event_on_an_object():
    cluster = FakeCluster()
    await say(EventRecorder(cluster.kube(), "cozydrivers"), obj(), warning=True)
    (event,) = await written(cluster)
    about = event.regarding
    assert (about.api_version, about.kind, about.namespace, about.name, about.uid) == (
        *("v1", "ConfigMap", "default", "nightly", "u-1"),
    )
    assert (event.type, event.reason, event.action, event.note) == (
        *("Warning", "BackupStarted", "BackupStarted", "started"),
    )
    assert event.reporting_controller == "cozydrivers"
    assert event.reporting_instance.startswith("cozydrivers-")
    assert event.event_time == NOW
    assert event.series is None
    assert event.metadata.name.startswith("nightly-")


async def test_an_event_on_a_cluster_wide_object_stands_in_default():
    cluster = FakeCluster()
    await say(EventRecorder(cluster.kube(), "cozydrivers"), Namespace(metadata=Metadata(name="tenant-a", uid="u-2")))
    (event,) = await written(cluster)
    assert (event.metadata.namespace, event.regarding.namespace, event.type) == ("default", "", "Normal")


async def counts(cluster: FakeCluster) -> list[int]:
    """How often each Event has come, as far as the cluster knows."""
    return [event.series.count if event.series else 1 for event in await written(cluster)]


async def test_a_repeat_is_counted_in_the_series_of_the_first():
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    await say(recorder, obj())
    later = NOW + timedelta(seconds=10)
    await recorder.record(obj(), "BackupStarted", "another message", now=later)
    (event,) = await written(cluster)
    assert event.series is not None
    assert (event.series.count, event.series.last_observed_time) == (2, later)
    assert (event.note, event.event_time) == ("started", NOW)


async def test_a_series_is_written_once_a_minute_at_most():
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    seen = []
    for _ in range(14):
        await say(recorder, obj())
        seen += await counts(cluster)
        await anyio.sleep(10)
    assert seen == [1, 2, 2, 2, 2, 2, 2, 8, 8, 8, 8, 8, 8, 14]
    assert len([1 for method, path in cluster.requests if method in ("PATCH", "POST") and "/events" in path]) == 4


async def test_six_minutes_after_the_last_it_is_a_new_event():
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    for pause in (359, 359, 361, 0):
        await say(recorder, obj())
        await anyio.sleep(pause)
    assert sorted(await counts(cluster)) == [1, 3]


async def test_another_reason_action_type_or_object_is_another_event():
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    await say(recorder, obj())
    await say(recorder, obj(), warning=True)
    await say(recorder, obj("u-9"))
    await recorder.record(obj(), "BackupCompleted", "started", now=NOW)
    await recorder.record(obj(), "BackupStarted", "started", action="Restore", now=NOW)
    assert await counts(cluster) == [1] * 5


async def test_an_event_that_was_deleted_is_written_anew():
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    await say(recorder, obj())
    (event,) = await written(cluster)
    await cluster.kube().delete(Event, event.metadata.name, "default", uid=event.metadata.uid)
    await say(recorder, obj(), "again")
    assert [event.note for event in await written(cluster)] == ["again"]
    await say(recorder, obj())
    assert await counts(cluster) == [2]


async def test_what_comes_while_the_first_is_written_makes_no_second():
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    cluster.faults.hang()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(say, recorder, obj())
            await anyio.sleep(1)
        assert len(cluster.requests) == 1
    await say(recorder, obj())
    assert await counts(cluster) == [1]


async def test_what_is_remembered_has_a_bound():
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    for number in range(MOST_KNOWN + 50):
        recorder._known[_Kind(str(number), "Normal", "r", "a")] = _Known(anyio.current_time())
    await say(recorder, obj())
    assert len(recorder._known) <= MOST_KNOWN + 1
    await anyio.sleep(361)
    await say(recorder, obj())
    assert len(recorder._known) == 1


async def test_a_message_has_a_longest_length():
    cluster = FakeCluster()
    await say(EventRecorder(cluster.kube(), "cozydrivers"), obj(), "é" * 2000)
    (event,) = await written(cluster)
    assert event.note == "é" * 512


async def test_a_repeat_that_can_not_be_written_is_logged(caplog):
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    await say(recorder, obj())
    cluster.faults.fail(status=500)
    await say(recorder, obj())
    (record,) = caplog.records
    assert record.getMessage().startswith("event BackupStarted on ConfigMap nightly: ")
    await anyio.sleep(61)
    await say(recorder, obj())
    assert await counts(cluster) == [3]


@pytest.mark.parametrize("trouble", ["status", "refused", "hanging", "namespace"])
async def test_a_failure_is_logged_never_raised_and_the_next_try_is_free(trouble, caplog):
    cluster = FakeCluster()
    about = obj()
    if trouble == "status":
        cluster.faults.fail(status=500)
    elif trouble == "refused":
        cluster.faults.refuse()
    elif trouble == "hanging":
        cluster.faults.hang()
    else:
        about = ConfigMap(metadata=Metadata(name="nightly", namespace="gone", uid="u-1"))
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    started = anyio.current_time()
    await say(recorder, about)
    assert anyio.current_time() - started < 6
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("event BackupStarted on ConfigMap nightly: ")
    await say(recorder, obj())
    assert len(await written(cluster)) == 1
