import logging
from datetime import UTC, datetime

import anyio
import pytest

from cozydrivers.api.base import KubeObject, Metadata
from cozydrivers.api.core import ConfigMap, Event, Namespace
from cozydrivers.runtime import EventRecorder
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
    about = event.involved_object
    assert (about.api_version, about.kind, about.namespace, about.name, about.uid) == (
        *("v1", "ConfigMap", "default", "nightly", "u-1"),
    )
    assert (event.type, event.reason, event.message, event.count) == ("Warning", "BackupStarted", "started", 1)
    assert event.source == {"component": "cozydrivers"}
    assert event.first_timestamp == event.last_timestamp == NOW
    assert event.metadata.name.startswith("nightly.")


async def test_an_event_on_a_cluster_wide_object_stands_in_default():
    cluster = FakeCluster()
    await say(EventRecorder(cluster.kube(), "cozydrivers"), Namespace(metadata=Metadata(name="tenant-a", uid="u-2")))
    (event,) = await written(cluster)
    assert (event.metadata.namespace, event.involved_object.namespace, event.type) == ("default", "", "Normal")


async def test_the_same_event_is_written_again_after_ten_minutes_only():
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    for _ in range(3):
        await say(recorder, obj())
        await anyio.sleep(100)
    assert len(await written(cluster)) == 1
    await anyio.sleep(301)
    await say(recorder, obj())
    assert len(await written(cluster)) == 2


async def test_another_message_or_object_is_another_event():
    cluster = FakeCluster()
    recorder = EventRecorder(cluster.kube(), "cozydrivers")
    await say(recorder, obj())
    await say(recorder, obj(), "done")
    await say(recorder, obj("u-9"))
    assert len(await written(cluster)) == 3


async def test_a_message_has_a_longest_length():
    cluster = FakeCluster()
    await say(EventRecorder(cluster.kube(), "cozydrivers"), obj(), "é" * 2000)
    (event,) = await written(cluster)
    assert event.message == "é" * 512


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
