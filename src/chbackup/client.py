"""One method per endpoint of a sidecar. Nothing here retries: what is safe to repeat depends on the operation."""

import copy
import os
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel

from ._answers import Model, error_of, read_rows
from ._http import Answer, Connection, HttpClient, Params
from ._params import base, flags, mappings, selection
from .errors import Busy, ChbackupError, InvalidInput, NotFound, ServerError, Unsupported
from .evidence import find_row
from .models import Acknowledgement, Action, Archive, Table
from .names import check_name
from .operation import Operation, operation_from_token
from .versions import SINCE, Feature, parse_version, supports

DELETE_TIMEOUT = 600.0
KILL_TIMEOUT = 1860.0  # the server waits for the end of what it kills for 1800 s by default

_LAST_MAXIMUM = 32767  # the server reads it as a 16-bit number


class Client:
    """A clickhouse-backup sidecar.

    `timeout` bounds each request, in seconds. An `http_client` of yours is used as it is and stays open; without
    one, a client of our own reads no proxy or credentials from the environment. `verify` is True, False or an
    SSL context.

    Raises InvalidInput when the URL is not one or holds credentials.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        timeout: float = 30.0,
        http_client: HttpClient | None = None,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        self.timeout = timeout
        self._connection = Connection(url, username, password, http_client, verify)
        self._version: list[str] = []  # filled once, shared by the copies of with_options

    @classmethod
    def from_env(
        cls,
        *,
        url: str | None = None,
        username: str | None = None,
        password_file: str | None = None,
        timeout: float = 30.0,
    ) -> Self:
        """Build a client from CHBACKUP_URL, _USERNAME and _PASSWORD or _PASSWORD_FILE; arguments beat them.

        Raises InvalidInput when no URL is given or the file cannot be read.
        """
        url = url or os.environ.get("CHBACKUP_URL")
        if not url:
            raise InvalidInput("no url: pass one or set CHBACKUP_URL")
        username = username if username is not None else os.environ.get("CHBACKUP_USERNAME")
        return cls(url, username=username, password=_password(password_file), timeout=timeout)

    def with_options(self, *, timeout: float) -> Self:
        """Return a copy with another timeout, over the same connections."""
        other = copy.copy(self)
        other.timeout = timeout
        return other

    def __repr__(self) -> str:
        return f"<Client {self._connection.url} username={self._connection.username!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; `async with` does it."""
        await self._connection.aclose()

    # What a server tells

    async def version(self) -> str:
        """Return the server's version as it prints it."""
        try:
            answer = await self._ask("GET", ["backup", "version"])
            text = "".join(row.version for row in read_rows(_VersionRow, answer, "version")[:1])
        except (Unsupported, NotFound):  # before 2.5.9 only the root page tells
            page = await self._ask("GET", [""])
            text = page.body.decode(errors="replace").partition("\n")[0].removeprefix("Version:").strip()
        self._version[:] = [text]
        return text

    async def status(self, operation_id: str | None = None) -> Action | None:
        """Return the row of an operation, or without an id the last row of any caller; None when there is none.

        An id is unknown after a restart of the server's process, and once its row was trimmed from the history.
        """
        params = [("operationid", operation_id)] if operation_id else []
        rows = await self._rows(Action, ["backup", "status"], params)
        # Before 2.6.30 the parameter is ignored and the answer is somebody's last row.
        fitting = [row for row in rows if not operation_id or row.operation_id == operation_id]
        return self._shown(fitting[0], -1) if fitting else None

    async def actions(self, last: int | None = None, filter: str | None = None) -> list[Action]:  # noqa: A002
        """Return the server's history, oldest first; `filter` is a part of a command, status or error."""
        if last is not None and not 0 < last <= _LAST_MAXIMUM:
            raise InvalidInput(f"last must be between 1 and {_LAST_MAXIMUM}")
        params = [("last", str(last))] if last else []
        params += [("filter", filter)] if filter else []
        rows = await self._rows(Action, ["backup", "actions"], params)
        return [self._shown(row, position) for position, row in enumerate(rows)]

    async def tables(
        self,
        table: str | None = None,
        all: bool = False,  # noqa: A002
        local_backup: str | None = None,
        remote_backup: str | None = None,
    ) -> list[Table]:
        """Return the tables of ClickHouse, or of an archive; `table` is the server's pattern, such as `shop.*`.

        `all` adds those that the server's settings skip. An archive of a storage that is down looks empty.

        Raises NotFound when there is no such archive.
        """
        if local_backup and remote_backup:
            raise InvalidInput("local_backup and remote_backup exclude each other")
        params = [("table", table)] if table else []
        if local_backup:
            await self._require(Feature.TABLES_OF_LOCAL, "local_backup")
            params.append(("local_backup", check_name(local_backup)))
        if remote_backup:
            params.append(("remote_backup", check_name(remote_backup)))
        return await self._rows(Table, ["backup", "tables", "all"] if all else ["backup", "tables"], params)

    async def list_all(self) -> list[Archive]:
        """Return the local archives, then the remote ones."""
        return await self._rows(Archive, ["backup", "list"])

    async def list_local(self) -> list[Archive]:
        """Return the archives on the sidecar's disk."""
        return await self._rows(Archive, ["backup", "list", "local"])

    async def list_remote(self) -> list[Archive]:
        """Return the archives in the object store. Empty is also what a store that is down looks like."""
        return await self._rows(Archive, ["backup", "list", "remote"])

    async def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return (await self._ask("GET", ["metrics"])).body.decode(errors="replace")

    # What starts an operation

    async def create(
        self,
        name: str,
        *,
        tables: str | None = None,
        partitions: Sequence[str] = (),
        diff_from_remote: str | None = None,
        schema: bool = False,
        rbac: bool = False,
        configs: bool = False,
        named_collections: bool = False,
    ) -> Operation:
        """Start a local archive. One that exists under this name is overwritten, or deleted."""
        params = selection(tables, partitions, schema=schema, rbac=rbac, configs=configs)
        params += base("diff-from-remote", diff_from_remote)
        params += await self._named_collections(named_collections)
        return await self._submit("create", name, params)

    async def create_remote(
        self,
        name: str,
        *,
        tables: str | None = None,
        partitions: Sequence[str] = (),
        diff_from_remote: str | None = None,
        delete_source: bool = False,
        schema: bool = False,
        rbac: bool = False,
        configs: bool = False,
        named_collections: bool = False,
    ) -> Operation:
        """Start a local archive and its upload. Never use a name twice: what is stored then is neither of both."""
        params = selection(tables, partitions, schema=schema, rbac=rbac, configs=configs)
        params += base("diff-from-remote", diff_from_remote) + flags(delete_source=delete_source)
        params += await self._named_collections(named_collections)
        return await self._submit("create_remote", name, params)

    async def upload(
        self,
        name: str,
        *,
        tables: str | None = None,
        partitions: Sequence[str] = (),
        diff_from: str | None = None,
        diff_from_remote: str | None = None,
        delete_source: bool = False,
        schema: bool = False,
    ) -> Operation:
        """Start the upload of a local archive, or go on with one that was interrupted."""
        params = selection(tables, partitions, schema=schema) + flags(delete_source=delete_source)
        params += base("diff-from", diff_from) + base("diff-from-remote", diff_from_remote)
        return await self._submit("upload", name, params)

    async def download(
        self, name: str, *, tables: str | None = None, partitions: Sequence[str] = (), schema: bool = False
    ) -> Operation:
        """Start a download. With any option it leaves a partial local archive that lists as a good one."""
        return await self._submit("download", name, selection(tables, partitions, schema=schema))

    async def restore(
        self,
        name: str,
        *,
        tables: str | None = None,
        partitions: Sequence[str] = (),
        schema: bool = False,
        data: bool = False,
        database_mapping: Mapping[str, str] | None = None,
        table_mapping: Mapping[str, str] | None = None,
        ignore_dependencies: bool = False,
        skip_empty_tables: bool = False,
        rbac: bool = False,
        configs: bool = False,
        named_collections: bool = False,
    ) -> Operation:
        """Start a restore from the local archive. DROPS the tables that it names, and makes them anew.

        `schema` leaves them empty. `data` alone adds the archive's rows to those that are there, again at each
        repetition; with `partitions` it replaces just these.

        Raises InvalidInput for `partitions` without `data`, which would empty the rest of each table.
        """
        if partitions and not data:
            raise InvalidInput("partitions without data=True would drop all other partitions of the tables")
        params = selection(tables, partitions, schema=schema, data=data, rbac=rbac, configs=configs)
        params += flags(ignore_dependencies=ignore_dependencies, skip_empty_tables=skip_empty_tables)
        params += mappings(database_mapping, table_mapping)
        if skip_empty_tables:
            await self._require(Feature.SKIP_EMPTY_TABLES, "skip_empty_tables")
        params += await self._named_collections(named_collections)
        return await self._submit("restore", name, params)

    async def restore_remote(
        self,
        name: str,
        *,
        tables: str | None = None,
        schema: bool = False,
        database_mapping: Mapping[str, str] | None = None,
        table_mapping: Mapping[str, str] | None = None,
        rbac: bool = False,
        configs: bool = False,
    ) -> Operation:
        """Start a download and a restore. DROPS the tables of the archive, and makes them anew.

        A local archive of this name is taken instead of the remote one, even a stale or a partial one; `tables`
        and `schema` leave such a partial one behind.
        """
        params = selection(tables, schema=schema, rbac=rbac, configs=configs)
        return await self._submit("restore_remote", name, params + mappings(database_mapping, table_mapping))

    def operation(self, token: str) -> Operation:
        """Take up an operation again by the token it gave.

        Raises InvalidInput.
        """
        return operation_from_token(self, token)

    # What is done when the answer comes

    async def delete_local(self, name: str, *, timeout: float = DELETE_TIMEOUT) -> None:
        """Delete an archive from the sidecar's disk, whatever needs it.

        Raises NotFound, Busy, RequiredByOthers (server >= 2.8.1).
        """
        await self._delete("local", name, [], timeout)

    async def delete_remote(self, name: str, *, force: bool = False, timeout: float = DELETE_TIMEOUT) -> None:
        """Delete an archive from the object store. Before 2.8.1 the server breaks chains without a word.

        `force` deletes a base that increments need.

        Raises NotFound, Busy, RequiredByOthers (server >= 2.8.1), Unsupported (`force` before that).
        """
        if force:
            await self._require(Feature.DEPENDENTS_GUARD, "force")
        await self._delete("remote", name, [("force", "1")] if force else [], timeout)

    async def kill(self, command: str | None, *, timeout: float = KILL_TIMEOUT) -> str:
        """Kill the running operation of exactly this command text, None means the oldest; return its command.

        The answer may take as long as the work takes to stop.

        Raises NotFound when no such operation runs.
        """
        params = [("command", command)] if command else []
        answer = await self._ask("POST", ["backup", "kill"], params, timeout=timeout)
        return next((row.command for row in read_rows(_KilledRow, answer, "kill")), "")

    # How it is done

    async def supports(self, feature: Feature) -> bool | None:
        """Whether this server has a feature, None when its version does not tell; asked once per client."""
        text = self._version[0] if self._version else await self.version()
        return supports(parse_version(text), feature)

    async def _require(self, feature: Feature, option: str) -> None:
        if await self.supports(feature) is False:
            since = ".".join(map(str, SINCE[feature]))
            raise Unsupported(f"{option} needs clickhouse-backup {since}, the server is {self._version[0]}")

    async def _named_collections(self, wanted: bool) -> list[tuple[str, str]]:
        if wanted:
            await self._require(Feature.NAMED_COLLECTIONS, "named_collections")
        return flags(named_collections=wanted)

    async def _submit(self, verb: str, name: str, params: Params) -> Operation:
        by_query = verb in ("create", "create_remote")
        path = ["backup", verb] if by_query else ["backup", verb, check_name(name)]
        params = [("name", check_name(name)), *params] if by_query else params
        answer = await self._ask("POST", path, params, operation=f"{verb} {name}")
        rows = read_rows(Acknowledgement, answer, verb)
        if not rows or rows[0].backup_name not in ("", name):
            raise ServerError(f"{verb} {name}: the server acknowledged something else", operation=verb)
        if rows[0].operation_id:
            return Operation(self, verb, name, rows[0].operation_id)
        row = find_row(await self.actions(), verb=verb, name=name)  # before 2.6.0: known by its place only
        return Operation(self, verb, name, "", position=row.position if row else -1)

    async def _delete(self, where: str, name: str, params: Params, timeout: float) -> None:
        await self._ask("POST", ["backup", "delete", where, check_name(name)], params, timeout=timeout)

    async def _rows(self, model: type[Model], path: Sequence[str], params: Params = ()) -> list[Model]:
        return read_rows(model, await self._ask("GET", path, params), path[1])

    def _shown(self, row: Action, position: int) -> Action:
        error = self._connection.without_secrets(row.error)
        return row.model_copy(update={"position": position, "error": error})

    async def _ask(
        self,
        method: str,
        path: Sequence[str],
        params: Params = (),
        *,
        operation: str | None = None,
        timeout: float | None = None,
    ) -> Answer:
        answer = await self._connection.send(method, path, params, timeout=timeout or self.timeout)
        error = error_of(answer, operation or " ".join(path[1:]) or path[0])
        if isinstance(error, Busy):
            await self._name_holder(error)
        if error:
            raise self._without_secrets(error)
        return answer

    async def _name_holder(self, error: Busy) -> None:
        with suppress(Exception):  # a courtesy: no trouble in asking may hide that the server is busy
            error.rows = tuple(await self.actions(filter="in progress"))
            error.holder = next((row for row in error.rows if row.running), None)
        if error.holder:
            error.message += f": `{error.holder.command}`"

    def _without_secrets(self, error: ChbackupError) -> ChbackupError:
        error.message = self._connection.without_secrets(error.message)
        error.words = self._connection.without_secrets(error.words)
        return error


class _VersionRow(BaseModel):
    version: str


class _KilledRow(BaseModel):
    command: str = ""


def _password(path: str | None) -> str | None:
    if not path and "CHBACKUP_PASSWORD" in os.environ:
        return os.environ["CHBACKUP_PASSWORD"]
    path = path or os.environ.get("CHBACKUP_PASSWORD_FILE")
    try:
        return Path(path).read_text().rstrip("\r\n") if path else None
    except OSError as error:
        raise InvalidInput(f"the password file cannot be read: {error.strerror}") from None
