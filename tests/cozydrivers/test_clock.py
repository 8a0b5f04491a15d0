"""The API server's clock against ours, and who is told of answers."""

from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cozydrivers.api.core import ConfigMap
from cozydrivers.errors import ClusterUnreachable, NotFound
from cozydrivers.runtime.clock import LARGEST, Skew
from cozydrivers.testing import FakeCluster

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


def skew(date: str | datetime, seconds: float = 0.0) -> Skew:
    """What is measured when an answer of that Date comes at NOW, after so many seconds."""
    made = Skew(lambda: NOW)
    text = date if isinstance(date, str) else format_datetime(date, usegmt=True)
    made.observe("GET", 200, {"date": text}, seconds)
    return made


def test_nothing_is_wrong_before_the_first_answer():
    assert Skew(lambda: NOW).problem() == ""


@given(st.integers(-59, 59))
def test_less_than_a_minute_is_nothing(ahead: int):
    assert skew(NOW + timedelta(seconds=ahead)).problem() == ""


@given(st.integers(61, 10**8), st.booleans())
def test_more_than_a_minute_is_told_either_way(seconds: int, ahead: bool):
    measured = skew(NOW + timedelta(seconds=seconds if ahead else -seconds - 1))
    assert measured.seconds is not None
    assert abs(measured.seconds) == seconds + 0.5
    assert ("ahead of" if ahead else "behind") in measured.problem()
    assert not measured.problem().endswith(".")


@given(st.floats(0, 30))
def test_an_answer_that_took_long_is_judged_by_its_middle(seconds: float):
    measured = skew(NOW - timedelta(seconds=15), seconds).seconds
    assert measured is not None
    assert measured == pytest.approx(-14.5 + seconds / 2, abs=0.001)


@pytest.mark.parametrize("date", ["", "soon", "Mon, 23 Nov 2026 12:00:00 -0000"])
def test_what_is_no_date_says_nothing(date: str):
    assert skew(date).seconds is None


def test_an_answer_of_a_process_that_slept_says_nothing():
    assert skew(NOW - timedelta(hours=1), 3600).seconds is None


def test_the_last_answer_counts():
    measured = skew(NOW - timedelta(hours=1))
    assert measured.problem()
    measured.observe("GET", 404, {"date": format_datetime(NOW, usegmt=True)}, 0.1)
    assert measured.problem() == ""


async def test_it_is_measured_on_every_answer_of_a_cluster():
    cluster = FakeCluster()
    kube, measured = cluster.kube(), Skew(cluster.now)
    kube.observers.append(measured.observe)
    cluster.faults.latency = 4
    with pytest.raises(NotFound):
        await kube.get(ConfigMap, "absent", "default")
    assert measured.seconds == pytest.approx(2, abs=1)  # the fake is slow before it answers, not after
    cluster.ahead = timedelta(seconds=LARGEST + 3)
    other = Skew(lambda: cluster.now() - cluster.ahead)
    kube.observers.append(other.observe)
    await kube.list(ConfigMap)
    assert "ahead of" in other.problem()
    cluster.ahead = timedelta(hours=-1)
    await kube.list(ConfigMap)
    assert "behind" in other.problem()
    assert measured.problem() == ""


async def test_observers_are_told_of_answers_watches_and_silence():
    cluster = FakeCluster()
    kube = cluster.kube()
    told: list[tuple[str, int, float]] = []

    def observe(method: str, status: int, headers: Mapping[str, str], seconds: float) -> None:
        assert ("date" in headers) is bool(status)
        told.append((method, status, round(seconds)))

    kube.observers.append(observe)
    cluster.faults.latency = 2
    version = (await kube.list(ConfigMap, "default")).resource_version
    with pytest.raises(NotFound):
        await kube.get(ConfigMap, "absent", "default")
    cluster.faults.refuse()
    with pytest.raises(ClusterUnreachable):
        await kube.list(ConfigMap)
    watch = kube.watch(ConfigMap, resource_version=version, timeout=5)
    async with aclosing(watch):
        assert [event async for event in watch] == []
    cluster.faults.hang(path="configmaps")
    with anyio.move_on_after(1000), pytest.raises(ClusterUnreachable):
        await kube.list(ConfigMap)
    assert told == [("GET", 200, 2), ("GET", 404, 2), ("GET", 0, 2), ("GET", 200, 2), ("GET", 0, 30)]
