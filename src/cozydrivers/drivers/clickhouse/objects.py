"""Observe: what the object store shows of an archive, asked with the sidecar's own coordinates.

One list per archive, and with `tables` one object per table. What keeps the store from being asked is no trouble of the
archive's: it is said.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import anyio

from chbackup import Archive
from cozydrivers.clients.objects import ObjectStore, StoreError
from cozydrivers.drivers.clickhouse import stored
from cozydrivers.drivers.clickhouse.access import pods_of
from cozydrivers.drivers.clickhouse.coordinates import Storage, Unknown, secrets_of, storage_of
from cozydrivers.drivers.clickhouse.look import Eyes, Sight
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.stored import Found, Stored, TableFile
from cozydrivers.errors import InvalidInput

TIMEOUT = 60.0
"""Seconds for all that is read of one archive."""
_TABLE = 16 * 1024 * 1024
"""Bytes that the json of a table with a hundred thousand parts does not have."""
_AT_ONCE = 8


async def seen(eyes: Eyes, archive: str, sight: Sight) -> Sight:
    """The sight with what the object store shows of an archive that its sidecar lists as good."""
    remote = sight.remote_copy(archive)
    if sight.place is None or remote is None or remote.broken:
        return sight
    return replace(sight, stored=await look(eyes, sight.place, remote))


async def problems(eyes: Eyes, place: Place, archive: Archive) -> list[str] | None:
    """What the object store says against an archive that a sidecar lists; None where it can't be asked.

    Raises InvalidInput for an unknown parameter of the class.
    """
    found = await look(eyes, place, archive)
    return None if found.unread else list(found.problems)


async def look(eyes: Eyes, place: Place, archive: Archive) -> Stored:
    """What the object store shows of an archive that a sidecar lists. Raises InvalidInput as above."""
    asked = stored.wanted(eyes.run) == stored.OBJECTS
    try:
        with anyio.fail_after(TIMEOUT):
            async with _opened(eyes, place) as (store, storage):
                return Stored(await _against(store, storage, archive), asked=asked)
    except TimeoutError:
        return Stored(unread=f"the object store did not show them in {TIMEOUT:g} s", asked=asked)
    except StoreError as error:
        return Stored(unread=str(error), asked=asked)


async def hollow(eyes: Eyes, place: Place, archives: Iterable[Archive]) -> dict[str, list[str]]:
    """Problems of those archives whose sizes in the store are wrong: one list for each, tables are not read.

    What can't be told now, or not in the time for it, is left out.
    """
    found: dict[str, list[str]] = {}
    with suppress(StoreError, InvalidInput), anyio.move_on_after(TIMEOUT):
        async with _opened(eyes, place) as (store, storage):
            for archive in archives:
                with suppress(StoreError):
                    found[archive.name] = await _against(store, storage, archive, tables=False)
    return {name: against for name, against in found.items() if against}


@asynccontextmanager
async def _opened(eyes: Eyes, place: Place) -> AsyncIterator[tuple[ObjectStore, Storage]]:
    """The store of a sidecar. Raises StoreError where that is not to be asked, or not known."""
    if stored.wanted(eyes.run) == stored.LIST:
        raise StoreError(f"parameters.{stored.PARAMETER} of the class is {stored.LIST}")
    storage = await _storage(eyes, place)
    if isinstance(storage, Unknown):
        raise StoreError(storage.why)
    async with eyes.access.objects(storage.coordinates) as store:
        yield store, storage


async def _storage(eyes: Eyes, place: Place) -> Storage | Unknown:
    if not place.pod_uid:
        return Unknown(f"there is no Pod {place.pod} to tell where it is")
    run = eyes.run
    pod = next((pod for pod in await pods_of(run) if pod.metadata.uid == place.pod_uid), None)
    if pod is None:
        return Unknown(f"Pod {place.pod} is gone")
    return storage_of(pod, await eyes.access.secrets.read(run.kube, run.namespace, secrets_of(pod)))


async def _against(store: ObjectStore, storage: Storage, archive: Archive, *, tables: bool = True) -> list[str]:
    """What an archive's objects say against it. Raises StoreError where they can't be told, or say nothing."""
    unreadable = stored.unreadable(archive)
    if unreadable:
        raise StoreError(unreadable)
    prefix = storage.prefix(archive.name)
    found = stored.found_under(prefix, await store.list(prefix))
    if stored.MANIFEST not in found.sizes:  # then it is another store than the sidecar's
        raise StoreError(f"the object store has no {prefix}{stored.MANIFEST}, which the sidecar lists")
    return stored.judge(archive, await _with_tables(store, prefix, found) if tables else found)


async def _with_tables(store: ObjectStore, prefix: str, found: Found) -> Found:
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def read(key: str) -> TableFile | StoreError | None:
        async with limiter:
            try:
                return stored.read_table(await store.read(prefix + key, limit=_TABLE) or b"")
            except StoreError as error:
                return error

    keys = stored.table_keys(found)
    tables: dict[str, TableFile | None] = {}
    for key, table in zip(keys, await anyio.amap(read, keys), strict=True):
        if isinstance(table, StoreError):
            raise table
        tables[key] = table
    return replace(found, tables=tables)
