"""What a Backup records of a ClickHouse set in `spec.driverMetadata`, and the way back. Pure.

A tenant can write it, so it is read as a hint (I12): the names must be those of this application in this namespace,
every shard must be there once, and an object of a newer schema is refused untouched.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import Field, ValidationError

from chbackup import Archive, ArchiveName, parse_archive_name
from cozydrivers.api.backups import Backup
from cozydrivers.api.base import Model
from cozydrivers.drivers.base import Record, Run
from cozydrivers.drivers.owned import hex_of
from cozydrivers.errors import InvalidInput

PREFIX = "clickhouse.backup/"
ARCHIVE = PREFIX + "archive."
EXECUTION = PREFIX + "execution"
STORAGE = PREFIX + "storage"
IMPORTED = PREFIX + "imported"
CLUSTER = PREFIX + "cluster"
VERSIONS = PREFIX + "server-version"
SCHEMA = 1
_MOST_DIGITS = 18


class Tables(Model):
    """`clickhouse.backup/tables.<member>`: how many tables, a hash of their names, and those that need care.

    `bytes` is the size of all their rows, those in the bases of an increment too; 0 where it was not recorded.
    `engines` is by which engine arguments the replicated ones are shared, hashed.
    """

    count: int
    hash: str
    bytes: int = 0
    replicated: tuple[str, ...] = ()
    schema_only: tuple[str, ...] = ()
    consuming: tuple[str, ...] = ()
    engines: dict[str, str] = Field(default_factory=dict)


class Recorded(Model):
    """One archive of a set, as recorded.

    The first of a shard has the shard's number in its keys, a further replica's `<shard>.<replica>`.
    """

    shard: int
    replica: int = 0
    archive: str
    data_size: int
    required: str = ""
    tables: Tables

    @property
    def whole(self) -> int:
        """Bytes of all its rows, those in its bases too."""
        return self.tables.bytes or self.data_size


def tables_hash(names: Iterable[str]) -> str:
    """16 hex digits that stand for a set of table names."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def write(entries: Sequence[Recorded], *, versions: str, storage: str, cluster: str) -> dict[str, str]:
    """The record of a set: its archives, the servers' versions, where it is stored and of which cluster."""
    metadata = {
        "schema": str(SCHEMA),
        "shards": str(len({entry.shard for entry in entries})),
        "server-version": versions,
        "storage": storage,
        "cluster": cluster,
    }
    begun: set[int] = set()
    for entry in entries:
        member = f"{entry.shard}.{entry.replica}" if entry.shard in begun else str(entry.shard)
        begun.add(entry.shard)
        metadata |= {
            f"archive.{member}": entry.archive,
            f"data-size.{member}": str(entry.data_size),
            f"required.{member}": entry.required,
            f"tables.{member}": entry.tables.model_dump_json(by_alias=True, exclude_defaults=True),
        }
    return {PREFIX + key: value for key, value in metadata.items()}


def write_pod(archives: Sequence[str], *, shards: int, storage: str, cluster: str) -> dict[str, str]:
    """The record of a set that Pods made; without archives where the template does not take their names."""
    metadata = {
        "schema": str(SCHEMA),
        "execution": "pod",
        "shards": str(shards),
        "storage": storage,
        "cluster": cluster,
        **{f"archive.{shard}": archive for shard, archive in enumerate(archives)},
    }
    return {PREFIX + key: value for key, value in metadata.items()}


def read(metadata: Mapping[str, str], run: Run, application: str) -> list[Recorded]:
    """The archives of a set, by shard, its first one first; InvalidInput names the key that is missing or wrong."""
    _check_form(metadata, "sidecar")
    found = _parse(metadata)
    shards = len({entry.shard for entry in found})
    _check_names([(entry.shard, entry.archive) for entry in found], shards, run, application)
    _check_replicas(found)
    return found


def _parse(metadata: Mapping[str, str]) -> list[Recorded]:
    shards = _number(metadata, "shards")
    further = _further(metadata)
    members = [
        member
        for shard in range(shards)
        for member in (str(shard), *(f"{shard}.{replica}" for of, replica in further if of == shard))
    ]
    found = [_one(metadata, member) for member in members]
    _check_count(metadata, members)
    return found


def _further(metadata: Mapping[str, str]) -> list[tuple[int, int]]:
    """Shard and replica of what is recorded beyond the first archive of each shard."""
    named = [re.fullmatch(r"archive\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,2})", key) for key in _archive_keys(metadata)]
    return sorted((int(key[1]), int(key[2])) for key in named if key)


def _check_replicas(found: Sequence[Recorded]) -> None:
    places = [(entry.shard, entry.replica) for entry in found]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise InvalidInput(f"the Backup records shard {twice[0]} replica {twice[1]} twice")


def summary(backup: Backup) -> Record | None:
    """What a Backup records, names unchecked; None where nothing here is ours. Raises InvalidInput as `read` does."""
    metadata = backup.spec.driver_metadata
    if not any(key.startswith(PREFIX) for key in metadata):
        return None
    _check_schema(metadata)
    if metadata.get(EXECUTION, "sidecar") != "sidecar":
        raise InvalidInput(f"its {EXECUTION} is {metadata[EXECUTION]!r}: what a Pod has made is not known")
    archives = tuple(entry.archive for entry in _parse(metadata))
    storage = metadata.get(STORAGE, "")
    return Record(_text(metadata, "cluster"), (storage,) if storage else (), archives)


@dataclass(frozen=True)
class Claims:
    """What other Backups record, read tolerantly: whatever they name stays (I8).

    `holders` are the Backups by the archives that they name, `archives` these with the bases that they need. `newer` is
    one that a newer version has written, so that what it needs can't be told.
    """

    holders: Mapping[str, str] = field(default_factory=dict)
    archives: Sequence[Archive] = ()
    newer: str = ""


def claims(backups: Iterable[Backup]) -> Claims:
    """What these Backups lay claim to; those that are being deleted themselves hold no archive of their own."""
    holders: dict[str, str] = {}
    archives: list[Archive] = []
    newer = ""
    for backup in backups:
        metadata, name = backup.spec.driver_metadata, backup.metadata.name
        newer = name if _is_newer(metadata) else newer
        for key in _archive_keys(metadata):
            archive, base = metadata[PREFIX + key], metadata.get(f"{PREFIX}required.{key.removeprefix('archive.')}", "")
            archives.append(Archive(name=archive, location="remote", required=base, desc="regular"))
            if backup.metadata.deletion_timestamp is None:
                holders[archive] = name
    return Claims(holders, archives, newer)


def going(backups: Iterable[Backup]) -> set[str]:
    """The archives of Backups that are being deleted, and the bases that these need."""
    leaving = [backup for backup in backups if backup.metadata.deletion_timestamp is not None]
    return {archive for each in claims(leaving).archives for archive in (each.name, each.required) if archive}


def _is_newer(metadata: Mapping[str, str]) -> bool:
    schema = metadata.get(PREFIX + "schema", "")
    return schema.isdecimal() and len(schema) <= _MOST_DIGITS and int(schema) > SCHEMA


def read_pod(metadata: Mapping[str, str], run: Run, application: str) -> list[str]:
    """The archives by shard of a set that Pods made; InvalidInput as above, and where none is recorded."""
    _check_form(metadata, "pod")
    shards = _number(metadata, "shards")
    if not _archive_keys(metadata):
        raise InvalidInput(
            "the Backup records no archive, because the strategy's template did not use .Archive: it can't be restored"
        )
    found = [_text(metadata, f"archive.{shard}") for shard in range(shards)]
    _check_count(metadata, [str(shard) for shard in range(shards)])
    _check_names(list(enumerate(found)), shards, run, application)
    return found


def _check_form(metadata: Mapping[str, str], execution: str) -> None:
    """Refuse what a newer version wrote, and what is restored in the other way only."""
    _check_schema(metadata)
    made = metadata.get(EXECUTION, "sidecar")
    if made != execution:
        raise InvalidInput(
            f"the Backup was made with execution {made!r} ({EXECUTION}) and can't be restored with "
            f"{execution!r}, which its strategy asks for (cozydrivers.cozystack.io/execution)"
        )


def _check_schema(metadata: Mapping[str, str]) -> None:
    if _number(metadata, "schema") > SCHEMA:
        raise InvalidInput(f"the Backup's {PREFIX}schema is {metadata[PREFIX + 'schema']}; this version reads {SCHEMA}")


def _check_count(metadata: Mapping[str, str], members: Sequence[str]) -> None:
    extra = sorted(set(_archive_keys(metadata)) - {f"archive.{member}" for member in members})
    if extra or not members:
        raise InvalidInput(
            f"the Backup records {PREFIX}{extra[0]} beyond its {metadata[PREFIX + 'shards']} shards"
            if extra
            else "the Backup records no archive"
        )


def _archive_keys(metadata: Mapping[str, str]) -> list[str]:
    return [key.removeprefix(PREFIX) for key in metadata if key.startswith(PREFIX + "archive.")]


def _text(metadata: Mapping[str, str], key: str) -> str:
    if PREFIX + key not in metadata:
        raise InvalidInput(f"the Backup's spec.driverMetadata has no {PREFIX}{key}")
    return metadata[PREFIX + key]


def _number(metadata: Mapping[str, str], key: str) -> int:
    text = _text(metadata, key)
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise InvalidInput(f"the Backup's {PREFIX}{key} is {text[:_MOST_DIGITS]!r}, not a number of a few digits")
    return int(text)


def _one(metadata: Mapping[str, str], member: str) -> Recorded:
    text = _text(metadata, f"tables.{member}")
    try:
        tables = Tables.model_validate_json(text)
    except ValidationError:
        raise InvalidInput(f"the Backup's {PREFIX}tables.{member} can't be read") from None
    shard, _, replica = member.partition(".")
    archive = _text(metadata, f"archive.{member}")
    name = parse_archive_name(archive)
    if replica and name is not None and name.replica != int(replica):
        raise InvalidInput(f"the Backup's {PREFIX}archive.{member} is {archive}, of replica {name.replica}")
    return Recorded(
        shard=int(shard),
        replica=name.replica if name else 0,
        archive=archive,
        data_size=_number(metadata, f"data-size.{member}"),
        required=metadata.get(f"{PREFIX}required.{member}", ""),
        tables=tables,
    )


def _check_names(archives: Sequence[tuple[int, str]], shards: int, run: Run, application: str) -> None:
    sets = set()
    for shard, archive in archives:
        name = parse_archive_name(archive)
        wrong = f"{archive} is not an archive of ClickHouse {application}, shard {shard} of {shards}"
        if name is None or (name.shard, name.shards) != (shard, shards) or not is_of(name, application):
            raise InvalidInput(wrong)
        if name.namespace_hash not in (hex_of(run.namespace_uid, 6), *run.former_namespaces):
            raise InvalidInput(f"{wrong}, in this namespace, but of another one, {name.namespace_hash}")
        sets.add(name.set_name)
    if len(sets) > 1:
        raise InvalidInput("the Backup's archives are not of one set")


def is_of(name: ArchiveName, application: str) -> bool:
    """Whether it is an archive of an application of that name; a long one is shortened in it."""
    return str(replace(name, app=application)) == str(name)
