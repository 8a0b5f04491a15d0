"""Download and restore: what they need, and what they destroy."""

import math
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime
from functools import partial

from ._archives import Archive, Metadata, ResumeState, TableFile, part_key
from ._backup import LOCAL_PATH, NO_FILE
from ._clickhouse import Part, Table
from ._databases import readdressed
from ._listing import GARBAGE, broken_remote, reachable, refresh_cache
from ._options import Options
from ._pids import drop_pid_file, pid_locked
from ._pod import Pod, require_clickhouse, require_s3
from ._timeline import Cancelled, OperationError, Steps
from ._zookeeper import ReplicaExistsError

DOWNLOAD_ERROR = "one of Download go-routine return error: downloadTableData"
EMPTY = TableFile("", "", "", "")


class AlreadyExistsError(OperationError):
    """A local archive of that name is there: the end of download, no obstacle to restore_remote."""


@pid_locked("download", "CheckAndCreatePidFile: ")
def download(pod: Pod, options: Options) -> Steps:
    """Fetch an archive, and for an increment the parts of its bases; `metadata.json` comes last."""
    yield from require_clickhouse(pod)
    _refuse_local(pod, options.name)
    known = yield from _remote_metadata(pod, options)
    remote = pod.remote.get(options.name) or Archive(options.name, pod.now)
    local = pod.local.setdefault(options.name, Archive(options.name, pod.now))
    _prepare_state(local, options)
    names = options.select(known.tables if known else ())
    files = [_table_file(pod, remote, name) for name in names]
    for file in files:
        yield from _fetch_table(pod, remote, local, file, options, len(files))
    local.tables = {file.full_name: local.tables[file.full_name] for file in files}
    local.metadata = _local_metadata(known, local)


def _refuse_local(pod: Pod, name: str) -> None:
    local = pod.local.get(name)
    if local is None or local.download_state:
        return
    reason = "backup is already exists"
    if pod.settings.use_resumable_state:
        reason += (
            f": local backup '{name}' exists but resumable state 'download.state2' is missing, so it is unknown "
            "which parts are complete and resuming on top of partial data risks silent corruption; "
            f"run `clickhouse-backup delete local {name}` and retry the download, "
            "or investigate why the resumable state was lost"
        )
    raise AlreadyExistsError(reason)


def _remote_metadata(pod: Pod, options: Options) -> Generator[float, None, Metadata | None]:
    """Return what the listing knows of the archive; None for a broken one, where empty archives are allowed."""
    name = options.name
    if not (yield from reachable(pod)) or name not in pod.remote:
        raise OperationError(f"'{name}' is not found on remote storage")
    refresh_cache(pod)
    known = pod.cache.get(name)
    if (known is None or not known.tables) and not pod.settings.allow_empty_backups:
        raise OperationError(f"'{name}' is empty backup")
    return known


def _prepare_state(local: Archive, options: Options) -> None:
    """Go on with the state file of the same parameters, else begin one."""
    parameters = (options.tables, options.partitions, options.schema)
    if local.download_state is None or local.download_state.parameters != parameters:
        local.download_state = ResumeState(parameters)


def _table_file(pod: Pod, remote: Archive, name: str) -> TableFile:
    if name in remote.tables:
        return remote.tables[name]
    key = f"{remote.name}/metadata/{name.replace('.', '/', 1)}.json"
    raise OperationError(
        "one of Download Metadata go-routine return error: downloadTableMetadata: "
        f"remote metadata file {key} not found on remote storage, backup is broken"
    )


def _fetch_table(pod: Pod, remote: Archive, local: Archive, file: TableFile, options: Options, tables: int) -> Steps:
    """Fetch the archive's own parts of a table, then those of its bases."""
    parts = {} if options.schema else file.parts
    parts = {name: part for name, part in parts.items() if options.wants(file.full_name, part.partition)}
    seconds = pod.duration.download / (tables * max(1, len(parts)))
    for part in sorted(parts.values(), key=lambda part: part.name in file.required):
        yield from _fetch_part(pod, remote, local, file, part, seconds)
    if parts and remote.metadata and remote.metadata.required:
        _require_base(pod, remote.metadata.required)
    local.tables[file.full_name] = replace(file, parts=parts, required=frozenset())


def _fetch_part(pod: Pod, remote: Archive, local: Archive, file: TableFile, part: Part, seconds: float) -> Steps:
    state, key = local.download_state, part_key(file.full_name, part)
    assert state
    if key in state.done:
        return
    yield seconds
    yield from require_s3(pod, f"{DOWNLOAD_ERROR}: operation error S3: GetObject", f'Get "{key}"')
    yield from _require_space(pod, key)
    if part.name in file.required:
        local.parts[key] = yield from _from_base(pod, remote, file, part)
    elif key in remote.parts:
        local.parts[key] = remote.parts[key]
    else:
        yield 35.0
        raise OperationError(f"{DOWNLOAD_ERROR}: key not found: {pod.path}/{remote.name}/{key}")
    state.done.add(key)


def _require_space(pod: Pod, key: str) -> Steps:
    """Give up on a full disk after the server's retries."""
    if pod.faults.disk_full:
        yield 35.0
        raise OperationError(f"{DOWNLOAD_ERROR}: write {LOCAL_PATH}/{key}: no space left on device")


def _from_base(pod: Pod, archive: Archive, file: TableFile, part: Part) -> Generator[float, None, Part]:
    """Follow the chain to the archive that holds the part.

    One that lacks it makes the download hang for ever: on the real server nearly always, it is a race there.
    """
    key = part_key(file.full_name, part)
    while part.name in file.required:
        archive = _require_base(pod, archive.metadata.required if archive.metadata else "")
        file = archive.tables.get(file.full_name, EMPTY)
    if archive.parts.get(key) != part:
        yield from _hang()
    return part


def _require_base(pod: Pod, name: str) -> Archive:
    """Return the base of an increment; a broken one is an error from 2.8.0 on only, a missing one always."""
    error = f"{DOWNLOAD_ERROR}: downloadDiffParts: ReadBackupMetadataRemote: {name}"
    if name not in pod.remote:
        raise OperationError(f"{error} not found on remote storage")
    base = pod.remote[name]
    if not base.good and name not in pod.cache and pod.version.since(2, 8, 0):
        raise OperationError(f"{error} is {broken_remote(base)} on remote storage")
    return base


def _hang() -> Steps:
    """Wait for ever, deaf to a kill."""
    while True:
        try:
            yield math.inf
        except Cancelled:
            continue


def _local_metadata(known: Metadata | None, local: Archive) -> Metadata:
    size = sum(file.remote_size for file in local.tables.values())
    keys = {part_key(file.full_name, part) for file in local.tables.values() for part in file.parts.values()}
    data = sum(part.size for key, part in local.parts.items() if part.rows and key in keys)
    if known is None:
        return Metadata(datetime.min, tags="")
    return Metadata(known.created, tuple(local.tables), data, size, 0, known.required)


@pid_locked("restore", "pidlock.CheckAndCreatePidFile: ")
def restore(pod: Pod, options: Options) -> Steps:
    """Drop the tables of the archive, recreate them and attach its parts; `data` alone only attaches."""
    yield from require_clickhouse(pod)
    archive = _local_archive(pod, options.name)
    if not archive.tables:
        _accept_empty(pod, options.name)
        return
    files = [archive.tables[name] for name in options.select(archive.tables)]
    if not files and options.tables:
        text = f"not found schemas by {options.tables} in {options.name}"
        raise OperationError(f"getTablesForRestoreLocal: {text}, also check skip_tables and skip_table_engines setting")
    schema, data = options.schema or not options.data, options.data or not options.schema
    step = pod.duration.restore / (schema * 2 + data)
    if schema:
        yield from _replace_tables(pod, files, options, step)
    if data:
        yield step
        _attach_all(pod, archive, files, options, replace=options.data and not options.schema)


def _accept_empty(pod: Pod, name: str) -> None:
    if not pod.settings.allow_empty_backups:
        hint = "if you need it, you can setup `allow_empty_backups: true` in `general` config section"
        raise OperationError(f"'{name}' doesn't contains tables for restore, {hint}")


def _local_archive(pod: Pod, name: str) -> Archive:
    archive = pod.local.get(name)
    if archive is None or not (archive.metadata or archive.damage):
        raise OperationError(f"read backup metadata file: open {LOCAL_PATH}/{name}/{NO_FILE}")
    if archive.damage == "null":
        return Archive(name, archive.modified)
    if archive.damage:
        raise OperationError(f"unmarshal backup metadata: {GARBAGE}")
    return archive


def _replace_tables(pod: Pod, files: list[TableFile], options: Options, step: float) -> Steps:
    """Drop what exists, then create all of it empty."""
    for file in files:
        target = options.target(file.full_name)
        if target in pod.tables:
            pod.tables.drop(target)
    yield step
    failures = [failure for file in files if (failure := _create_table(pod, file, options.target(file.full_name)))]
    if failures:
        table, error = failures[0]
        name = f"`{table.database}`.`{table.name}`"
        raise OperationError(
            f"RestoreSchema: restoreSchema: can't create table {name} after {len(files)} times, "
            f"please check your schema dependencies: CreateTable: execute create query: code: 253, message: {error}."
        )
    yield step


def _create_table(pod: Pod, file: TableFile, target: str) -> tuple[Table, ReplicaExistsError] | None:
    """Create a table of an archive, or tell why not; one whose replica ZooKeeper knows goes elsewhere, unsaid."""
    archived = Table(file.database, file.name, file.engine, file.query, file.partitions)
    table = readdressed(archived, target)
    if pod.tables.replica_exists(table):
        table = readdressed(archived, target, elsewhere=True)
    try:
        pod.tables.create(table)
    except ReplicaExistsError as error:
        return table, error
    return None


def _attach_all(pod: Pod, archive: Archive, files: list[TableFile], options: Options, *, replace: bool) -> None:
    for file in files:
        table = pod.tables.get(options.target(file.full_name))
        if table is None:
            raise OperationError(f"one of restoreDataRegular go-routine return error: can't find {file.full_name}")
        parts = [part for part in file.parts.values() if options.wants(file.full_name, part.partition)]
        _check_parts(archive, file, parts)
        if replace and options.partitions:
            table.drop_parts(partial(_is_wanted, options, file.full_name))
        for part in parts:
            table.attach(part.partition, part.rows)


def _is_wanted(options: Options, table: str, part: Part) -> bool:
    return options.wants(table, part.partition)


def _check_parts(archive: Archive, file: TableFile, parts: list[Part]) -> None:
    for part in parts:
        held = archive.parts.get(part_key(file.full_name, part))
        if part.name not in file.required and held != part:
            raise OperationError(
                f"one of restoreDataRegular go-routine return error: AttachDataParts: {part.name} "
                f"has unexpected size: 0 instead of {part.size}"
            )


def restore_remote(pod: Pod, options: Options) -> Steps:
    """Download, then restore. A local archive of that name, however old, is taken instead of the remote one."""
    try:
        yield from _download_first(pod, options)
        yield from restore(pod, options)
    finally:
        drop_pid_file(pod, options.name)


def _download_first(pod: Pod, options: Options) -> Steps:
    try:
        yield from download(pod, options)
    except AlreadyExistsError:
        pass
    except OperationError as error:
        raise OperationError(f"RestoreFromRemote Download: {error}") from None
