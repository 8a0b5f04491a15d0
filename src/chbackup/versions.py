"""Which server has what. Unknown query parameters are ignored without a word, so what matters is asked first."""

import re
from dataclasses import dataclass
from enum import Enum

Release = tuple[int, int, int]


@dataclass(frozen=True, order=True)
class Version:
    """A release `major.minor.patch`; `build` marks a development build made after it."""

    major: int
    minor: int
    patch: int
    build: str = ""


class Feature(Enum):
    """What not every version has: the first release with it, what it is, and where that is known from.

    `ChangeLog` is clickhouse-backup's; `seen` means tried on running servers of 2.5.29, 2.6.39, 2.7.4 and 2.8.1-dev.
    """

    CALLBACKS = (2, 2, 2), "callback", "ChangeLog v2.2.2"
    DELETE_SOURCE = (2, 5, 0), "delete_source", "ChangeLog v2.5.0, issue 777"
    TABLES_OF_REMOTE = (2, 5, 0), "remote_backup of /backup/tables", "ChangeLog v2.5.0, issue 778"
    INCREMENTAL_CREATE = (2, 5, 0), "diff_from_remote of create", "ChangeLog v2.5.0, issue 865"
    REPLACED_PARTITIONS = (2, 5, 0), "data with partitions replaces only these", "ChangeLog v2.5.0, issue 756"
    VERSION_ENDPOINT = (2, 5, 9), "GET /backup/version; before, the root page tells", "source of v2.5.9, seen"
    TABLE_MAPPING = (2, 5, 20), "restore_table_mapping", "ChangeLog v2.5.20, issue 937"
    ONLY_RBAC_OR_CONFIGS = (2, 6, 0), "rbac_only and configs_only", "ChangeLog v2.6.0"
    RESUME = (2, 6, 3), "resume of create and restore", "ChangeLog v2.6.3, issue 828"
    LIST_SIZES = (2, 6, 6), "sizes other than `size` in lists", "source of v2.6.6, absent in 2.5.29 as seen"
    SKIP_PROJECTIONS = (2, 6, 6), "skip_projections", "source of v2.6.6"
    SCHEMA_AS_ATTACH = (2, 6, 6), "restore_schema_as_attach", "source of v2.6.6"
    COPY_TO_DETACHED = (2, 6, 6), "replicated_copy_to_detached", "source of v2.6.6"
    PID_LOCK = (2, 6, 27), "one command per name and machine at a time", "issue 966"
    CREATED_IN_LOCAL_TIME = (2, 6, 29), "lists print local times; before, UTC", "issue 1185"
    STATUS_BY_ID = (2, 6, 30), "operationid of /backup/status; before, anybody's last row", "pull request 1189, seen"
    REMOTE_COMMANDS = (2, 6, 30), "create_remote and restore_remote over HTTP", "pull request 1189, seen"
    HARDLINKS = (2, 6, 30), "hardlink_exists_files", "source of v2.6.30"
    NAMED_COLLECTIONS = (2, 6, 34), "named_collections and named_collections_only", "ChangeLog v2.6.34"
    OPERATION_IDS = (2, 6, 40), "ids of create_remote and restore_remote in their rows", "issue 1272, seen"
    SKIP_EMPTY_TABLES = (2, 6, 42), "skip_empty_tables", "ChangeLog v2.6.42"
    TABLES_OF_LOCAL = (2, 7, 0), "local_backup of /backup/tables; before, the live tables", "ChangeLog v2.7.0, seen"
    TABLES_ARE_MEASURED = (2, 7, 0), "sizes of tables of remote archives; before, all are 0", "source of v2.7.0, seen"
    KILL_WAITS = (2, 7, 0), "kill answers when the work has stopped; before, at once", "issue 1365"
    REBASE = (2, 8, 0), "rebase and rebalance", "ChangeLog v2.8.0, 404 of 2.7.4 as seen"
    WATCH_SCHEDULE = (2, 8, 0), "schedule of watch", "ChangeLog v2.8.0"
    TABLES_IN_DETAIL = (2, 8, 0), "list_parts and list_partitions of /backup/tables", "ChangeLog v2.8.0, seen"
    DEPENDENTS_GUARD = (2, 8, 1), "delete refuses a base, and force", "issue 1493, seen"
    KILL_OF_ACTIONS = (2, 8, 1), "kill of rows without an operation id", "ChangeLog v2.8.1, seen"
    STALE_UPLOADS = (2, 8, 1), "an upload whose remote archive was deleted is made in full", "issue 1492, seen"
    TRIMMED_HISTORY = (2, 8, 1), "the id of an ended operation may vanish from a living server", "issue 1359, seen"
    CANCEL_CALLBACKS = (2, 8, 1), "callbacks say `cancel`; before, `error`", "ChangeLog v2.8.1, seen"

    def __init__(self, since: Release, what: str, source: str) -> None:
        self.since = since
        self.what = what
        self.source = source


def parse_version(text: str) -> Version | None:
    """Read `2.7.4`, `v2.7.4` or `2.8.0+fd469780`; None for anything else, which means unknown."""
    found = re.fullmatch(r"v?([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(?:\+(.+))?", text.strip())
    if not found:
        return None
    major, minor, patch, build = found.groups(default="")
    return Version(int(major), int(minor), int(patch), build)


def supports(version: Version | None, feature: Feature) -> bool | None:
    """Whether a server has a feature; None when its version does not tell.

    A development build made after a release may or may not have what the next one brings.
    """
    if version is None:
        return None
    if (version.major, version.minor, version.patch) >= feature.since:
        return True
    return None if version.build and _is_next_patch(version, feature.since) else False


def _is_next_patch(version: Version, needed: Release) -> bool:
    return (version.major, version.minor, version.patch + 1) == needed
