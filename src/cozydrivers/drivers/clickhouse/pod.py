"""Pod mode: the strategy's template as one Job per shard, for strategies that do something else than the driver does.

A Job's exit code is all the evidence that there is, and what its script made is never deleted: it may be anything.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from chbackup import parse_archive_name, poll_delay
from cozydrivers.api.base import Condition
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Pod
from cozydrivers.drivers.base import (
    Artifact,
    BackupRun,
    Failed,
    Intent,
    Note,
    Outcome,
    Patience,
    RestoreRun,
    Run,
    Running,
    Succeeded,
)
from cozydrivers.drivers.clickhouse import pod_template, record
from cozydrivers.drivers.clickhouse.access import find
from cozydrivers.drivers.clickhouse.checkpoint import archive_name
from cozydrivers.drivers.clickhouse.places import Place, host, shards_of
from cozydrivers.drivers.clickhouse.pod_decide import (
    Create,
    End,
    Record,
    Sight,
    Start,
    Wait,
    decide,
    looks_stuck,
)
from cozydrivers.drivers.clickhouse.pod_state import STARTED, Part, PodState, job_name, kind_of
from cozydrivers.drivers.clickhouse.pod_template import Slot
from cozydrivers.drivers.owned import RUN, is_own
from cozydrivers.drivers.pod_log import last_words
from cozydrivers.drivers.secrets import Secrets
from cozydrivers.errors import AlreadyExists, Invalid, InvalidInput, NotFound

UNPROVEN = Condition(
    type="Verified",
    status="False",
    reason="PodEvidence",
    message="only the exit codes of its Pods say that it succeeded",
)


async def backup(run: BackupRun) -> Outcome:
    """One step of a backup."""
    return await _step(run, ())


async def restore(run: RestoreRun) -> Outcome:
    """One step of a restore: of the archives that the Backup records, and of no others (I1)."""
    archives = record.read_pod(run.source.spec.driver_metadata, run, run.source.spec.application_ref.name)
    shards = shards_of(run.application)
    if len(archives) != shards:
        name = run.application.metadata.name
        raise InvalidInput(f"the Backup has {len(archives)} shards, ClickHouse {name} has {shards}")
    if run.options:
        raise InvalidInput(f"spec.options.{min(run.options)}: a strategy that is executed as a Pod takes no options")
    return await _step(run, archives)


async def _step(run: Run, archives: Sequence[str]) -> Outcome:
    if run.checkpoint is None:
        return await _begin(run, archives)
    state = PodState.read(run.checkpoint, run)
    _check_shards(state, run)
    sights = await _observe(run, state)
    decision = decide(state, sights, run.uid)
    if isinstance(decision, Create):
        state = _checked(run, state, archives)
        sights = await _create(run, _slots(run, state, archives), sights)
        decision = decide(state, sights, run.uid)
    match decision:
        case Record(uids):
            parts = zip(state.parts, uids, strict=True)
            known = tuple(part.model_copy(update={"job_uid": uid}) for part, uid in parts)
            return _intent(state.model_copy(update={"parts": known}))
        case Start(jobs):
            await _start(run, jobs)
            return Running("InProgress", f"started {len(jobs)} of {len(sights)} Jobs", 1.0)
        case Wait(message):
            return Running("InProgress", message, poll_delay(_waited(run, sights)))
        case End(reason, message, failed):
            return Failed(reason, message + (await last_words(run, failed.job, failed.pods) if failed else ""))
    return _succeeded(run, state, sights)


def _check_shards(state: PodState, run: Run) -> None:
    """All shards or none (I7): those of the application, whatever the checkpoint says."""
    shards = shards_of(run.application)
    if len(state.parts) != shards:
        name = run.application.metadata.name
        raise InvalidInput(f"the checkpoint of {run.name} is not of the {shards} shards that ClickHouse {name} has")


# Begin


async def _begin(run: Run, archives: Sequence[str]) -> Outcome:
    """Nothing is created before the template is known to render, and to do what it must (I4)."""
    found = await find(run, Secrets())
    parts = [Part(replica=_replica(found, shard, archives)) for shard in range(shards_of(run.application))]
    storage = next((place.storage for place in found if place.storage), "")
    state = PodState(kind=kind_of(run), parts=tuple(parts), named=True, storage=storage)
    return _intent(_checked(run, state, archives))


def _checked(run: Run, state: PodState, archives: Sequence[str]) -> PodState:
    """The template may have changed since it was checked last: it is checked before anything is created from it."""
    slots = _slots(run, state, archives)
    pod_template.check(run, slots)
    named = pod_template.names_archive(run, slots)
    if archives and not named:
        raise InvalidInput(
            "the strategy's spec.template does not use .Archive: it would not restore what was asked for"
        )
    return state.model_copy(update={"named": state.named and named})


def _intent(state: PodState) -> Intent:
    storages = [state.storage] if state.storage else []
    return Intent(state.save(), f"one Job for each of {len(state.parts)} shards", storages)


def _replica(found: Sequence[Place], shard: int, archives: Sequence[str]) -> int:
    """The replica whose archive it is, where that is there; else the first that is ready."""
    name = parse_archive_name(archives[shard]) if archives else None
    there = [place.replica for place in found if place.shard == shard]
    return name.replica if name and name.replica in there else next(iter(there), 0)


def _slots(run: Run, state: PodState, archives: Sequence[str]) -> list[Slot]:
    """What the template is given, by shard; a backup's names are computed, a restore's are recorded."""
    shards = len(state.parts)
    return [
        Slot(
            shard=shard,
            host=host(run.application, shard, part.replica),
            archive=archives[shard] if archives else _made(run, shard, shards, part.replica),
        )
        for shard, part in enumerate(state.parts)
    ]


def _made(run: Run, shard: int, shards: int, replica: int) -> str:
    return archive_name(run, attempt=1, shard=shard, shards=shards, replica=replica)


# Observe


async def _observe(run: Run, state: PodState) -> list[Sight]:
    """A Job that is known and not found is looked for uncached; any other absence is settled by creating it."""
    seen = {job.metadata.name: job for job in await run.reader.labelled(Job, run.namespace, RUN, run.uid)}
    for shard, part in enumerate(state.parts):
        name = job_name(run, shard)
        if part.job_uid and name not in seen:
            with suppress(NotFound):
                seen[name] = await run.kube.get(Job, name, run.namespace)
    sights = [_sight(run, shard, seen) for shard in range(len(state.parts))]
    return await _with_pods(run, sights)


def _sight(run: Run, shard: int, seen: Mapping[str, Job]) -> Sight:
    name = job_name(run, shard)
    return Sight(shard, name, seen.get(name))


async def _with_pods(run: Run, sights: Sequence[Sight]) -> list[Sight]:
    if not any(looks_stuck(sight.job) for sight in sights):
        return list(sights)
    pods = (await run.kube.list(Pod, run.namespace, label_selector=f"{RUN}={run.uid}")).items
    return [Sight(sight.shard, sight.name, sight.job, _pods_of(sight.job, pods)) for sight in sights]


def _pods_of(job: Job | None, pods: Sequence[Pod]) -> list[Pod]:
    uid = job.metadata.uid if job else ""
    own = [pod for pod in pods if any(owner.uid == uid for owner in pod.metadata.owner_references)]
    return sorted(own, key=lambda pod: str(pod.metadata.creation_timestamp))


def _waited(run: Run, sights: Sequence[Sight]) -> float:
    starts = [sight.job.status.start_time for sight in sights if sight.job and sight.job.status.start_time]
    return max((run.now - min(starts)) / timedelta(seconds=1), 0.0) if starts else 0.0


# Act


async def _create(run: Run, slots: Sequence[Slot], sights: Sequence[Sight]) -> list[Sight]:
    """Create the Jobs that are missing; one that exists is seen as it is."""
    return [
        sight if sight.job else Sight(sight.shard, sight.name, await _job(run, slots[sight.shard])) for sight in sights
    ]


async def _job(run: Run, slot: Slot) -> Job:
    body = pod_template.body(run, slot)
    try:
        return await run.kube.create(Job, body, run.namespace)
    except AlreadyExists:
        return await run.kube.get(Job, body["metadata"]["name"], run.namespace)
    except Invalid as error:
        raise InvalidInput(f"the API server refuses the strategy's spec.template: {error}") from None


async def _start(run: Run, jobs: Sequence[Job]) -> None:
    """Start what was seen suspended: a Job that has changed since is a Conflict, and looked at again."""
    for job in jobs:
        metadata = {"resourceVersion": job.metadata.resource_version, "annotations": {STARTED: run.now.isoformat()}}
        patch = {"metadata": metadata, "spec": {"suspend": False}}
        await run.kube.merge_patch(Job, job.metadata.name, patch, run.namespace)


# End


def _succeeded(run: Run, state: PodState, sights: Sequence[Sight]) -> Succeeded:
    message = f"{len(sights)} of {len(sights)} Jobs succeeded, which is all the evidence there is"
    artifact = _artifact(run, state, sights) if isinstance(run, BackupRun) else None
    return Succeeded(message, artifact, conditions=[UNPROVEN])


def _artifact(run: Run, state: PodState, sights: Sequence[Sight]) -> Artifact:
    archives = [slot.archive for slot in _slots(run, state, ())]
    name = parse_archive_name(archives[0])
    starts = [sight.job.status.start_time for sight in sights if sight.job and sight.job.status.start_time]
    return Artifact(
        uri=f"clickhouse-backup://{run.namespace}/{run.application.metadata.name}/{name.set_name if name else ''}",
        size_bytes=0,
        taken_at=min(starts, default=run.now),
        driver_metadata=record.write_pod(
            archives if state.named else (), shards=len(archives), storage=state.storage, cluster=run.cluster_uid
        ),
        conditions=[UNPROVEN],
    )


async def abort(run: Run) -> Outcome:
    """One step of giving a run up: end what runs. A Job that has ended stays for its log, and goes with its owner."""
    selector = f"{RUN}={run.uid}"
    jobs = (await run.kube.list(Job, run.namespace, label_selector=selector)).items
    own = [job for job in jobs if is_own(job, run.uid)]
    running = [job for job in own if not job.finished]
    for job in running:
        if job.metadata.deletion_timestamp is None:
            with suppress(NotFound):
                await run.kube.delete(Job, job.metadata.name, run.namespace, uid=job.metadata.uid)
    pods = (await run.kube.list(Pod, run.namespace, label_selector=selector)).items
    left = [pod.metadata.name for pod in pods if pod.status.phase not in ("Succeeded", "Failed")]
    if running or left:
        said = f"waiting for the end of {', '.join(left) or running[0].metadata.name}"
        return Running("CleanupPending", said, 1.0, patience=Patience.ABSENT)
    return Succeeded("nothing of the run is at work any more", events=_remains(run))


def _remains(run: Run) -> list[Note]:
    """What its Pods may have made is said, because it is not the driver's to delete."""
    try:
        state = PodState.read(run.checkpoint or {}, run)
    except InvalidInput:
        return []
    if not any(part.job_uid for part in state.parts):
        return []
    if not isinstance(run, BackupRun):
        return [Note("RestoreNotUndone", "what its Pods have changed is not undone", warning=True)]
    archives = ", ".join(slot.archive for slot in _slots(run, state, ())) if state.named else "archives"
    return [Note("ArchiveNotDeleted", f"its Pods may have made {archives}, which is not deleted", warning=True)]
