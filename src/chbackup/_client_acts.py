"""What is done when the answer comes: delete, kill, restart, clean."""

from ._answers import read_fields
from ._client_base import ClientBase
from .errors import Busy, InvalidInput, Refused, ServerError
from .names import check_name
from .versions import Feature

DELETE_TIMEOUT = 600.0
KILL_TIMEOUT = 1860.0  # the server waits for the end of what it kills for 1800 s by default


class ClientActs(ClientBase):
    """The endpoints that answer when the work is done."""

    async def delete_local(self, name: str, *, force: bool = False, timeout: float = DELETE_TIMEOUT) -> None:
        """Delete an archive from the sidecar's disk, before 2.8.1 whatever needs it.

        `force` deletes a base that increments need.

        Raises NotFound, Busy, RequiredByOthers (server >= 2.8.1), Unsupported (`force` before that).
        """
        await self._delete("local", name, force, timeout)

    async def delete_remote(self, name: str, *, force: bool = False, timeout: float = DELETE_TIMEOUT) -> None:
        """Delete an archive from the object store. Before 2.8.1 the server breaks chains without a word.

        `force` deletes a base that increments need. A client that gives up does not stop the server.

        Raises NotFound, Busy, RequiredByOthers (server >= 2.8.1), Unsupported (`force` before that).
        """
        await self._delete("remote", name, force, timeout)

    async def kill(self, command: str | None, *, timeout: float = KILL_TIMEOUT) -> str:
        """Kill the running operation of exactly this command text, None means the oldest; return its command.

        The answer may take as long as the work takes to stop (server >= 2.7.0; before, it comes at once).

        Raises NotFound when no such operation runs.
        """
        if command == "":
            raise InvalidInput("command must not be empty: the server would kill the oldest; pass None for that")
        params = [("command", command)] if command else []
        answer = await self._ask("POST", ["backup", "kill"], params, timeout=timeout)
        return read_fields(answer, "kill", "command")["command"]

    async def restart(self) -> None:
        """Let the server read its settings again and listen anew. CANCELS what runs.

        It rewrites every row of the history to `cancel`, those of finished successes too. What was interrupted is
        not taken up again; local archives may be partial. Requests of the next moments may be lost, and so may this
        answer: the server closes all connections.

        Raises ConnectionFailed, after which it has probably restarted.
        """
        read_fields(await self._ask("POST", ["restart"]), "restart", "status")

    async def clean(self, *, force: bool = False, timeout: float = DELETE_TIMEOUT) -> None:
        """Remove what interrupted creates have left in ClickHouse's `shadow` folders.

        In a create that runs it removes what that is about to move, which can END THE SERVER'S PROCESS: refused
        while a row is in progress. `force` does not look. One that begins meanwhile is not seen.

        Raises Busy.
        """
        await self._clean(["clean"], force=force, timeout=timeout)

    async def clean_local_broken(self, *, force: bool = False, timeout: float = DELETE_TIMEOUT) -> None:
        """Delete all broken local archives, and with them creates and downloads that could be resumed.

        What is being made looks broken until its end, so it is refused while a row is in progress. `force` does not
        look.

        Raises Busy, Unsupported (server < 2.6.27).
        """
        await self._clean(["clean", "local_broken"], force=force, timeout=timeout)

    async def clean_remote_broken(self, *, force: bool = False, timeout: float = DELETE_TIMEOUT) -> None:
        """Delete all broken archives of this storage path, whoever made them.

        An upload looks broken until its end, also one of ANOTHER sidecar on the same path, which nothing here can
        see: it would end as a success and could not be restored. Refused while a row of this sidecar is in progress,
        and while the list holds an archive without a name. `force` does not look.

        Raises Busy, Refused.
        """
        if not force and not all(archive.name for archive in await self._archives("remote")):
            raise Refused("clean_remote_broken: the list holds an archive without a name, so it cannot be trusted")
        await self._clean(["clean", "remote_broken"], force=force, timeout=timeout)

    async def _delete(self, where: str, name: str, force: bool, timeout: float) -> None:
        path = ["backup", "delete", where, check_name(name, existing=True)]
        await self._require(Feature.DEPENDENTS_GUARD, force)
        answer = await self._ask("POST", path, [("force", "1")] if force else [], timeout=timeout)
        deleted = read_fields(answer, f"delete {where} {name}", "backup_name")["backup_name"]
        if deleted != name:
            raise ServerError(f"delete {where} {name}: the server has deleted {deleted!r}", operation="delete")

    async def _clean(self, path: list[str], *, force: bool, timeout: float) -> None:
        operation = "_".join(path)
        if not force:
            await self._refuse_while_running(operation)
        answer = await self._ask("POST", ["backup", *path], operation=operation, timeout=timeout)
        read_fields(answer, operation, "status")

    async def _refuse_while_running(self, operation: str) -> None:
        rows = [row for row in await self._actions([("filter", "in progress")]) if row.running]
        if rows:
            raise Busy(f"{operation}: `{rows[0].command}` is running", operation=operation, rows=rows)
