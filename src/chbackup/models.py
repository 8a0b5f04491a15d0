"""What the server tells: archives, rows of its history, tables, acknowledgements.

Fields that are not known here are kept, fields that are missing have the server's meaning of missing (0 or "").
Times have whole seconds and no zone, unless the client was told the server's: compare such with each other only.
"""

import shlex
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic_core import CoreSchema, core_schema


class _TimeSchema:
    """Zones shift the server's zero time to the year 0000 or 0001. No validator in Python: lists are long."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        moment = core_schema.datetime_schema(ge=datetime(2, 1, 1))
        return core_schema.with_default_schema(moment, default=None, on_error="default")


ServerTime = Annotated[datetime | None, _TimeSchema]


def _live(*keys: str, **options: Any) -> Any:
    """Read a field of a table by any of its keys: live tables come with Go's names, those of archives with others."""
    return Field(validation_alias=AliasChoices(*keys), **options)


class _Row(BaseModel):
    """What one row of an answer says: frozen, unknown fields kept."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow", defer_build=True)


class Archive(_Row):
    """One entry of a list.

    `created` is None when the server shows no real time; it has a zone when the client was given the server's.
    Sizes are bytes, 0 when absent; before 2.6.6 lists have `size` only. `required` is the bare name of the base, ""
    for a full archive.
    """

    name: str
    created: ServerTime = None
    size: int = 0
    data_size: int = 0
    object_disk_size: int = 0
    metadata_size: int = 0
    rbac_size: int = 0
    config_size: int = 0
    named_collection_size: int = 0
    compressed_size: int = 0
    location: Literal["local", "remote"]
    required: str = ""
    desc: str = ""

    @property
    def broken(self) -> str | None:
        """Why it is not a good archive, None when it lists as good.

        The words of a good one end in `regular` or `embedded`, whatever stands before; some broken ones do not
        say "broken". An operation in progress looks like a broken archive.
        """
        if not self.name:
            return "archive without a name"
        if self.desc.endswith(("regular", "embedded")):
            return None
        return self.desc or "archive without a description"


class Action(_Row):
    """One row of the server's history, kept in its memory only.

    `status` is `in progress`, `success`, `cancel` or `error`. `operation_id` is "" for rows that have none.
    `position` is the index in the answer that held the row. Times are the server's local ones.
    """

    command: str
    status: str
    start: ServerTime = None
    finish: ServerTime = None
    error: str = ""
    operation_id: str = ""
    position: int = -1

    @property
    def running(self) -> bool:
        """Whether the operation is in progress."""
        return self.status == "in progress"

    @property
    def verb(self) -> str:
        """The command's first word, such as `create_remote`."""
        return next(iter(_words(self.command)), "")

    @property
    def archive(self) -> str:
        """The archive that the command is about, "" when it names none."""
        names = self._arguments[1:] if self.verb == "delete" else self._arguments
        return names[-1] if names and self.verb in _ARCHIVE_VERBS else ""

    @property
    def place(self) -> str:
        """Where a delete deletes, `local` or `remote`; "" for other commands."""
        return self._arguments[0] if self.verb == "delete" and self._arguments else ""

    @property
    def names(self) -> frozenset[str]:
        """Every word and flag value of the command: the archive, its base, and more."""
        return frozenset(word.partition("=")[2] if word.startswith("-") else word for word in _words(self.command)[1:])

    @property
    def _arguments(self) -> list[str]:
        return [word for word in _words(self.command)[1:] if not word.startswith("-")]

    @property
    def resumed(self) -> bool:
        """Whether the server started it by itself, after a start of its process."""
        return "--resumable=1" in _words(self.command)


class Part(_Row):
    """A part of a table, with `list_parts` (server >= 2.8.0)."""

    name: str
    partition_id: str
    total_bytes: int = 0


class Partition(_Row):
    """A partition of a table, with `list_partitions` (server >= 2.8.0); `partition` is its expression's value."""

    partition_id: str
    partition: str = ""
    parts: int = 0
    total_bytes: int = 0


class Table(_Row):
    """A table of ClickHouse or of an archive.

    Of an archive's, `engine` and `create_table_query` are "", and `parts` counts; of the live ones, it is 0. The
    query may hold passwords, so representations leave it out.
    """

    database: str = _live("Database", "database")
    name: str = _live("Name", "table", "name")
    engine: str = _live("Engine", "engine", default="")
    create_table_query: str = _live("CreateTableQuery", "create_table_query", default="", repr=False)
    total_bytes: int = _live("TotalBytes", "total_bytes", default=0)
    parts: int = 0
    skip: bool = _live("Skip", "skip", default=False)
    backup_type: str = _live("BackupType", "backup_type", default="")
    parts_list: tuple[Part, ...] = ()
    partitions: tuple[Partition, ...] = ()

    @property
    def engine_family(self) -> str:
        """The engine without its arguments."""
        return self.engine.partition("(")[0]

    @property
    def full_name(self) -> str:
        """`database.table`, as the server's patterns match it."""
        return f"{self.database}.{self.name}"


class Acknowledgement(_Row):
    """What a submission answers: the work has been started, nothing more."""

    status: str
    operation: str = ""
    backup_name: str = ""
    operation_id: str = ""


@lru_cache(maxsize=4096)
def _words(command: str) -> tuple[str, ...]:
    # The same history is read again and again.
    try:
        return tuple(shlex.split(command))
    except ValueError:
        return tuple(command.split())


_ARCHIVE_VERBS = frozenset(
    ("create", "create_remote", "upload", "download", "restore", "restore_remote", "delete", "rebase", "rebalance")
)
