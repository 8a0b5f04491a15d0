"""Decide: the rules of a restore, one table per stage of an archive. Pure and total.

An archive is `downloading`, then `downloaded`. When all are, what is to be replaced is copied (`saving`, then `saved`).
When that is done everywhere, the tables are looked for once more and it is `restoring`, `restored` when they are all
there, `done` when the local copy is gone. What exists is replaced only where the check has found just that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from chbackup import Archive, Table
from chbackup.evidence import partial_local, remote_problems
from cozydrivers.drivers.base import Patience, RestoreRun
from cozydrivers.drivers.clickhouse import replicated, safety, steps
from cozydrivers.drivers.clickhouse.checkpoint import Member, State
from cozydrivers.drivers.clickhouse.engines import shared_by
from cozydrivers.drivers.clickhouse.following import Submission, Verdict, going_on, since
from cozydrivers.drivers.clickhouse.look import Scene, Sight
from cozydrivers.drivers.clickhouse.record import Recorded, tables_hash
from cozydrivers.drivers.clickhouse.selecting import (
    Asked,
    Choice,
    choose,
    existing,
    fingerprint,
    is_read,
    is_recorded,
    whole_size,
)
from cozydrivers.drivers.clickhouse.sentences import BEGUN, NAMED, changed, left, named
from cozydrivers.drivers.clickhouse.steps import Done, DropLocal, End, Go, Hold, Plan, Step, Submit
from cozydrivers.drivers.owned import hex_of

DOWNLOAD_SHARE = 0.8
"""Of the patience with the engine, for a download: that of an increment whose base lacks an object never ends."""
ARRIVAL = timedelta(minutes=10)
"""How long the first rows of a replicated table may take to a replica that was given its schema."""


def tag(run: RestoreRun, attempt: int) -> str:
    """A table pattern that matches nothing and makes a restore's row ours."""
    return f"cozydrivers_{hex_of(run.uid, 12)}.a{attempt}"


@dataclass(frozen=True)
class Case:
    """One archive on one replica, with everything that its step is decided on."""

    member: Member
    sight: Sight
    state: State
    scene: Scene
    run: RestoreRun
    entry: Recorded
    asked: Asked

    @property
    def here(self) -> Sequence[Table]:
        """The tables that are on its own replica now."""
        if self.sight.live is not None:
            return self.sight.live
        return self.scene.survey.get(self.member.pod, Sight()).live or ()

    @property
    def replicas(self) -> dict[str, Sight]:
        """What the replicas of its shard show, by Pod."""
        seen = self.scene.survey.items()
        return {pod: sight for pod, sight in seen if sight.place and sight.place.shard == self.member.shard}

    @property
    def choice(self) -> Choice:
        """What is restored of the archive here."""
        others = [table for sight in self.replicas.values() for table in sight.live or ()]
        archived = self.sight.archived or ()
        return choose(self.entry, archived, self.member.part, self.asked, here=self.here, others=others)

    @property
    def replaced(self) -> dict[str, int]:
        """The tables that are here now and will be replaced, with their bytes."""
        return existing(self.choice.tables, self.here)

    @property
    def pattern(self) -> str:
        """The `table` parameter of a restore, with the tag."""
        return ",".join([*self.choice.pattern, tag(self.run, self.member.submission.attempt)])


def cases(state: State, scene: Scene, run: RestoreRun, entries: Sequence[Recorded], asked: Asked) -> list[Case]:
    """The archives of the set; those of the members must be among the entries."""
    known = {(entry.shard, entry.archive): entry for entry in entries}
    return [
        Case(member, sight, state, scene, run, known[member.shard, member.archive], asked)
        for member, sight in zip(state.members, scene.sights, strict=True)
    ]


def decide(found: Sequence[Case]) -> list[Step]:
    """What to do next with each archive of the set."""
    return [_step(case) for case in found]


def _step(case: Case) -> Step:
    member, sight = case.member, case.sight
    if sight.trouble:
        return steps.unreachable(steps.unsent(member) if case.run.fresh else member, sight.trouble)
    match member.stage:
        case "downloading" | "saving" | "restoring":
            return _at_work(case)
        case "downloaded" if _all_past(case, *_BEFORE["saving"]):
            return _save_now(case)
        case "saved" if _all_past(case, *_BEFORE["restoring"]) and _is_its_turn(case):
            return _restore_now(case)
        case "restored" if sight.local_copy(member.archive) is not None:
            return DropLocal(member)
        case "restored":
            return Go(member.model_copy(update={"stage": "done"}))
        case "done" if sight.live is not None:
            return _restored(case)
        case _:
            return Done(member)


_BEFORE = {"downloading": (), "saving": ("downloading",), "restoring": ("downloading", "downloaded", "saving")}
"""Stages that no archive of the set may be in any more when one is sent for."""


def _all_past(case: Case, *stages: str) -> bool:
    return all(other.stage not in stages for other in case.state.members)


def _is_its_turn(case: Case) -> bool:
    """One operation per sidecar, in order; the replicas' bare tables are made once the first one has the rows."""
    member = case.member
    before = case.state.members[: case.state.members.index(member)]
    here = [other for other in before if (other.shard, other.replica) == (member.shard, member.replica)]
    if member.stage in ("downloading", "saving"):
        return all(other.stage != member.stage for other in here)
    first = [other for other in before if (other.shard, other.part) == (member.shard, "whole")]
    return all(other.stage in ("restored", "done") for other in (here + first if member.part == "schema" else here))


def _at_work(case: Case) -> Step:
    member, sight, run = case.member, case.sight, case.run
    row = sight.rows.own
    match sight.verdict:
        case Verdict.PLANNED:
            return _if_safe(Plan(member), case) if _is_its_turn(case) else Done(member)
        case Verdict.SEND:
            return _if_safe(Submit(member), case)
        case Verdict.LOOKING:
            return steps.looking(member)
        case Verdict.RUNNING if row is not None:
            return _endless(case) or steps.at_work(steps.adopted(member, row), run.now, f"{row.verb} is in progress")
        case Verdict.SUCCEEDED:
            return _ENDED_WELL[member.stage](case)
        case Verdict.FAILED if row is not None:
            return End("EngineFailed", f"{member.label}: {row.verb} failed: {row.error}{left(member)}")
        case Verdict.CANCELLED:
            return End("Cancelled", f"{member.label}: the operation was killed on the sidecar{left(member)}")
        case Verdict.LOST | Verdict.NOT_FOUND:
            return _lost(case)
        case _:
            return steps.restarted(member, sight.rows, run.now)


def _endless(case: Case) -> End | None:
    limit = timedelta(seconds=case.run.timeout * DOWNLOAD_SHARE)
    if case.member.stage != "downloading" or case.run.now - case.member.submission.at < limit:
        return None
    said = f"{case.member.label}: the download of {case.member.archive} has not ended after {limit}"
    return End("TimedOut", f"{said}; that of an increment whose base lacks an object never does")


def _if_safe(step: Plan | Submit, case: Case) -> Step:
    """The last look before anything is sent: a restore that has not begun finds just the tables that were checked."""
    member = step.member
    if not _all_past(case, *_BEFORE[member.stage]):  # a checkpoint may say otherwise
        return Done(steps.unsent(member))
    busy = steps.busy_sidecar(case.scene, case.state)
    if busy:
        return Hold("SidecarBusy", busy, 2.0, steps.unsent(member), Patience.BUSY)
    if member.stage == "downloading":
        return _downloaded(case) if _is_here(case) else step
    if member.stage == "restoring" and (member.begun or _may_have_begun(member, case)):
        return step
    if not _is_read(case):
        return _unread(case)
    return _otherwise_than_checked(case) or step


def _may_have_begun(member: Member, case: Case) -> bool:
    """Whether an earlier attempt may have been at work: a restart has taken the history that would show it."""
    mark, rows = case.state.marks.get(member.pod, ""), case.sight.rows.all or ()
    return member.submission.attempt > 1 and bool(mark) and len(since(rows, mark)) == len(rows)


def _otherwise_than_checked(case: Case) -> Step | None:
    """What keeps a restore from beginning: replicas that list less than they did, or other tables of the archive."""
    member, chosen = case.member, case.choice.tables
    untouched = {pod: seen for pod, seen in case.replicas.items() if pod == member.pod or not _has_begun(case, pod)}
    short = [pod for pod, seen in untouched.items() if len(seen.live or ()) < case.state.live.get(pod, 0)]
    if short:
        said = f"{short[0]} lists fewer tables than when they were checked"
        return Hold("TablesNotListed", f"{member.label}: {said}", 5.0, steps.unsent(member), Patience.ABSENT)
    for pod, seen in untouched.items():
        found = sorted(existing(chosen, seen.live or ()))
        if fingerprint(found) != member.found.get(pod, ""):
            return End("Refused", changed(member.label, pod, found))
    return None


def _has_begun(case: Case, pod: str) -> bool:
    return any(other.pod == pod and other.stage in BEGUN for other in case.state.members)


def _is_here(case: Case) -> bool:
    """Whether a local copy is there already that is the whole archive; a partial one lists as good, too."""
    sight, name = case.sight, case.member.archive
    local, remote = sight.local_copy(name), sight.remote_copy(name)
    if local is None or remote is None or not _is_read(case):
        return False
    names = {table.full_name for table in sight.archived or ()}
    if names != {table.full_name for table in sight.copied or ()}:
        return False
    size = whole_size(case.entry, sight.archived or ())
    return size > 0 and local.created == remote.created and not partial_local(local, size)


def _downloaded(case: Case) -> Step:
    return Go(steps.unsent(case.member).model_copy(update={"stage": "downloaded"}))


def _have(case: Case) -> Step:
    """A download says success for less than the whole: its measured size is compared with the archive's."""
    member, sight = case.member, case.sight
    local = sight.local_copy(member.archive)
    if local is None:
        return End("EngineFailed", f"{member.label}: the download ended well, and no local copy is listed")
    if not _is_read(case):
        return _unread(case)
    problems = partial_local(local, whole_size(case.entry, sight.archived or ()))
    if problems:
        return End("EngineFailed", f"{member.label}: {member.archive} did not arrive whole: {problems[0]}")
    return _downloaded(case)


def _save_now(case: Case) -> Step:
    """All archives are here. What is to be replaced is copied before anything is changed."""
    member, run = case.member, case.run
    if not member.found.get(member.pod) or case.asked.options.skip_safety_copy:
        return Go(member.model_copy(update={"stage": "saved"}))
    return _if_safe(Plan(_to_save(member, run)), case)


def _to_save(member: Member, run: RestoreRun, attempt: int = 1) -> Member:
    name = safety.name_of(run, run.now)
    submission = Submission(verb="create", archive=name, attempt=attempt, at=run.now)
    return member.model_copy(update={"stage": "saving", "submission": submission, "begun": False, "safety": name})


def _saved(case: Case) -> Step:
    """The copy is here, and has not cost the archive that is to be restored."""
    member, sight = case.member, case.sight
    copy, source = sight.local_copy(member.safety), sight.local_copy(member.archive)
    if copy is None or copy.broken:
        said = copy.broken if copy else "it is not listed"
        return End("EngineFailed", f"{member.label}: the safety copy {member.safety} was not made: {said}")
    if not copy.data_size and sum(case.replaced.values()) > 0:
        return End("EngineFailed", f"{member.label}: the safety copy {member.safety} holds no rows")
    if source is None or source.broken:
        return End("EngineFailed", f"{member.label}: the local copy of {member.archive} is gone since the safety copy")
    return Go(member.model_copy(update={"stage": "saved"}))


def _restore_now(case: Case) -> Step:
    """All archives and safety copies are here: only now anything is changed."""
    member = case.member
    if not _is_read(case):
        return _unread(case)
    if not case.choice.tables:
        return Go(member.model_copy(update={"stage": "restored"}))
    submission = Submission(verb="restore", archive=member.archive, at=case.run.now)
    update = {"stage": "restoring", "submission": submission, "begun": False, "doubted": None}
    return _if_safe(Plan(member.model_copy(update=update)), case)


def _restored(case: Case) -> Step:
    member, sight, choice = case.member, case.sight, case.choice
    if not _is_read(case):
        return _unread(case)
    live = {table.full_name: table for table in case.here}
    sizes = {table.full_name: table.total_bytes for table in sight.archived or ()}
    bad = [f"{name} is absent" for name in choice.tables if name not in live]
    here = [live[name] for name in choice.tables if name in live]
    first = _of_first(case)
    elsewhere = replicated.apart(here, case.entry.tables.engines, {table: shared_by(first[table]) for table in first})
    if elsewhere:
        return End("EngineFailed", replicated.is_apart(member.label, elsewhere) + left(member))
    empty = [] if case.asked.options.schema_only else [t.full_name for t in here if _is_empty(t, sizes)]
    if member.part == "schema" and not bad:
        late = [table.full_name for table in here if replicated.is_late(table, first.get(table.full_name))]
        waits = member.stage == "done" and (late or empty) and not case.asked.options.schema_only
        return _arriving(case, late or empty, empty) if waits else _is_there(member)
    bad += [f"{name} is empty" for name in empty]
    if bad:
        return End("EngineFailed", f"{member.label}: restore ended well, but {'; '.join(bad[:NAMED])}{left(member)}")
    return _is_there(member)


def _is_empty(table: Table, sizes: dict[str, int]) -> bool:
    """Whether a table lacks its rows; of one whose server does not measure it nothing can be told."""
    return bool(sizes.get(table.full_name)) and not table.total_bytes


def _is_there(member: Member) -> Step:
    return Done(member) if member.stage == "done" else Go(member.model_copy(update={"stage": "restored"}))


def _of_first(case: Case) -> dict[str, Table]:
    """The tables of the replica that has got the whole archive."""
    first = next(other for other in case.state.members if (other.shard, other.part) == (case.member.shard, "whole"))
    seen = case.replicas.get(first.pod)
    return {table.full_name: table for table in (seen.live or () if seen else ())}


def _arriving(case: Case, late: Sequence[str], empty: Sequence[str]) -> Step:
    """A replica's rows come from the first one, by replication: the first of each table soon, all in the job's time."""
    member, now = case.member, case.run.now
    missed = (member.doubted or now) if empty else None
    if missed is not None and now - missed > ARRIVAL:
        said = f"{named(empty)} is still empty {ARRIVAL} after it was restored on another replica"
        return End("EngineFailed", f"{member.label}: {said}: is it connected to ZooKeeper?")
    waiting = member.model_copy(update={"doubted": missed})
    return Hold("RowsArriving", f"{member.label}: waiting for the rows of {named(late)}", 5.0, waiting)


def _is_read(case: Case) -> bool:
    return is_read(case.entry, case.sight.archived or (), case.sight.remote_copy(case.member.archive))


def _unread(case: Case) -> Hold:
    member = steps.unsent(case.member) if case.run.fresh else case.member
    message = f"{member.label}: the tables of {member.archive} can't be read now"
    return Hold("ArchiveNotReadable", message, 5.0, member, Patience.ABSENT)


_ENDED_WELL = {"downloading": _have, "saving": _saved, "restoring": _restored}


def _lost(case: Case) -> Step:
    """Nothing of it runs or can still arrive: it is done again, which a restore without data=1 allows."""
    member, sight = case.member, case.sight
    if sight.verdict is Verdict.LOST and member.stage != "restoring":
        name = member.safety if member.stage == "saving" else member.archive
        local = sight.local_copy(name)
        if local is not None and not local.broken:
            return _ENDED_WELL[member.stage](case)
    attempt = member.submission.attempt + 1
    if attempt > steps.MAX_ATTEMPTS:
        return End("Lost", f"{member.label}: given up after {member.submission.attempt} attempts{left(member)}")
    if member.stage == "saving":
        return _if_safe(Plan(_to_save(member, case.run, attempt)), case)
    new = going_on(member.submission, sight.rows, attempt=attempt, now=case.run.now)
    return _if_safe(Plan(member.model_copy(update={"submission": new})), case)


def unread(entry: Recorded, remote: Archive, tables: Sequence[Table]) -> str:
    """What the store does not show of a listed archive now, perhaps in an outage; empty when all is read."""
    problems = [] if remote.broken else remote_problems(remote, tables, source_bytes=entry.tables.bytes or None)
    return f"{remote.name}: {problems[0]}" if problems else ""


def whole(entry: Recorded, remote: Archive, tables: Sequence[Table]) -> list[str]:
    """What speaks against the remote archive being the recorded one, unharmed; empty when nothing does."""
    if remote.broken:
        return [f"{entry.archive} is {remote.broken}"]
    if not is_recorded(entry):
        return []
    problems = []
    if (remote.data_size, remote.required) != (entry.data_size, entry.required):
        problems.append(f"it holds {remote.data_size} bytes of data, the Backup records {entry.data_size}")
    if tables_hash(table.full_name for table in tables) != entry.tables.hash:
        problems.append(f"its {len(tables)} tables are not the {entry.tables.count} that the Backup records")
    return [f"{entry.archive}: {problem}" for problem in problems]
