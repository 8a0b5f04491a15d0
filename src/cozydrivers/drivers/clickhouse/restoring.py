"""A restore, step by step: check the target, bring every archive here in full, only then make the tables."""

from collections.abc import Mapping, Sequence
from functools import partial

import anyio

from chbackup import Client, Operation, parse_archive_name
from cozydrivers.api.base import Condition
from cozydrivers.drivers.base import Failed, Intent, Outcome, Patience, RestoreRun, Running, Succeeded
from cozydrivers.drivers.clickhouse import act, record, restore
from cozydrivers.drivers.clickhouse.advance import carry_out
from cozydrivers.drivers.clickhouse.backing_up import absent
from cozydrivers.drivers.clickhouse.checkpoint import Member, State
from cozydrivers.drivers.clickhouse.following import Submission, Verdict, mark_of
from cozydrivers.drivers.clickhouse.look import PROOF, Eyes, Scene, Sight, Wanted, at_work, resting, survey
from cozydrivers.drivers.clickhouse.places import Place, layout_problem, shards_of, storages_of
from cozydrivers.drivers.clickhouse.record import Recorded
from cozydrivers.drivers.clickhouse.steps import busy_sidecar
from cozydrivers.errors import InvalidInput

_SURVEYED = {Verdict.PLANNED, Verdict.SEND, Verdict.LOST, Verdict.NOT_FOUND}
_THEN = dict.fromkeys((*_SURVEYED, Verdict.SUCCEEDED), PROOF)
_OPTIONS = {"overwrite": bool}


async def step(eyes: Eyes, run: RestoreRun) -> Outcome:
    """One step of a restore."""
    recorded = record.read(run.source.spec.driver_metadata, run, run.source.spec.application_ref.name)
    check_options(run.options)
    problem = layout_problem(run.application, eyes.places)
    if problem:
        return absent("ShardsMissing", problem)
    if run.checkpoint is None:
        return await _begin(eyes, run, recorded)
    state = State.read(run.checkpoint, run)
    _check(state, recorded)
    scene = await _observe(eyes, state, run)
    steps = restore.decide(state, scene, run, recorded)
    outcome = await carry_out(eyes, state, scene, steps, partial(_send, run, recorded))
    return outcome or Succeeded(f"{len(recorded)} of {state.shards} shards restored from {run.source.metadata.name}")


def check_options(options: Mapping[str, object]) -> None:
    """Refuse what is unknown, of the wrong type, or asks for what is not supported."""
    for key, value in options.items():
        if key not in _OPTIONS:
            raise InvalidInput(f"spec.options.{key} is unknown; accepted: {', '.join(sorted(_OPTIONS))}")
        if not isinstance(value, _OPTIONS[key]):
            raise InvalidInput(f"spec.options.{key} must be true or false")
    if options.get("overwrite"):
        raise InvalidInput("spec.options.overwrite: replacing tables that exist is not supported; drop them first")


def _check(state: State, recorded: Sequence[Recorded]) -> None:
    """A checkpoint may name nothing but the archives of the Backup (I1, I12)."""
    named = [member.submission.archive for member in state.members] + [debris.archive for debris in state.debris]
    known = {entry.archive for entry in recorded}
    shards = [member.shard for member in state.members]
    if state.kind != "restore" or not known.issuperset(named) or shards != [entry.shard for entry in recorded]:
        raise InvalidInput("the checkpoint is not one of a restore of this Backup")
    if any(member.submission.archive != recorded[member.shard].archive for member in state.members):
        raise InvalidInput("the checkpoint names the archive of another shard")


async def _send(
    run: RestoreRun,
    recorded: Sequence[Recorded],
    client: Client,
    member: Member,
    sight: Sight,
    callback: str | None,
) -> Operation:
    if member.stage == "downloading":
        return await act.download(client, member, sight, callback)
    tables = restore.pattern(run, member, recorded[member.shard], sight.archived or ())
    return await client.restore(member.submission.archive, tables=tables, callback=callback)


async def _observe(eyes: Eyes, state: State, run: RestoreRun) -> Scene:
    finished = all(member.stage == "done" for member in state.members)

    async def look(member: Member) -> Sight:
        if member.stage in ("downloading", "restoring"):
            mark = restore.tag(run, member.submission.attempt) if member.stage == "restoring" else ""
            return await at_work(eyes, state, member, tag=mark, then=_THEN)
        if member.stage == "done" and finished:
            return await resting(eyes, member, PROOF)
        return await resting(eyes, member, Wanted(lists=True, archived=member.stage == "downloaded"))

    sights = await anyio.amap(look, state.members)
    ready = all(member.stage != "downloading" for member in state.members)
    waiting = any(member.stage == "downloaded" for member in state.members)
    wanted = (ready and waiting) or any(sight.verdict in _SURVEYED for sight in sights)
    return Scene(sights, await survey(eyes, Wanted(live=True)) if wanted else {})


async def _begin(eyes: Eyes, run: RestoreRun, recorded: Sequence[Recorded]) -> Outcome:
    """Show that every archive is whole and every table absent; nothing is touched before that."""
    shards = shards_of(run.application)
    if len(recorded) != shards:
        name = run.application.metadata.name
        return Failed("Refused", f"the Backup has {len(recorded)} shards, ClickHouse {name} has {shards}")
    seen = await survey(eyes, Wanted(live=True))
    trouble = next((sight.trouble for sight in seen.values() if sight.trouble), "")
    if trouble:
        return absent("SidecarUnreachable", trouble)
    members = []
    for entry in recorded:
        member, outcome = await _check_archive(eyes, run, entry, seen)
        if member is None:
            return outcome or absent("ShardsMissing", f"no replica of shard {entry.shard} serves it now")
        members.append(member)
    busy = busy_sidecar(Scene(survey=seen))
    if busy:
        return Running("SidecarBusy", busy, 5.0, patience=Patience.BUSY)
    return _intent(members, seen, recorded)


async def _check_archive(
    eyes: Eyes, run: RestoreRun, entry: Recorded, seen: Mapping[str, Sight]
) -> tuple[Member | None, Outcome | None]:
    place = _place(eyes, entry)
    if place is None or not place.ready:
        return None, absent("ShardsMissing", f"the replica that shard {entry.shard} was backed up from is not ready")
    refused = restore.refusal(entry, place.label)
    if refused:
        return None, Failed("Refused", refused)
    member = _member(run, entry, place)
    sight = await resting(eyes, member, Wanted(lists=True, archived=True))
    remote, tables = sight.remote_copy(entry.archive), sight.archived or ()
    if sight.trouble or remote is None:
        return None, _unlisted(run, place, entry, sight)
    unread = restore.unread(remote, tables)
    if unread:
        return None, absent("ArchiveNotReadable", f"{place.label}: {unread}")
    problems = restore.whole(entry, remote, tables)
    if problems:
        return None, Failed("Refused", f"{place.label}: {'; '.join(problems)}")
    found = restore.existing(Scene(survey=seen), entry.shard, tables)
    if found:
        return None, Failed("Refused", restore.exists(place.label, found))
    nothing = not restore.to_restore(entry, tables)  # the server calls an empty pattern an error
    return member.model_copy(update={"stage": "restored"}) if nothing else member, None


def _unlisted(run: RestoreRun, place: Place, entry: Recorded, sight: Sight) -> Outcome:
    """A list can be empty in an outage; one that lists others, of another application, shows another storage."""
    if sight.trouble:
        return absent("SidecarUnreachable", sight.trouble)
    elsewhere = run.application.metadata.name != run.source.spec.application_ref.name
    if elsewhere and sight.remote:
        hint = "set the application's backup.s3PathOverride to the path of the Backup's application"
        return Failed("Refused", f"{place.label} does not list {entry.archive}: {hint}")
    return absent("ArchiveNotListed", f"{place.label} does not list {entry.archive} now")


def _place(eyes: Eyes, entry: Recorded) -> Place | None:
    name = parse_archive_name(entry.archive)
    return eyes.place(entry.shard, name.replica) if name else None


def _member(run: RestoreRun, entry: Recorded, place: Place) -> Member:
    return Member(
        shard=entry.shard,
        replica=place.replica,
        pod=place.pod,
        pod_uid=place.pod_uid,
        submission=Submission(verb="download", archive=entry.archive, state="sending", at=run.now),
        stage="downloading",
    )


def _intent(members: Sequence[Member], seen: Mapping[str, Sight], recorded: Sequence[Recorded]) -> Intent:
    state = State(
        kind="restore",
        shards=len(members),
        members=tuple(members),
        marks={pod: mark_of(sight.rows.all or ()) for pod, sight in seen.items()},
        live={pod: len(sight.live or ()) for pod, sight in seen.items()},
    )
    count = sum(entry.tables.count for entry in recorded)
    checked = Condition(
        type="TargetChecked",
        status="True",
        reason="TablesAbsent",
        message=f"none of the archive's {count} tables exists on any replica",
    )
    storages = storages_of(sight.place for sight in seen.values() if sight.place)
    return Intent(state.save(), f"restoring {len(members)} shards", conditions=[checked], storages=storages)
