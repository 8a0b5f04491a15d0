"""The sidecar's own retention, which runs at the end of create and upload."""

from ._archives import Archive
from ._pod import Pod


def keep_local(pod: Pod, *, uploaded: bool = False) -> None:
    """Delete the oldest local archives beyond the configured number; -1 keeps the last until it is uploaded."""
    limit = pod.settings.backups_to_keep_local
    if limit == 0:
        return
    kept = limit if limit > 0 else int(not uploaded)
    newest_first = sorted(pod.local.values(), key=lambda archive: archive.created, reverse=True)
    for archive in newest_first[kept:]:
        del pod.local[archive.name]


def keep_remote(pod: Pod) -> None:
    """Delete the oldest remote archives beyond the configured number, except those that a kept one requires."""
    limit = pod.settings.backups_to_keep_remote
    if limit < 1:
        return
    names = sorted(pod.remote, key=lambda name: pod.remote[name].modified)
    kept = set(names[-limit:])
    for name in names[-limit:]:
        kept |= _ancestors(pod.remote, name)
    for name in names[:-limit]:
        if name not in kept:
            del pod.remote[name]
            pod.cache.pop(name, None)


def _ancestors(archives: dict[str, Archive], name: str) -> set[str]:
    found: set[str] = set()
    while (archive := archives.get(name)) and archive.metadata and archive.metadata.required not in {"", *found}:
        name = archive.metadata.required
        found.add(name)
    return found
