"""What archives, tables and rows of the fakes say, for the observer."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chbackup.testing import FakeSidecar
from chbackup.testing._archives import Archive, part_key
from chbackup.testing._clickhouse import Part
from chbackup.testing._history import Row
from chbackup.testing._options import Options

ARCHIVE = re.compile(r"clickhouse\.backup/archive\.(\d+)(?:\.(\d+))?")
Content = Mapping[str, tuple[Part, ...]]
"""Tables with their parts."""


@dataclass(frozen=True)
class Restoring:
    """A row of a restore of ours: the job that it is for, and what it may touch."""

    row: Row
    archive: str
    tables: str
    uid: str

    def names(self, table: str, sidecar: FakeSidecar) -> bool:
        """Whether it names a table that the archive holds."""
        local = sidecar.local.get(self.archive)
        held = local.tables if local else sidecar.remote[self.archive].tables
        return table in Options(tables=self.tables).select(held)


def restoring(row: Row) -> Restoring:
    """Read a restore's row."""
    words = shlex.split(row.command)
    tables = next((word.partition("=")[2] for word in words if word.startswith("--tables=")), "")
    tag = re.search(r"cozydrivers_([0-9a-f]{12})\.a\d+", tables)
    return Restoring(row, words[-1], tables, tag[1] if tag else "")


def short_uid(obj: Mapping[str, Any]) -> str:
    """The part of an object's UID that its archives and rows carry."""
    return str(obj["metadata"]["uid"]).replace("-", "")[:12]


def archives_of(backup: Mapping[str, Any]) -> dict[tuple[int, int], str]:
    """What a Backup records, by shard and replica."""
    found: dict[tuple[int, int], str] = {}
    for key, archive in backup["spec"].get("driverMetadata", {}).items():
        if match := ARCHIVE.fullmatch(key):
            replica = re.search(r"-r(\d+)$", archive)
            found[int(match[1]), int(match[2] or (replica[1] if replica else 0))] = archive
    return found


def tables_of(sidecar: FakeSidecar) -> Content:
    """The tables of a server."""
    return {table.full_name: tuple(table.parts) for table in sidecar.tables}


def content_of(remote: Mapping[str, Archive], name: str) -> Content:
    """The tables in an archive, with what stands in its bases."""
    archive = remote.get(name)
    return {table: tuple(file.parts.values()) for table, file in archive.tables.items()} if archive else {}


def made_from(archive: Content, tables: Content) -> bool:
    """Whether an archive holds exactly what these tables held."""
    return {name: set(parts) for name, parts in archive.items()} == {name: set(p) for name, p in tables.items()}


def rows_of(parts: tuple[Part, ...]) -> list[Any]:
    """All rows, in order."""
    return sorted(row for part in parts for row in part.rows)


def flaw(remote: Mapping[str, Archive], name: str) -> str:
    """What an archive or what it needs lacks in the store, as a phrase; empty where it is whole."""
    archive = remote.get(name)
    if archive is None:
        return "is not in the store"
    if not archive.good or archive.metadata is None:
        return "is broken"
    for table in archive.metadata.tables:
        file = archive.tables.get(table)
        if file is None:
            return f"lacks the json of {table}"
        lost = [part.name for part in file.own_parts if archive.parts.get(part_key(table, part)) != part]
        if lost:
            return f"lacks {', '.join(lost)} of {table}"
    if archive.metadata.required and (why := flaw(remote, archive.metadata.required)):
        return f"needs {archive.metadata.required}, which {why}"
    return ""
