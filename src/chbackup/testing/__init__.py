"""A stateful fake of the sidecar, held against the real one by the conformance suite."""

from ._archives import Archive, FakeStorage
from ._zookeeper import FakeZooKeeper
from .sidecar import FakeSidecar

__all__ = ["Archive", "FakeSidecar", "FakeStorage", "FakeZooKeeper"]
