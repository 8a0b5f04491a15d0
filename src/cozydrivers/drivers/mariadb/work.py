"""One object of the operator's, from the intent to create it until it is gone: observed, decided, acted on.

A finalizer of ours is on it from the start, so it can't vanish unseen: what is not there was never created, and is
created then under the same name, which nothing else has or had (I3). It is taken away when its end was recorded: if
it stayed, whoever deletes its Job would have the operator run it again. For the same reason a Job that is at work is
suspended, never deleted.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import anyio

from cozydrivers.api.base import Model
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Pod
from cozydrivers.api.mariadb import Backup, Restore
from cozydrivers.clients.mariadb import State, state_of
from cozydrivers.drivers.base import SUBMISSION_TIMEOUT, EndReason, Run
from cozydrivers.drivers.mariadb.naming import Name, Purpose, server_of
from cozydrivers.drivers.mariadb.target import is_for
from cozydrivers.drivers.owned import APPLICATION, PREFIX, RUN, is_own, owner
from cozydrivers.drivers.pod_log import pod_trouble
from cozydrivers.errors import AlreadyExists, Forbidden, Invalid, InvalidInput, NotFound

FINALIZER = PREFIX + "witness"
"""On each object that a run creates for the operator: it stays until its end was recorded."""
_POD_LABEL = "batch.kubernetes.io/controller-uid"
_DENIED = re.compile(r'admission webhook "[^"]+\.kb\.io" denied the request')
"""The operator's own validation, which answers 403 as the server does for what it does not allow us."""


class Task(Model):
    """What a run remembers of one object: its UID and its Job's, once they are known."""

    purpose: Purpose
    uid: str = ""
    job_uid: str = ""


@dataclass(frozen=True)
class Sight:
    """What was seen: the object, the Job of its name, and the Job's Pods as far as they tell more."""

    name: str
    thing: Backup | Restore | None = None
    job: Job | None = None
    pods: Sequence[Pod] = ()

    @property
    def state(self) -> State:
        """How it stands."""
        return state_of(self.thing, self.job) if self.thing else State("Unknown", "", "it does not exist yet")


@dataclass(frozen=True)
class Announce:
    """Save the intent: it is created by a call with `fresh` only."""


@dataclass(frozen=True)
class Create:
    """Create it now."""


@dataclass(frozen=True)
class Remember:
    """Save what is known of it now."""

    task: Task


@dataclass(frozen=True)
class Wait:
    """It is at work, or waits for something."""

    state: State


@dataclass(frozen=True)
class Finished:
    """Both witnesses say that it has succeeded."""


@dataclass(frozen=True)
class End:
    """It can't succeed any more; `failed` is set where its Pods tell more about it."""

    reason: EndReason
    message: str
    failed: Sight | None = field(default=None, repr=False)


Decision = Announce | Create | Remember | Wait | Finished | End


def decide(task: Task, sight: Sight, run: Run) -> Decision:
    """What is next with an object. Pure, and total: nothing is created twice, and no other object's end is taken."""
    thing, job = sight.thing, sight.job
    what = f"{kind_of(task).resource.kind} {sight.name}"
    if thing is None:
        if task.uid:
            return End("Lost", f"{what} of k8s.mariadb.com was deleted before its end was seen; it is not run again")
        return Create() if run.fresh else Announce()
    server = server_of(run.application.metadata.name)
    if not is_own(thing, run.uid) or not is_for(thing, server, run.namespace):
        return End("Refused", f"{what} of k8s.mariadb.com exists, and was not created for this job")
    if task.uid not in ("", thing.metadata.uid):
        return End("Lost", f"{what} of k8s.mariadb.com was deleted, and another one has its name")
    own_job = job is not None and job.is_controlled_by(thing.metadata.uid)
    job_uid = job.metadata.uid if job is not None and own_job else ""
    if task.job_uid and job_uid not in ("", task.job_uid):
        return End("Lost", f"the Job of {what} was deleted by somebody, and the operator runs it again")
    if (task.uid, task.job_uid or job_uid) != (thing.metadata.uid, task.job_uid):
        return Remember(task.model_copy(update={"uid": thing.metadata.uid, "job_uid": job_uid or task.job_uid}))
    return _by_state(task, sight, what)


def _by_state(task: Task, sight: Sight, what: str) -> Decision:
    state = sight.state
    if state.phase == "Failed":
        return End("EngineFailed", f"{what} failed: {state.reason}: {state.message}", sight)
    if task.job_uid and sight.job is None:
        return End("Lost", f"the Job of {what} was deleted by somebody; the operator will run it again")
    if state.phase == "Succeeded":
        return Finished()
    if sight.thing is not None and sight.thing.metadata.deletion_timestamp is not None:
        return End("Cancelled", f"{what} is being deleted by somebody else")
    return Wait(state)


def kind_of(task: Task) -> type[Backup] | type[Restore]:
    """The kind of its object."""
    return Restore if task.purpose == "restore" else Backup


# Observe


async def look(run: Run, task: Task) -> Sight:
    """See an object and its Job. What is absent from the watched ones, or at its end, is read from the server."""
    kind, name = kind_of(task), str(Name.of(run, task.purpose))
    things = {each.metadata.name: each for each in await run.reader.labelled(kind, run.namespace, RUN, run.uid)}
    jobs = {each.metadata.name: each for each in await run.reader.labelled(Job, run.namespace, RUN, run.uid)}
    sight = Sight(name, things.get(name), jobs.get(name))
    if sight.thing is None or sight.job is None or sight.state.phase in ("Succeeded", "Failed"):
        sight = await _uncached(run, kind, name)
    if sight.job is not None and _asks_for_pods(sight):
        return replace(sight, pods=await pods_of(run, sight.job))
    return sight


async def _uncached(run: Run, kind: type[Backup] | type[Restore], name: str) -> Sight:
    thing: Backup | Restore | None = None
    job: Job | None = None
    with suppress(NotFound):
        thing = await run.kube.get(kind, name, run.namespace)
    with suppress(NotFound):
        job = await run.kube.get(Job, name, run.namespace)
    return Sight(name, thing, job)


def _asks_for_pods(sight: Sight) -> bool:
    """Whether its Pods tell more: it is at its end, or none of them is ready."""
    job = sight.job
    return job is not None and not job.spec.suspend and (job.finished or job.status.ready == 0)


async def pods_of(run: Run, job: Job) -> list[Pod]:
    """The Pods of a Job, the oldest first."""
    selector = f"{_POD_LABEL}={job.metadata.uid}"
    pods = (await run.kube.list(Pod, run.namespace, label_selector=selector)).items
    return sorted(pods, key=lambda pod: str(pod.metadata.creation_timestamp))


def said(sight: Sight) -> str:
    """What an object waits for, in a sentence."""
    trouble = next((words for pod in sight.pods if (words := pod_trouble(pod))), "")
    kind = sight.thing.resource.kind if sight.thing else "Backup"
    state = sight.state
    words = state.message or state.reason or "the operator has not taken it up yet"
    return "; ".join(filter(None, [f"{kind} {sight.name}: {words}", trouble]))


def is_held_up(sight: Sight) -> bool:
    """Whether something is missing that it needs: the operator, its server, or what its Pod can't start without."""
    return sight.state.phase in ("Waiting", "Unknown") or any(pod_trouble(pod) for pod in sight.pods)


def waited(sight: Sight, now: datetime) -> float:
    """Seconds since the object was created."""
    since = sight.thing.metadata.creation_timestamp if sight.thing else None
    return max((now - since) / timedelta(seconds=1), 0.0) if since else 0.0


# Act


async def create(run: Run, task: Task, spec: Mapping[str, Any]) -> Task:
    """Create the object. One of its name that is there already is looked at by the next step."""
    kind, name = kind_of(task), str(Name.of(run, task.purpose))
    body = {
        "metadata": {
            "name": name,
            "labels": {RUN: run.uid},
            "annotations": {APPLICATION: run.application.metadata.name},
            "finalizers": [FINALIZER],
            "ownerReferences": [owner(run)],
        },
        "spec": {**spec, "inheritMetadata": {"labels": {RUN: run.uid}}},
    }
    try:
        with anyio.fail_after(SUBMISSION_TIMEOUT):
            created = await run.kube.create(kind, body, run.namespace)
    except AlreadyExists:
        return task
    except (Invalid, Forbidden) as error:
        if isinstance(error, Forbidden) and not _DENIED.search(error.message):
            raise
        raise InvalidInput(f"the API server refuses the {kind.resource.kind} of k8s.mariadb.com: {error}") from None
    return task.model_copy(update={"uid": created.metadata.uid})


async def remove(run: Run, purpose: Purpose) -> str:
    """One step of taking a run's object away, whatever it is at: what is waited for, empty when nothing is left."""
    task = Task(purpose=purpose)
    sight = await _uncached(run, kind_of(task), str(Name.of(run, purpose)))
    job = sight.job if sight.job is not None and _is_runs(sight, run) else None
    if job is not None and not job.finished and not job.spec.suspend:
        await _suspend(run, job)
    if sight.thing is not None and is_own(sight.thing, run.uid):
        await _release(run, sight.thing)
        sight = await _uncached(run, kind_of(task), sight.name)
        if sight.thing is not None:
            return f"waiting until {sight.thing.resource.kind} {sight.name} of k8s.mariadb.com is gone"
    pods = (await run.kube.list(Pod, run.namespace, label_selector=f"{RUN}={run.uid}")).items
    left = [pod.metadata.name for pod in pods if pod.status.phase not in ("Succeeded", "Failed")]
    return f"waiting for the end of Pod {', '.join(sorted(left))}" if left else ""


def _is_runs(sight: Sight, run: Run) -> bool:
    """Whether the Job of the name is this run's: it has the run's label, or is its object's."""
    job, thing = sight.job, sight.thing
    if job is None:
        return False
    by_owner = thing is not None and is_own(thing, run.uid) and job.is_controlled_by(thing.metadata.uid)
    return by_owner or job.metadata.labels.get(RUN) == run.uid


async def _suspend(run: Run, job: Job) -> None:
    """Stop a Job's Pods and keep the Job, under what was seen of it."""
    metadata = {"resourceVersion": job.metadata.resource_version}
    patch = {"metadata": metadata, "spec": {"suspend": True}}
    with suppress(NotFound):
        await run.kube.merge_patch(Job, job.metadata.name, patch, run.namespace)


async def _release(run: Run, thing: Backup | Restore) -> None:
    """Delete an object by its UID, and let go of it."""
    kind, metadata = type(thing), thing.metadata
    with suppress(NotFound):
        if metadata.deletion_timestamp is None:
            await run.kube.delete(kind, metadata.name, run.namespace, uid=metadata.uid)
            metadata = (await run.kube.get(kind, metadata.name, run.namespace)).metadata
        if FINALIZER in metadata.finalizers and metadata.uid == thing.metadata.uid:
            kept = [name for name in metadata.finalizers if name != FINALIZER]
            patch = {"metadata": {"finalizers": kept, "resourceVersion": metadata.resource_version}}
            await run.kube.merge_patch(kind, metadata.name, patch, run.namespace)
