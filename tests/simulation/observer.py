"""Watches the fakes, and nothing else, for what must never be.

After each step: no name is submitted twice (I3), no job succeeds without every member whole (I2, I7), nothing is
deleted that a kept set needs (I8), no table is replaced that was not named and checked (I1, I4). When a job is let go,
and at the end: no half set is left (I7), and every wait has ended (I5).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import anyio
from tests.simulation.evidence import (
    Content,
    Restoring,
    archives_of,
    content_of,
    flaw,
    made_from,
    restoring,
    rows_of,
    short_uid,
    tables_of,
)
from tests.simulation.ground import Violation
from tests.simulation.story import Story

from chbackup import parse_archive_name
from chbackup.testing import FakeSidecar
from chbackup.testing._archives import Archive
from chbackup.testing._clickhouse import Part, Table
from chbackup.testing._history import Row
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import Installation

GROUP = "backups.cozystack.io"
JOBS = (f"backupjobs.{GROUP}", f"restorejobs.{GROUP}")
BACKUPS = f"backups.{GROUP}"
LATCH = "cozydrivers.cozystack.io/deletion-policy"
JOB_UID = "cozydrivers.cozystack.io/job-uid"
_MARGIN = 1.5
"""Seconds by which a job may be older than the look that first sees it."""
Object = Mapping[str, Any]
Place = tuple[str, int, int]
"""Application, shard, replica."""


@dataclass
class Watched:
    """One sidecar, as it was at the last look. `contents` are its tables from a time on."""

    sidecar: FakeSidecar
    rows: dict[int, Row] = field(default_factory=dict)
    contents: list[tuple[float, Content]] = field(default_factory=list)
    tables: Mapping[str, Table] = field(default_factory=dict)
    restores: list[Restoring] = field(default_factory=list)
    asked: set[tuple[str, int]] = field(default_factory=set)


@dataclass
class Known:
    """A job, as it was at the last look.

    `checked` are the tables of each sidecar when its target had been checked, `said` is what was found then.
    """

    first_seen: float
    obj: Object
    checked: Mapping[Place, Content] | None = None
    said: str = ""


class Observer:
    """See the module. `violation` is the first that was seen: it is raised at every further look."""

    def __init__(self, cluster: FakeCluster, apps: Sequence[Installation], story: Story) -> None:
        self._cluster = cluster
        self._story = story
        self._watched: dict[Place, Watched] = {
            (app.name, shard, replica): Watched(sidecar)
            for app in apps
            for (shard, replica), sidecar in app.sidecars.items()
        }
        self._apps = {app.name: app for app in apps}
        self._jobs: dict[str, Known] = {}
        self._backups: dict[str, Object] = {}
        self._made: set[str] = set()
        self._version = -1
        self.violation: Violation | None = None

    def fail(self, what: str) -> NoReturn:
        """Something is as it must never be."""
        if self.violation is None:
            self._story.tell(f"VIOLATION  {what}")
            self.violation = Violation(f"{what}\n{self._story}")
        raise self.violation

    def begin(self) -> None:
        """Take what is there as given."""
        for watched in self._watched.values():
            watched.contents.append((anyio.current_time(), tables_of(watched.sidecar)))
            watched.tables = {table.full_name: table for table in watched.sidecar.tables}

    tables_changed_by_hand = begin

    def look(self) -> None:
        """Look at everything once; raises Violation."""
        if self.violation is not None:
            raise self.violation
        for place, watched in self._watched.items():
            for row in _new_rows(watched):
                self._submitted(place, watched, row)
        if self._cluster._store.version != self._version:
            self._version = self._cluster._store.version
            self._look_at_jobs()
            self._look_at_backups()
        for place, watched in self._watched.items():
            self._look_at_tables(place, watched)
        self._look_at_kept()

    # No name is submitted twice

    def _submitted(self, place: Place, watched: Watched, row: Row) -> None:
        verb, name = row.command.split(" ", 1)[0], row.command.rsplit(" ", 1)[-1]
        if parse_archive_name(name) is None or "--resumable=1" in row.command:
            return
        if verb == "create_remote":
            if name in self._made:
                self.fail(f"submitted twice: {row.command} on {place}")
            self._made.add(name)
        elif verb in ("upload", "restore"):
            life = 0 if verb == "restore" else _life(watched.sidecar)
            if (row.command, life) in watched.asked:
                self.fail(f"submitted twice: {row.command} on {place}")
            watched.asked.add((row.command, life))
        if verb == "restore":
            watched.restores.append(restoring(row))

    # No job succeeds without every member whole; what fails leaves nothing

    def _look_at_jobs(self) -> None:
        now = anyio.current_time()
        found = {obj["metadata"]["uid"]: obj for storage in JOBS for obj in self._all(storage)}
        for uid, obj in found.items():
            known = self._jobs.setdefault(uid, Known(now, {}))
            before, known.obj = known.obj, obj
            self._note_check(known)
            if _phase(obj) != _phase(before):
                message = obj.get("status", {}).get("message", "")
                self._story.tell(f"{obj['kind']} {obj['metadata']['name']} is {_phase(obj) or 'new'}: {message}")
                if _phase(obj) == "Succeeded":
                    self._succeeded(known)
            if _phase(obj) == "Failed" and _is_held(before) and not _is_held(obj):
                self._let_go(uid, obj)
        for uid in [uid for uid, known in self._jobs.items() if uid not in found and known.obj]:
            self._let_go(uid, self._jobs[uid].obj)
            self._jobs[uid].obj = {}

    def _look_at_backups(self) -> None:
        self._backups |= {obj["metadata"]["uid"]: obj for obj in self._all(BACKUPS)}
        jobs = [uid for backup in self._backups.values() if (uid := _made_by(backup))]
        if len(jobs) > len(set(jobs)):
            self.fail("recorded twice: two Backups are of one job")

    def _note_check(self, known: Known) -> None:
        conditions = known.obj.get("status", {}).get("conditions", [])
        told = next((each for each in conditions if (each["type"], each["status"]) == ("TargetChecked", "True")), None)
        if told is not None and known.checked is None:
            known.checked = {place: watched.contents[-1][1] for place, watched in self._watched.items()}
            known.said = told["message"]

    def _succeeded(self, known: Known) -> None:
        if known.obj["kind"] == "BackupJob":
            self._backup_is_whole(known)
        else:
            self._restore_is_whole(known.obj)

    def _backup_is_whole(self, known: Known) -> None:
        name = known.obj["metadata"]["name"]
        backup = self._backup_named(known.obj["status"].get("backupRef", {}).get("name", ""))
        if backup is None:
            self.fail(f"success without a Backup: BackupJob {name}")
        app = self._apps[known.obj["spec"]["applicationRef"]["name"]]
        archives = archives_of(backup)
        if {shard for shard, _ in archives} != set(range(app.shards)):
            self.fail(f"success without every shard: BackupJob {name} has {sorted(archives)}")
        for (shard, replica), archive in archives.items():
            parsed = parse_archive_name(archive)
            if parsed is None or parsed.uid != short_uid(known.obj):
                self.fail(f"success with another's archive: BackupJob {name} has {archive}")
            remote = app.sidecar(shard, replica).remote
            if flawed := flaw(remote, archive):
                self.fail(f"success without a whole member: BackupJob {name}: {archive} {flawed}")
        for shard, replica in app.sidecars:
            self._is_covered(known, app, (shard, replica), archives)

    def _is_covered(self, known: Known, app: Installation, where: tuple[int, int], archives: Mapping[Any, str]) -> None:
        """What a replica held while the job ran is in an archive of its shard."""
        lately = self._lately((app.name, *where), known.first_seen - _MARGIN)
        own = [archive for (shard, _), archive in archives.items() if shard == where[0]]
        held = [content_of(app.sidecar(*where).remote, archive) for archive in own]
        must = where in archives or all(any(content.values()) for content in lately)
        if must and not any(made_from(archive, content) for archive in held for content in lately):
            self.fail(f"success without the rows of {app.name} {where}: {known.obj['metadata']['name']}")

    def _lately(self, place: Place, since: float) -> list[Content]:
        contents = self._watched[place].contents
        first = max((number for number, (at, _) in enumerate(contents) if at <= since), default=0)
        return [content for _, content in contents[first:]]

    def _restore_is_whole(self, job: Object) -> None:
        backup = self._backup_named(job["spec"]["backupRef"]["name"])
        if backup is None:
            return
        app = self._apps[backup["spec"]["applicationRef"]["name"]]
        for where, archive in archives_of(backup).items():
            sidecar = app.sidecar(*where)
            held, live = content_of(sidecar.remote, archive), tables_of(sidecar)
            wanted = job["spec"].get("options", {}).get("tables")
            held = {table: parts for table, parts in held.items() if wanted is None or table in wanted}
            lacking = [table for table, parts in held.items() if rows_of(live.get(table, ())) != rows_of(parts)]
            if lacking:
                self.fail(f"success without the rows: RestoreJob {job['metadata']['name']} {where}: {lacking}")

    def _let_go(self, uid: str, job: Object) -> None:
        """A job without success is let go when nothing of it is left."""
        if job["kind"] != "BackupJob" or any(_made_by(backup) == uid for backup in self._backups.values()):
            return
        left = [f"{where}: {name}" for where, name in self._everywhere() if _uid_in(name) == short_uid(job)]
        if left:
            self.fail(f"half set left: {job['metadata']['name']} is let go, and there is {', '.join(left)}")

    # No table is replaced that was not named and checked

    def _look_at_tables(self, place: Place, watched: Watched) -> None:
        now, before = tables_of(watched.sidecar), watched.contents[-1][1]
        tables, known = {table.full_name: table for table in watched.sidecar.tables}, watched.tables
        changed = [
            name
            for name in sorted({*now, *before})
            if now.get(name) != before.get(name) or tables.get(name) is not known.get(name)
        ]
        if not changed:
            return
        watched.contents.append((anyio.current_time(), now))
        watched.tables = tables
        for name in changed:
            self._is_explained(place, watched, name)
        watched.restores = [each for each in watched.restores if each.row.running or each is watched.restores[-1]]

    def _is_explained(self, place: Place, watched: Watched, table: str) -> None:
        why = "no restore names it"
        for each in watched.restores:
            if each.names(table, watched.sidecar):
                why = self._may_replace(place, table, each)
                if not why:
                    return
        self.fail(f"table replaced: {table} on {place}: {why}")

    def _may_replace(self, place: Place, table: str, each: Restoring) -> str:
        jobs = [known for known in self._jobs.values() if known.obj and short_uid(known.obj) == each.uid]
        if not jobs:
            return f"no RestoreJob has asked for {each.row.command}"
        backup = self._backup_named(jobs[0].obj["spec"]["backupRef"]["name"])
        if backup is None or each.archive not in archives_of(backup).values():
            return f"its Backup does not record {each.archive}"
        if jobs[0].checked is None:
            return "the target was not checked before"
        existed = jobs[0].checked[place].get(table)
        return self._is_named_and_safe(jobs[0], place, table, existed) if existed is not None else ""

    def _is_named_and_safe(self, job: Known, place: Place, table: str, held: tuple[Part, ...]) -> str:
        label = f"shard {place[1]} replica {place[2]}: to be replaced: "
        named = next((part for part in job.said.split("; ") if part.startswith(label)), "")
        if f"{table} (" not in named:
            return "the check did not say that it is to be replaced"
        copies = [
            copy
            for name, copy in self._watched[place].sidecar.local.items()
            if name.startswith(f"before-{short_uid(job.obj)}") and copy.good and table in copy.tables
        ]
        if not any(rows_of(tuple(copy.tables[table].parts.values())) == rows_of(held) for copy in copies):
            return "what it held is in no safety copy"
        return ""

    # Nothing is deleted that a kept set needs

    def _look_at_kept(self) -> None:
        for backup in self._all(BACKUPS):
            if "deletionTimestamp" not in backup["metadata"]:
                self._is_kept(backup)

    def _is_kept(self, backup: Object) -> None:
        app = self._apps[backup["spec"]["applicationRef"]["name"]]
        for where, archive in archives_of(backup).items():
            if flawed := flaw(app.sidecar(*where).remote, archive):
                self.fail(f"kept set hurt: Backup {backup['metadata']['name']}: {archive} {flawed}")

    # At the end

    def unfinished(self) -> str:
        """What is still to be waited for; empty where there is nothing."""
        for storage in JOBS:
            for obj in self._all(storage):
                if (
                    _phase(obj) not in ("Succeeded", "Failed")
                    or _is_held(obj)
                    or "deletionTimestamp" in obj["metadata"]
                ):
                    said = obj.get("status", {}).get("message", "")
                    return f"{obj['kind']} {obj['metadata']['name']}, {_phase(obj)}: {said}"
        for obj in self._all(BACKUPS):
            if "deletionTimestamp" in obj["metadata"]:
                return f"Backup {obj['metadata']['name']} to be deleted"
        rows = [row for watched in self._watched.values() for row in watched.sidecar._look().history.rows]
        return next((f"`{row.command}` to end" for row in rows if row.running), "")

    def at_end(self) -> None:
        """Nothing is to be done any more: then nothing is left that nobody needs."""
        self.look()
        recorded = {
            archive
            for backup in self._backups.values()
            if _is_there(backup, self._all(BACKUPS)) or backup["metadata"]["annotations"].get(LATCH) != "Delete"
            for archive in archives_of(backup).values()
        }
        for where, name in self._everywhere():
            if parse_archive_name(name) and (where != "remote" or name not in recorded):
                self.fail(f"half set left: {where}: {name}")
        for event in self._all("events"):
            if event.get("reason") == "CleanupAbandoned":
                self.fail(f"clean-up abandoned: {event.get('message') or event.get('note')}")

    # What is there

    def _all(self, storage: str) -> list[dict[str, Any]]:
        return self._cluster._store.all(storage)

    def _backup_named(self, name: str) -> Object | None:
        """The Backup of that name, also one that was deleted meanwhile."""
        found = [backup for backup in self._backups.values() if backup["metadata"]["name"] == name]
        there = [backup for backup in self._all(BACKUPS) if backup["metadata"]["name"] == name]
        return next(iter([*there, *found[::-1]]), None)

    def _everywhere(self) -> Iterator[tuple[str, str]]:
        """All archives: where, and their names."""
        stores: dict[int, Mapping[str, Archive]] = {}
        for place, watched in self._watched.items():
            stores[id(watched.sidecar.remote)] = watched.sidecar.remote
            yield from ((f"local copy on {place}", name) for name in watched.sidecar.local)
        for store in stores.values():
            yield from (("remote", name) for name in store)


def _new_rows(watched: Watched) -> list[Row]:
    """The rows since the last look, oldest first."""
    new: list[Row] = []
    rows = watched.sidecar._look().history.rows
    for row in reversed(rows):
        if id(row) in watched.rows:
            break
        new.append(row)
    if new:
        watched.rows = {id(row): row for row in rows}  # holds them, so that no other gets their id
    return new[::-1]


def _life(sidecar: FakeSidecar) -> int:
    """How often a sidecar's process has begun anew, by itself or by `/restart`."""
    return sidecar._pod.processes + sum("restart" in request.path for request in sidecar.requests)


def _phase(obj: Object) -> str:
    return str(obj.get("status", {}).get("phase", ""))


def _is_held(obj: Object) -> bool:
    return bool(obj.get("metadata", {}).get("finalizers"))


def _made_by(backup: Object) -> str:
    return str(backup["metadata"].get("annotations", {}).get(JOB_UID, ""))


def _uid_in(name: str) -> str:
    parsed = parse_archive_name(name)
    return parsed.uid if parsed else ""


def _is_there(backup: Object, all_of_them: Sequence[Object]) -> bool:
    return any(other["metadata"]["uid"] == backup["metadata"]["uid"] for other in all_of_them)
