"""What a backup is made of, locally and in the object store."""

import json
from dataclasses import dataclass, field
from datetime import datetime

from ._clickhouse import Part
from ._timeline import Timeline

METADATA = "metadata.json"


@dataclass(frozen=True)
class Metadata:
    """The archive's own `metadata.json`, which is written last."""

    created: datetime
    tables: tuple[str, ...] = ()
    data_size: int = 0
    metadata_size: int = 0
    compressed_size: int = 0
    required: str = ""
    tags: str = "regular"

    @property
    def size(self) -> int:
        """The `size` of a listing."""
        return self.metadata_size + (self.compressed_size or self.data_size)


@dataclass(frozen=True)
class TableFile:
    """One table's json: its definition, its parts, and which of them stand in the base archive."""

    database: str
    name: str
    engine: str
    query: str
    partitions: int | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    required: frozenset[str] = frozenset()

    @property
    def full_name(self) -> str:
        """`database.table`."""
        return f"{self.database}.{self.name}"

    @property
    def total_bytes(self) -> int:
        """Bytes of all parts, those of the base included."""
        return sum(part.size for part in self.parts.values())

    @property
    def own_parts(self) -> list[Part]:
        """The parts that this archive itself holds."""
        return [part for part in self.parts.values() if part.name not in self.required]

    @property
    def size(self) -> int:
        """Bytes of the json as `create` writes it."""
        return 230 + len(self.query) + 60 * len(self.parts)

    @property
    def remote_size(self) -> int:
        """Bytes of the json in the object store, where it also names the files."""
        return self.size + 36 * len(self.own_parts)

    @property
    def content(self) -> bytes:
        """The json in the object store, as far as it is modelled; blanks make up its size."""
        table = {
            "files": {"default": [f"default_{part.name}.tar" for part in self.own_parts]} if self.own_parts else {},
            "table": self.name,
            "database": self.database,
            "parts": {"default": [self._part(name) for name in self.parts]},
            "query": self.query,
            "total_bytes": self.total_bytes,
        }
        return json.dumps(table).encode().ljust(self.remote_size)

    def _part(self, name: str) -> dict[str, object]:
        return {"name": name, "required": True} if name in self.required else {"name": name}


@dataclass
class ResumeState:
    """A `*.state2` file: the parameters of the operation and what it has done."""

    parameters: tuple[object, ...]
    done: set[str] = field(default_factory=set)


@dataclass
class Archive:
    """An archive in one place, in whatever state. Tests may read it and damage it.

    `modified` is the folder's time, or that of the last upload. `damage` says what is wrong with a `metadata.json` that
    is there: `unopenable`, `unreadable`, `garbage`, or `null`, which is listed without a name; a `stray` is an object
    that is no archive at all.
    """

    name: str
    modified: datetime
    metadata: Metadata | None = None
    damage: str = ""
    tables: dict[str, TableFile] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    upload_state: ResumeState | None = None
    download_state: ResumeState | None = None

    @property
    def good(self) -> bool:
        """Whether `metadata.json` is there and readable."""
        return self.metadata is not None and not self.damage

    @property
    def created(self) -> datetime:
        """When it was created, as far as a good `metadata.json` says so."""
        return self.metadata.created if self.metadata else self.modified

    def lose_metadata(self) -> None:
        """Remove `metadata.json`: the archive is listed as broken."""
        self.metadata, self.damage = None, ""

    def spoil_metadata(self, content: str = "garbage") -> None:
        """Put something else in the place of `metadata.json`; see `damage`."""
        self.damage = content

    def remove_object(self, key: str) -> None:
        """Remove the object of a key as `objects` names it. Only the loss of `metadata.json` shows in a listing."""
        if key == METADATA:
            self.lose_metadata()
        elif key in self.parts:
            del self.parts[key]
        else:
            del self.tables[self._table(key)]

    def content(self, key: str) -> bytes:
        """Return the content of an object; of a part no more than its size is modelled."""
        if key == METADATA or key in self.parts:
            return bytes(self.objects()[key])
        return self.tables[self._table(key)].content

    def _table(self, key: str) -> str:
        return next(table for table in self.tables if table_key(table) == key)

    def truncate_object(self, key: str) -> None:
        """Cut the object of a part: a download takes it without a word and gets nothing of it."""
        self.parts[key] = Part(self.parts[key].name, self.parts[key].partition, ())

    def objects(self) -> dict[str, int]:
        """Keys below the archive's name, with sizes, as an object store shows them."""
        keys = {key: part.tar_size for key, part in self.parts.items()}
        keys |= {table_key(table): file.remote_size for table, file in self.tables.items()}
        if self.metadata is not None or self.damage:
            keys[METADATA] = 600
        return keys


def part_key(table: str, part: Part) -> str:
    """Return the object key of a part below the archive's name."""
    return f"shadow/{table.replace('.', '/', 1)}/default_{part.name}.tar"


def table_key(table: str) -> str:
    """Return the object key of a table's json below the archive's name."""
    return f"metadata/{table.replace('.', '/', 1)}.json"


class FakeStorage:
    """An object store that several sidecars may share: archives by path and name."""

    def __init__(self) -> None:
        self.timeline: Timeline = Timeline()
        self.sidecars = 0
        self._paths: dict[str, dict[str, Archive]] = {}

    def archives(self, path: str) -> dict[str, Archive]:
        """Return the archives below one path, by name; changes to it are changes to the store."""
        self.timeline.advance()
        return self._paths.setdefault(path, {})

    def objects(self, prefix: str = "") -> dict[str, int]:
        """Return all object keys that begin with the prefix, with their sizes."""
        self.timeline.advance()
        return {
            f"{path}/{name}/{key}": size
            for path, archives in self._paths.items()
            for name, archive in archives.items()
            if f"{path}/{name}/".startswith(prefix) or prefix.startswith(f"{path}/{name}/")
            for key, size in archive.objects().items()
            if f"{path}/{name}/{key}".startswith(prefix)
        }

    def content(self, key: str) -> bytes:
        """Return the content of an object. Raises KeyError."""
        archive, rest = self._split(key)
        return archive.content(rest)

    def remove(self, key: str) -> None:
        """Remove an object by hand, behind the sidecars' back. Raises KeyError."""
        archive, rest = self._split(key)
        archive.remove_object(rest)

    def _split(self, key: str) -> tuple[Archive, str]:
        """Return the archive that an object belongs to, and the rest of its key."""
        if key not in self.objects(key):
            raise KeyError(key)
        found = ((archive, f"{path}/{name}/") for path, held in self._paths.items() for name, archive in held.items())
        return next((archive, key.removeprefix(prefix)) for archive, prefix in found if key.startswith(prefix))
