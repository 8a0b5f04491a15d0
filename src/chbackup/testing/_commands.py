"""Parameters of the operations: how they are read from a query or a command line, and written into a row."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ._answers import Refusal
from ._options import Options
from ._settings import Version
from ._timeline import OperationError

CLEAN_NAME = re.compile(r"[\t\r\n ]+|\.{2,}|[\\/]+")
Kind = Literal["flag", "text", "list", "mapping"]


@dataclass(frozen=True)
class Parameter:
    """One parameter: its query name, its flag, and the option it sets (empty: shown in the row, without effect).

    `dashes`: written with dashes or underscores alike. `twice`: the server writes the flag two times.
    """

    query: str
    flag: str
    kind: Kind = "flag"
    option: str = ""
    dashes: bool = False
    twice: bool = False
    quoted: bool = True
    since: tuple[int, ...] = ()

    @property
    def spellings(self) -> list[str]:
        """The query names it is looked up by, in the server's order."""
        if not self.dashes:
            return [self.query]
        return [self.query.replace("-", "_"), self.query.replace("_", "-")]

    def find(self, query: Mapping[str, list[str]]) -> list[str] | None:
        """Return the values given, or None."""
        return next((query[name] for name in self.spellings if name in query), None)

    def text(self, values: Sequence[str]) -> str:
        """Write the flag as it stands in a row."""
        if self.kind == "flag":
            return f" {self.flag}" * (2 if self.twice else 1)
        if self.kind == "mapping":
            values = [",".join(values)]
        shown = values if self.kind == "list" else values[:1]
        quote = '"' if self.quoted else ""
        return "".join(f" {self.flag}={quote}{value}{quote}" for value in shown)


def _only(*, dashes: bool) -> tuple[Parameter, ...]:
    return (
        Parameter("rbac-only", "--rbac-only", option="schema", dashes=dashes),
        Parameter("configs-only", "--configs-only", option="schema", dashes=dashes),
        Parameter("named-collections-only", "--named-collections-only", option="schema", dashes=True, since=(2, 6, 34)),
    )


def _content() -> tuple[Parameter, ...]:
    rbac, configs, collections = _only(dashes=True)
    named = Parameter("named-collections", "--named-collections", dashes=True, since=(2, 6, 34))
    return (Parameter("rbac", "--rbac"), rbac, Parameter("configs", "--configs"), configs, named, collections)


TABLE = Parameter("table", "--tables", "text", "tables")
PARTITIONS = Parameter("partitions", "--partitions", "list", "partitions")
SCHEMA = Parameter("schema", "--schema", option="schema")
DIFF_FROM = Parameter("diff-from", "--diff-from", "text", "diff_from", dashes=True)
DIFF_FROM_REMOTE = Parameter("diff-from-remote", "--diff-from-remote", "text", "diff_from_remote", dashes=True)
SKIP_CHECK = Parameter("skip-check-parts-columns", "--skip-check-parts-columns", dashes=True)
SKIP_PROJECTIONS = Parameter("skip-projections", "--skip-projections", "text", dashes=True, quoted=False)
RESUME = Parameter("resume", "--resume")
RESUMABLE = Parameter("resumable", "--resumable")
HARDLINK = Parameter("hardlink_exists_files", "--hardlink-exists-files", dashes=True, since=(2, 6, 30))


def _twice(name: str, since: tuple[int, ...]) -> Parameter:
    return Parameter(name, f"--{name.replace('_', '-')}", dashes=True, twice=True, since=since)


CREATE = (TABLE, PARTITIONS, SCHEMA, *_content(), SKIP_CHECK, SKIP_PROJECTIONS, RESUME)
CREATE_REMOTE = (
    *(TABLE, DIFF_FROM, DIFF_FROM_REMOTE, PARTITIONS, SCHEMA, *_content(), SKIP_CHECK, SKIP_PROJECTIONS),
    *(Parameter("delete-source", "--delete-source", option="delete_source", dashes=True), RESUME),
)
UPLOAD = (
    *(Parameter("delete-source", "--deleteSource", option="delete_source", dashes=True), DIFF_FROM, DIFF_FROM_REMOTE),
    *(TABLE, PARTITIONS, SCHEMA, *_only(dashes=False), SKIP_PROJECTIONS, RESUME),
    Parameter("resumable", "--resume"),
)
DOWNLOAD = (TABLE, PARTITIONS, SCHEMA, *_only(dashes=False), RESUMABLE, RESUME, HARDLINK)
RESTORE = (
    TABLE,
    Parameter("restore_database_mapping", "--restore-database-mapping", "mapping", "databases", dashes=True),
    Parameter("restore_table_mapping", "--restore-table-mapping", "mapping", "renames", dashes=True),
    *(PARTITIONS, SCHEMA, Parameter("data", "--data", option="data")),
    *(Parameter("drop", "--drop"), Parameter("rm", "--rm")),
    Parameter("ignore_dependencies", "--ignore-dependencies", dashes=True),
    *(*_content(), SKIP_PROJECTIONS, RESUMABLE, RESUME),
    _twice("restore_schema_as_attach", (2, 6, 6)),
    _twice("replicated_copy_to_detached", (2, 6, 6)),
    _twice("skip_empty_tables", (2, 6, 42)),
    _twice("rebind_replica_path_if_exists", (2, 7, 3)),
)
RESTORE_REMOTE = (*RESTORE, HARDLINK)
COMMANDS: dict[str, tuple[Parameter, ...]] = {
    "create": CREATE,
    "create_remote": CREATE_REMOTE,
    "upload": UPLOAD,
    "download": DOWNLOAD,
    "restore": RESTORE,
    "restore_remote": RESTORE_REMOTE,
    "rebase": (),
    "rebalance": (TABLE, Parameter("dry-run", "--dry-run", dashes=True)),
}


def clean_name(name: str) -> str:
    """Return the name as the server uses it: blanks, `..`, slashes and backslashes removed."""
    return CLEAN_NAME.sub("", name)


def read_query(version: Version, command: str, query: Mapping[str, list[str]]) -> tuple[dict[str, Any], str]:
    """Return the options of a request and its command text, both without the name."""
    options: dict[str, Any] = {}
    text = command
    for parameter in COMMANDS[command]:
        values = parameter.find(query) if version.since(*parameter.since) else None
        if values is not None:
            options |= _option(command, parameter, values)
            text += parameter.text(values)
    if command == "create" and (base := DIFF_FROM_REMOTE.find(query)):
        options["diff_from_remote"] = base[0]  # has an effect, but does not stand in the row
    return options, text


def _option(command: str, parameter: Parameter, values: Sequence[str]) -> dict[str, Any]:
    if parameter.kind == "mapping":
        return {parameter.option: tuple(_mappings(command, parameter, values))}
    if not parameter.option:
        return {}
    value = {"flag": True, "text": values[0], "list": tuple(values)}[parameter.kind]
    return {parameter.option: value}


def _mappings(command: str, parameter: Parameter, values: Sequence[str]) -> Iterator[tuple[str, str]]:
    for item in ",".join(values).split(","):
        source, colon, target = item.partition(":")
        if not colon or not source or not target or ":" in target:
            raise Refusal(500, command, f"invalid values in {parameter.query} {item}")
        yield source, target


def read_arguments(command: str, arguments: Sequence[str]) -> Options:
    """Read a command line of `/backup/actions`: flags first, then the name; what follows is ignored."""
    flags = {parameter.flag: parameter for parameter in _line_flags(command)}
    options: dict[str, Any] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and len(rest[0]) > 1:
        flag, equals, value = rest.pop(0).partition("=")
        if flag in {"--help", "-h"}:
            return Options(help=True)
        if flag not in flags:
            raise OperationError(f"flag provided but not defined: -{flag.lstrip('-')}")
        if flags[flag].kind != "flag" and not equals:
            value = rest.pop(0) if rest else ""
        _merge(options, command, flags[flag], value)
    return Options(name=clean_name(rest[0]) if rest else "", **options)


def _line_flags(command: str) -> Iterator[Parameter]:
    yield from COMMANDS[command]
    yield from (DIFF_FROM_REMOTE, RESUMABLE, RESUME)
    yield Parameter("", "-t", "text", "tables")
    yield Parameter("", "--table", "text", "tables")
    yield Parameter("", "--delete-source", option="delete_source")
    yield Parameter("", "--env", "list")


def _merge(options: dict[str, Any], command: str, parameter: Parameter, value: str) -> None:
    if parameter.kind == "flag" and value in {"0", "false"}:
        return
    for name, new in _option(command, parameter, [value]).items():
        options[name] = options.get(name, ()) + new if isinstance(new, tuple) else new
