"""A database server in process, and the text of its dumps, as mariadb-dump writes them and mariadb reads them."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

HEAD = "/*M!999999\\- enable the sandbox mode */ \n"
"""The first line of a dump since MariaDB 10.5.25, 10.6.18, 10.11.8 and 11.4.2."""

Value = str | int | None
Row = tuple[Value, ...]

_PRIVILEGES = "global_priv"
_SYSTEM = "mysql"
_RULE = "-- ------------------------------------------------------\n"
_STATEMENTS = re.compile(r"(?:'(?:[^'\\]|\\.)*'|[^';])*;", re.DOTALL)
_VALUE = re.compile(r"'((?:[^'\\]|\\.)*)'|(NULL)|(-?\d+)", re.DOTALL)
_NAME = re.compile(r"`([^`]*)`")
_ESCAPES = {"n": "\n", "r": "\r", "0": "\0", "Z": "\x1a"}


class SqlError(Exception):
    """What the client says when it ends with 1."""


class FakeDatabase:
    """A MariaDB server: its databases with their tables and rows, and its users with their passwords.

    A table's columns have no names of their own. The users are the table `mysql.global_priv`.
    """

    def __init__(self, databases: dict[str, dict[str, list[Row]]] | None = None, *, version: str = "11.8.2") -> None:
        self.databases: dict[str, dict[str, list[Row]]] = databases if databases is not None else {}
        self.users: dict[str, str] = {"root": "secret"}
        self.version = version

    def add(self, database: str, table: str, *rows: Row) -> None:
        """Add rows to a table; both it and its database are made where they are missing."""
        self.databases.setdefault(database, {}).setdefault(table, []).extend(rows)

    def rows(self, database: str, table: str) -> list[Row]:
        """The rows of a table, none of one that is not there."""
        return list(self.databases.get(database, {}).get(table, ()))

    def dump(self, at: datetime, *, host: str, databases: Sequence[str] = (), privileges: bool = True) -> str:
        """What mariadb-dump prints: of these databases, or of all, with the users unless they are left out.

        Raises SqlError where a database is not there.
        """
        missing = [name for name in databases if name not in self.databases and name != _SYSTEM]
        if missing:
            raise SqlError(
                f"mariadb-dump: Got error: 1049: \"Unknown database '{missing[0]}'\" when selecting the database"
            )
        wanted = list(databases) or [*sorted(self.databases), _SYSTEM]
        text = HEAD + f"-- MariaDB dump 10.19-{self.version}-MariaDB, for debian-linux-gnu (x86_64)\n--\n"
        text += f"-- Host: {host}    Database: {databases[0] if databases else ''}\n{_RULE}"
        text += f"-- Server version\t{self.version}-MariaDB-ubu2404\n\n"
        for name in wanted:
            text += f"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `{name}`;\n\nUSE `{name}`;\n"
            for table, rows in sorted(self._tables(name, privileges=privileges).items()):
                text += _table(table, rows)
        return text + f"-- Dump completed on {at.astimezone(UTC):%Y-%m-%d %H:%M:%S}\n".replace(" 0", "  ", 1)

    def _tables(self, database: str, *, privileges: bool) -> dict[str, list[Row]]:
        if database != _SYSTEM:
            return self.databases[database]
        users: list[Row] = list(self.users.items())
        return {_PRIVILEGES: users} if privileges else {}

    def load(self, content: bytes, *, only: str = "", first_part: bool | None = None) -> None:
        """Do what a dump says, with `only` nothing but what it says of that database, which has to be there.

        With `first_part` no more than the first half of the statements, or than the second. Raises SqlError at what
        is no statement; what comes before it is done.
        """
        if only and only not in self.databases:
            raise SqlError(f"ERROR 1049 (42000): Unknown database '{only}'")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise SqlError("ERROR at line 1: ASCII '\\0' appeared in the statement, but this is not allowed") from None
        current, statements = only, list(_statements(text))
        half = len(statements) // 2
        for at, statement in enumerate(statements):
            done = first_part is None or (at < half) is first_part
            current = self._do(statement, current, only, done=done)

    def _do(self, statement: str, current: str, only: str, *, done: bool) -> str:
        """Do one statement; gives the database that is current after it."""
        names = _NAME.findall(statement)
        words = " ".join(statement.split()[:2]).upper()
        if words.startswith("USE ") and names:
            return str(names[0])
        if not words.startswith(("CREATE ", "DROP TABLE", "INSERT INTO")) or not statement.endswith(";"):
            raise SqlError("ERROR 1064 (42000): You have an error in your SQL syntax")
        if not done or (only and current != only) or not names:
            return current
        if words == "CREATE DATABASE":
            if names[0] != _SYSTEM:
                self.databases.setdefault(names[0], {})
        elif (current, names[0]) == (_SYSTEM, _PRIVILEGES):
            self._change_users(words, statement)
        elif words == "DROP TABLE":
            self.databases[current].pop(names[0], None)
        elif words == "CREATE TABLE":
            self.databases[current][names[0]] = []
        else:
            self.databases[current].setdefault(names[0], []).append(_row(statement))
        return current

    def _change_users(self, words: str, statement: str) -> None:
        if words == "DROP TABLE":
            self.users = {}
        elif words == "INSERT INTO":
            name, password = _row(statement)
            self.users[str(name)] = str(password)


def _table(name: str, rows: Sequence[Row]) -> str:
    columns = ",\n".join(f"  `c{at}` text" for at in range(max((len(row) for row in rows), default=1)))
    text = f"\n--\n-- Table structure for table `{name}`\n--\n\n"
    text += f"DROP TABLE IF EXISTS `{name}`;\nCREATE TABLE `{name}` (\n{columns}\n) ENGINE=InnoDB;\n"
    lines = (f"INSERT INTO `{name}` VALUES ({','.join(map(_literal, row))});\n" for row in rows)  # noqa: S608 - no query
    return text + "".join(lines)


def _literal(value: Value) -> str:
    if value is None or isinstance(value, int):
        return "NULL" if value is None else str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def _row(statement: str) -> Row:
    values = statement[statement.index("(") :]
    return tuple(
        None if null else int(number) if number else _unescaped(text)
        for text, null, number in (found.groups() for found in _VALUE.finditer(values))
    )


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)


def _statements(text: str) -> Iterator[str]:
    """The statements of a dump without its comments; what is left at the end is one too."""
    text = "\n".join(line for line in text.split("\n") if not line.startswith(("--", "/*M!")))
    at = 0
    for found in _STATEMENTS.finditer(text):
        if found.start() != at:
            break
        at = found.end()
        yield found[0].strip()
    if text[at:].strip():
        yield text[at:].strip()
