"""Delete, clean, rebase: the short operations on archives."""

from dataclasses import replace

from ._archives import Archive, Metadata, part_key
from ._listing import is_broken, reachable, refresh_cache
from ._options import Options
from ._pids import drop_pid_file, pid_locked, take_pid_file
from ._pod import Pod, require_clickhouse, s3_error
from ._timeline import OperationError, ProcessExit, Steps


def delete(pod: Pod, where: str, name: str, *, force: bool) -> Steps:
    """Delete one archive; from 2.8.1 on not one that a listed one requires, unless forced."""
    yield from require_clickhouse(pod)
    yield pod.duration.delete
    if where not in {"local", "remote"}:
        raise OperationError("backup location must be 'local' or 'remote'")
    yield from _require_listing(pod, where, name)
    archives = pod.local if where == "local" else pod.remote
    _require_named(pod, archives, where, name)
    if pod.version.since(2, 8, 1) and not force:
        if where == "remote" and pod.settings.rebase_during_delete:
            for dependent in dependents(archives, name):
                yield from rebase(pod, Options(name=dependent))
        _refuse_base(archives, where, name)
    del archives[name]
    if where == "remote":
        pod.cache.pop(name, None)


def delete_by_command(pod: Pod, where: str, name: str, *, force: bool) -> Steps:
    """Delete as the command line does, which minds the pid file of the name; a request for it does not."""
    take_pid_file(pod, name, "delete")
    try:
        yield from delete(pod, where, name, force=force)
    finally:
        drop_pid_file(pod, name)


def _require_named(pod: Pod, archives: dict[str, Archive], where: str, name: str) -> None:
    """Refuse what is not listed under that name: nameless archives, and objects that are no folder."""
    archive = archives.get(name)
    nameless = archive and archive.damage == "null" and (where == "local" or name not in pod.cache)
    if archive is None or nameless or archive.damage == "stray":
        raise OperationError(f"'{name}' is not found on {where} storage")


def _require_listing(pod: Pod, where: str, name: str) -> Steps:
    """Look at the object store first: needed for a remote delete, only slow for a local one."""
    if where == "remote" and pod.settings.remote_storage == "none":
        raise OperationError('aborted: RemoteStorage set to "none"')
    answered = yield from reachable(pod)
    if where == "remote" and not answered and pod.faults.s3 == "no_bucket":
        raise OperationError(f"'{name}' is not found on remote storage")
    if where == "remote" and not answered:
        yield 3.0 if pod.faults.s3 == "refused" else 0.0
        url = f"http://s3.fake/backups?list-type=2&max-keys=1000&prefix={pod.path}/{name}/"
        error = "bd.RemoveBackupRemote: RemoveBackupRemote Walk: S3 remotePager NextPage"
        reason = s3_error(pod, f'Get "{url}"')
        raise OperationError(f"{error}: operation error S3: ListObjectsV2, {reason}")


def dependents(archives: dict[str, Archive], name: str) -> list[str]:
    """Return the archives that require this one directly."""
    return sorted(other.name for other in archives.values() if other.metadata and other.metadata.required == name)


def _refuse_base(archives: dict[str, Archive], where: str, name: str) -> None:
    names = dependents(archives, name)
    if not names:
        return
    text = f"'{name}' is required by {where} backup(s) {', '.join(names)}, deleting it breaks the incremental "
    text += "backups chain, delete the dependent backup(s) first"
    if where == "remote":
        text += ", run `rebase` for them, set `general.rebase_during_delete: true`"
    raise OperationError(f"{text} or use `--force`")


def clean(pod: Pod) -> Steps:
    """Remove ClickHouse's shadow folder; while a create runs this ends the server's process."""
    yield from require_clickhouse(pod)
    if any(
        row.running and row.command.startswith("create") and _creating(pod, row.command) for row in pod.history.rows
    ):
        raise ProcessExit


def _creating(pod: Pod, command: str) -> bool:
    archive = pod.local.get(command.rpartition(" ")[2])
    return archive is not None and archive.metadata is None


def clean_local_broken(pod: Pod) -> Steps:
    """Delete all local archives that list as broken, running ones among them."""
    yield from require_clickhouse(pod)
    for name in [name for name, archive in pod.local.items() if not archive.good and archive.damage != "null"]:
        del pod.local[name]


def clean_remote_broken(pod: Pod) -> Steps:
    """Delete all remote archives that list as broken, running uploads of any sidecar among them.

    It stops at the first that cannot be deleted. One without a name stands for the whole path.
    """
    yield from require_clickhouse(pod)
    if (yield from reachable(pod)):
        refresh_cache(pod)
        broken = [archive for archive in pod.remote.values() if is_broken(pod, archive)]
        for archive in sorted(broken, key=lambda archive: archive.name):
            _clean_remote(pod, archive)


def _clean_remote(pod: Pod, archive: Archive) -> None:
    if not archive.name:
        pod.remote.clear()
        pod.remote[archive.name] = archive
    elif archive.damage == "stray" or archive.name not in pod.remote:
        raise OperationError(f"b.RemoveBackupRemote: '{archive.name}' is not found on remote storage")
    else:
        del pod.remote[archive.name]


@pid_locked("rebase")
def rebase(pod: Pod, options: Options) -> Steps:
    """Copy what an increment requires into it, so that it stands alone."""
    name = options.name
    yield from require_clickhouse(pod)
    archive = pod.remote.get(name)
    if archive is None or archive.metadata is None:
        raise OperationError(f"{name} not found on remote storage")
    if not archive.metadata.required:
        raise OperationError(f"backup {name} doesn't contain `required_backup`, nothing to rebase")
    yield pod.duration.upload
    for table, file in list(archive.tables.items()):
        archive.parts |= {part_key(table, part): part for part in file.parts.values()}
        archive.tables[table] = replace(file, required=frozenset())
    archive.metadata = _full_metadata(archive, archive.metadata)
    pod.cache.pop(name, None)
    refresh_cache(pod)


def _full_metadata(archive: Archive, old: Metadata) -> Metadata:
    """Return the metadata of a full archive, whose `data_size` nevertheless stays that of the increment."""
    tables = sum(file.remote_size for file in archive.tables.values())
    data = sum(part.tar_size for part in archive.parts.values())
    return Metadata(old.created, old.tables, old.data_size, tables, data, "")


@pid_locked("rebalance")
def rebalance(pod: Pod, options: Options) -> Steps:
    """Fail: the modelled ClickHouse has one disk and is too old."""
    yield from require_clickhouse(pod)
    raise OperationError("rebalance requires `system.parts.disk_name`, please upgrade ClickHouse to 19.15+")
