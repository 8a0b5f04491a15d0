"""Back up, restore and purge ClickHouse through clickhouse-backup's HTTP API.

`Client` has one method per endpoint, `Operation` follows what they start, and the `verified_` flows submit once,
follow, and return only what is proven.
"""

from .client import Client
from .errors import (
    Busy,
    ChbackupError,
    ConnectionFailed,
    InvalidInput,
    NotFound,
    NotVerified,
    OperationCancelled,
    OperationFailed,
    OperationLost,
    Refused,
    RequiredByOthers,
    ServerError,
    Unauthorized,
    Unsupported,
    WaitTimeout,
)
from .flows import (
    DeleteReport,
    Progress,
    RestoredTable,
    RestoreReport,
    verified_backup,
    verified_delete,
    verified_restore,
)
from .models import Acknowledgement, Action, Archive, Table
from .names import ArchiveName, check_name, parse_archive_name
from .operation import Operation, poll_delay
from .versions import Feature, Version, parse_version

__all__ = [
    "Acknowledgement",
    "Action",
    "Archive",
    "ArchiveName",
    "Busy",
    "ChbackupError",
    "Client",
    "ConnectionFailed",
    "DeleteReport",
    "Feature",
    "InvalidInput",
    "NotFound",
    "NotVerified",
    "Operation",
    "OperationCancelled",
    "OperationFailed",
    "OperationLost",
    "Progress",
    "Refused",
    "RequiredByOthers",
    "RestoreReport",
    "RestoredTable",
    "ServerError",
    "Table",
    "Unauthorized",
    "Unsupported",
    "Version",
    "WaitTimeout",
    "check_name",
    "parse_archive_name",
    "parse_version",
    "poll_delay",
    "verified_backup",
    "verified_delete",
    "verified_restore",
]
