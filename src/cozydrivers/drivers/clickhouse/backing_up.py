"""A backup, step by step: begin with a plan, then observe, decide and act until every shard is proven."""

import re
from collections.abc import Mapping, Sequence

import anyio

from chbackup import Feature, parse_version
from chbackup.versions import supports
from cozydrivers.drivers.base import BackupRun, Failed, Intent, Note, Outcome, Patience, Running, Succeeded
from cozydrivers.drivers.clickhouse import act, backup, objects, stored
from cozydrivers.drivers.clickhouse.advance import carry_out
from cozydrivers.drivers.clickhouse.checkpoint import Debris, Member, State, archive_name
from cozydrivers.drivers.clickhouse.engines import rows_apart
from cozydrivers.drivers.clickhouse.following import Submission, Verdict, mark_of
from cozydrivers.drivers.clickhouse.look import PROOF, Eyes, Scene, Sight, Wanted, at_work, resting, survey
from cozydrivers.drivers.clickhouse.places import Place, layout_problem, shards_of, storages_of
from cozydrivers.drivers.clickhouse.steps import busy_sidecar
from cozydrivers.errors import InvalidInput

_SURVEYED = {Verdict.PLANNED, Verdict.SEND, Verdict.SUCCEEDED, Verdict.LOST}
_THEN = {Verdict.SUCCEEDED: PROOF, Verdict.LOST: PROOF}


async def step(eyes: Eyes, run: BackupRun) -> Outcome:
    """One step of a backup."""
    stored.wanted(run)
    problem = layout_problem(run.application, eyes.places)
    if problem:
        return absent("ShardsMissing", problem)
    if run.checkpoint is None:
        return await _begin(eyes, run)
    state = State.read(run.checkpoint, run)
    _check_shards(state, run)
    scene = await _observe(eyes, state)
    outcome = await carry_out(eyes, state, scene, backup.decide(state, scene, run), act.create_remote)
    return outcome or _succeeded(state, scene, run)


def _check_shards(state: State, run: BackupRun) -> None:
    """All shards or none (I7): those of the application, whatever the checkpoint says."""
    shards = shards_of(run.application)
    if state.shards != shards or [member.shard for member in state.members] != list(range(shards)):
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
            return await objects.seen(eyes, archive, await at_work(eyes, state, member, then=_THEN))
        if member.stage == "proven":
            return await resting(eyes, member, Wanted(lists=True))
        return await objects.seen(eyes, archive, await resting(eyes, member, PROOF)) if finished else Sight()

    sights = await anyio.amap(look, state.members)
    wanted = any(sight.verdict in _SURVEYED for sight in sights)
    return Scene(sights, await survey(eyes) if wanted else {})


def _succeeded(state: State, scene: Scene, run: BackupRun) -> Succeeded:
    artifact = backup.artifact(state, scene, run)
    odd = [Note(c.reason, c.message, warning=True) for c in artifact.conditions if c.type != "Verified"]
    return Succeeded(
        f"{len(state.members)} of {state.shards} shards backed up and proven, {artifact.size_bytes} bytes",
        artifact,
        conditions=artifact.conditions,
        events=odd,
    )


async def _begin(eyes: Eyes, run: BackupRun) -> Outcome:
    """Choose one replica of every shard; nothing is planned while any sidecar is busy or can't be asked."""
    seen = await survey(eyes, Wanted(lists=True, live=True, version=True, gauges=True))
    scene = Scene(survey=seen)
    trouble = next((sight.trouble for sight in seen.values() if sight.trouble), "")
    if trouble:
        return absent("SidecarUnreachable", trouble)
    refused = next(
        (said for sight in seen.values() if (said := server_problem(sight, alone=len(seen) == 1))), ""
    ) or _apart(seen)
    if refused:
        return Failed("Refused", refused)
    busy = busy_sidecar(scene)
    if busy:
        return Running("SidecarBusy", busy, 5.0, patience=Patience.BUSY)
    return _plan(eyes, run, seen)


def _plan(eyes: Eyes, run: BackupRun, seen: Mapping[str, Sight]) -> Outcome:
    shards = shards_of(run.application)
    chosen = [next(place for place in eyes.places if place.shard == shard) for shard in range(shards)]
    unready = next((place for place in chosen if not place.ready), None)
    if unready:
        return absent("ShardsMissing", f"no replica of shard {unready.shard} is ready")
    members, debris = [], []
    for place in chosen:
        taken = [archive.name for archive in (*(seen[place.pod].local or ()), *(seen[place.pod].remote or ()))]
        member, left = _member(run, place, shards, taken)
        members.append(member)
        debris += left
    state = State(
        kind="backup",
        shards=shards,
        members=tuple(members),
        debris=tuple(debris),
        marks={pod: mark_of(sight.rows.all or ()) for pod, sight in seen.items()},
        storage=chosen[0].storage,
    )
    return Intent(state.save(), f"backing up {shards} shards", storages=storages_of(eyes.places))


def _member(run: BackupRun, place: Place, shards: int, taken: Sequence[str]) -> tuple[Member, list[Debris]]:
    """The first attempt whose name nobody has used; a name of this run that exists is debris of a lost checkpoint."""
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
    )
    return member, left


def _name(run: BackupRun, place: Place, shards: int, attempt: int) -> str:
    return archive_name(run, attempt=attempt, shard=place.shard, shards=shards, replica=place.replica)


def _apart(seen: Mapping[str, Sight]) -> str:
    shards = {sight.place.shard for sight in seen.values() if sight.place}
    for shard in sorted(shards):
        replicas = [sight.live or () for sight in seen.values() if sight.place and sight.place.shard == shard]
        tables = rows_apart(replicas)
        if tables:
            return (
                f"shard {shard}: {', '.join(tables)} is not replicated and holds rows on more than one replica; "
                "backing up several replicas of a shard is not supported"
            )
    return ""


def server_problem(sight: Sight, *, alone: bool) -> str:
    """A setting of the sidecar that breaks what a backup needs, as a sentence; empty when there is none.

    A sidecar that is `alone` on its storage path may keep a number of its own archives.
    """
    pod = sight.place.pod if sight.place else ""
    if supports(parse_version(sight.version), Feature.OPERATION_IDS) is False:
        return f"clickhouse-backup {sight.version} in {pod} is too old: 2.6.40 is the first that can be followed"
    if any(row.running and row.verb == "watch" for row in sight.rows.all or ()):
        return f"`watch` runs in the sidecar of {pod}: it makes and deletes archives by itself; switch it off"
    if _gauge(sight.metrics, "remote") > 0 and not alone:
        return f"BACKUPS_TO_KEEP_REMOTE is set in the sidecar of {pod}: it deletes archives by itself; set it to 0"
    if _gauge(sight.metrics, "local") < 0:
        return f"BACKUPS_TO_KEEP_LOCAL is -1 in the sidecar of {pod}: it deletes the proof of an upload; set it to 0"
    return ""


def _gauge(metrics: str, where: str) -> float:
    found = re.search(rf"^clickhouse_backup_number_backups_{where}_expected (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0
