"""A fake cluster for tests, simulations and the demo."""

from cozydrivers.testing.cluster import ADMIN_TOKEN, FakeCluster

__all__ = ["ADMIN_TOKEN", "FakeCluster"]
