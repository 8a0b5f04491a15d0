"""What the object store proves of an archive. Pure.

Exact, seen on 2.7.4 and later, for tar, gzip, zstd and no compression, full and increment: the objects under `shadow/`
add up to the listed `compressed_size`, those under `metadata/` to `metadata_size`. Each table's json names the files of
its parts; a part that the base holds is `required`. What else lies there (metadata.json, configs, access, the newer
versions' manifest) is counted nowhere.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from chbackup import Archive
from cozydrivers.api.base import Model
from cozydrivers.clients.objects import StoredObject
from cozydrivers.drivers.base import Run
from cozydrivers.errors import InvalidInput

PARAMETER = "verify"
OBJECTS, LIST = "objects", "list"
SHADOW, METADATA, MANIFEST = "shadow/", "metadata/", "metadata.json"
_NAMED = 3


@dataclass(frozen=True)
class Stored:
    """What the object store shows of an archive: `problems` speak against it, none where all is there.

    `unread` says why nothing could be told. It is waited for where the proof was `asked` for.
    """

    problems: Sequence[str] = ()
    unread: str = ""
    asked: bool = False

    @property
    def awaited(self) -> str:
        """Why the proof that was asked for can't be had now; empty where it was not, or was had."""
        return self.unread if self.asked else ""


UNSEEN = Stored(unread="they were not looked at")


def wanted(run: Run) -> str:
    """What the class wants to be looked at: `objects`, `list`, or nothing in particular. Raises InvalidInput."""
    value = run.parameters.get(PARAMETER, "")
    if value not in ("", OBJECTS, LIST):
        raise InvalidInput(f"parameters.{PARAMETER} of the class is {value!r}; accepted: {OBJECTS}, {LIST}")
    return value


class _Part(Model):
    name: str
    required: bool = False


class TableFile(Model):
    """A table's json: its parts by disk, and their objects by disk where they are packed."""

    parts: dict[str, list[_Part] | None] | None = None
    files: dict[str, list[str] | None] | None = None


def read_table(content: bytes) -> TableFile | None:
    """Decode a table's json; None where it is none."""
    try:
        return TableFile.model_validate_json(content)
    except ValidationError:
        return None


@dataclass(frozen=True)
class Found:
    """What lies under an archive's prefix, keys without it; `tables` are the jsons that were read, by key."""

    sizes: Mapping[str, int]
    tables: Mapping[str, TableFile | None] = field(default_factory=dict)


def found_under(prefix: str, objects: Iterable[StoredObject]) -> Found:
    """The listing of an archive's prefix."""
    return Found({each.key.removeprefix(prefix): each.size for each in objects})


def unreadable(archive: Archive) -> str:
    """Why an archive's objects say nothing about it; empty for what is judged."""
    if not archive.desc.endswith("regular"):
        return f"it is listed as {archive.desc!r}"
    return "a part of its data is on object disks" if archive.object_disk_size else ""


def table_keys(found: Found) -> list[str]:
    """The jsons of the tables."""
    return sorted(key for key in found.sizes if key.startswith(METADATA) and key.endswith(".json"))


def judge(archive: Archive, found: Found) -> list[str]:
    """What the objects under an archive's prefix say against it."""
    expected = {SHADOW: archive.compressed_size, METADATA: archive.metadata_size}
    sums = {folder: _sum(found, folder) for folder in expected}
    problems = [
        f"its objects under {folder} have {sums[folder]} bytes, the list says {size}"
        for folder, size in expected.items()
        if sums[folder] != size
    ]
    return problems + _lost(found)


def _sum(found: Found, folder: str) -> int:
    return sum(size for key, size in found.sizes.items() if key.startswith(folder))


def _lost(found: Found) -> list[str]:
    unread = [key for key, table in found.tables.items() if table is None]
    folders = {key.rpartition("/")[0] for key in found.sizes}
    lost = [name for key, table in found.tables.items() if table for name in _missing(key, table, found, folders)]
    return [f"{_several(names)} {what}" for names, what in ((unread, "unreadable"), (lost, "lost")) if names]


def _missing(key: str, table: TableFile, found: Found, folders: Collection[str]) -> list[str]:
    """The objects, or unpacked the parts' folders, that a table's json names and the store has not."""
    table_folder = SHADOW + key.removeprefix(METADATA).removesuffix(".json")
    if table.files:
        named = [f"{table_folder}/{name}" for names in table.files.values() for name in names or ()]
        return [name for name in named if name not in found.sizes]
    own = [f"{table_folder}/{disk}/{part.name}" for disk, parts in (table.parts or {}).items() for part in _own(parts)]
    return [name for name in own if name not in folders]


def _own(parts: Sequence[_Part] | None) -> Iterable[_Part]:
    return (part for part in parts or () if not part.required)


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    said = ", ".join(names[:_NAMED]) + more
    return f"{said} {'is' if len(names) == 1 else 'are'}"
