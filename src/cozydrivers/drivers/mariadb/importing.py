"""Backups rebuilt from the bucket alone: from the names of its folders, and from the dump in each.

A folder's name tells which job of which namespace has made it, and not of which application: that is told by the
strategy's prefix alone. The namespace in a name may be another one, as it is when the cluster is gone. That alone is no
right to restore it: two tenants may share a bucket. The right is an annotation on the Namespace, which no tenant may
change (I12); see `record.checked`. Reads only.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio
from anyio.lowlevel import checkpoint

from cozydrivers.api.backups import Backup
from cozydrivers.api.base import Condition
from cozydrivers.clients.mariadb import has_run
from cozydrivers.clients.objects import ObjectStore, StoredObject
from cozydrivers.drivers.base import Artifact, Candidate, Importable, Inspection
from cozydrivers.drivers.mariadb import record
from cozydrivers.drivers.mariadb.auditing import AT_ONCE
from cozydrivers.drivers.mariadb.dumps import DumpFile, parse
from cozydrivers.drivers.mariadb.folders import Folder, folders_of, is_busy, is_own, is_shared, loose, named_by
from cozydrivers.drivers.mariadb.naming import server_of
from cozydrivers.drivers.mariadb.storage import Place, place_of
from cozydrivers.drivers.mariadb.store import LIST_TIMEOUT, Access, Unread, asked
from cozydrivers.drivers.mariadb.target import objects_for
from cozydrivers.drivers.mariadb.verify import HEAD, Reading
from cozydrivers.errors import InvalidInput

ELSEWHERE = "unknown"
"""The cluster of an imported dump: nobody knows it, so no deletion policy ever takes its dump."""
_TAIL = 4096
"""Bytes of an object's end that show its last line."""
_SHARED = "other applications' dumps have the same prefix: look whether it is of this one"
_REFERENCE = (
    "not made by a job of this driver, so its name does not tell whose it is: a Backup of Cozystack's own controller "
    "is restored from it with assumeNearest"
)


@dataclass(frozen=True)
class Stock:
    """What there is. `named` are the Backups by the runs whose dumps they record, `at_work` names of what runs now."""

    place: Place
    objects: Iterable[StoredObject] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    at_work: Collection[str] = ()
    shared: bool = False


# Decide. Pure and total


def candidates(stock: Stock, run: Inspection) -> list[Candidate]:
    """What becomes of each dump, the newest first; then what no Backup can be made of."""
    objects = list(stock.objects)
    found = [(_when(folder), candidate(folder, stock, run)) for folder in folders_of(stock.place, objects)]
    found.sort(key=lambda each: (each[0], each[1].name), reverse=True)
    others = [Candidate(dump.key, reason=_REFERENCE) for dump in loose(stock.place, objects)]
    return [*(each for _, each in found), *others]


def _when(folder: Folder) -> str:
    return max((dump.second for dump in folder.dumps), default="")


def candidate(folder: Folder, stock: Stock, run: Inspection) -> Candidate:
    """What becomes of a run's folder."""
    name = str(folder.name)
    origin = "" if is_own(folder.name, run) else folder.name.home
    if reason := _against(folder, stock, run):
        return Candidate(name, reason=reason, origin=origin)
    artifact = _artifact(folder, folder.dumps[0], stock.place, run)
    return Candidate(name, artifact, reason=_SHARED if stock.shared else "", origin=origin)


def _against(folder: Folder, stock: Stock, run: Inspection) -> str:
    """Why no Backup can be made of it; empty where nothing speaks against it."""
    name = str(folder.name)
    if held := stock.named.get(name):
        return f"Backup {held} records it already"
    if is_busy(folder.name, run.busy) or name in stock.at_work:
        return "its job is not over"
    return folder.gap


def _artifact(folder: Folder, dump: DumpFile, place: Place, run: Inspection) -> Artifact:
    recorded = record.Recorded(
        name=str(folder.name),
        storage=place.identity,
        taken_at=dump.taken_at,
        cluster=ELSEWHERE,
        prefix=folder.prefix,
        file=dump.name,
        size=dump.size,
        compression=dump.compression,
    )
    what = "the safety dump of a restore" if folder.name.purpose == "safety" else "a backup's dump"
    told = f"{what}, rebuilt from the bucket: which databases it is of, and whether it was ever proven, is not known"
    return Artifact(
        uri=f"s3://{place.s3.bucket if place.s3 else ''}/{dump.key}",
        size_bytes=dump.size,
        taken_at=dump.taken_at,
        driver_metadata={**record.write(recorded, run.namespace), record.IMPORTED: "true"},
        conditions=[Condition(type="Verified", status="False", reason="Imported", message=told)],
    )


# Observe


async def find(run: Inspection, access: Access) -> Importable:
    """Look at all that is under the prefix. Raises InvalidInput where no strategy tells where that is, and ApiError."""
    place = place_of(run.strategy)
    if place.s3 is None:
        raise InvalidInput("dumps on a volume can't be listed from here, so none can be imported")
    objects = await asked(run, access, place, lambda store: store.list(place.prefix), seconds=LIST_TIMEOUT)
    if isinstance(objects, Unread):
        return Importable(problems=[f"the object store: {objects.why}"])
    named = named_by((await run.kube.list(Backup, run.namespace)).items)
    at_work = {
        each.metadata.name
        for each in await objects_for(run, server_of(run.application.metadata.name))
        if not has_run(each)
    }
    stock = Stock(place, objects, named, at_work, is_shared(run, place))
    found = candidates(stock, run)
    read = await asked(run, access, place, lambda store: _read(store, found), seconds=LIST_TIMEOUT)
    return Importable(problems=[f"the object store: {read.why}"]) if isinstance(read, Unread) else Importable(read)


async def _read(store: ObjectStore, found: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, without those whose dump shows that it is not whole. Raises StoreError."""
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def one(each: Candidate) -> Candidate:
        if each.artifact is None:
            return each
        async with limiter:
            recorded = record.read(each.artifact.driver_metadata)
            dump = parse(recorded.key, recorded.size)
            problem = await _problem(store, dump) if dump else "its name is none of a dump's"
            return replace(each, artifact=None, reason=f"{recorded.file}: {problem}") if problem else each

    return await anyio.amap(one, found)


async def _problem(store: ObjectStore, dump: DumpFile) -> str:
    """What speaks against a dump: all of a short one is read, of others their beginning, of plain ones their end.

    A Restore from a plain one that is cut short between two statements would succeed.
    """
    first = await store.part(dump.key, 0, HEAD)
    if first is None:
        return "it is gone"
    reading = Reading(dump.compression)
    reading.feed(first)
    if dump.size > HEAD:
        if dump.compression != "none":
            return reading.problem or reading.head_problem()
        reading.feed(await store.part(dump.key, dump.size - _TAIL, _TAIL) or b"")
    while reading.pending:
        reading.feed()
        await checkpoint()
    return reading.finish()
