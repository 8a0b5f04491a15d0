"""What all methods of a client share: sending, reading rows, asking for the version."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo

from ._answers import Model, error_of, no_sidecar, read_fields, read_rows
from ._http import Answer, Connection, Params, Timeout
from .errors import Busy, ChbackupError, ConnectionFailed, Unsupported
from .models import Action, Archive
from .versions import Feature, parse_version, supports


class ClientBase:
    """A connection, its time-outs, and what is known of the server."""

    def __init__(self, connection: Connection, timeout: float | Timeout, timezone: tzinfo | None) -> None:
        self._connection = connection
        self._timezone = timezone
        self._version: list[str] = []  # filled once, shared by the copies of with_options
        self._set_timeout(timeout)

    def _set_timeout(self, timeout: float | Timeout) -> None:
        self._timeout = timeout if isinstance(timeout, Timeout) else Timeout(timeout)
        self.timeout: float = self._timeout.total

    async def version(self) -> str:
        """Return the server's version as it prints it.

        Raises ServerError when it is no clickhouse-backup.
        """
        try:
            answer = await self._ask("GET", ["backup", "version"])
            text = read_fields(answer, "version", "version")["version"]
        except Unsupported:  # before 2.5.9 only the root page tells
            answer = await self._ask("GET", [""], operation="version")
            first = answer.body[:100].decode(errors="replace").partition("\n")[0]
            text = first.removeprefix("Version:").strip() if first.startswith("Version:") else ""
        if not text:
            raise no_sidecar("version", answer, "it tells no version")
        self._version[:] = [text]
        return text

    async def supports(self, feature: Feature) -> bool | None:
        """Whether this server has a feature, None when its version does not tell; asked once per client."""
        text = self._version[0] if self._version else await self.version()
        return supports(parse_version(text), feature)

    async def _require(self, feature: Feature, *options: object, certain: bool = False) -> None:
        """Raise Unsupported when an option is set that the server would ignore.

        A version that does not tell is a build newer than the releases here, unless the option must be `certain`:
        that is when ignoring it would do more than was asked.
        """
        if not any(options):
            return
        try:
            found = await self.supports(feature)
        except ConnectionFailed as error:
            error.sent = False  # only the version was asked for
            raise
        if found is False or (certain and found is None):
            since = ".".join(map(str, feature.since))
            raise Unsupported(f"{feature.what} needs clickhouse-backup {since}, the server is {self._version[0]}")

    async def _rows(self, model: type[Model], path: Sequence[str], params: Params = ()) -> list[Model]:
        return read_rows(model, await self._ask("GET", path, params), path[1])

    async def _actions(self, params: Params) -> list[Action]:
        rows = await self._rows(Action, ["backup", "actions"], params)
        return [self._shown(row, position) for position, row in enumerate(rows)]

    def _shown(self, row: Action, position: int) -> Action:
        error = self._connection.without_secrets(row.error)
        update: dict[str, object] = {"position": position, "error": error}
        if self._timezone:
            update |= {"start": _in(self._timezone, row.start), "finish": _in(self._timezone, row.finish)}
        return row.model_copy(update=update)

    async def _archives(self, *where: str) -> list[Archive]:
        archives = await self._rows(Archive, ["backup", "list", *where])
        if not self._timezone:
            return archives
        local = await self.supports(Feature.CREATED_IN_LOCAL_TIME) is not False
        zone = self._timezone if local else UTC
        return [archive.model_copy(update={"created": _in(zone, archive.created)}) for archive in archives]

    async def _ask(
        self,
        method: str,
        path: Sequence[str],
        params: Params = (),
        *,
        operation: str | None = None,
        timeout: float | None = None,
        body: bytes | None = None,
    ) -> Answer:
        limits = self._timeout if timeout is None else Timeout(timeout, self._timeout.connect)
        answer = await self._connection.send(method, path, params, timeout=limits, body=body)
        error = error_of(answer, operation or " ".join(path[1:]) or path[0])
        if isinstance(error, Busy):
            await self._name_holder(error)
        if error:
            raise self._without_secrets(error)
        return answer

    async def _name_holder(self, error: Busy) -> None:
        with suppress(Exception):  # a courtesy: no trouble in asking may hide that the server is busy
            error.rows = tuple(await self._actions([("filter", "in progress")]))
        if error.holder:
            error.message += f": `{error.holder.command}`"

    def _without_secrets(self, error: ChbackupError) -> ChbackupError:
        error.message = self._connection.without_secrets(error.message)
        error.words = self._connection.without_secrets(error.words)
        return error


def _in(zone: tzinfo, moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=zone) if moment and not moment.tzinfo else moment
