"""The lists of archives, as `/backup/list` prints them."""

from collections.abc import Callable, Generator
from datetime import datetime
from typing import Any, TypeVar

from ._archives import Archive, Metadata
from ._pod import Pod
from ._timeline import Steps
from ._zone import in_zone, zero_date

Result = TypeVar("Result")
BROKEN_REMOTE = {"unopenable": "can't open", "unreadable": "can't read", "garbage": "bad"}
BROKEN_LOCAL = "broken metadata.json not found"
GARBAGE = "invalid character 'o' in literal null (expecting 'u')"
BAD_LOCAL = f"parse metadata.json error: {GARBAGE}"


def collect(steps: Generator[float, None, Result], keep: Callable[[Result], None]) -> Steps:
    """Hand the result of steps on."""
    keep((yield from steps))


def list_archives(pod: Pod, where: str) -> Generator[float, None, list[dict[str, Any]]]:
    """List local, remote or (empty `where`) both; an object store that fails makes the remote part empty."""
    while pod.faults.clickhouse_down:
        yield 1.0
    if pod.duration.list:
        yield pod.duration.list
    rows = local_rows(pod) if where in {"", "local"} else []
    if where in {"", "remote"}:
        rows += yield from remote_rows(pod)
    return rows


def local_rows(pod: Pod) -> list[dict[str, Any]]:
    """Return the local archives by date."""
    archives = sorted(pod.local.values(), key=lambda archive: archive.created)
    return [_local_row(pod, archive) for archive in archives]


def remote_rows(pod: Pod) -> Generator[float, None, list[dict[str, Any]]]:
    """Return the remote archives, broken ones first, then by upload date."""
    if pod.settings.remote_storage == "none" or not (yield from reachable(pod)):
        return []
    refresh_cache(pod)
    archives = [archive for archive in pod.remote.values() if archive.name not in pod.faults.unlisted]
    archives.sort(key=lambda archive: (_upload_date(archive), archive.name))
    return [_remote_row(pod, archive) for archive in archives]


def reachable(pod: Pod) -> Generator[float, None, bool]:
    """Whether the object store answers a listing; a refused connection takes seconds to find out."""
    while pod.faults.s3 == "hanging":
        yield 0.5
    if pod.faults.s3 == "refused":
        yield 5.0
    return pod.faults.s3 is None


def refresh_cache(pod: Pod) -> None:
    """Remember the metadata of good archives by name; what is remembered is never read again."""
    if pod.faults.s3:
        return
    for name, archive in pod.remote.items():
        if archive.good and archive.metadata:
            pod.cache.setdefault(name, archive.metadata)
    for name in set(pod.cache) - set(pod.remote):
        del pod.cache[name]


def is_broken(pod: Pod, archive: Archive) -> bool:
    """Whether a remote archive is listed with a text that says broken."""
    return str(_remote_row(pod, archive)["desc"]).startswith("broken")


def _upload_date(archive: Archive) -> datetime:
    """Return the date of `metadata.json`; a folder without a readable one has none."""
    return archive.modified if archive.good or archive.damage == "null" else datetime.min


def _local_row(pod: Pod, archive: Archive) -> dict[str, Any]:
    if archive.damage == "null":
        return _empty_row(pod, "local", "", datetime.min, "")
    if archive.metadata and not archive.damage:
        return _row(pod, archive.name, archive.metadata, "local", archive.metadata.tags)
    desc = BAD_LOCAL if archive.damage else BROKEN_LOCAL
    return _empty_row(pod, "local", archive.name, archive.modified, desc)


def _remote_row(pod: Pod, archive: Archive) -> dict[str, Any]:
    if archive.name in pod.cache:
        return _row(pod, archive.name, pod.cache[archive.name], "remote", "tar, regular")
    if archive.damage == "null":
        return _empty_row(pod, "remote", "", datetime.min, "")
    return _empty_row(pod, "remote", archive.name, datetime.min, broken_remote(archive))


def broken_remote(archive: Archive) -> str:
    """Say why a remote archive is broken."""
    reason = BROKEN_REMOTE.get(archive.damage, "can't stat")
    return f"broken ({reason} metadata.json)"


def _empty_row(pod: Pod, location: str, name: str, created: datetime, desc: str) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "created": _created(pod, created), "metadata_size": 0}
    return _by_version(pod, row | {"location": location, "required": "", "desc": desc})


def _created(pod: Pod, moment: datetime) -> str:
    """Write a date: in the server's zone since 2.6.29, before in UTC."""
    zone = pod.settings.tz if pod.version.since(2, 6, 29) else "UTC"
    return zero_date(zone) if moment == datetime.min else in_zone(moment, zone).isoformat(" ", "seconds")


def _row(pod: Pod, name: str, metadata: Metadata, location: str, desc: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "created": _created(pod, metadata.created),
        "size": metadata.size,
        "data_size": metadata.data_size,
        "metadata_size": metadata.metadata_size,
        "compressed_size": metadata.compressed_size,
        "location": location,
        "required": metadata.required,
        "desc": desc,
    }
    for key in ("size", "data_size", "compressed_size"):
        if not row[key]:
            del row[key]
    return _by_version(pod, row)


def _by_version(pod: Pod, row: dict[str, Any]) -> dict[str, Any]:
    """Leave out the sizes that servers before 2.6.6 do not print."""
    if pod.version.since(2, 6, 6):
        return row
    return {key: value for key, value in row.items() if key not in {"data_size", "metadata_size", "compressed_size"}}
