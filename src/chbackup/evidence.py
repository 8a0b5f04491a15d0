"""What lists and rows prove. Pure functions, sentence by sentence; an empty answer means that nothing is against it.

No list shows that a part of an archive is missing from the object store: only a restore, or the store itself, does.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence

from .models import Action, Archive, Table

_WRITES = ("create_remote", "upload")
_REMOVES = ("delete", "rebase")
_UUID_OF_TIME = 1


def prove_archive(
    *,
    remote: Archive | None,
    local: Archive | None,
    tables: Sequence[Table] | None,
    required: str = "",
    source_bytes: int | None = None,
) -> list[str]:
    """Say what is missing in the proof that a remote archive was made from the local copy.

    `tables` are those of the remote archive, None for a server that does not measure them (before 2.7.0), `required`
    is the base that was asked for. `source_bytes` is the whole size of what an increment was made from; None leaves
    only the lower bound.
    """
    if remote is None:
        return ["the archive is not in the remote list"]
    if remote.broken:
        return [f"the remote archive is broken: {remote.broken}"]
    problems = [] if tables is None else remote_problems(remote, tables, source_bytes=source_bytes)
    if remote.required != required:
        problems.append(f"its base is {_base(remote.required)}, asked was {_base(required)}")
    return problems + _local_problems(remote, local)


def remote_problems(remote: Archive, tables: Sequence[Table], *, source_bytes: int | None = None) -> list[str]:
    """Say where a remote archive's size and the sizes of its tables contradict each other."""
    total = sum(table.total_bytes for table in tables)
    expected = source_bytes if remote.required else remote.data_size
    if expected is None:
        return [] if total >= remote.data_size else [_mismatch(total, f"at least {remote.data_size}")]
    return [] if total == expected else [_mismatch(total, str(expected))]


def partial_local(local: Archive, expected: int | None) -> list[str]:
    """Say what a downloaded copy lacks; `expected` are the bytes of its tables, None when nobody knows.

    Exact only while the sidecar holds no local copy of the archive's bases: then the server counts less.
    """
    if local.broken:
        return [f"the local copy is broken: {local.broken}"]
    if expected in (None, local.data_size):
        return []
    return [f"the local copy holds {local.data_size} bytes, the archive's tables {expected}"]


def is_source(local: Archive, remote: Archive) -> bool:
    """Whether a full remote archive was made from this local copy, or this copy from it: nothing tells them apart."""
    if local.broken or remote.broken or local.required or remote.required:
        return False
    return (local.created, local.data_size) == (remote.created, remote.data_size)


def hurt_by(
    rows: Iterable[Action], name: str, *, own: Collection[str] = (), bases: Collection[str] = ()
) -> list[Action]:
    """Return the rows that could have hurt an archive, finished or not.

    `own` are the operation ids of those that made it, `bases` the archives it is an increment of. Pass the rows of
    every sidecar that shares its storage path, from the submission on.
    """
    kept = {name, *bases}
    others = [row for row in rows if row.operation_id not in own and not row.resumed and not locked_out(row)]
    return [row for row in others if _hurts(row, name, kept)]


def locked_out(row: Action) -> bool:
    """Whether an operation has failed for the only reason that another one was at work on the same archive.

    The server holds a file per name while it creates, uploads, downloads or restores (>= 2.6.27).
    """
    words = row.error
    return row.status == "error" and "another clickhouse-backup `" in words and "command is already running" in words


def restarted(rows: Sequence[Action], operation_id: str) -> bool | None:
    """Whether the server's process has ended since it gave this id, judged by its history; None when nothing tells.

    Ids are UUIDs of version 1: those of one process have their clock sequence and their node in common.
    """
    if not rows:
        return True
    given_by = _process(operation_id)
    known = {process for row in rows if (process := _process(row.operation_id))}
    return given_by not in known if given_by and known else None


def since(rows: Iterable[Action], own: Action) -> list[Action]:
    """Return the rows that ran beside or after `own`, taken from one answer that holds it."""
    return [row for row in rows if row.position != own.position and not _ended_before(row, own)]


def find_row(
    rows: Iterable[Action],
    *,
    operation_id: str | None = None,
    verb: str,
    name: str,
    after_position: int | None = None,
) -> Action | None:
    """Find the row of an operation: by its id, else the last one of exactly this verb and name.

    Without an id, only rows later than `after_position` count.
    """
    if operation_id:
        return next((row for row in rows if row.operation_id == operation_id), None)
    first = -1 if after_position is None else after_position
    found = [row for row in rows if row.verb == verb and row.archive == name and row.position > first]
    return found[-1] if found else None


def chain_problems(archives: Sequence[Archive], name: str) -> list[str]:
    """Say what is wrong with an archive and the bases it needs; `archives` is one place's whole list."""
    if any(not archive.name for archive in archives):
        return ["the list holds an archive without a name, so it cannot be trusted"]
    known = {archive.name: archive for archive in archives}
    problems: list[str] = []
    seen: list[str] = []
    while name:
        if name in seen:
            return [*problems, f"{' -> '.join([*seen, name])} is a circle"]
        seen.append(name)
        archive = known.get(name)
        if archive is None:
            return [*problems, f"{' -> '.join(seen)}: the last one is not in the list"]
        if archive.broken:
            problems.append(f"{' -> '.join(seen)}: the last one is broken: {archive.broken}")
        name = archive.required
    return problems


def bases(archives: Iterable[Archive], name: str) -> list[str]:
    """Return the archives that an increment needs, nearest first, as far as the list shows them."""
    required = {archive.name: archive.required for archive in archives}
    found: list[str] = []
    while (name := required.get(name, "")) and name not in found:
        found.append(name)
    return found


def dependents(archives: Iterable[Archive], name: str) -> list[str]:
    """Return the archives that need this one, directly or through others, nearest first."""
    needs = {(archive.name, archive.required) for archive in archives if archive.required}
    found: list[str] = []
    layer = {name}
    while layer:
        layer = {child for child, base in needs if base in layer} - {name, *found}
        found.extend(sorted(layer))
    return found


def in_the_way(entry: Archive, remote: Sequence[Archive], rows: Sequence[Action]) -> Action | None:
    """Return a row among those that run which may need the archive or make it, None without one.

    Pass the rows of every sidecar that shares the storage path, without their lists. A `create` hides its base, and
    what looks broken may be any upload of any sidecar.
    """
    if not rows:
        return None
    chain = {entry.name, *bases(remote, entry.name), *dependents(remote, entry.name)}
    return next((row for row in rows if entry.broken or row.verb == "create" or row.names & chain), None)


def _local_problems(remote: Archive, local: Archive | None) -> list[str]:
    if local is None:
        return ["there is no local copy to compare it with"]
    if local.broken:
        return [f"the local copy is broken: {local.broken}"]
    problems = []
    if local.data_size != remote.data_size:
        problems.append(f"it holds {remote.data_size} bytes of data, the local copy {local.data_size}")
    if local.created != remote.created:
        problems.append(f"it was made from a copy of {remote.created}, the local one is of {local.created}")
    return problems


def _hurts(row: Action, name: str, kept: Collection[str]) -> bool:
    if row.verb in _WRITES:
        return row.archive == name
    if row.place == "local":  # in an upload this makes it fail, never end as a success
        return False
    return row.verb.startswith("clean") or (row.verb in _REMOVES and not row.names.isdisjoint(kept))


def _ended_before(row: Action, own: Action) -> bool:
    if row.running or row.position > own.position:
        return False
    return row.finish is None or own.start is None or row.finish <= own.start


def _process(operation_id: str) -> tuple[int, int] | None:
    try:
        found = uuid.UUID(operation_id)
    except ValueError:
        return None
    return (found.clock_seq, found.node) if found.version == _UUID_OF_TIME else None


def _mismatch(total: int, expected: str) -> str:
    return f"its tables add up to {total} bytes, expected were {expected}"


def _base(name: str) -> str:
    return repr(name) if name else "none"
