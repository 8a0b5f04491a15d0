"""What the tests of fleets share: many fakes behind one httpx client, told apart by host."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import httpx

import chbackup
from chbackup.testing import FakeSidecar, FakeStorage
from chbackup.testing._transport import client_over

NOW = datetime(2026, 1, 31, tzinfo=UTC)
LAST = chbackup.Retention(keep_last=1)


class Hosts(httpx.AsyncBaseTransport):
    """Sends each request to the fake of its host."""

    def __init__(self, fakes):
        self._transports = {host: fake.transport() for host, fake in fakes.items()}

    async def handle_async_request(self, request):
        return await self._transports[request.url.host].handle_async_request(request)


def sidecar(storage=None, *, days=(), version="2.7.4", path="backup", **options):
    """Make a sidecar whose storage holds archives `d01`, `d02`, ... of these days of January."""
    fake = FakeSidecar(username="u", password="secret-of-tests", version=version, storage=storage, path=path, **options)
    for day in days:
        fake.add_remote(f"shop-202601{day:02d}", created=datetime(2026, 1, day), data_size=1000 + day)
    return fake


def alike(count, **options):
    """Make sidecars of one storage."""
    storage = FakeStorage()
    first = sidecar(storage, **options)
    options.pop("days", None)
    return [first, *(sidecar(storage, **options) for _ in range(count - 1))]


def target(host, storage=""):
    return chbackup.Target(f"http://{host}:7171", username="u", password="secret-of-tests", storage=storage)


@asynccontextmanager
async def fleet_of(fakes, storages=None, **options):
    """A fleet over fakes by host; `storages` names the storage of some hosts."""
    storages = storages or {}
    targets = [target(host, storages.get(host, "")) for host in fakes]
    async with chbackup.Fleet(targets, http_client=client_over(Hosts(fakes)), **options) as fleet:
        yield fleet


async def purged(fakes, retention=LAST, *, storages=None, limit=64, **options):
    """Purge, and return the run and its results."""
    async with (
        fleet_of(fakes, storages, limit=limit) as fleet,
        fleet.purge(retention, **{"now": NOW, **options}) as run,
    ):
        return run, [result async for result in run]


def outcomes(results):
    return {result.archive or result.storage: result.outcome for result in results}


def deletes(*fakes):
    return [
        request.path.removeprefix("/backup/delete/")
        for fake in fakes
        for request in fake.requests
        if "/backup/delete/" in request.path
    ]


async def later(seconds, act):
    await anyio.sleep(seconds)
    result = act()
    if result is not None:
        await result


def member(app, day, shard, shards=2, uid="0123456789ab"):
    """Return the name of a set's member."""
    taken = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day - 1)
    return str(chbackup.ArchiveName(app, "abcdef", taken, f"{day:02d}{uid[2:]}", 1, shard, shards, 0))


def add(fake, app, day, shard=0, shards=1, **options):
    """Put a set's member into a fake's storage."""
    name = member(app, day, shard, shards)
    fake.add_remote(name, created=datetime(2026, 1, day), data_size=1000 + day, **options)
    return name
