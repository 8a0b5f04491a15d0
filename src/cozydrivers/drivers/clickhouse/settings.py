"""Settings of a sidecar that break what a backup needs, found before anything is touched. Pure.

They are read from its own gauges and rows, and from its container's environment.
"""

import re

from chbackup import Action, Feature, parse_version
from chbackup.versions import supports
from cozydrivers.drivers.clickhouse.environment import is_true
from cozydrivers.drivers.clickhouse.look import Sight

_LOCKED = (
    "create",
    "create_remote",
    "upload",
    "download",
    "restore",
    "restore_remote",
    "delete",
    "rebase",
    "rebalance",
)
"""What a sidecar does one at a time, unless it is allowed to do several."""


def server_problem(sight: Sight, *, alone: bool) -> str:
    """What is wrong with a sidecar's settings, as a sentence; empty when nothing is.

    One that is `alone` on its storage path may keep a number of its own archives.
    """
    pod = sight.place.pod if sight.place else ""
    if supports(parse_version(sight.version), Feature.OPERATION_IDS) is False:
        return f"clickhouse-backup {sight.version} in {pod} is too old: 2.6.40 is the first that can be followed"
    if any(row.running and row.verb == "watch" for row in sight.rows.all or ()):
        return f"`watch` runs in the sidecar of {pod}: it makes and deletes archives by itself; switch it off"
    if name := _in_parallel(sight):
        return (
            f"{name} in the sidecar of {pod} lets operations run side by side, which spoils archives; set it to false"
        )
    if kept(sight, "remote") > 0 and not alone:
        return f"BACKUPS_TO_KEEP_REMOTE is set in the sidecar of {pod}: it deletes archives by itself; set it to 0"
    if (local := kept(sight, "local")) < 0:
        return (
            f"BACKUPS_TO_KEEP_LOCAL is {local} in the sidecar of {pod}: it deletes the proof of an upload; set it to 0"
        )
    if local == 1:
        return f"BACKUPS_TO_KEEP_LOCAL is 1 in the sidecar of {pod}: it deletes what a restore needs; set it to 0"
    return ""


def _in_parallel(sight: Sight) -> str:
    """What says that the server's own lock is off: its environment, or two operations at once."""
    settings = sight.place.settings if sight.place else {}
    named = [name for name in ("API_ALLOW_PARALLEL", "ALLOW_PARALLEL") if is_true(settings, name)]
    at_once = len([row for row in sight.rows.all or () if _is_locked(row)]) > 1
    return next(iter(named), "API_ALLOW_PARALLEL" if at_once else "")


def _is_locked(row: Action) -> bool:
    return row.running and row.verb in _LOCKED


def kept(sight: Sight, where: str) -> int:
    """How many archives it keeps: by its gauge, else by its environment."""
    found = re.search(rf"^clickhouse_backup_number_backups_{where}_expected (\S+)$", sight.metrics, re.MULTILINE)
    text = found[1] if found else (sight.place.settings if sight.place else {}).get(f"BACKUPS_TO_KEEP_{where.upper()}")
    try:
        return int(float(text or 0))
    except (ValueError, OverflowError):
        return 0
