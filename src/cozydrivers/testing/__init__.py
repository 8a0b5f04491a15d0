"""A fake cluster, and what works beside it, for tests, simulations and the demo."""

from cozydrivers.testing.buckets import FakeBucket
from cozydrivers.testing.cluster import ADMIN_TOKEN, FakeCluster
from cozydrivers.testing.dumps import FakeDatabase, MariaDBPods
from cozydrivers.testing.mariadb import MariaDBOperator

__all__ = ["ADMIN_TOKEN", "FakeBucket", "FakeCluster", "FakeDatabase", "MariaDBOperator", "MariaDBPods"]
