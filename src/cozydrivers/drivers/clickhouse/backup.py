"""Decide: the rules of a backup, one table per stage of an archive. Pure and total.

An archive is `making` until its proof (I2) was found, `proven` until its local copy is gone, then `done`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from chbackup import Action, parse_archive_name
from chbackup.evidence import bases, chain_problems, hurt_by, prove_archive, remote_problems
from cozydrivers.api.base import Condition
from cozydrivers.drivers.base import Artifact, BackupRun, Patience
from cozydrivers.drivers.clickhouse import record, steps
from cozydrivers.drivers.clickhouse.checkpoint import Debris, Evidence, Member, State, archive_name
from cozydrivers.drivers.clickhouse.choosing import fuller, heard, may_move, substitute
from cozydrivers.drivers.clickhouse.earlier import Earlier, last_good, suspicion
from cozydrivers.drivers.clickhouse.engines import consuming, replicated, schema_only, shared_by, sizes
from cozydrivers.drivers.clickhouse.following import Submission, Verdict, going_on, since
from cozydrivers.drivers.clickhouse.look import Scene, Sight
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.record import Recorded, Tables, tables_hash
from cozydrivers.drivers.clickhouse.steps import Done, DropLocal, End, Go, Hold, Plan, Step, Submit
from cozydrivers.drivers.clickhouse.stored import UNSEEN, Stored

DOUBT = timedelta(minutes=5)
"""How long an outage of the store may make the tables of a good archive look like less."""


def decide(state: State, scene: Scene, run: BackupRun) -> list[Step]:
    """What to do next with each archive of the set."""
    return [_step(member, sight, state, scene, run) for member, sight in zip(state.members, scene.sights, strict=True)]


def _step(member: Member, sight: Sight, state: State, scene: Scene, run: BackupRun) -> Step:
    if sight.trouble:
        return _away(member, sight, state, scene, run)
    if member.away_since is not None:
        member = member.model_copy(update={"away_since": None})
    return _stages[member.stage](member, sight, state, scene, run)


def _away(member: Member, sight: Sight, state: State, scene: Scene, run: BackupRun) -> Step:
    """A sidecar that can't be asked is waited for; another replica takes its place as long as nothing was uploaded."""
    member = steps.unsent(member) if run.fresh else member
    if member.stage == "making":
        member = member.model_copy(update={"away_since": member.away_since or run.now})
    movable = member.submission.attempt < steps.MAX_ATTEMPTS and may_move(member, sight, run.now)
    place = substitute(member, state.members, heard(scene.survey)) if movable else None
    if place is None:
        return steps.unreachable(member, sight.trouble)
    said = f"{member.label}: {sight.trouble}; replica {place.replica} takes its place, under a new name"
    return _anew(member, state, run, place, said)


def _making(member: Member, sight: Sight, state: State, scene: Scene, run: BackupRun) -> Step:
    row = sight.rows.own
    match sight.verdict:
        case Verdict.PLANNED:
            return _if_safe(Plan(member), sight, state, scene)
        case Verdict.SEND:
            return _if_safe(Submit(member), sight, state, scene)
        case Verdict.LOOKING:
            return steps.looking(member)
        case Verdict.NOT_FOUND:
            return again(member, state, scene, run, f"{member.label}: what was sent never arrived")
        case Verdict.RUNNING if row is not None:
            return steps.at_work(steps.adopted(member, row), run.now, f"{row.verb} is in progress")
        case Verdict.SUCCEEDED:
            return _prove(member, sight, state, scene, run.now)
        case Verdict.FAILED if row is not None:
            return End("EngineFailed", f"{member.label}: {row.verb} failed: {row.error}")
        case Verdict.CANCELLED:
            return End("Cancelled", f"{member.label}: the operation was killed on the sidecar")
        case Verdict.LOST:
            return _after_restart(member, sight, state, scene, run)
        case _:
            return steps.restarted(member, sight.rows, run.now)


def _if_safe(step: Plan | Submit, sight: Sight, state: State, scene: Scene) -> Step:
    """Nothing is sent while anything runs on the storage path, nor an increment on what is not seen whole."""
    member = steps.unsent(step.member)
    busy = steps.busy_sidecar(replace(scene, survey=heard(scene.survey)), state)
    if busy:
        return Hold("SidecarBusy", busy, 2.0, member, Patience.BUSY)
    if broken := _chain(member, sight):
        return Hold("BaseNotListed", f"{member.label}: its base: {broken[0]}", 5.0, member, Patience.ABSENT)
    return step


def _after_restart(member: Member, sight: Sight, state: State, scene: Scene, run: BackupRun) -> Step:
    name = member.submission.archive
    local, remote = sight.local_copy(name), sight.remote_copy(name)
    if remote is not None and not remote.broken:
        return _prove(member, sight, state, scene, run.now)
    if local is not None and not local.broken and remote is not None:
        return Plan(_to_upload(member, sight, run.now))
    return again(member, state, scene, run, f"{member.label}: the sidecar was restarted and has lost it")


def _to_upload(member: Member, sight: Sight, now: datetime) -> Member:
    new = going_on(member.submission, sight.rows, attempt=member.submission.attempt, now=now)
    return member.model_copy(update={"submission": new})


def again(member: Member, state: State, scene: Scene, run: BackupRun, why: str) -> Step:
    """The next attempt, under a new name: what the old one still makes is debris."""
    attempt = member.submission.attempt
    if attempt >= steps.MAX_ATTEMPTS:
        return End("Lost", f"{why}; given up after {attempt} attempts")
    place = fuller(member, state.members, heard(scene.survey))
    said = f"{why}; replica {place.replica}, which holds more now, takes its place" if place else why
    return _anew(member, state, run, place, said)


def _anew(member: Member, state: State, run: BackupRun, place: Place | None, said: str) -> Plan:
    old = member.submission
    attempt, replica = old.attempt + 1, member.replica if place is None else place.replica
    name = archive_name(run, attempt=attempt, shard=member.shard, shards=state.shards, replica=replica)
    new = Submission(verb="create_remote", archive=name, attempt=attempt, at=run.now)
    fresh = {"submission": new, "replica": replica, "begun": False, "away_since": None, "doubted": None}
    debris = Debris(shard=member.shard, replica=member.replica, archive=old.archive)
    was_sent = old.state != "planned"
    return Plan(member.model_copy(update=fresh), debris if was_sent else None, place, said)


def _prove(member: Member, sight: Sight, state: State, scene: Scene, now: datetime) -> Step:
    name = member.submission.archive
    local, remote = sight.local_copy(name), sight.remote_copy(name)
    if remote is None or (remote.broken and "can't" in remote.broken):
        return Hold("RemoteNotListed", f"{member.label}: {name} is not listed yet", 2.0, member, Patience.ABSENT)
    unread = next((seen.trouble for seen in heard(scene.survey).values() if seen.trouble), "")
    if unread:
        return Hold("SidecarUnreachable", f"can't tell what else ran: {unread}", 5.0, member, Patience.ABSENT)
    shown = sight.stored or UNSEEN
    if shown.awaited:
        return _objects_unread(member, shown)
    tables, source = sight.archived or (), _source(member, sight)
    unclear = [*remote_problems(remote, tables, source_bytes=source), *_chain(member, sight)]
    problems = prove_archive(remote=remote, local=local, tables=tables, required=member.base, source_bytes=source)
    problems += [*_chain(member, sight), *shown.problems]
    harm = [f"`{row.command}` ran on {pod} meanwhile" for pod, row in _harm(member, sight, state, scene)]
    if not harm and problems == unclear != [] and not _long_doubted(member, now):
        doubted = member.model_copy(update={"doubted": member.doubted or now})
        return Hold("NotProvenYet", f"{member.label}: {name}: {problems[0]}", 5.0, doubted)
    if problems or harm:
        return End("EngineFailed", f"{member.label}: {name} is not proven: {'; '.join(problems + harm)}")
    evidence = Evidence(data_size=remote.data_size, size=remote.size, required=remote.required)
    return Go(member.model_copy(update={"stage": "proven", "evidence": evidence}))


def _objects_unread(member: Member, shown: Stored) -> Hold:
    why = f"{member.label}: the objects of {member.submission.archive} can't be looked at: {shown.unread}"
    return Hold("ObjectsNotReadable", why, 5.0, member, Patience.ABSENT)


def _source(member: Member, sight: Sight) -> int | None:
    """The whole size of what an increment was made from, where the tables are as they were; else nobody knows it."""
    held = sum(sizes(sight.live or ()).values())
    return held if member.base and held == member.source_bytes else None


def _chain(member: Member, sight: Sight) -> list[str]:
    """What is wrong with the bases of an increment."""
    return chain_problems(sight.remote or (), member.base) if member.base else []


def _long_doubted(member: Member, now: datetime) -> bool:
    """Whether the tables have been reading as less than the archive for longer than a moment's outage explains."""
    return member.doubted is not None and now - member.doubted > DOUBT


def _harm(member: Member, sight: Sight, state: State, scene: Scene) -> Iterable[tuple[str, Action]]:
    made = member.submission
    own = {made.operation_id, *made.earlier, sight.rows.own.operation_id if sight.rows.own else ""} - {""}
    for pod, seen in scene.survey.items():
        later = since(seen.rows.all or (), state.marks.get(pod, ""))
        kept = bases(sight.remote or (), member.submission.archive)
        yield from ((pod, row) for row in hurt_by(later, member.submission.archive, own=own, bases=kept))


def _proven(member: Member, sight: Sight, state: State, scene: Scene, run: BackupRun) -> Step:
    name = member.submission.archive
    if sight.local_copy(name) is None:
        return Go(member.model_copy(update={"stage": "done"}))
    if sight.remote_copy(name) is None:
        return Hold("RemoteNotListed", f"{member.label}: {name} is not listed now", 5.0, member, Patience.ABSENT)
    return DropLocal(member)


def _done(member: Member, sight: Sight, state: State, scene: Scene, run: BackupRun) -> Step:
    """The last look, when every archive is done: what the checkpoint says is not enough to end a job (I12)."""
    if sight.remote is None:
        return Done(member)
    remote, proof = sight.remote_copy(member.submission.archive), member.evidence
    if remote is None or proof is None:
        return Hold("RemoteNotListed", f"{member.label}: the archive is not listed now", 5.0, member, Patience.ABSENT)
    if not remote.broken and (unread := [*remote_problems(remote, sight.archived or ()), *_chain(member, sight)]):
        return Hold("NotProvenYet", f"{member.label}: {unread[0]}", 5.0, member, Patience.ABSENT)
    shown = sight.stored or UNSEEN
    if shown.awaited:
        return _objects_unread(member, shown)
    if remote.broken or shown.problems or (remote.data_size, remote.required) != (proof.data_size, proof.required):
        return End("EngineFailed", f"{member.label}: {remote.name} is no longer what was proven")
    return Done(member)


_stages = {"making": _making, "proven": _proven, "done": _done}


def artifact(state: State, scene: Scene, run: BackupRun) -> Artifact:
    """What to record of a set whose every archive is done, by the last look at it."""
    name = parse_archive_name(state.members[0].submission.archive)
    entries = [_entry(member, sight) for member, sight in zip(state.members, scene.sights, strict=True)]
    versions = ",".join(sorted({sight.version for sight in scene.sights}))
    return Artifact(
        uri=f"clickhouse-backup://{run.namespace}/{run.application.metadata.name}/{name.set_name if name else ''}",
        size_bytes=sum(member.evidence.size for member in state.members if member.evidence),
        taken_at=min(member.submission.at for member in state.members),
        driver_metadata=record.write(entries, versions=versions, storage=state.storage, cluster=run.cluster_uid),
        conditions=conditions(entries, [sight.stored or UNSEEN for sight in scene.sights], last_good(run)),
    )


def _entry(member: Member, sight: Sight) -> Recorded:
    names = [table.full_name for table in sight.archived or ()]
    live = sight.live or ()
    shared = replicated(live, names)
    return Recorded(
        shard=member.shard,
        replica=member.replica,
        archive=member.submission.archive,
        data_size=member.evidence.data_size if member.evidence else 0,
        required=member.evidence.required if member.evidence else "",
        tables=Tables(
            count=len(names),
            hash=tables_hash(names),
            bytes=sum(table.total_bytes for table in sight.archived or ()),
            replicated=shared,
            schema_only=schema_only(live, names),
            consuming=consuming(live, names),
            engines={table.full_name: shared_by(table) for table in live if table.full_name in shared},
        ),
    )


def conditions(entries: Sequence[Recorded], shown: Sequence[Stored], good: Earlier | None) -> list[Condition]:
    """What was proven, and what is odd about it, beside the last good set."""
    odd = suspicion(entries, good)
    return [_verified(entries, shown), odd] if odd else [_verified(entries, shown)]


def _verified(entries: Sequence[Recorded], shown: Sequence[Stored]) -> Condition:
    """True only where the object store has shown every archive whole: no list shows that a part is missing."""
    lost = sorted({table for entry in entries for table in entry.tables.schema_only})
    said = f"; of {', '.join(lost)} only the schema is in it" if lost else ""
    listed = f"{len(entries)} archives listed with the sizes of their local copies and tables"
    unread = next((each.unread for each in shown if each.unread), "")
    if unread:
        message = f"{listed}, but their objects are not proven: {unread}{said}"
        return Condition(type="Verified", status="False", reason="ListEvidence", message=message)
    message = f"{listed}, their objects all in the store with the sizes of the list{said}"
    return Condition(type="Verified", status="True", reason="ObjectsProven", message=message)
