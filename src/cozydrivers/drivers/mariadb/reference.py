"""Backups of Cozystack's own controller, which record no dump: which one would be restored, if one may assume it.

All dumps of an application, or of several, lie under one prefix, and a Backup tells but when it was completed. The
newest dump from before that is taken for its own, which is wrong where its dump has failed: that controller takes a
failed one for a good one. So it is done only where `spec.options.assumeNearest` asks for it, and only where the store
can be read. Pure.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from cozydrivers.api.backups import Backup
from cozydrivers.drivers.mariadb import dumps
from cozydrivers.drivers.mariadb.dumps import DumpFile
from cozydrivers.drivers.mariadb.options import Options
from cozydrivers.drivers.mariadb.record import PREFIX, Recorded, is_ours, written
from cozydrivers.drivers.mariadb.storage import Place
from cozydrivers.errors import InvalidInput

_NAME = PREFIX + "backup-name"
_NAMESPACE = PREFIX + "backup-namespace"
_URI = PREFIX + "storage-uri"


def is_reference(metadata: Mapping[str, str]) -> bool:
    """Whether a record is Cozystack's own controller's."""
    return _NAME in metadata and not is_ours(metadata)


def check(backup: Backup, namespace: str, place: Place) -> datetime:
    """When it was completed; InvalidInput where its dump can't be under the place's prefix.

    `place` is that of the application that the Backup is of.
    """
    metadata, name = backup.spec.driver_metadata, backup.metadata.name
    if place.s3 is None:
        raise InvalidInput(
            f"Backup {name} records no dump, and its storage is no bucket: nobody can look which to take"
        )
    if metadata.get(_NAMESPACE, namespace) != namespace:
        raise InvalidInput(f"Backup {name} records a dump of namespace {metadata[_NAMESPACE]}")
    here = place.s3.uri(place.prefix)
    recorded = metadata.get(_URI, here).removesuffix(metadata[_NAME])
    if recorded.rstrip("/") != here.rstrip("/"):
        raise InvalidInput(f"Backup {name} records a dump under {recorded}; the strategy keeps dumps in {here} now")
    if backup.spec.taken_at is None:
        raise InvalidInput(f"Backup {name} has no spec.takenAt")
    return backup.spec.taken_at


def nearest(backup: Backup, taken_at: datetime, place: Place, files: Sequence[DumpFile], options: Options) -> Recorded:
    """The dump that is assumed to be the Backup's; InvalidInput where that is not asked for, or can't be told."""
    dump = dumps.safe_choice(files, taken_at)
    if not options.assume_nearest:
        raise InvalidInput(
            f"Backup {backup.metadata.name} records no dump, as those of Cozystack's own controller: the newest one "
            f"from before its takenAt {written(taken_at)} is {dump.key}, {dump.size} bytes; if it is of this "
            "application and that Backup had not failed, spec.options.assumeNearest: true restores it"
        )
    return Recorded(
        name=backup.spec.driver_metadata[_NAME],
        storage=place.identity,
        taken_at=dump.taken_at,
        cluster="",
        prefix=place.prefix,
        file=dump.name,
        size=dump.size,
        compression=dump.compression,
    )


def note(backup: Backup, recorded: Recorded) -> str:
    """What was assumed."""
    at = written(backup.spec.taken_at) if backup.spec.taken_at else "an unknown time"
    return (
        f"{recorded.key} of {written(recorded.taken_at)} is the newest dump from before {at}, when Backup "
        f"{backup.metadata.name} was completed; that it is the dump of this Backup is assumed"
    )
