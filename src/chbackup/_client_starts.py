"""How an operation is started, and the command that has no method of its own."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._answers import read_fields, read_rows
from ._client_acts import DELETE_TIMEOUT, KILL_TIMEOUT
from ._client_base import ClientBase
from ._client_commands import read_command
from ._http import Params
from ._params import callback_address, duration, flags, selection, text
from .errors import InvalidInput, ServerError
from .evidence import find_row
from .models import Acknowledgement
from .names import check_name
from .operation import Operation, operation_from_token
from .versions import Feature

if TYPE_CHECKING:
    from .callbacks import Callback
    from .client import Client

_BY_QUERY = ("create", "create_remote")


class ClientStarts(ClientBase):
    """What is common to the endpoints that start something, and those that fit nowhere else."""

    def operation(self, token: str) -> Operation:
        """Take up an operation again by the token it gave.

        Raises InvalidInput.
        """
        return operation_from_token(self._client, token)

    async def submit(self, command: str, *, timeout: float | None = None) -> Operation | None:
        """Run a command line through `POST /backup/actions`; return the operation when it starts one on an archive.

        Flags come before the name, as `--flag=value`. Rows of such commands have no operation id: theirs is the last
        one of this verb and name. Before 2.8.1 they cannot be killed. `watch` and `list` run on unseen, the others
        have ended when this returns; it waits 600 s for them, 1860 s for a kill, by default.

        Raises InvalidInput for what ends or hangs the server's process or is misread, Busy, NotFound,
        RequiredByOthers.
        """
        read = read_command(command)
        if timeout is None and read.waits:
            timeout = KILL_TIMEOUT if read.verb == "kill" else DELETE_TIMEOUT
        body = json.dumps({"command": command}).encode()
        answer = await self._ask("POST", ["backup", "actions"], operation=read.verb, timeout=timeout, body=body)
        read_fields(answer, read.verb, "status", "operation")
        return await self._found(read.verb, read.name) if read.starts else None

    async def watch(
        self,
        *,
        watch_interval: str | None = None,
        full_interval: str | None = None,
        name_template: str | None = None,
        schedule: Sequence[str] = (),
        tables: str | None = None,
        partitions: Sequence[str] = (),
        schema: bool = False,
        rbac: bool = False,
        configs: bool = False,
        named_collections: bool = False,
        skip_check_parts_columns: bool = False,
        skip_projections: str | None = None,
        delete_source: bool = False,
    ) -> str:
        """Let the server back up by itself again and again; return the command, which `kill` ends.

        Everything else is Busy while it runs. Intervals are durations such as `1h30m`, `full_interval` longer than
        `watch_interval`; `name_template` is as `shard-{shard}-{type}-{time:20060102150405}`. `schedule` takes
        expressions of cron (server >= 2.8.0). Iterations have rows of their own on 2.8.1 and newer only.

        Raises InvalidInput, Unsupported, Busy.
        """
        if (duration("full_interval", full_interval) or 1e9) <= (duration("watch_interval", watch_interval) or 0):
            raise InvalidInput("full_interval must be longer than watch_interval")
        params = text("watch_interval", watch_interval) + text("full_interval", full_interval)
        params += text("watch_backup_name_template", name_template, field="name_template")
        params += [pair for line in schedule for pair in text("schedule", line)]
        params += selection(tables, partitions) + text("skip_projections", skip_projections)
        params += flags(schema=schema, rbac=rbac, configs=configs, named_collections=named_collections)
        # These two are read with underscores.
        switches = {"skip_check_parts_columns": skip_check_parts_columns, "delete_source": delete_source}
        params += [(name, "1") for name, wanted in switches.items() if wanted]
        await self._require(Feature.WATCH_SCHEDULE, schedule)
        await self._require(Feature.NAMED_COLLECTIONS, named_collections)
        answer = await self._ask("POST", ["backup", "watch"], params)
        return read_fields(answer, "watch", "command")["command"]

    @property
    def _client(self) -> "Client":
        return self  # type: ignore[return-value]  # nothing else is made of this class

    async def _start(self, verb: str, name: str, params: Params, callback: "str | Callback | None" = None) -> Operation:
        url = callback if isinstance(callback, str) or callback is None else callback.url
        check_name(name, existing=verb not in _BY_QUERY)
        sent = [*params, *callback_address(url)]
        await self._require(Feature.CALLBACKS, url)
        operation = await self._acknowledged(verb, name, sent)
        if callback is not None and not isinstance(callback, str):
            operation.wake = callback
        return operation

    async def _acknowledged(self, verb: str, name: str, params: Params) -> Operation:
        by_query = verb in _BY_QUERY
        path = ["backup", verb] if by_query else ["backup", verb, name]
        params = [("name", name), *params] if by_query else params
        answer = await self._ask("POST", path, params, operation=f"{verb} {name}")
        rows = read_rows(Acknowledgement, answer, f"{verb} {name}")
        if not rows or rows[0].backup_name != name:
            other = repr(rows[0].backup_name) if rows else "nothing"
            raise ServerError(f"{verb} {name}: the server has acknowledged {other}", operation=verb)
        if rows[0].operation_id:
            return Operation(self._client, verb, name, rows[0].operation_id)
        return await self._found(verb, name)  # before 2.6.0

    async def _found(self, verb: str, name: str) -> Operation:
        """Return an operation that is known by the place of its row only."""
        row = find_row(await self._actions([]), verb=verb, name=name)
        return Operation(self._client, verb, name, "", position=row.position if row else -1)
