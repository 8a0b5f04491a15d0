"""A backup, step by step: begin with a plan, then observe, decide and act until every archive is proven."""

from collections.abc import Mapping, Sequence

import anyio

from chbackup import Client
from cozydrivers.drivers.base import BackupRun, Failed, Intent, Note, Outcome, Patience, Running, Succeeded
from cozydrivers.drivers.clickhouse import act, backup, chains, choosing, objects, safety, stored
from cozydrivers.drivers.clickhouse.access import still_there
from cozydrivers.drivers.clickhouse.advance import carry_out
from cozydrivers.drivers.clickhouse.chains import Bases, Terms
from cozydrivers.drivers.clickhouse.checkpoint import Debris, Member, State, archive_name
from cozydrivers.drivers.clickhouse.choosing import Candidate
from cozydrivers.drivers.clickhouse.earlier import Earlier, apart, last_good
from cozydrivers.drivers.clickhouse.engines import own_rows
from cozydrivers.drivers.clickhouse.following import Rows, Submission, Verdict, mark_of
from cozydrivers.drivers.clickhouse.look import NOTHING, PROOF, Eyes, Scene, Sight, Wanted, at_work, resting, survey
from cozydrivers.drivers.clickhouse.places import Place, layout_problem, shards_of, storages_of
from cozydrivers.drivers.clickhouse.settings import server_problem
from cozydrivers.drivers.clickhouse.steps import busy_sidecar
from cozydrivers.errors import InvalidInput

_SURVEYED = {Verdict.PLANNED, Verdict.SEND, Verdict.SUCCEEDED, Verdict.LOST}
_THEN = {Verdict.SUCCEEDED: PROOF, Verdict.LOST: PROOF}
_INCREMENT = _THEN | dict.fromkeys((Verdict.PLANNED, Verdict.SEND), Wanted(lists=True))
_BEGIN = Wanted(lists=True, live=True, version=True, gauges=True)


async def step(eyes: Eyes, run: BackupRun) -> Outcome:
    """One step of a backup."""
    stored.wanted(run)
    problem = layout_problem(run.application, eyes.places)
    if problem:
        return absent("ShardsMissing", problem)
    if run.checkpoint is None:
        return await _begin(eyes, run, chains.terms(run.parameters))
    state = State.read(run.checkpoint, run)
    _check_members(state, run)
    scene = await _observe(eyes, state)
    outcome = await carry_out(eyes, state, scene, backup.decide(state, scene, run), act.create_remote)
    return outcome or _succeeded(state, scene, run)


def _check_members(state: State, run: BackupRun) -> None:
    """All shards or none (I7): those of the application, whatever the checkpoint says, and no replica twice."""
    shards = shards_of(run.application)
    of = [member.shard for member in state.members]
    spots = {(member.shard, member.replica) for member in state.members}
    if state.shards != shards or of != sorted(of) or set(of) != set(range(shards)) or len(spots) != len(of):
        name = run.application.metadata.name
        raise InvalidInput(f"the checkpoint of {run.name} is not of the {shards} shards that ClickHouse {name} has")


def absent(reason: str, message: str) -> Running:
    """Something is missing, and waited for."""
    return Running(reason, message, 5.0, patience=Patience.ABSENT)


async def _observe(eyes: Eyes, state: State) -> Scene:
    finished = all(member.stage == "done" for member in state.members)

    async def look(member: Member) -> Sight:
        archive = member.submission.archive
        if member.stage == "making":
            then = _INCREMENT if member.base else _THEN
            return await objects.seen(eyes, archive, await at_work(eyes, state, member, then=then))
        if member.stage == "proven":
            return await _put_away(eyes, member)
        return await objects.seen(eyes, archive, await resting(eyes, member, PROOF)) if finished else Sight()

    sights = await anyio.amap(look, state.members)
    lost = any(sight.verdict is Verdict.LOST for sight in sights)
    moves = any(
        sight.trouble and choosing.may_move(member, sight, eyes.run.now)
        for member, sight in zip(state.members, sights, strict=True)
    )
    wanted = moves or any(sight.verdict in _SURVEYED for sight in sights)
    return Scene(sights, await survey(eyes, Wanted(live=True) if moves or lost else NOTHING) if wanted else {})


async def _put_away(eyes: Eyes, member: Member) -> Sight:
    """A look at a proven archive. That its copy is gone counts on the sidecar that has made it only: addresses move."""
    sight = await resting(eyes, member, Wanted(lists=True))
    if sight.trouble or sight.place is None or sight.local_copy(member.submission.archive) is not None:
        return sight
    if await _has_made_it(eyes, member, sight.place) or await still_there(eyes.run, sight.place):
        return sight
    return Sight(place=sight.place, trouble="its Pod was replaced while it was asked")


async def _has_made_it(eyes: Eyes, member: Member, place: Place) -> bool:
    async def work(client: Client) -> Sight:
        return Sight(rows=Rows(await client.status(member.submission.operation_id)))

    return bool(member.submission.operation_id) and (await eyes.read(place, work)).rows.own is not None


def _succeeded(state: State, scene: Scene, run: BackupRun) -> Succeeded:
    artifact = backup.artifact(state, scene, run)
    odd = [Note(c.reason, c.message, warning=True) for c in artifact.conditions if c.type != "Verified"]
    left = [
        Note("DebrisLeft", f"{debris.archive} was given up and may be left", warning=True) for debris in state.debris
    ]
    archives = f" in {len(state.members)} archives" if len(state.members) != state.shards else ""
    base = next((f", as increments on {member.base} and its like" for member in state.members if member.base), "")
    return Succeeded(
        f"{state.shards} of {state.shards} shards backed up and proven{archives}, {artifact.size_bytes} bytes{base}",
        artifact,
        conditions=artifact.conditions,
        events=[*odd, *left],
    )


# The plan


async def _begin(eyes: Eyes, run: BackupRun, terms: Terms | None) -> Outcome:
    """Nothing is planned while a sidecar is busy, or can't be asked what it does."""
    seen = choosing.heard(await survey(eyes, _BEGIN))
    trouble = next((sight.trouble for sight in seen.values() if sight.trouble), "")
    if trouble:
        return absent("SidecarUnreachable", trouble)
    refused = next(
        (said for sight in seen.values() if (said := server_problem(sight, alone=len(eyes.places) == 1))), ""
    )
    if refused:
        return Failed("Refused", refused)
    busy = busy_sidecar(Scene(survey=seen))
    if busy:
        return Running("SidecarBusy", busy, 5.0, patience=Patience.BUSY)
    good = last_good(run)
    choice = choosing.choose(
        choosing.candidates(eyes.places, seen),
        shards_of(run.application),
        prefer=good.spots if good and terms else (),
        known=apart(good),
    )
    if choice.waiting:
        return absent("ShardsMissing", choice.waiting)
    bases = await _bases(run, terms, good, [seen[each.place.pod] for each in choice.members])
    await safety.expire(eyes, seen)
    return _plan(eyes, run, seen, choice.members, bases)


async def _bases(run: BackupRun, terms: Terms | None, good: Earlier | None, members: Sequence[Sight]) -> Bases:
    if terms is None:
        return Bases()
    restored = await run.restored_at() if good else None
    return chains.choose(chains.Case(terms, good, members, run.now, restored, run.earlier))


def _plan(eyes: Eyes, run: BackupRun, seen: Mapping[str, Sight], chosen: Sequence[Candidate], bases: Bases) -> Intent:
    shards = shards_of(run.application)
    members, debris = [], []
    for candidate in chosen:
        sight = seen[candidate.place.pod]
        taken = [archive.name for archive in (*(sight.local or ()), *(sight.remote or ()))]
        member, left = _member(run, candidate, shards, taken)
        members.append(member.model_copy(update={"base": bases.by_pod.get(candidate.place.pod, "")}))
        debris += left
    state = State(
        kind="backup",
        shards=shards,
        members=tuple(members),
        debris=tuple(debris),
        marks={pod: mark_of(sight.rows.all or ()) for pod, sight in seen.items()},
        storage=chosen[0].place.storage,
    )
    message = f"backing up {shards} shards"
    return Intent(state.save(), message, storages=storages_of(eyes.places), events=_notes(eyes, seen, bases))


def _notes(eyes: Eyes, seen: Mapping[str, Sight], bases: Bases) -> list[Note]:
    """What an operator should know of the plan."""
    out = [place.label for place in eyes.places if place.pod not in seen]
    said = [Note("ReplicaLeftOut", f"{each} can't be asked: rows that only it holds are not in", True) for each in out]
    full = f"the set is a full one, where an increment was due: {bases.why_full}"
    return [*said, Note("FullInstead", full, warning=True)] if bases.lost else said


def _member(run: BackupRun, chosen: Candidate, shards: int, taken: Sequence[str]) -> tuple[Member, list[Debris]]:
    """The first attempt whose name nobody has used; a name of this run that exists is debris of a lost checkpoint."""
    place = chosen.place
    left: list[Debris] = []
    attempt = 1
    while (name := _name(run, place, shards, attempt)) in taken:
        left.append(Debris(shard=place.shard, replica=place.replica, archive=name))
        attempt += 1
    submission = Submission(verb="create_remote", archive=name, attempt=attempt, state="sending", at=run.now)
    member = Member(
        shard=place.shard,
        replica=place.replica,
        pod=place.pod,
        pod_uid=place.pod_uid,
        submission=submission,
        stage="making",
        source_bytes=chosen.bytes,
        apart=bool(own_rows(chosen.tables or ())),
    )
    return member, left


def _name(run: BackupRun, place: Place, shards: int, attempt: int) -> str:
    return archive_name(run, attempt=attempt, shard=place.shard, shards=shards, replica=place.replica)
