"""What a list of the bucket shows of an application's dumps: a folder for each run, and what lies beside them. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cozydrivers.api.backups import Backup
from cozydrivers.clients.objects import StoredObject
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.mariadb import record
from cozydrivers.drivers.mariadb.dumps import DumpFile, dumps_under
from cozydrivers.drivers.mariadb.naming import Name
from cozydrivers.drivers.mariadb.storage import Place, place_of
from cozydrivers.drivers.owned import hex_of
from cozydrivers.errors import InvalidInput

ANOTHER = "another"
"""An application that nobody asks for, to see whether a strategy keeps its dumps apart."""


@dataclass(frozen=True)
class Folder:
    """A run's folder in the bucket, which ends with a slash; `name` tells which run has made it."""

    name: Name
    prefix: str
    objects: Sequence[StoredObject] = ()

    @property
    def dumps(self) -> list[DumpFile]:
        """The dumps in it that are not empty; those in deeper folders are none."""
        return [dump for dump in dumps_under(self.prefix, self.objects) if dump.size]

    @property
    def size(self) -> int:
        """Bytes of all that is in it."""
        return sum(each.size for each in self.objects)

    @property
    def gap(self) -> str:
        """Why no dump can be told from the folder alone; empty where there is exactly one."""
        dumps = self.dumps
        if not dumps:
            return "it holds no dump that is not empty"
        names = ", ".join(dump.name for dump in dumps)
        return f"it holds several dumps, and nothing shows which is whole: {names}" if len(dumps) > 1 else ""


def folders_of(place: Place, objects: Iterable[StoredObject]) -> list[Folder]:
    """The folders of runs, by name: of any namespace, and of every application that shares the prefix."""
    by_name: dict[str, list[StoredObject]] = {}
    for each in objects:
        head, slash, _ = each.key.removeprefix(place.prefix).partition("/")
        if slash and each.key.startswith(place.prefix):
            by_name.setdefault(head, []).append(each)
    parsed = [(Name.parse(head), head, held) for head, held in sorted(by_name.items())]
    return [Folder(name, place.folder(head), held) for name, head, held in parsed if name and name.purpose != "restore"]


def loose(place: Place, objects: Iterable[StoredObject]) -> list[DumpFile]:
    """The dumps right under the prefix, as Cozystack's own controller has them made."""
    return dumps_under(place.prefix, objects)


def is_own(name: Name, run: Run) -> bool:
    """Whether a run of this very namespace has made it."""
    return name.home == hex_of(run.namespace_uid, 6)


def named_by(backups: Iterable[Backup]) -> dict[str, str]:
    """The Backups by the names of runs that they record, read tolerantly: whatever one names is no leftover."""
    named: dict[str, str] = {}
    for backup in backups:
        metadata = backup.spec.driver_metadata
        folder = metadata.get(record.PREFIX + "prefix", "").rstrip("/").rpartition("/")[2]
        for name in filter(None, (metadata.get(record.PREFIX + "backup-name"), folder)):
            named[name] = backup.metadata.name
    return named


def is_shared(run: Run, place: Place) -> bool:
    """Whether the strategy keeps another application's dumps in the same place, so that none shows whose it is."""
    metadata: Mapping[str, str] = {"name": ANOTHER, "namespace": run.namespace}
    release = {"Name": ANOTHER, "Namespace": run.namespace}
    try:
        other = run.render({"Application": {"metadata": metadata}, "Release": release})
        return place_of(other).identity == place.identity
    except InvalidInput:
        return False


def is_busy(name: Name, busy: Collection[str]) -> bool:
    """Whether one of these jobs, by UID, has made it."""
    return name.uid in {hex_of(uid, 12) for uid in busy}
