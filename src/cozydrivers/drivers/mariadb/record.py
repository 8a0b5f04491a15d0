"""What a Backup records of a dump in `spec.driverMetadata`, and the way back. Pure.

A tenant can write it, so it is read as a hint (I12): a dump is looked for where the strategy keeps the application's
dumps, under a name that is this namespace's, and nowhere else. Bucket and credentials are never taken from a record.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cozydrivers.api.backups import Backup
from cozydrivers.drivers.base import Record, Run
from cozydrivers.drivers.mariadb.naming import Name
from cozydrivers.drivers.mariadb.storage import Place
from cozydrivers.drivers.owned import hex_of
from cozydrivers.errors import InvalidInput

PREFIX = "k8s.mariadb.com/"
SCHEMA = 1
IMPORTED = PREFIX + "imported"
_SECOND = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


@dataclass(frozen=True)
class Recorded:
    """A dump, as recorded: `name` is that of the operator's object which made it.

    In a bucket it is `file` under `prefix`; else `claim` is the PersistentVolumeClaim that the run made for it, with
    its UID, or is empty for a volume that others write to as well. `size` is in bytes, 0 where nobody could look.
    """

    name: str
    storage: str
    taken_at: datetime
    cluster: str
    prefix: str = ""
    file: str = ""
    size: int = 0
    compression: str = "none"
    databases: tuple[str, ...] = ()
    claim: str = ""
    claim_uid: str = ""

    @property
    def key(self) -> str:
        """The dump's key in the bucket, empty where it is in none."""
        return f"{self.prefix}{self.file}" if self.file else ""


def write(recorded: Recorded, namespace: str) -> dict[str, str]:
    """The record of a dump; what is empty is left out."""
    values = {
        "schema": str(SCHEMA),
        "backup-name": recorded.name,
        "backup-namespace": namespace,
        "storage": recorded.storage,
        "taken-at": written(recorded.taken_at),
        "cluster": recorded.cluster,
        "prefix": recorded.prefix,
        "file": recorded.file,
        "size": str(recorded.size or ""),
        "compression": recorded.compression,
        "databases": ",".join(recorded.databases),
        "claim": recorded.claim,
        "claim-uid": recorded.claim_uid,
    }
    return {PREFIX + key: value for key, value in values.items() if value}


def written(at: datetime) -> str:
    """A second in UTC, as the operator writes it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Whether a record is this driver's; the reference's has no schema."""
    return PREFIX + "schema" in metadata


def is_newer(metadata: Mapping[str, str]) -> bool:
    """Whether a newer version has written it."""
    schema = metadata.get(PREFIX + "schema", "")
    return re.fullmatch("[0-9]{1,18}", schema) is not None and int(schema) > SCHEMA


def read(metadata: Mapping[str, str]) -> Recorded:
    """Read a record; InvalidInput names the key that is missing or wrong, or a newer schema."""
    schema = metadata.get(PREFIX + "schema", "")
    if schema != str(SCHEMA):
        raise InvalidInput(f"driverMetadata {PREFIX}schema is {schema!r}; this version reads {SCHEMA}")
    recorded = Recorded(
        name=_given(metadata, "backup-name"),
        storage=_given(metadata, "storage"),
        taken_at=_time(_given(metadata, "taken-at")),
        cluster=_given(metadata, "cluster"),
        prefix=metadata.get(PREFIX + "prefix", ""),
        file=metadata.get(PREFIX + "file", ""),
        size=_size(metadata),
        compression=metadata.get(PREFIX + "compression", "none"),
        databases=tuple(filter(None, metadata.get(PREFIX + "databases", "").split(","))),
        claim=metadata.get(PREFIX + "claim", ""),
        claim_uid=metadata.get(PREFIX + "claim-uid", ""),
    )
    if Name.parse(recorded.name) is None:
        raise InvalidInput(f"driverMetadata {PREFIX}backup-name is none of this driver's: {recorded.name!r}")
    if recorded.storage.startswith("s3/") != bool(recorded.prefix):
        raise InvalidInput(f"driverMetadata {PREFIX}prefix does not fit {PREFIX}storage")
    if "/" in recorded.file:
        raise InvalidInput(f"driverMetadata {PREFIX}file is no file's name: {recorded.file!r}")
    return recorded


def checked(metadata: Mapping[str, str], run: Run, place: Place) -> Recorded:
    """Read a record, and hold it against where the strategy keeps dumps; InvalidInput says what differs.

    `place` is that of the application that the Backup is of.
    """
    recorded = read(metadata)
    name = Name.parse(recorded.name)
    homes = {hex_of(run.namespace_uid, 6), *run.former_namespaces}
    if name is None or name.home not in homes:
        raise InvalidInput(f"the dump {recorded.name} was made in another namespace than {run.namespace}")
    if name.purpose == "restore":
        raise InvalidInput(f"driverMetadata {PREFIX}backup-name is a Restore's: {recorded.name}")
    if recorded.storage != place.identity:
        raise InvalidInput(f"the dump is in {recorded.storage}, and the strategy keeps dumps in {place.identity} now")
    if place.s3 is not None and recorded.prefix != place.folder(recorded.name):
        raise InvalidInput(f"the dump is recorded under {recorded.prefix}, not under {place.folder(recorded.name)}")
    if place.kind == "persistentVolumeClaim" and not recorded.claim:
        raise InvalidInput(f"driverMetadata {PREFIX}claim is missing")
    if recorded.claim and recorded.claim != recorded.name:
        raise InvalidInput(f"the dump's claim is recorded as {recorded.claim}, not as {recorded.name}")
    return recorded


def summary(backup: Backup) -> Record | None:
    """What a controller needs of a Backup's record, None where this driver did not write it."""
    metadata = backup.spec.driver_metadata
    if not is_ours(metadata):
        return None
    recorded = read(metadata)
    return Record(recorded.cluster, [recorded.storage], [recorded.key or recorded.claim or recorded.name])


def _given(metadata: Mapping[str, str], key: str) -> str:
    value = metadata.get(PREFIX + key, "")
    if not value:
        raise InvalidInput(f"driverMetadata {PREFIX}{key} is missing")
    return value


def _time(text: str) -> datetime:
    try:
        if _SECOND.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidInput(f"driverMetadata {PREFIX}taken-at is no time as 2026-11-23T12:00:00Z: {text!r}")


def _size(metadata: Mapping[str, str]) -> int:
    text = metadata.get(PREFIX + "size", "0")
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise InvalidInput(f"driverMetadata {PREFIX}size is no number of bytes: {text!r}")
    return int(text)
