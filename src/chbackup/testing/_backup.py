"""Create and upload: what they leave behind at each moment."""

from collections.abc import Generator
from dataclasses import replace

from ._archives import Archive, Metadata, ResumeState, TableFile, part_key, table_key
from ._clickhouse import Table
from ._listing import GARBAGE
from ._options import Options
from ._pids import drop_pid_file, pid_locked
from ._pod import Pod, require_clickhouse, require_s3
from ._retention import keep_local, keep_remote
from ._timeline import Cancelled, OperationError, Steps

NO_FILE = "metadata.json: no such file or directory"
LOCAL_PATH = "/var/lib/clickhouse/backup"
UPLOAD_ERROR = (
    "one of upload table go-routine return error: uploadTableData: "
    "one of uploadTableData go-routine return error: can't upload"
)


@pid_locked("create")
def create(pod: Pod, options: Options) -> Steps:
    """Freeze the tables into a local archive; its `metadata.json` comes last. One that is killed stays broken."""
    yield from require_clickhouse(pod)
    selected = [pod.tables.get(name) for name in options.select(pod.tables.names())]
    tables = [table for table in selected if table]
    if not tables and not pod.settings.allow_empty_backups:
        raise OperationError("no tables for backup")
    base = yield from _base(pod, options.diff_from_remote, "createBackup failed: ")
    _refuse_existing(pod, options.name)
    archive = Archive(options.name, pod.now)
    before = pod.local.get(options.name)
    archive.upload_state = before.upload_state if before else None
    pod.local[options.name] = archive
    _freeze(archive, tables, options, base)
    yield pod.duration.create
    archive.metadata = _local_metadata(archive, base.name if base else "")
    keep_local(pod)


def _refuse_existing(pod: Pod, name: str) -> None:
    """Refuse a name that exists without resumable state: the failure's cleanup deletes the existing archive."""
    resumable = pod.settings.use_resumable_state and pod.version.since(2, 6, 0)
    if name in pod.local and pod.local[name].metadata and not resumable:
        del pod.local[name]
        raise OperationError(f"createBackup failed: '{name}' medatata.json already exists")


def _base(pod: Pod, name: str, error: str = "") -> Generator[float, None, Archive | None]:
    """Find the base of an increment. A broken one passes, and then nothing equals its parts."""
    if not name:
        return None
    while pod.faults.s3 == "hanging":
        yield 0.5
    if pod.faults.s3 is None and name not in pod.remote:
        raise OperationError(f"{error}b.getTablesDiffFromRemote return error: {name} not found on remote storage")
    found = pod.remote.get(name)
    return found if found and found.good else Archive(name, pod.now)


def _freeze(archive: Archive, tables: list[Table], options: Options, base: Archive | None) -> None:
    for table in tables:
        parts = {} if options.schema or not table.has_parts else {part.name: part for part in table.parts}
        parts = {name: part for name, part in parts.items() if options.wants(table.full_name, part.partition)}
        file = TableFile(table.database, table.name, table.engine, table.query, table.partitions, parts)
        file = _without_base(file, base)
        archive.tables[table.full_name] = file
        archive.parts |= {part_key(file.full_name, part): part for part in file.own_parts}


def _without_base(file: TableFile, base: Archive | None) -> TableFile:
    """Mark the parts that stand in the base with the same name and content."""
    known = base.tables.get(file.full_name) if base else None
    if known is None:
        return file
    same = frozenset(name for name, part in file.parts.items() if known.parts.get(name) == part)
    return replace(file, required=file.required | same)


def _local_metadata(archive: Archive, required: str) -> Metadata:
    files = archive.tables.values()
    data_size = sum(part.size for part in archive.parts.values())
    return Metadata(archive.modified, tuple(archive.tables), data_size, sum(file.size for file in files), 0, required)


@pid_locked("upload")
def upload(pod: Pod, options: Options) -> Steps:
    """Send a local archive part by part, then the tables' json, then `metadata.json`.

    What the state file calls done is not sent again, whether it is still there or not: so servers up to 2.8.0 make an
    archive that lists as good and is hollow.
    """
    yield from require_clickhouse(pod)
    local = _local_source(pod, options.name)
    base = yield from _upload_base(pod, options)
    state = _resume_state(pod, local, options)
    files = [_for_upload(local.tables[name], base, options) for name in options.select(local.tables)]
    yield from _send(pod, options.name, local, files, state)
    assert local.metadata
    remote = _target(pod, options.name)
    remote.metadata = _remote_metadata(local.metadata, files, base)
    remote.damage, remote.modified = "", pod.now
    keep_remote(pod)
    keep_local(pod, uploaded=True)
    if options.delete_source:
        pod.local.pop(options.name, None)


def _local_source(pod: Pod, name: str) -> Archive:
    if name not in pod.local or pod.local[name].damage == "null":
        raise OperationError(f"can't find local backup: backup '{name}' is not found")
    if name in pod.remote and not pod.settings.use_resumable_state:
        raise OperationError(f"'{name}' already exists on remote storage")
    local = pod.local[name]
    if not local.good:
        reason = f"json.Unmarshal: {GARBAGE}" if local.damage else f"ReadBackupMetadataLocal: open {name}/{NO_FILE}"
        raise OperationError(f"b.ReadBackupMetadataLocal return error: {reason}")
    return local


def _upload_base(pod: Pod, options: Options) -> Generator[float, None, Archive | None]:
    if options.diff_from_remote:
        return (yield from _base(pod, options.diff_from_remote))
    if not options.diff_from:
        return None
    if options.diff_from not in pod.local:
        raise OperationError(f"b.getTablesDiffFromLocal return error: backup '{options.diff_from}' is not found")
    return pod.local[options.diff_from]


def _resume_state(pod: Pod, local: Archive, options: Options) -> ResumeState:
    state = local.upload_state
    stale = pod.version.since(2, 8, 1) and local.name not in pod.remote
    if state is None or state.parameters != options.state or stale:
        state = ResumeState(options.state)
    local.upload_state = state if pod.settings.use_resumable_state else None
    return state


def _for_upload(file: TableFile, base: Archive | None, options: Options) -> TableFile:
    parts = {} if options.schema else file.parts
    parts = {name: part for name, part in parts.items() if options.wants(file.full_name, part.partition)}
    return _without_base(replace(file, parts=parts), base)


def _send(pod: Pod, name: str, local: Archive, files: list[TableFile], state: ResumeState) -> Steps:
    """Send what is not done yet; each object appears when it is complete."""
    count = sum(len(file.own_parts) for file in files) + len(files)
    for file in files:
        for part in file.own_parts:
            key = part_key(file.full_name, part)
            if key not in state.done:
                yield from _put_delay(pod, name, key, count)
                _target(pod, name).parts[key] = local.parts.get(key, part)
                state.done.add(key)
        key = table_key(file.full_name)
        if key not in state.done:
            yield from _put_delay(pod, name, key, count)
            _target(pod, name).tables[file.full_name] = file
            state.done.add(key)


def _put_delay(pod: Pod, name: str, key: str, count: int) -> Steps:
    url = f"http://s3.fake/backups/{pod.path}/{name}/{key}?x-id=PutObject"
    put = "UploadCompressedStream errgroup.Wait: S3 PutFileAbsolute Upload: operation error S3: PutObject"
    try:
        yield pod.duration.upload / count
        yield from require_s3(pod, f"{UPLOAD_ERROR}: {put}", f'Put "{url}"')
    except Cancelled:
        raise Cancelled(f"{UPLOAD_ERROR}: context canceled") from None


def _target(pod: Pod, name: str) -> Archive:
    return pod.remote.setdefault(name, Archive(name, pod.now))


def _remote_metadata(local: Metadata, files: list[TableFile], base: Archive | None) -> Metadata:
    compressed = sum(part.tar_size for file in files for part in file.own_parts)
    return Metadata(
        created=local.created,
        tables=tuple(file.full_name for file in files),
        data_size=local.data_size,
        metadata_size=sum(file.remote_size for file in files),
        compressed_size=compressed,
        required=base.name if base else local.required,
    )


def create_remote(pod: Pod, options: Options) -> Steps:
    """Create, then upload under the same row. Its end removes the pid file of the name, be it another's."""
    try:
        yield from create(pod, options)
        yield from upload(pod, options)
    finally:
        drop_pid_file(pod, options.name)
