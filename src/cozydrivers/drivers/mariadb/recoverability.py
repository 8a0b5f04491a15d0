"""What a MariaDB application can be restored from, and what would be lost now.

Reads only: one list of the bucket's prefix, the Backups of the namespace and the operator's objects. What can't be read
is said, and never taken for absent (I2): an empty list may be an outage of the store.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cozydrivers.api.backups import Backup
from cozydrivers.api.core import PersistentVolumeClaim
from cozydrivers.clients.mariadb import Restore, Thing, by_condition, has_run, is_waiting
from cozydrivers.clients.objects import ObjectStore, StoredObject
from cozydrivers.drivers.base import Finding, GoodSet, Inspection, Leftover, Recoverability
from cozydrivers.drivers.mariadb import record
from cozydrivers.drivers.mariadb.auditing import Seen, claim_uid, is_absent, judge
from cozydrivers.drivers.mariadb.dumps import dumps_under
from cozydrivers.drivers.mariadb.folders import Folder, folders_of, is_busy, is_own, loose, named_by
from cozydrivers.drivers.mariadb.naming import Name, Purpose, server_of
from cozydrivers.drivers.mariadb.record import Recorded
from cozydrivers.drivers.mariadb.storage import Place, place_of
from cozydrivers.drivers.mariadb.store import LIST_TIMEOUT, Access, Unread, asked
from cozydrivers.drivers.mariadb.target import objects_for
from cozydrivers.errors import InvalidInput


@dataclass(frozen=True)
class Known:
    """A Backup with what it records; `trouble` says why that can't be read, or not be looked for here."""

    backup: Backup
    recorded: Recorded | None = None
    seen: Seen = field(default_factory=Seen)
    trouble: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.backup.metadata.name

    @property
    def finding(self) -> Finding | None:
        """What has become of its dump; None where nothing can be told."""
        return judge(self.recorded, self.seen) if self.recorded else None


@dataclass(frozen=True)
class View:
    """All that is decided on.

    `objects` are all under the place's prefix, `named` the Backups of the namespace by the runs whose dumps they
    record, `things` the operator's objects for the application's server, `claims` those of the namespace where dumps go
    to such. `unread` says what could not be read.
    """

    place: Place
    known: Sequence[Known] = ()
    objects: Sequence[StoredObject] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    things: Sequence[Thing] = ()
    unread: Sequence[str] = ()
    claims: Sequence[PersistentVolumeClaim] = ()


# Decide. Pure and total


def decide(view: View, run: Inspection) -> Recoverability:
    """What there is to restore from."""
    known = [each for each in view.known if each.backup.metadata.deletion_timestamp is None]
    odd = {each.name: why for each in known if (why := each.trouble or _odd(each))}
    found = {each.name: each.finding for each in known}
    broken = {name: finding.message for name, finding in found.items() if finding and finding.reason}
    good = [_good(each, view) for each in known if found[each.name] and each.name not in odd | broken]
    good.sort(key=lambda each: (each.taken_at, each.backup), reverse=True)
    unknown = sorted(name for name, finding in found.items() if finding is None and name not in odd)
    told = [f"Backup {name}: whether its dump is in the store can't be told now" for name in unknown]
    problems = [*view.unread, *told]
    return Recoverability(
        good=good,
        broken=_leftovers(broken),
        suspicious=_leftovers({name: why for name, why in odd.items() if name not in broken}),
        orphans=_orphans(view, run),
        safety_copies=_safety_copies(view, run),
        debris=_debris(view, run),
        replays=_replays(view, run),
        problems=problems if good else [*problems, *_strange(view, run)],
        lost_now=_lost(good, known),
    )


def _leftovers(reasons: Mapping[str, str]) -> list[Leftover]:
    return [Leftover(name, why) for name, why in sorted(reasons.items())]


def _odd(known: Known) -> str:
    """Why a Backup does not count for a good one, whatever is in the store."""
    backup, recorded = known.backup, known.recorded
    if backup.status.phase != "Ready":
        return f"its phase is {backup.status.phase or 'not set'}"
    if recorded is not None and not (recorded.prefix or recorded.claim):
        return "its dump is on a volume that others write to as well: nobody can look whether it is there and whole"
    told = next((told for told in backup.status.conditions if (told.type, told.status) == ("Suspicious", "True")), None)
    return f"{told.reason}: {told.message}" if told else ""


def _good(known: Known, view: View) -> GoodSet:
    recorded, backup = known.recorded, known.backup
    sizes = [dump.size for dump in dumps_under(recorded.prefix, view.objects)] if recorded and recorded.prefix else []
    return GoodSet(
        backup=known.name,
        name=recorded.name if recorded else "",
        taken_at=backup.spec.taken_at or backup.metadata.creation_timestamp or datetime.min.replace(tzinfo=UTC),
        size=(recorded.size if recorded else 0) or sum(sizes),
        verified=backup.says("Verified", "True"),
    )


def _own(view: View, run: Inspection) -> list[Folder]:
    """The folders of this namespace that no job is about to write to or to read."""
    return [each for each in folders_of(view.place, view.objects) if _is_idle(each.name, view, run)]


def _is_idle(name: Name, view: View, run: Inspection) -> bool:
    """Whether a run of this namespace has made it, and none is at work on it."""
    at_work = {each.metadata.name for each in view.things if not has_run(each)}
    return is_own(name, run) and not is_busy(name, run.busy) and str(name) not in at_work


def _claims(view: View, run: Inspection, purpose: Purpose) -> list[Leftover]:
    """The claims of runs that no Backup names; what is on one can't be seen."""
    parsed = [(Name.parse(each.metadata.name), each.metadata.creation_timestamp) for each in view.claims]
    return [
        Leftover(str(name), f"a PersistentVolumeClaim, made at {made:%Y-%m-%dT%H:%M:%SZ}")
        for name, made in parsed
        if name and name.purpose == purpose and _is_idle(name, view, run) and str(name) not in view.named
    ]


def _orphans(view: View, run: Inspection) -> list[Leftover]:
    """Dumps of runs that no Backup of the namespace names: any, because applications may share a prefix."""
    found = [each for each in _own(view, run) if each.name.purpose == "dump" and str(each.name) not in view.named]
    whole = "whole as far as a list shows, and no Backup names it"
    orphans = [Leftover(str(each.name), each.gap or whole, each.size) for each in found if each.dumps]
    return [*orphans, *_claims(view, run, "dump")]


def _safety_copies(view: View, run: Inspection) -> list[Leftover]:
    found = [each for each in _own(view, run) if each.name.purpose == "safety" and str(each.name) not in view.named]
    copies = [
        Leftover(str(each.name), f"taken at {max(dump.second for dump in each.dumps)}", each.size)
        for each in found
        if each.dumps
    ]
    return [*copies, *_claims(view, run, "safety")]


def _debris(view: View, run: Inspection) -> list[Leftover]:
    """What runs have left beside their dump or instead of one, and what they have not made."""
    recorded = {each.recorded.key for each in view.known if each.recorded and each.recorded.file}
    found = []
    for each in _own(view, run):
        named, keys = str(each.name) in view.named, {one.key for one in each.objects}
        if not named and not each.dumps:
            found.append(Leftover(str(each.name), "a run has left it without a whole dump", each.size))
        elif named and keys & recorded:
            rest = [one for one in each.objects if one.key not in recorded]
            found += [Leftover(one.key, "of an attempt that was given up", one.size) for one in rest]
    why = "not made by a job of this driver, as those of Cozystack's own controller: found by assumeNearest only"
    return [*found, *(Leftover(dump.key, why, dump.size) for dump in loose(view.place, view.objects))]


def _replays(view: View, run: Inspection) -> list[Leftover]:
    """What the operator runs once more when its Job is gone; what a job at work has made goes with that.

    While the server is not Ready the operator says of what is at its end that it waits, as of what never began.
    """
    lying = [each for each in view.things if (has_run(each) or is_waiting(each)) and not _is_of(each, run.busy)]
    return [
        Leftover(f"{each.resource.kind} {each.metadata.name}", _again(each))
        for each in sorted(lying, key=lambda each: (each.resource.kind, each.metadata.name))
    ]


def _again(thing: Thing) -> str:
    over, state = " over the live data" if isinstance(thing, Restore) else "", by_condition(thing)
    if state.phase == "Waiting":
        return f"{state.phase}: {state.message}: runs{over} as soon as it can, or once more if its Job is deleted"
    return f"{state.phase}: runs again{over} if its Job is deleted"


def _is_of(thing: Thing, busy: Collection[str]) -> bool:
    return any(thing.is_controlled_by(uid) for uid in busy)


def _strange(view: View, run: Inspection) -> list[str]:
    """A hint for the day when the cluster is gone: the dumps of the old one are there."""
    count = sum(not is_own(each.name, run) for each in folders_of(view.place, view.objects))
    return (
        [f"{count} dumps of another namespace are listed: `cozydrivers import` makes Backups of them"] if count else []
    )


def _lost(good: Sequence[GoodSet], known: Sequence[Known]) -> list[str]:
    if not good:
        return ["there is no good backup: everything would be lost"]
    last = good[0]
    said = [f"everything written since {last.taken_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"]
    recorded = next((each.recorded for each in known if each.name == last.backup), None)
    if recorded is not None and recorded.databases:
        said.append(f"all databases but {', '.join(recorded.databases)}: no other is dumped")
    return [*said, "users and grants that were made by hand: a dump is without them"]


# Observe


async def inspect(run: Inspection, access: Access) -> Recoverability:
    """Look at the store, and judge. Raises InvalidInput where no strategy tells where that is, and ApiError."""
    place = known_place(run)
    server = server_of(run.application.metadata.name)
    every = (await run.kube.list(Backup, run.namespace)).items
    view = View(place, named=named_by(every), things=await objects_for(run, server))
    if place.s3 is None:
        return decide(await _on_volume(view, run), run)
    found = await asked(run, access, place, lambda store: _in_bucket(view, run, store), seconds=LIST_TIMEOUT)
    if not isinstance(found, Unread):
        return decide(found, run)
    known = [_read(backup, run, place) for backup in run.backups]
    return decide(View(place, known, (), view.named, view.things, [f"the object store: {found.why}"]), run)


def known_place(run: Inspection) -> Place:
    """Where the application's dumps are; InvalidInput where nobody tells."""
    if not run.strategy:
        raise InvalidInput("where its dumps are is not known: no Backup of it and no BackupClass names a strategy")
    return place_of(run.strategy)


async def _in_bucket(view: View, run: Inspection, store: ObjectStore) -> View:
    objects = await store.list(view.place.prefix)
    listed = {each.key for each in objects}
    known = []
    for each in (_read(backup, run, view.place) for backup in run.backups):
        recorded = each.recorded
        if recorded is None:
            known.append(each)
            continue
        own = [one for one in objects if one.key.startswith(recorded.prefix)]
        lacks = bool(recorded.file) and recorded.key not in listed
        seen = Seen(own, denied=lacks and await is_absent(store, recorded.key))
        known.append(Known(each.backup, recorded, seen))
    return View(view.place, known, objects, view.named, view.things)


async def _on_volume(view: View, run: Inspection) -> View:
    known = []
    for each in (_read(backup, run, view.place) for backup in run.backups):
        claim = await claim_uid(run, each.recorded.claim) if each.recorded else ""
        known.append(Known(each.backup, each.recorded, Seen(claim=claim), each.trouble))
    own = view.place.kind == "persistentVolumeClaim"
    claims = (await run.kube.list(PersistentVolumeClaim, run.namespace)).items if own else ()
    return View(view.place, known, (), view.named, view.things, claims=claims)


def _read(backup: Backup, run: Inspection, place: Place) -> Known:
    metadata = backup.spec.driver_metadata
    if not record.is_ours(metadata):
        return Known(backup, trouble="Cozystack's own controller has made it, and recorded no dump of its own")
    try:
        return Known(backup, record.checked(metadata, run, place))
    except InvalidInput as error:
        return Known(backup, trouble=str(error))
