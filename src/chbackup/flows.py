"""Whole jobs, each submitted once, followed over restarts and outages, and proven before they return."""

from ._flow_backup import verified_backup
from ._flow_delete import DeleteReport, verified_delete
from ._flow_rebase import verified_rebase
from ._flow_restore import RestoredTable, RestoreReport, verified_restore
from ._steps import Progress

__all__ = [
    "DeleteReport",
    "Progress",
    "RestoreReport",
    "RestoredTable",
    "verified_backup",
    "verified_delete",
    "verified_rebase",
    "verified_restore",
]
