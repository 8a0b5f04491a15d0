"""What a server tells. Nothing is changed, though every list leaves a row, and holds the lock while it runs."""

from ._answers import read_fields
from ._client_base import ClientBase
from ._params import text
from .errors import InvalidInput
from .models import Action, Archive, Table
from .names import check_name
from .versions import Feature

_LAST_MAXIMUM = 32767  # the server reads it as a 16-bit number


class ClientReads(ClientBase):
    """The endpoints that read."""

    async def health(self) -> str:
        """Return `OK` when the server's process listens; neither ClickHouse nor the object store is looked at."""
        return read_fields(await self._ask("GET", ["health"]), "health", "status")["status"]

    async def metrics(self) -> str:
        """Return the metrics in Prometheus' text format. Durations in them are nanoseconds."""
        return (await self._ask("GET", ["metrics"])).body.decode(errors="replace")

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
        """Return the server's history, oldest first; `filter` is a part of a command, status or error.

        Raises InvalidInput for a `last` that the server misreads.
        """
        if last is not None and not 0 < last <= _LAST_MAXIMUM:
            raise InvalidInput(f"last must be between 1 and {_LAST_MAXIMUM}")
        params = [("last", str(last))] if last else []
        return await self._actions(params + ([("filter", filter)] if filter else []))

    async def tables(
        self,
        table: str | None = None,
        all: bool = False,  # noqa: A002
        local_backup: str | None = None,
        remote_backup: str | None = None,
        *,
        list_parts: bool = False,
        list_partitions: bool = False,
    ) -> list[Table]:
        """Return the tables of ClickHouse, or of an archive; `table` is the server's pattern, such as `shop.*`.

        `all` adds those that the server's settings skip. `list_parts` and `list_partitions` fill the fields of these
        names. An archive that is broken, or whose storage is down, looks empty.

        Raises NotFound when there is no such archive, InvalidInput, Unsupported.
        """
        if local_backup is not None and remote_backup is not None:
            raise InvalidInput("local_backup and remote_backup exclude each other")
        params = text("table", table) + _archive("local_backup", local_backup)
        params += _archive("remote_backup", remote_backup)
        params += [("list_parts", "1")] if list_parts else []
        params += [("list_partitions", "1")] if list_partitions else []
        await self._require(Feature.TABLES_OF_LOCAL, local_backup)
        await self._require(Feature.TABLES_OF_REMOTE, remote_backup)
        await self._require(Feature.TABLES_IN_DETAIL, list_parts, list_partitions)
        return await self._rows(Table, ["backup", "tables", "all"] if all else ["backup", "tables"], params)

    async def list_all(self) -> list[Archive]:
        """Return the local archives, then the remote ones, each in the server's order."""
        return await self._archives()

    async def list_local(self) -> list[Archive]:
        """Return the archives on the sidecar's disk."""
        return await self._archives("local")

    async def list_remote(self) -> list[Archive]:
        """Return the archives in the object store. Empty is also what a store that is down looks like."""
        return await self._archives("remote")


def _archive(parameter: str, name: str | None) -> list[tuple[str, str]]:
    return [] if name is None else [(parameter, check_name(name, existing=True))]
