"""Pytest fixtures: fakes of sidecars and of a cluster.

It stands beside the packages and not in one, so that pytest can load it without importing them: that happens when a
fixture is used. The fixtures work under any event loop, and follow its clock.
"""

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from chbackup.testing import FakeSidecar
    from cozydrivers.testing import FakeCluster


class FleetFactory(Protocol):
    """Makes fake sidecars."""

    def __call__(self, count: int, *, shared: bool = False, **options: Any) -> "list[FakeSidecar]":
        """Return `count` sidecars, numbered by their `shard` from 0.

        With `shared` they see one path of one object store, else each has a store of its own. Options go to
        `chbackup.testing.FakeSidecar`.
        """
        ...


@pytest.fixture
def fake_sidecar() -> "FakeSidecar":
    """Return a sidecar in memory with an empty ClickHouse; `fake_sidecar.client()` speaks to it."""
    sidecar: FakeSidecar = _load("chbackup.testing").FakeSidecar(username="backup", password="secret")  # noqa: S106
    return sidecar


@pytest.fixture
def fake_fleet() -> FleetFactory:
    """Return a function that makes several sidecars, on one object store or each on its own."""
    fakes = _load("chbackup.testing")

    def make(count: int, *, shared: bool = False, **options: Any) -> "list[FakeSidecar]":
        one = fakes.FakeStorage()
        return [
            fakes.FakeSidecar(shard=str(number), storage=one if shared else fakes.FakeStorage(), **options)
            for number in range(count)
        ]

    return make


@pytest.fixture
def fake_cluster() -> "FakeCluster":
    """Return a Kubernetes API in memory; `fake_cluster.add_crd()` adds kinds."""
    cluster: FakeCluster = _load("cozydrivers.testing", "cozydrivers,testing").FakeCluster()
    return cluster


def _load(module: str, extras: str = "testing") -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        pytest.fail(f"{module}: {error}; pip install 'chbackup[{extras}]'", pytrace=False)
