"""The real servers that conformance and end-to-end tests run against, on loopback addresses and free ports."""

from tests.real.clickhouse import RealClickHouse
from tests.real.kubernetes import RealCluster
from tests.real.mariadb_operator import RealMariaDBOperator, find_operators
from tests.real.mariadb_server import RealMariaDB
from tests.real.s3 import RealS3
from tests.real.sidecar import RealSidecar, find_binaries
from tests.real.zookeeper import RealZooKeeper

__all__ = [
    "RealClickHouse",
    "RealCluster",
    "RealMariaDB",
    "RealMariaDBOperator",
    "RealS3",
    "RealSidecar",
    "RealZooKeeper",
    "find_binaries",
    "find_operators",
]
