"""Which server has what. Unknown query parameters are ignored without a word, so what matters is asked first."""

import re
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, order=True)
class Version:
    """A release `major.minor.patch`; `build` marks a development build made after it."""

    major: int
    minor: int
    patch: int
    build: str = ""


class Feature(Enum):
    """Behaviour that not every version has."""

    OPERATION_IDS = "ids of create_remote and restore_remote in their rows"
    TABLES_OF_LOCAL = "local_backup of /backup/tables"
    NAMED_COLLECTIONS = "named_collections"
    SKIP_EMPTY_TABLES = "skip_empty_tables"
    DEPENDENTS_GUARD = "delete refuses a base, and force"
    KILL_OF_ACTIONS = "kill of rows without an operation id"
    TRIMMED_HISTORY = "status_history_size: the id of an ended operation may vanish from a living server"


# The first release, by clickhouse-backup's ChangeLog and the issues named there.
SINCE = {
    Feature.NAMED_COLLECTIONS: (2, 6, 34),
    Feature.OPERATION_IDS: (2, 6, 40),  # issue 1272
    Feature.SKIP_EMPTY_TABLES: (2, 6, 42),
    Feature.TABLES_OF_LOCAL: (2, 7, 0),  # before, the live tables are returned
    Feature.DEPENDENTS_GUARD: (2, 8, 1),  # issue 1493
    Feature.KILL_OF_ACTIONS: (2, 8, 1),
    Feature.TRIMMED_HISTORY: (2, 8, 1),  # issue 1359
}


def parse_version(text: str) -> Version | None:
    """Read `2.7.4`, `v2.7.4` or `2.8.0+fd469780`; None for anything else, which means unknown."""
    found = re.fullmatch(r"v?([0-9]+)\.([0-9]+)\.([0-9]+)(?:\+(.+))?", text.strip())
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
    if (version.major, version.minor, version.patch) >= SINCE[feature]:
        return True
    return None if version.build and _is_next_patch(version, SINCE[feature]) else False


def _is_next_patch(version: Version, needed: tuple[int, int, int]) -> bool:
    return (version.major, version.minor, version.patch + 1) == needed
