"""Back up and restore databases on Kubernetes: one driver protocol, and the controllers that drive it."""

from cozydrivers.controllers.backupjob import BackupJobController
from cozydrivers.controllers.restorejob import RestoreJobController
from cozydrivers.drivers.base import Driver
from cozydrivers.drivers.clickhouse import ClickHouseDriver
from cozydrivers.drivers.mariadb import MariaDBDriver
from cozydrivers.errors import ApiError, CozydriversError, InvalidInput
from cozydrivers.kube import KubeClient
from cozydrivers.manager import Manager

__all__ = [
    "ApiError",
    "BackupJobController",
    "ClickHouseDriver",
    "CozydriversError",
    "Driver",
    "InvalidInput",
    "KubeClient",
    "Manager",
    "MariaDBDriver",
    "RestoreJobController",
]
