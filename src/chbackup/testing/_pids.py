"""Pid files: the server's lock on one archive's name, and its holes."""

from collections.abc import Callable, Generator
from functools import wraps

from ._options import Options
from ._pod import Pod
from ._timeline import OperationError, Steps

Work = Callable[[Pod, Options], Steps]


def pid_locked(command: str, context: str = "") -> Callable[[Work], Work]:
    """Make work fail while a pid file of that name is there; it makes one itself and removes it at its end.

    `context` is put before the error. Servers before 2.6.27 have no pid files.
    """

    def decorate(work: Work) -> Work:
        @wraps(work)
        def locked(pod: Pod, options: Options) -> Generator[float, None, None]:
            take_pid_file(pod, options.name, command, context)
            try:
                yield from work(pod, options)
            finally:
                drop_pid_file(pod, options.name)

        return locked

    return decorate


def take_pid_file(pod: Pod, name: str, command: str, context: str = "") -> None:
    """Write the pid file of a name; raises OperationError when that cannot be done or another operation has it."""
    path = f"/tmp/clickhouse-backup.{name}.pid"  # noqa: S108 - a text
    if not name:
        raise OperationError(f"{context}backupName is required")
    if len(name.encode()) > 233:
        raise OperationError(f"{context}open {path}: file name too long")
    if name in pod.pids and pod.version.since(2, 6, 27):
        raise OperationError(
            f"{context}another clickhouse-backup {pod.pids[name]} (pid=1, pidPath={path}, "
            "cmdLine=/usr/bin/clickhouse-backup server)"
        )
    pod.pids[name] = f"`{command}` command is already running {pod.local_now.isoformat(timespec='seconds')}Z"


def drop_pid_file(pod: Pod, name: str) -> None:
    """Remove the pid file of a name, whoever wrote it."""
    pod.pids.pop(name, None)
