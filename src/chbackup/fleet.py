"""Many sidecars at once: read them all, plan once, delete carefully."""

import ssl
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

import anyio

from ._http import HttpClient, Timeout, Transport
from ._journal import Journal
from ._purge_results import PurgeResult, PurgeSummary
from ._purge_run import PurgeRun
from ._purging import Means, carry_out
from ._sidecars import Sidecar
from ._survey import Survey, survey
from ._targets import Target, check_targets, load_targets, share
from .client import Client
from .errors import InvalidInput
from .retention import PurgePlan, Retention, plan_fleet

__all__ = ["Fleet", "PurgeResult", "PurgeRun", "PurgeSummary", "Target", "purge"]

_READING = 60.0  # a plan waits for the slowest sidecar


class ClientOptions(TypedDict, total=False):
    """Options of `Client` that all sidecars of a fleet share; an `http_client` of yours as well."""

    timeout: float | Timeout
    transport: Transport
    verify: bool | ssl.SSLContext
    http_client: HttpClient | None
    timezone: tzinfo | None


class Fleet:
    """Sidecars, asked side by side: at most `limit` requests at once, `per_storage` of them to one storage.

    The other options are those of each `Client`.

    Raises InvalidInput when a target is not acceptable, naming it.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        limit: int = 64,
        per_storage: int = 8,
        **options: Unpack[ClientOptions],
    ) -> None:
        if limit < 1 or per_storage < 1:
            raise InvalidInput("limit and per_storage must be at least 1")
        self.targets: list[Target] = check_targets(targets)
        self._limit = limit
        self._per_storage = per_storage
        self._client_of = {place.url: _client(number, place, options) for number, place in enumerate(self.targets)}

    @classmethod
    def from_file(
        cls, path: str | Path, *, limit: int = 64, per_storage: int = 8, **options: Unpack[ClientOptions]
    ) -> Self:
        """Read the targets from a YAML or JSON file, `-` means standard input.

        It is a list of `{url, username?, password_env? | password_file?, storage?, labels?}`.

        Raises InvalidInput naming the entry and the field.
        """
        return cls(load_targets(path), limit=limit, per_storage=per_storage, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._client_of.values():
            await client.aclose()

    @asynccontextmanager
    async def purge(
        self,
        retention: Retention,
        *,
        now: datetime | None = None,
        journal: str | Path | None = None,
        dry_run: bool = False,
        broken: bool = False,
        shard: tuple[int, int] | None = None,
        timeout: float = 300.0,
    ) -> AsyncGenerator[PurgeRun, None]:
        """Read all sidecars and plan. Iterating over the run then DELETES, except in a `dry_run`.

        `journal` is a file of JSON lines, with which the same call goes on after a crash. `broken` allows to delete
        broken archives and incomplete sets. `shard` (i, n) takes the storages of one of n processes. `timeout` is how
        long a storage waits in vain, for an answer or for what is in the way, in seconds. `now` has a zone, whose
        days are the calendar's; the default is the time in UTC.

        Raises InvalidInput.
        """
        targets = share(self.targets, shard) if shard else self.targets
        with Journal(journal, read_only=dry_run) as book:
            seen = await survey(self._sidecars(targets), min(timeout, _READING))
            plan = _plan(seen, retention, now or datetime.now(UTC), book.begun, broken=broken)
            means = Means(seen.sidecars, book, timeout, anyio.Semaphore(self._limit), seen.blind)
            run = PurgeRun(plan, _problems(seen, plan), None if dry_run else partial(carry_out, means))
            async with run.opened():
                yield run

    def _sidecars(self, targets: Sequence[Target]) -> list[Sidecar]:
        total = anyio.Semaphore(self._limit, fast_acquire=True)
        gates = {target.storage or target.url: anyio.Semaphore(self._per_storage) for target in targets}
        return [
            Sidecar(self._client_of[one.url], one.url, one.storage, total, gates[one.storage or one.url])
            for one in targets
        ]


async def purge(
    client: Client, plan: PurgePlan, *, journal: str | Path | None = None, timeout: float = 300.0
) -> PurgeSummary:
    """DELETE what a plan for one sidecar's storage says, each archive after a fresh look.

    The sidecar's own running rows and list are all that is looked at: where others use the storage, take a `Fleet`.
    `journal` is a file of JSON lines. `timeout` is how long to wait in vain, for an answer or for what is in the way,
    in seconds.

    Raises InvalidInput for a plan of several storages, or a journal that is none.
    """
    storages = {decision.storage for decision in plan.decisions}
    if len(storages) > 1:
        raise InvalidInput("the plan is for several storages: purge them as a Fleet")
    sidecar = Sidecar(client, client.url, "", anyio.Semaphore(1), anyio.Semaphore(1))
    with Journal(journal) as book:
        means = Means({storage: [sidecar] for storage in storages}, book, timeout, anyio.Semaphore(1))
        async with PurgeRun(plan, [], partial(carry_out, means)).opened() as run:
            async for _ in run:
                pass
    return run.summary


def _client(place: int, target: Target, options: ClientOptions) -> Client:
    try:
        return Client(target.url, username=target.username, password=target.password, **options)
    except InvalidInput as error:
        raise InvalidInput(f"targets[{place}]: {error.message}") from None


def _plan(seen: Survey, retention: Retention, now: datetime, begun: Collection[str], *, broken: bool) -> PurgePlan:
    protect = (*retention.protect, *map(escape, sorted(seen.needed)))
    refused = {storage: problem.reason for storage, problem in seen.problems.items()}
    return plan_fleet(seen.lists, replace(retention, protect=protect), now, broken=broken, begun=begun, refused=refused)


def _problems(seen: Survey, plan: PurgePlan) -> list[PurgeResult]:
    return [
        seen.problems.get(storage) or PurgeResult("refused", storage, reason=reason)
        for storage, reason in plan.refused.items()
    ]
