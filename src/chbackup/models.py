"""What the server tells: archives, rows of its history, tables, acknowledgements.

Fields that are not known here are kept, fields that are missing have the server's meaning of missing (0 or "").
Times are the server's local time without a zone: compare them with each other only, or not at all.
"""

import shlex
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, model_validator


class _Row(BaseModel):
    """What one row of an answer says: frozen, unknown fields kept, null the same as absent."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class Archive(_Row):
    """One entry of a list.

    `created` is None when the server shows no real time; `created_raw` is its text. Sizes are bytes, 0 when
    absent. `required` is the bare name of the base, "" for a full archive.
    """

    name: str
    created: datetime | None = None
    created_raw: str = ""
    size: int = 0
    data_size: int = 0
    compressed_size: int = 0
    metadata_size: int = 0
    location: Literal["local", "remote"]
    required: str = ""
    desc: str = ""

    @model_validator(mode="before")
    @classmethod
    def _typed_time(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(text := data.get("created"), str):
            return {"created_raw": text, **data, "created": server_time(text)}
        return data

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
    `position` is the index in the answer that held the row.
    """

    command: str
    status: str
    start: datetime | None = None
    finish: datetime | None = None
    error: str = ""
    operation_id: str = ""
    position: int = -1

    @model_validator(mode="before")
    @classmethod
    def _typed_times(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        times = {key: server_time(data[key]) for key in ("start", "finish") if isinstance(data.get(key), str)}
        return data | times

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


class Table(_Row):
    """A table of ClickHouse or of an archive; `engine` and `create_table_query` are "" for an archive's."""

    database: str
    name: str
    engine: str = ""
    create_table_query: str = ""
    total_bytes: int = 0
    parts: int = 0
    skip: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_shape(cls, data: Any) -> Any:
        return {_TABLE_KEYS.get(key, key): value for key, value in data.items()} if isinstance(data, dict) else data

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


def server_time(text: str) -> datetime | None:
    """Read the server's `YYYY-MM-DD HH:MM:SS`; None for its zero time, which zones shift to the year 0000 or 0001."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.year > 1 else None


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


_ARCHIVE_VERBS = frozenset(
    ("create", "create_remote", "upload", "download", "restore", "restore_remote", "delete", "rebase", "rebalance")
)

# Live tables come with Go's names, tables of archives with snake_case ones and `table` for the name.
_TABLE_KEYS = {
    "Database": "database",
    "Name": "name",
    "table": "name",
    "Engine": "engine",
    "CreateTableQuery": "create_table_query",
    "TotalBytes": "total_bytes",
    "Skip": "skip",
}
