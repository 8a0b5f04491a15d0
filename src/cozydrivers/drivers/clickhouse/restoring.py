"""A restore, step by step: check the target, bring every archive here in full, copy what is replaced, then restore."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import anyio

from chbackup import Client, Operation
from cozydrivers.drivers.base import Failed, Intent, Note, Outcome, Patience, RestoreRun, Running, Succeeded
from cozydrivers.drivers.clickhouse import act, checking, reference, replicated, reporting, restore, safety
from cozydrivers.drivers.clickhouse import options as asking
from cozydrivers.drivers.clickhouse.advance import carry_out
from cozydrivers.drivers.clickhouse.backing_up import absent
from cozydrivers.drivers.clickhouse.checkpoint import Member, State
from cozydrivers.drivers.clickhouse.following import Verdict, mark_of
from cozydrivers.drivers.clickhouse.look import PROOF, Eyes, Scene, Sight, Wanted, at_work, resting, survey
from cozydrivers.drivers.clickhouse.places import layout_problem, storages_of
from cozydrivers.drivers.clickhouse.record import Recorded
from cozydrivers.drivers.clickhouse.restore import Case
from cozydrivers.drivers.clickhouse.selecting import Asked, is_recorded, reads_as_pattern
from cozydrivers.drivers.clickhouse.steps import Plan, Step, busy_sidecar
from cozydrivers.drivers.options import check_time
from cozydrivers.errors import InvalidInput

_SURVEYED = {Verdict.PLANNED, Verdict.SEND, Verdict.LOST, Verdict.NOT_FOUND}
_THEN = dict.fromkeys((*_SURVEYED, Verdict.SUCCEEDED), PROOF)
_BEFORE_DOWNLOAD = _THEN | dict.fromkeys((Verdict.PLANNED, Verdict.SEND), replace(PROOF, copied=True))
_TO_CHOOSE = Wanted(lists=True, archived=True)


async def step(eyes: Eyes, run: RestoreRun) -> Outcome:
    """One step of a restore."""
    options = asking.parse(run.options)
    entries = reference.entries(run, options)
    asked = Asked(options, run.application.metadata.name != run.source.spec.application_ref.name)
    problem = layout_problem(run.application, eyes.places)
    if problem:
        return absent("ShardsMissing", problem)
    if run.checkpoint is None:
        return await _begin(eyes, run, entries, asked)
    state = State.read(run.checkpoint, run)
    _check(state, run, entries, asked)
    return await _go_on(eyes, state, run, entries, asked)


async def _go_on(eyes: Eyes, state: State, run: RestoreRun, entries: Sequence[Recorded], asked: Asked) -> Outcome:
    missing = _replicas_missing(eyes, state, run)
    if missing:
        return absent("ReplicasMissing", missing)
    scene = await _observe(eyes, state, run, entries)
    cases = restore.cases(state, scene, run, entries, asked)
    steps = restore.decide(cases)
    outcome = await carry_out(eyes, state, scene, steps, partial(_send, run, cases))
    if outcome is None:
        return _succeeded(state, run, entries, cases)
    return _with_report(outcome, state, steps, asked)


def _replicas_missing(eyes: Eyes, state: State, run: RestoreRun) -> str:
    """Until all is begun, a replica that is away may have the tables alive."""
    shards = {member.shard for member in state.members if member.part == "schema" and member.stage != "done"}
    for shard in sorted(shards):
        missing = replicated.replicas_missing(run.application, [p for p in eyes.places if p.shard == shard])
        if missing:
            return f"shard {shard}: {missing}"
    return ""


def _with_report(outcome: Outcome, state: State, steps: Sequence[Step], asked: Asked) -> Outcome:
    """What is said beside where it stands: how to go back, before anything is replaced and after a failure."""
    if isinstance(outcome, Failed):
        return replace(outcome, conditions=reporting.half_restored(state.members))
    restores = any(isinstance(step, Plan) and step.member.stage == "restoring" for step in steps)
    if not isinstance(outcome, Intent) or not restores:
        return outcome
    conditions = reporting.safety_copies(state.members, skipped=asked.options.skip_safety_copy)
    notes = [Note(f"SafetyCopy{told.reason}", told.message[:900], warning=told.status != "True") for told in conditions]
    return replace(outcome, message="about to restore", conditions=conditions, events=notes)


def _succeeded(state: State, run: RestoreRun, entries: Sequence[Recorded], cases: Sequence[Case]) -> Outcome:
    if any(member.stage != "done" for member in state.members):
        return Running("InProgress", "", 1.0)
    for member in state.members:
        if member.found.get(member.pod):
            run.audit("done", member.archive, _size(entries, member))
    shards = len({member.shard for member in state.members})
    return Succeeded(
        f"{shards} of {state.shards} shards restored from {run.source.metadata.name}",
        conditions=[reporting.restored(cases)],
        events=reporting.left_out_notes((case.member, case.choice) for case in cases),
    )


def _size(entries: Sequence[Recorded], member: Member) -> int:
    return next(entry.data_size for entry in entries if entry.archive == member.archive)


def _check(state: State, run: RestoreRun, entries: Sequence[Recorded], asked: Asked) -> None:
    """A checkpoint may name nothing but the archives of the Backup, each where it belongs (I1, I12)."""
    known = {entry.archive for entry in entries}
    named = {debris.archive for debris in state.debris} | {member.submission.archive for member in state.members}
    named |= {member.safety for member in state.members} - {""}
    if state.kind != "restore" or any(name not in known and not safety.is_of(run, name) for name in named):
        raise InvalidInput("the checkpoint is not one of a restore of this Backup")
    whole = [(member.shard, member.archive) for member in state.members if member.part == "whole"]
    if whole != [(entry.shard, entry.archive) for entry in _first_of_each(entries)]:
        raise InvalidInput("the checkpoint does not restore every shard from its own archive")
    if not all(_belongs(member, entries, asked) for member in state.members):
        raise InvalidInput("the checkpoint names the archive of another shard or replica")


def _first_of_each(entries: Sequence[Recorded]) -> list[Recorded]:
    shards = [entry.shard for entry in entries]
    return [entry for number, entry in enumerate(entries) if entry.shard not in shards[:number]]


def _belongs(member: Member, entries: Sequence[Recorded], asked: Asked) -> bool:
    first = next((entry for entry in entries if entry.shard == member.shard), None)
    entry = next((e for e in entries if (e.shard, e.archive) == (member.shard, member.archive)), None)
    if entry is None or first is None or member.submission.archive not in (member.archive, member.safety):
        return False
    match member.part:
        case "whole":
            return entry == first and (asked.elsewhere or member.replica == entry.replica)
        case "schema":
            return entry == first
        case "own":
            return entry != first and member.replica == entry.replica


async def _send(
    run: RestoreRun,
    cases: Sequence[Case],
    client: Client,
    member: Member,
    sight: Sight,
    callback: str | None,
) -> Operation:
    case = next(case for case in cases if case.sight is sight)
    if member.stage == "downloading":
        return await act.download(client, member, sight, callback)
    if member.stage == "saving":
        return await client.create(member.safety, tables=_by_name(case.replaced), callback=callback)
    if member.found.get(member.pod):
        run.audit("about to", member.archive, case.entry.data_size)
    only_schema = member.part == "schema" or case.asked.options.schema_only
    return await client.restore(member.archive, tables=case.pattern, schema=only_schema, callback=callback)


def _by_name(tables: Iterable[str]) -> str | None:
    """The tables of a safety copy; all of the server's where a name does not stand for itself."""
    names = sorted(tables)
    return None if any(map(reads_as_pattern, names)) else ",".join(names)


async def _observe(eyes: Eyes, state: State, run: RestoreRun, entries: Sequence[Recorded]) -> Scene:
    stages = {member.stage for member in state.members}

    async def look(member: Member) -> Sight:
        match member.stage:
            case "downloading" | "saving" | "restoring":
                mark = restore.tag(run, member.submission.attempt) if member.stage == "restoring" else ""
                then = _BEFORE_DOWNLOAD if member.stage == "downloading" else _THEN
                return await at_work(eyes, state, member, tag=mark, then=then)
            case "downloaded" if "downloading" not in stages:
                return await resting(eyes, member, _TO_CHOOSE)
            case "saved" if stages.isdisjoint(("downloading", "downloaded", "saving")):
                return await resting(eyes, member, _TO_CHOOSE)
            case "restored":
                return await resting(eyes, member, Wanted(lists=True))
            case "done" if stages == {"done"}:
                return await resting(eyes, member, PROOF)
            case _:
                return Sight()

    sights = await anyio.amap(look, state.members)
    chooses = any(
        s.archived is not None and m.stage in ("downloaded", "saved")
        for s, m in zip(sights, state.members, strict=True)
    )
    wanted = chooses or any(sight.verdict in _SURVEYED for sight in sights) or _is_shared(state, entries, sights)
    return Scene(sights, await survey(eyes, Wanted(live=True)) if wanted else {})


def _is_shared(state: State, entries: Sequence[Recorded], sights: Sequence[Sight]) -> bool:
    """Whether what is restored now depends on the other replicas."""
    shared = any(member.part != "whole" for member in state.members) or not all(map(is_recorded, entries))
    return shared and any(sight.live is not None for sight in sights)


async def _begin(eyes: Eyes, run: RestoreRun, entries: Sequence[Recorded], asked: Asked) -> Outcome:
    """Check the source and the target; nothing is touched before that."""
    check_time(asked.options.not_after, run.now)
    seen = await checking.see(eyes)
    shares = await checking.check(checking.Look(eyes, run, entries, asked, seen))
    busy = busy_sidecar(Scene(survey=seen))
    if busy:
        return Running("SidecarBusy", busy, 5.0, patience=Patience.BUSY)
    found, notes = reporting.target_checked(shares), reporting.found_notes(shares)
    if asked.options.dry_run:
        return Succeeded(reporting.plan_message(shares), conditions=[found], events=notes)
    await safety.expire(eyes, seen)
    return Intent(
        _state(shares, seen).save(),
        reporting.begun_message(shares),
        conditions=[found],
        events=notes,
        storages=storages_of(eyes.places),
    )


def _state(shares: Sequence[checking.Share], seen: Mapping[str, Sight]) -> State:
    return State(
        kind="restore",
        shards=len({share.member.shard for share in shares}),
        members=tuple(share.member for share in shares),
        marks={pod: mark_of(sight.rows.all or ()) for pod, sight in seen.items()},
        live={pod: len(sight.live or ()) for pod, sight in seen.items()},
    )
