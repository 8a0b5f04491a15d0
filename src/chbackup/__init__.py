"""Back up, restore and purge ClickHouse through clickhouse-backup's HTTP API.

`Client` has one method per endpoint, `Operation` follows what they start, and the `verified_` flows submit once,
follow, and return only what is proven. `Retention`, `plan_purge` and `Fleet` delete by a rule, from one sidecar or
thousands.

Names are loaded when they are used first, as pydantic's are.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callbacks import Callback, CallbackReceiver
    from .client import Client, Timeout, tls_context
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
    from .fleet import Fleet, PurgeResult, PurgeRun, PurgeSummary, Target, purge
    from .flows import (
        DeleteReport,
        Progress,
        RestoredTable,
        RestoreReport,
        verified_backup,
        verified_delete,
        verified_rebase,
        verified_restore,
    )
    from .models import Acknowledgement, Action, Archive, Part, Partition, Table
    from .names import ArchiveName, check_name, parse_archive_name
    from .operation import Cancelled, Operation, poll_delay
    from .retention import Decision, Group, PurgePlan, Retention, default_group, plan_fleet, plan_purge
    from .versions import Feature, Version, parse_version

__all__ = [
    "Acknowledgement",
    "Action",
    "Archive",
    "ArchiveName",
    "Busy",
    "Callback",
    "CallbackReceiver",
    "Cancelled",
    "ChbackupError",
    "Client",
    "ConnectionFailed",
    "Decision",
    "DeleteReport",
    "Feature",
    "Fleet",
    "Group",
    "InvalidInput",
    "NotFound",
    "NotVerified",
    "Operation",
    "OperationCancelled",
    "OperationFailed",
    "OperationLost",
    "Part",
    "Partition",
    "Progress",
    "PurgePlan",
    "PurgeResult",
    "PurgeRun",
    "PurgeSummary",
    "Refused",
    "RequiredByOthers",
    "RestoreReport",
    "RestoredTable",
    "Retention",
    "ServerError",
    "Table",
    "Target",
    "Timeout",
    "Unauthorized",
    "Unsupported",
    "Version",
    "WaitTimeout",
    "check_name",
    "default_group",
    "parse_archive_name",
    "parse_version",
    "plan_fleet",
    "plan_purge",
    "poll_delay",
    "purge",
    "tls_context",
    "verified_backup",
    "verified_delete",
    "verified_rebase",
    "verified_restore",
]

_HOMES = ("errors", "models", "names", "versions", "callbacks", "client", "operation", "flows", "retention", "fleet")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            if hasattr(module := import_module(f"{__name__}.{home}"), name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
