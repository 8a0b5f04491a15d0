"""What a starting process does by itself: it continues uploads and downloads that left a state file."""

from ._archives import Archive, ResumeState
from ._backup import upload
from ._history import CANCEL, ERROR, SUCCESS, Row
from ._options import Options
from ._pod import Pod
from ._restore import download
from ._timeline import Cancelled, OperationError, Steps


def resume_all(pod: Pod) -> Steps:
    """Continue one archive after the other in the order of their names.

    It is given up when anything is in progress before one begins, and at the first that fails.
    """
    yield from _once_clickhouse_is_there(pod)
    for name in sorted(pod.local):
        for command in ("download", "upload"):
            archive = pod.local.get(name)
            if archive is None or _state(archive, command) is None:
                continue
            if pod.locked:
                return
            yield from _resume_one(pod, archive, command)
            yield 0.02


def _once_clickhouse_is_there(pod: Pod) -> Steps:
    while pod.faults.clickhouse_down:
        yield 5.0


def _state(archive: Archive, command: str) -> ResumeState | None:
    return archive.upload_state if command == "upload" else archive.download_state


def _resume_one(pod: Pod, archive: Archive, command: str) -> Steps:
    options, flags = _options(archive, command)
    row = pod.new_row(f"{command} {flags}--resumable=1 {archive.name}")
    row.job = pod.resuming
    try:
        yield from (upload if command == "upload" else download)(pod, options)
    except (OperationError, Cancelled) as error:
        _end(pod, row, ERROR, str(error))
        raise
    _end(pod, row, SUCCESS, "")
    if command == "upload":
        archive.upload_state = None
    else:
        archive.download_state = None


def _options(archive: Archive, command: str) -> tuple[Options, str]:
    """Return what the state file remembers, and the flags that the row shows: none for a download."""
    state = _state(archive, command)
    assert state
    if command == "download":
        tables, partitions, schema = state.parameters
        return Options(archive.name, str(tables), _texts(partitions), bool(schema)), ""
    diff_from, diff_from_remote, tables, partitions, schema = state.parameters
    flags = {"--diff-from": diff_from, "--diff-from-remote": diff_from_remote, "--tables": tables}
    text = "".join(f"{flag}={value} " for flag, value in flags.items() if value)
    text += "--schema=1 " if schema else ""
    text += "".join(f"--partitions={partition} " for partition in _texts(partitions))
    options = Options(archive.name, str(tables), _texts(partitions), bool(schema))
    return Options(**{**vars(options), "diff_from": str(diff_from), "diff_from_remote": str(diff_from_remote)}), text


def _texts(values: object) -> tuple[str, ...]:
    return tuple(str(value) for value in values) if isinstance(values, tuple) else ()


def _end(pod: Pod, row: Row, status: str, error: str) -> None:
    if row.status != CANCEL:
        row.end(status, error, pod.now)
