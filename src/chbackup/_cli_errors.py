"""Exit codes, and what to do next after an error."""

from .errors import (
    Busy,
    ChbackupError,
    ConnectionFailed,
    InvalidInput,
    NotFound,
    OperationLost,
    Refused,
    RequiredByOthers,
    Unauthorized,
    Unsupported,
    WaitTimeout,
)

INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 done, 1 the operation failed, 2 wrong usage, or refused, 3 not reachable or not allowed, "
    "4 timed out, 5 outcome unknown, 130 interrupted."
)

_CODES: tuple[tuple[tuple[type[ChbackupError], ...], int], ...] = (
    ((InvalidInput, Refused, Unsupported, NotFound, Busy), 2),
    ((ConnectionFailed, Unauthorized), 3),
    ((WaitTimeout,), 4),
    ((OperationLost,), 5),
)

_NEXT: tuple[tuple[type[ChbackupError], str], ...] = (
    (Busy, "`chbackup actions --filter 'in progress'` shows what runs; try again when it has ended"),
    (ConnectionFailed, "see whether the sidecar listens there: --url or CHBACKUP_URL"),
    (Unauthorized, "see --username and --password-file, or CHBACKUP_USERNAME and CHBACKUP_PASSWORD"),
    (NotFound, "`chbackup list` shows what there is"),
    (OperationLost, "`chbackup list` and `chbackup actions` show what became of it"),
    (WaitTimeout, "it may still be running: `chbackup actions` shows it"),
)


def exit_code(error: ChbackupError) -> int:
    """Return the exit code that stands for an error."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), 1)


def next_steps(error: ChbackupError) -> list[str]:
    """Return what can be done about an error: what its command has noted, or else what holds for its kind."""
    if notes := getattr(error, "__notes__", []):
        return list(notes)
    if isinstance(error, RequiredByOthers) and error.dependents:
        return [f"delete the increments first: {' '.join(reversed(error.dependents))}"]
    return [next_ for kind, next_ in _NEXT if isinstance(error, kind)][:1]
