"""Decide: the rules of a restore, one table per stage of an archive. Pure and total.

An archive is `downloading`, then `downloaded`; when all are, its tables are looked for once more and it is `restoring`,
`restored` when they are all there, `done` when the local copy is gone. Nothing that exists is ever replaced.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chbackup import Archive, Table
from chbackup.evidence import remote_problems
from cozydrivers.drivers.base import Patience, RestoreRun
from cozydrivers.drivers.clickhouse import steps
from cozydrivers.drivers.clickhouse.checkpoint import Member, State, hex_of
from cozydrivers.drivers.clickhouse.following import Submission, Verdict, going_on
from cozydrivers.drivers.clickhouse.look import Scene, Sight
from cozydrivers.drivers.clickhouse.record import Recorded, tables_hash
from cozydrivers.drivers.clickhouse.steps import Done, DropLocal, End, Go, Hold, Plan, Step, Submit


def tag(run: RestoreRun, attempt: int) -> str:
    """A table pattern that matches nothing and makes a restore's row ours."""
    return f"cozydrivers_{hex_of(run.uid, 12)}.a{attempt}"


def pattern(run: RestoreRun, member: Member, recorded: Recorded, archived: Iterable[Table]) -> str:
    """The `table` parameter of a restore: everything, or the tables by name where some are left out; and the tag."""
    tables = to_restore(recorded, archived) if recorded.tables.schema_only else ["*.*"]
    return ",".join([*tables, tag(run, member.submission.attempt)])


@dataclass(frozen=True)
class Case:
    """One archive of a restore, with everything that its step is decided on."""

    member: Member
    sight: Sight
    state: State
    scene: Scene
    run: RestoreRun
    recorded: Recorded


def decide(state: State, scene: Scene, run: RestoreRun, recorded: Sequence[Recorded]) -> list[Step]:
    """What to do next with each archive of the set."""
    return [
        _step(Case(member, sight, state, scene, run, recorded[member.shard]))
        for member, sight in zip(state.members, scene.sights, strict=True)
    ]


def _step(case: Case) -> Step:
    member, sight, recorded = case.member, case.sight, case.recorded
    if sight.trouble:
        return steps.unreachable(steps.unsent(member) if case.run.fresh else member, sight.trouble)
    match member.stage:
        case "downloading" | "restoring":
            return _at_work(case)
        case "downloaded" if all(other.stage != "downloading" for other in case.state.members):
            return _restore_now(case)
        case "restored" if sight.local_copy(recorded.archive) is not None:
            return DropLocal(member)
        case "restored":
            return Go(member.model_copy(update={"stage": "done"}))
        case "done" if sight.live is not None:
            return _restored(case)
        case _:
            return Done(member)


def _at_work(case: Case) -> Step:
    member, sight, run = case.member, case.sight, case.run
    row = sight.rows.own
    match sight.verdict:
        case Verdict.PLANNED:
            return _if_safe(Plan(member), case)
        case Verdict.SEND:
            return _if_safe(Submit(member), case)
        case Verdict.LOOKING:
            return steps.looking(member)
        case Verdict.RUNNING if row is not None:
            return steps.at_work(steps.adopted(member, row), run.now, f"{row.verb} is in progress")
        case Verdict.SUCCEEDED:
            return _have(case) if member.stage == "downloading" else _restored(case)
        case Verdict.FAILED if row is not None:
            return End("EngineFailed", f"{member.label}: {row.verb} failed: {row.error}{_left(member)}")
        case Verdict.CANCELLED:
            return End("Cancelled", f"{member.label}: the operation was killed on the sidecar{_left(member)}")
        case Verdict.LOST | Verdict.NOT_FOUND:
            return _lost(case)
        case _:
            return steps.restarted(member, sight.rows, run.now)


def _left(member: Member) -> str:
    return "" if member.stage == "downloading" else "; drop the tables that it has made before another restore"


def _if_safe(step: Plan | Submit, case: Case) -> Step:
    """The last look before anything is sent: a restore that has not begun finds none of its tables on any replica."""
    member = step.member
    busy = steps.busy_sidecar(case.scene, case.state)
    if busy:
        return Hold("SidecarBusy", busy, 2.0, steps.unsent(member), Patience.BUSY)
    if member.stage == "downloading" or member.begun:
        return step
    if not _is_read(case):
        return _unread(case)
    short = [pod for pod, seen in case.scene.survey.items() if len(seen.live or ()) < case.state.live.get(pod, 0)]
    if short:
        said = f"{short[0]} lists fewer tables than when they were checked"
        return Hold("TablesNotListed", f"{member.label}: {said}", 5.0, steps.unsent(member), Patience.ABSENT)
    found = existing(case.scene, member.shard, case.sight.archived or ())
    return End("Refused", exists(member.label, found)) if found else step


def to_restore(recorded: Recorded, archived: Iterable[Table]) -> list[str]:
    """The archive's tables but those that would come back empty."""
    return sorted({table.full_name for table in archived} - set(recorded.tables.schema_only))


def existing(scene: Scene, shard: int, archived: Iterable[Table]) -> list[str]:
    """The archive's tables that exist on any replica of the shard."""
    wanted = {table.full_name for table in archived}
    replicas = [seen for seen in scene.survey.values() if seen.place and seen.place.shard == shard]
    return sorted({table.full_name for seen in replicas for table in seen.live or ()} & wanted)


def exists(label: str, tables: Sequence[str]) -> str:
    """Why a restore is refused, with what to do."""
    named = ", ".join(tables[:5]) + (f" and {len(tables) - 5} more" if len(tables) > 5 else "")
    return f"{label}: {named} exists; a restore does not replace tables: drop what is to come back, then restore again"


def _have(case: Case) -> Step:
    """A download says success for less than the whole: its measured size is compared with the recorded one."""
    member, sight, recorded = case.member, case.sight, case.recorded
    local = sight.local_copy(recorded.archive)
    if local is None:
        return End("EngineFailed", f"{member.label}: the download ended well, and no local copy is listed")
    if local.broken or local.data_size != recorded.data_size:
        said = local.broken or f"{local.data_size} of {recorded.data_size} bytes"
        return End("EngineFailed", f"{member.label}: {recorded.archive} did not arrive whole: {said}")
    return Go(member.model_copy(update={"stage": "downloaded"}))


def _restore_now(case: Case) -> Step:
    """All archives are here: only now anything is changed."""
    submission = Submission(verb="restore", archive=case.recorded.archive, at=case.run.now)
    update = {"stage": "restoring", "submission": submission, "begun": False}
    return _if_safe(Plan(case.member.model_copy(update=update)), case)


def _restored(case: Case) -> Step:
    member, sight, recorded = case.member, case.sight, case.recorded
    if not _is_read(case):
        return _unread(case)
    live = {table.full_name: table.total_bytes for table in sight.live or ()}
    sizes = {table.full_name: table.total_bytes for table in sight.archived or ()}
    wanted = {name: sizes[name] for name in to_restore(recorded, sight.archived or ())}
    bad = [f"{name} is absent" for name in wanted if name not in live]
    bad += [f"{name} is empty" for name, size in wanted.items() if size and not live.get(name, 1)]
    if bad:
        return End("EngineFailed", f"{member.label}: restore ended well, but {'; '.join(bad)}")
    return Done(member) if member.stage == "done" else Go(member.model_copy(update={"stage": "restored"}))


def _is_read(case: Case) -> bool:
    """Whether the archive's tables were read: an outage of the store makes them look like none."""
    names = [table.full_name for table in case.sight.archived or ()]
    return tables_hash(names) == case.recorded.tables.hash


def _unread(case: Case) -> Hold:
    member = steps.unsent(case.member) if case.run.fresh else case.member
    message = f"{member.label}: the tables of {case.recorded.archive} can't be read now"
    return Hold("ArchiveNotReadable", message, 5.0, member, Patience.ABSENT)


def _lost(case: Case) -> Step:
    """Nothing of it runs or can still arrive: it is done again, which a restore without data=1 allows."""
    member, sight, recorded = case.member, case.sight, case.recorded
    if member.stage == "downloading" and sight.verdict is Verdict.LOST:
        local = sight.local_copy(recorded.archive)
        if local is not None and not local.broken:
            return _have(case)
    if member.submission.attempt >= steps.MAX_ATTEMPTS:
        return End("Lost", f"{member.label}: given up after {member.submission.attempt} attempts{_left(member)}")
    new = going_on(member.submission, sight.rows, attempt=member.submission.attempt + 1, now=case.run.now)
    return _if_safe(Plan(member.model_copy(update={"submission": new})), case)


def refusal(recorded: Recorded, label: str) -> str:
    """Why this archive can't be restored here at all, as a sentence; empty when it can."""
    if recorded.tables.replicated:
        return f"{label}: {', '.join(recorded.tables.replicated)}: restoring replicated tables is not supported"
    if recorded.required:
        return f"{label}: {recorded.archive} is an increment; restoring increments is not supported"
    return ""


def unread(remote: Archive, tables: Sequence[Table]) -> str:
    """What the store does not show of a listed archive now, perhaps in an outage; empty when all is read."""
    problems = [] if remote.broken else remote_problems(remote, tables)
    return f"{remote.name}: {problems[0]}" if problems else ""


def whole(recorded: Recorded, remote: Archive, tables: Sequence[Table]) -> list[str]:
    """What speaks against the remote archive being the recorded one, unharmed; empty when nothing does."""
    if remote.broken:
        return [f"{recorded.archive} is {remote.broken}"]
    problems = []
    if (remote.data_size, remote.required) != (recorded.data_size, recorded.required):
        problems.append(f"it holds {remote.data_size} bytes of data, the Backup records {recorded.data_size}")
    if tables_hash(table.full_name for table in tables) != recorded.tables.hash:
        problems.append(f"its {len(tables)} tables are not the {recorded.tables.count} that the Backup records")
    return [f"{recorded.archive}: {problem}" for problem in problems]
