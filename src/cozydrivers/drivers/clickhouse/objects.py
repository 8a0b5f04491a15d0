"""Observe: what the object store shows of an archive, asked with the sidecar's own coordinates.

One list per archive, and with `tables` one object per table. What keeps the store from being asked is no trouble of the
archive's: it is said.
"""

from dataclasses import replace

import anyio

from chbackup import Archive
from cozydrivers.api.core import Pod, Secret
from cozydrivers.clients.objects import ObjectStore, StoreError
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.clickhouse import stored
from cozydrivers.drivers.clickhouse.coordinates import Storage, Unknown, secrets_of, storage_of
from cozydrivers.drivers.clickhouse.look import Eyes, Sight
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.stored import Found, Stored, TableFile
from cozydrivers.errors import Forbidden, NotFound

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
    """What the object store says against an archive that a sidecar lists; None where it can't be asked."""
    found = await look(eyes, place, archive)
    return None if found.unread else list(found.problems)


async def look(eyes: Eyes, place: Place, archive: Archive, *, tables: bool = True) -> Stored:
    """What the object store shows of an archive that a sidecar lists. Raises InvalidInput for an unknown parameter."""
    wish = stored.wanted(eyes.run)
    asked = wish == stored.OBJECTS
    if wish == stored.LIST:
        return Stored(unread=f"parameters.{stored.PARAMETER} of the class is {stored.LIST}")
    unread = stored.unreadable(archive)
    if unread:
        return Stored(unread=unread, asked=asked)
    try:
        with anyio.fail_after(TIMEOUT):
            storage = await _storage(eyes.run, place)
            if isinstance(storage, Unknown):
                return Stored(unread=storage.why, asked=asked)
            return await _look(eyes, storage, archive, tables=tables, asked=asked)
    except TimeoutError:
        return Stored(unread=f"the object store did not show them in {TIMEOUT:g} s", asked=asked)
    except (StoreError, Forbidden, NotFound) as error:
        return Stored(unread=str(error), asked=asked)


async def _storage(run: Run, place: Place) -> Storage | Unknown:
    if not place.pod_uid:
        return Unknown(f"Pod {place.pod} is not known")
    pod = await run.reader.get(Pod, place.pod, run.namespace)
    secrets = [await _secret(run, name) for name in secrets_of(pod)]
    return storage_of(pod, {secret.metadata.name: secret for secret in secrets if secret})


async def _secret(run: Run, name: str) -> Secret | None:
    try:
        return await run.kube.get(Secret, name, run.namespace)
    except NotFound:
        return None


async def _look(eyes: Eyes, storage: Storage, archive: Archive, *, tables: bool, asked: bool) -> Stored:
    prefix = storage.prefix(archive.name)
    async with eyes.access.objects(storage.coordinates) as store:
        found = stored.found_under(prefix, await store.list(prefix))
        if stored.MANIFEST not in found.sizes:
            return Stored(
                unread=f"the object store has no {prefix}{stored.MANIFEST}, which the sidecar lists", asked=asked
            )
        if tables:
            found = await _with_tables(store, prefix, found)
    return Stored(stored.judge(archive, found), asked=asked)


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
