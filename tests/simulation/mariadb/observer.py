"""Watches the fakes, and nothing else, for what must never be.

After each step: no object of the operator's is made twice and no Job runs twice (I3), no job succeeds without its Job
and a dump that is whole (I2), a restore loads just the dump that is named (I1), with a safety dump before (I4), by one
run at a time on a server, and never after its job is over; nothing kept is deleted (I8), and nothing of a run is left
once it is over. At the end every wait has ended (I5), and nothing is left that nobody needs (I7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
from tests.simulation.ground import Violation
from tests.simulation.mariadb.dumps import Content, Dump, content_of, read_dump, target_of
from tests.simulation.mariadb.engine import THINGS

from cozydrivers.drivers.mariadb.naming import Name, server_of
from cozydrivers.drivers.owned import RUN, hex_of
from cozydrivers.testing._mariadb_files import plain_name
from cozydrivers.testing._mariadb_pod import JobPod, read_pod

if TYPE_CHECKING:
    from tests.simulation.mariadb.world import World

GROUP = "backups.cozystack.io"
JOBS = (f"backupjobs.{GROUP}", f"restorejobs.{GROUP}")
BACKUPS = f"backups.{GROUP}"
LATCH = "cozydrivers.cozystack.io/deletion-policy"
CHECKPOINT = "cozydrivers.cozystack.io/checkpoint"
RECORD = "k8s.mariadb.com/"
_MARGIN = 1.5
"""Seconds by which a job may be older than the look that first sees it."""
Object = Mapping[str, Any]


@dataclass
class Thing:
    """An object of the operator's that is a run's: its Jobs by UID, and whether each has succeeded."""

    uid: str
    jobs: dict[str, bool] = field(default_factory=dict)


@dataclass
class Known:
    """A job, as it was at the last look; `over` once it is let go."""

    first_seen: float
    obj: Object
    over: bool = False
    loaded: bool = False


class Observer:
    """See the module. `violation` is the first that was seen: it is raised at every further look."""

    def __init__(self, world: World) -> None:
        self.violation: Violation | None = None
        self._world = world
        self._story = world.story
        self._store = world.cluster._store
        self._things: dict[tuple[str, str], Thing] = {}
        self._jobs: dict[str, Known] = {}
        self._backups: dict[str, Object] = {}
        self._contents: dict[str, list[tuple[float, Content]]] = {}
        self._excused: set[str] = set()
        self._seen: tuple[int, ...] = ()

    def fail(self, what: str) -> NoReturn:
        """Something is as it must never be."""
        if self.violation is None:
            self._story.tell(f"VIOLATION  {what}")
            self.violation = Violation(f"{what}\n{self._story}")
        raise self.violation

    def changed_by_hand(self) -> None:
        """Take what the servers hold as given."""
        for app in self._world.apps:
            history = self._contents.setdefault(app, [])
            content = content_of(self._world.database(app))
            if not history or history[-1][1] != content:
                history.append((anyio.current_time(), content))

    begin = changed_by_hand

    def look(self) -> None:
        """Look at everything once; raises Violation."""
        if self.violation is not None:
            raise self.violation
        seen = (self._store.version, self._world.pods.loads, self._world.bucket.changes)
        if seen == self._seen:
            return
        self._seen = seen
        self.changed_by_hand()
        self._look_at_things()
        self._look_at_backups()
        self._look_at_jobs()
        self._look_at_pods()

    # Nothing is made twice

    def _look_at_things(self) -> None:
        for storage in THINGS:
            for obj in self._ours(storage):
                name, uid = obj["metadata"]["name"], obj["metadata"]["uid"]
                thing = self._things.setdefault((storage, name), Thing(uid))
                if thing.uid != uid:
                    self.fail(f"made twice: {obj['kind']} {name}")
        by_uid = {thing.uid: thing for thing in self._things.values()}
        for job in self._all("jobs.batch"):
            for owner in job["metadata"].get("ownerReferences", ()):
                if owner["uid"] in by_uid:
                    self._note_job(by_uid[owner["uid"]], job)

    def _note_job(self, thing: Thing, job: Object) -> None:
        uid, status = job["metadata"]["uid"], job.get("status", {})
        if uid not in thing.jobs and any(other not in self._world.by_hand for other in thing.jobs):
            self.fail(f"run twice: Job {job['metadata']['name']}")
        complete = any((each["type"], each["status"]) == ("Complete", "True") for each in status.get("conditions", ()))
        thing.jobs[uid] = thing.jobs.get(uid, False) or (complete and status.get("succeeded", 0) > 0)

    # No job succeeds without its witnesses; what is over leaves nothing

    def _look_at_jobs(self) -> None:
        found = {obj["metadata"]["uid"]: obj for storage in JOBS for obj in self._all(storage)}
        for uid, obj in found.items():
            known = self._jobs.setdefault(uid, Known(anyio.current_time(), {}))
            before: Object = known.obj
            known.obj = obj
            if _phase(obj) != _phase(before):
                message = obj.get("status", {}).get("message", "")
                self._story.tell(f"{obj['kind']} {obj['metadata']['name']} is {_phase(obj) or 'new'}: {message}")
                if _phase(obj) == "Succeeded":
                    self._succeeded(known)
            if _phase(obj) in ("Succeeded", "Failed") and not obj["metadata"].get("finalizers"):
                self._let_go(known)
        for uid in self._jobs.keys() - found.keys():
            self._let_go(self._jobs[uid])
        for storage in (*THINGS, "pods"):
            for thing in self._ours(storage):
                self._is_wanted(thing)

    def _let_go(self, known: Known) -> None:
        """A dump that no list has shown to the run is nobody's fault, unless the run knows its name."""
        if known.over:
            return
        known.over = True
        checkpoint = known.obj["metadata"].get("annotations", {}).get(CHECKPOINT, "")
        mark = f"-{hex_of(known.obj['metadata']['uid'], 12)}-dump/"
        hidden = (key for key in self._world.bucket.hidden if mark in key)
        self._excused |= {key for key in hidden if key.rpartition("/")[2] not in checkpoint}

    def _claims_what_is_so(self, job: Object, message: str) -> None:
        """Who gives up because a dump is gone is right."""
        if "is not in the store any more" not in message:
            return
        backup = self._backup_named(job["spec"]["backupRef"]["name"])
        if backup is not None and self._dump(record_of(backup)) is not None:
            self.fail(f"given up for nothing: {job['metadata']['name']}: {message}")

    def _is_wanted(self, obj: Object) -> None:
        known = self._jobs.get(obj["metadata"]["labels"][RUN])
        if known is not None and known.over and _phase(obj) not in ("Succeeded", "Failed"):
            self.fail(f"left: {obj['kind']} {obj['metadata']['name']}, and its job is over")

    def _succeeded(self, known: Known) -> None:
        job = known.obj
        kind, name, uid = job["kind"], job["metadata"]["name"], job["metadata"]["uid"]
        left = [obj["metadata"]["name"] for storage in THINGS for obj in self._ours(storage) if _run(obj) == uid]
        if left:
            self.fail(f"success before the end: {kind} {name}, and there is {', '.join(left)}")
        if kind == "RestoreJob" and job["spec"].get("options", {}).get("dryRun"):
            return
        if not self._witnessed(uid, "dump" if kind == "BackupJob" else "restore"):
            self.fail(f"success without its Job: {kind} {name}")
        if kind == "BackupJob":
            self._backup_is_whole(known)
        else:
            self._restore_is_whole(known)

    def _witnessed(self, uid: str, purpose: str) -> bool:
        """Whether the Job of a run's object has succeeded."""
        return any(
            any(thing.jobs.values())
            for (_, text), thing in self._things.items()
            if (name := Name.parse(text)) and (name.uid, name.purpose) == (hex_of(uid, 12), purpose)
        )

    def _backup_is_whole(self, known: Known) -> None:
        name, uid = known.obj["metadata"]["name"], known.obj["metadata"]["uid"]
        backup = self._backup_named(known.obj["status"].get("backupRef", {}).get("name", ""))
        if backup is None:
            self.fail(f"success without a Backup: BackupJob {name}")
        record = record_of(backup)
        if f"-{hex_of(uid, 12)}-dump/" not in record.get("prefix", ""):
            self.fail(f"success with another's dump: BackupJob {name} has {record.get('prefix')}")
        if not record.get("file"):
            self.fail(f"success without a dump: BackupJob {name}")
        made = {(done.job, done.file) for done in self._world.pods.done if done.what == "pushed"}
        if (record["backup-name"], record["file"]) not in made:
            self.fail(f"success with the dump of a Pod that has failed: BackupJob {name} has {record['file']}")
        dump = self._dump(record)
        app = known.obj["spec"]["applicationRef"]["name"]
        if dump is None or not dump.complete or dump.size != int(record["size"]):
            self.fail(f"success without a whole dump: BackupJob {name} has {record['file']}")
        if dump.content not in self._lately(app, known.first_seen - _MARGIN):
            self.fail(f"success without the rows of {app}: BackupJob {name}")

    def _dump(self, record: Mapping[str, str]) -> Dump | None:
        return read_dump(self._world.bucket, record.get("prefix", "") + record.get("file", ""))

    def _lately(self, app: str, since: float) -> list[Content]:
        contents = self._contents[app]
        first = max((number for number, (at, _) in enumerate(contents) if at <= since), default=0)
        return [content for _, content in contents[first:]]

    def _restore_is_whole(self, known: Known) -> None:
        job = known.obj
        backup = self._backup_named(job["spec"]["backupRef"]["name"])
        dump = self._dump(record_of(backup)) if backup else None
        if backup is None or dump is None:
            self.fail(f"success without a dump: RestoreJob {job['metadata']['name']}")
        live = content_of(self._world.database(target_of(job, backup)))
        only = job["spec"].get("options", {}).get("database")
        for (database, table), rows in dump.content.items():
            if only in (None, database) and live.get((database, table)) != rows:
                self.fail(f"success without the rows: RestoreJob {job['metadata']['name']}: {database}.{table}")

    # A restore loads just the dump that is named, and only while its job is at work

    def about_to_load(self, pod: JobPod, file: str) -> None:
        """A Pod is about to load a dump, or the second half of it."""
        uid = pod.raw["metadata"]["labels"].get(RUN)
        if uid is None:
            return
        known, where = self._jobs.get(uid), f"{pod.job} on {pod.server[1]}"
        if known is None or known.over or _phase(known.obj) == "Succeeded":
            self.fail(f"replayed: {where}, and its job is over")
        backup = self._backup_named(known.obj["spec"]["backupRef"]["name"])
        record = record_of(backup) if backup else {}
        if backup is None or (pod.prefix, file) != (record.get("prefix"), plain_name(record.get("file", ""))):
            self.fail(f"another dump: {where} loads {pod.prefix}{file}")
        app = target_of(known.obj, backup)
        if pod.server[1] != server_of(app):
            self.fail(f"another target: {where}")
        if not known.loaded and not known.obj["spec"].get("options", {}).get("skipSafetyCopy"):
            self._is_saved(uid, app, where)
        known.loaded = True

    def _is_saved(self, uid: str, app: str, where: str) -> None:
        mark, now = f"-{hex_of(uid, 12)}-safety/", content_of(self._world.database(app))
        dumps = [read_dump(self._world.bucket, key) for key in self._world.bucket.keys if mark in key]
        if not any(dump and dump.complete and dump.content == now for dump in dumps):
            self.fail(f"no safety dump: {where} is about to replace what no dump has")

    # One run at a time on a server

    def _look_at_pods(self) -> None:
        at_work: dict[tuple[str, str], dict[str, bool]] = {}
        for obj in self._ours("pods"):
            pod = read_pod(dict(obj))
            if pod is not None and _phase(obj) not in ("Succeeded", "Failed"):
                at_work.setdefault(pod.server, {})[pod.job] = pod.restores
        for server, runs in at_work.items():
            if len(runs) > 1 and any(runs.values()):
                self.fail(f"two at once on {server[1]}: {', '.join(sorted(runs))}")

    # Nothing kept is deleted

    def _look_at_backups(self) -> None:
        for obj in self._all(BACKUPS):
            uid = obj["metadata"]["uid"]
            before = self._backups.get(uid)
            self._backups[uid] = obj
            if "deletionTimestamp" not in obj["metadata"]:
                self._is_kept(obj)
            elif before is not None and "deletionTimestamp" not in before["metadata"]:
                self._may_go(obj)
        names = [name for obj in self._backups.values() if (name := record_of(obj).get("backup-name"))]
        if len(names) > len(set(names)):
            self.fail("recorded twice: two Backups are of one run")

    def _is_kept(self, backup: Object) -> None:
        record = record_of(backup)
        dump = self._dump(record)
        if dump is None or str(dump.size) != record.get("size"):
            self.fail(f"kept dump hurt: Backup {backup['metadata']['name']}: {record.get('file')}")

    def _may_go(self, backup: Object) -> None:
        """Whoever is not deleted by a user is too old, and not the newest good one."""
        name, taken = backup["metadata"]["name"], _taken(backup)
        if name in self._world.deleted:
            return
        app = backup["spec"]["applicationRef"]["name"]
        newer = [
            obj
            for obj in self._all(BACKUPS)
            if obj["spec"]["applicationRef"]["name"] == app and _taken(obj) > taken
            if "deletionTimestamp" not in obj["metadata"]
        ]
        too_old = "maxRetention" in self._world.wanted and self._world.now() - taken >= timedelta(hours=1)
        if not newer or not too_old:
            self.fail(f"kept Backup deleted: {name}")

    # At the end

    def unfinished(self) -> str:
        """What is still to be waited for; empty where there is nothing."""
        for storage in JOBS:
            for obj in self._all(storage):
                held = obj["metadata"].get("finalizers") or "deletionTimestamp" in obj["metadata"]
                if held or _phase(obj) not in ("Succeeded", "Failed"):
                    said = obj.get("status", {}).get("message", "")
                    return f"{obj['kind']} {obj['metadata']['name']}, {_phase(obj)}: {said}"
        for obj in self._all(BACKUPS):
            if "deletionTimestamp" in obj["metadata"]:
                return f"Backup {obj['metadata']['name']} to be deleted"
        return ""

    def at_end(self) -> None:
        """Nothing is to be done any more: then nothing is left that nobody needs."""
        self.look()
        there = {obj["metadata"]["uid"] for obj in self._all(BACKUPS)}
        needed = {
            record["prefix"] + record["file"]
            for uid, backup in self._backups.items()
            if uid in there or backup["metadata"]["annotations"].get(LATCH) != "Delete"
            if (record := record_of(backup))
        }
        for key in self._world.bucket.keys:
            name = Name.parse(key.rpartition("/")[0].rpartition("/")[2])
            if name is not None and name.purpose == "dump" and key not in needed | self._excused:
                self.fail(f"dump left: {key}")
        for event in self._all("events"):
            if event.get("reason") in ("CleanupAbandoned", "DumpNotDeleted"):
                self.fail(f"{event['reason']}: {event.get('message') or event.get('note')}")

    # What is there

    def _all(self, storage: str) -> list[dict[str, Any]]:
        return self._store.all(storage)

    def _ours(self, storage: str) -> Iterator[Object]:
        """What runs of ours have made, or the operator for them."""
        return (obj for obj in self._all(storage) if RUN in obj["metadata"].get("labels", {}))

    def _backup_named(self, name: str) -> Object | None:
        """The Backup of that name, also one that was deleted meanwhile."""
        found = [backup for backup in self._backups.values() if backup["metadata"]["name"] == name]
        there = [backup for backup in self._all(BACKUPS) if backup["metadata"]["name"] == name]
        return next(iter([*there, *found[::-1]]), None)


def record_of(backup: Object) -> dict[str, str]:
    """A Backup's record, without its keys' prefix."""
    return {key.removeprefix(RECORD): value for key, value in backup["spec"].get("driverMetadata", {}).items()}


def _phase(obj: Object) -> str:
    return str(obj.get("status", {}).get("phase", ""))


def _run(obj: Object) -> str:
    return str(obj["metadata"]["labels"][RUN])


def _taken(backup: Object) -> datetime:
    return datetime.fromisoformat(backup["spec"]["takenAt"])
