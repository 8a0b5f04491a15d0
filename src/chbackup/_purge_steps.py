"""What to do next with an archive that is to be deleted, as its storage looks now. Pure functions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ._storages import LocalCopy
from .evidence import in_the_way
from .models import Action, Archive
from .retention import Decision


@dataclass(frozen=True)
class Sight:
    """One look at a storage.

    `rows` run on its sidecars, `remote` is its list, `local` what each sidecar holds by address. `denied` means that
    the object store itself says that it has no such archive, `blind` that a sidecar which may use it has not answered.
    """

    rows: Sequence[Action]
    remote: Sequence[Archive]
    local: Mapping[str, Mapping[str, LocalCopy]]
    denied: bool = False
    blind: bool = False


@dataclass(frozen=True)
class Sent:
    """A delete that was sent, and no answer came; `open` while it may still arrive."""

    open: bool


@dataclass(frozen=True)
class Step:
    """One step, with its reason; `where` is the address of the local copy to delete."""

    do: Literal["delete", "delete local", "wait", "gone", "keep"]
    reason: str = ""
    where: str = ""


def next_step(planned: Archive, sight: Sight, sent: Sent | None = None) -> Step:
    """Decide; `sent` is the delete of this archive whose answer was lost."""
    if any(not archive.name for archive in sight.remote):
        return Step("keep", "the list holds an archive without a name, so it cannot be trusted")
    entry = next((archive for archive in sight.remote if archive.name == planned.name), None)
    if entry is None and sight.denied:
        return Step("gone")
    if entry is None:
        return Step("wait", "the list does not show it, nor does the store say that it is gone")
    if row := in_the_way(entry, sight.remote, sight.rows):
        return Step("wait", f"`{row.command}` is running")
    if sent and sent.open:
        return Step("wait", "the answer to the delete was lost")
    if reason := _reason_to_keep(planned, entry, sight):
        return Step("keep", reason)
    holder = next((url for url, copies in sight.local.items() if planned.name in copies), None)
    return Step("delete local", where=holder) if holder is not None else Step("delete")


def needs(decisions: Iterable[Decision]) -> dict[str, set[str]]:
    """Return for each set that is to be deleted and needs others those that hold its bases."""
    decisions = list(decisions)
    homes = {(decision.storage, decision.archive.name): decision.set_name for decision in decisions}
    found: dict[str, set[str]] = {}
    for decision in decisions:
        if base := homes.get((decision.storage, decision.archive.required)):
            found.setdefault(decision.set_name, set()).add(base)
    return found


def stopped_with(name: str, needs: Mapping[str, Collection[str]]) -> set[str]:
    """Return the sets that stay when one stays: that one, and all that it needs."""
    stopped: set[str] = set()
    queue = [name]
    while queue:
        if (name := queue.pop()) not in stopped:
            stopped.add(name)
            queue.extend(needs.get(name, ()))
    return stopped


def connected(decisions: Iterable[Decision]) -> list[list[Decision]]:
    """Split a plan into parts that have no storage and no set in common; each keeps its order."""
    parts: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    decisions = list(decisions)
    for decision in decisions:
        mine = parts.setdefault(decision.storage, [decision.storage])
        other = parts[owner.setdefault(decision.set_name, decision.storage)]
        if mine is not other:
            other += mine
            parts |= dict.fromkeys(mine, other)
    found: dict[int, list[Decision]] = {}
    for decision in decisions:
        found.setdefault(id(parts[decision.storage]), []).append(decision)
    return list(found.values())


def _reason_to_keep(planned: Archive, entry: Archive, sight: Sight) -> str:
    if _changed(planned, entry):
        return "it has changed since the plan was made"
    if needing := [archive.name for archive in sight.remote if archive.required == entry.name]:
        return f"it is needed by {', '.join(needing)}"
    for url, copies in sight.local.items():
        if needing := [name for name, copy in copies.items() if copy.required == entry.name]:
            return f"it is needed by the local {', '.join(needing)} of {url}"
        if entry.broken and (copy := copies.get(entry.name)) and copy.good:
            return f"it is broken, but the local copy of {url} is good"
    if entry.broken and sight.blind:
        return "it is broken, and a sidecar that may be uploading it has not answered"
    return ""


def _changed(planned: Archive, entry: Archive) -> bool:
    return any(getattr(planned, field) != getattr(entry, field) for field in ("size", "created", "required", "broken"))
