"""How the operator's objects stand, and what is done next with one of a run's: pure decisions, exhausted."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cozydrivers.api import apps
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Pod
from cozydrivers.api.mariadb import Backup, PhysicalBackup, Restore
from cozydrivers.clients.mariadb import Phase, State, Thing, has_run, is_at_work, state_of
from cozydrivers.clients.objects import StoredObject
from cozydrivers.drivers.base import BackupRun
from cozydrivers.drivers.mariadb.dumps import dumps_under
from cozydrivers.drivers.mariadb.evidence import Span, dump_of, span_of
from cozydrivers.drivers.mariadb.naming import PURPOSES, Name, server_of
from cozydrivers.drivers.mariadb.work import Announce, Create, Decision, End, Finished, Remember, Sight, Task, decide
from cozydrivers.testing import FakeCluster

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
UID, OTHER, RUN_UID = "uid-of-it", "uid-of-another", "a1b2c3d4-0000-4000-8000-000000000000"
RUN = "cozydrivers.cozystack.io/run"
REASONS = (
    ("", ""),
    ("JobComplete", "Success"),
    ("JobFailed", "Failed"),
    ("JobRunning", "Running"),
    ("JobSuspended", "Suspended"),
    ("Failed", "MariaDB not ready"),
    ("CronJobScheduled", "Scheduled"),
    ("CronJobScheduled", "Failed"),
    ("CronJobSucess", "Success"),
    ("SnapshotFailed", "Failed"),
    ("Whatever", "of a release to come"),
)


def owned(uid: str) -> list[dict[str, Any]]:
    return [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": uid, "controller": True}]


JOBS: dict[str, dict[str, Any]] = {
    "is at work": {},
    "is suspended": {"suspend": True},
    "has succeeded": {"true": ("SuccessCriteriaMet", "Complete"), "succeeded": 1},
    "is about to succeed": {"true": ("SuccessCriteriaMet",), "succeeded": 1},
    "is Complete without a Pod": {"true": ("Complete",)},
    "is about to fail": {"true": ("FailureTarget",)},
    "has failed": {"true": ("FailureTarget", "Failed"), "succeeded": 1},
}


def job_of(owner: str, uid: str, *, suspend: bool = False, true: tuple[str, ...] = (), succeeded: int = 0) -> Job:
    conditions = [{"type": kind, "status": "True", "reason": "R"} for kind in true]
    return Job.decode(
        {
            "metadata": {"uid": uid, "ownerReferences": owned(owner)},
            "spec": {"suspend": suspend},
            "status": {"succeeded": succeeded, "conditions": conditions},
        }
    )


def thing_of(
    kind: type[Thing], told: tuple[str, str, str], *, uid: str = UID, owner: str = RUN_UID, deleted: bool = False
) -> Thing:
    status, reason, message = told
    condition = {"type": "Complete", "status": status, "reason": reason, "message": message}
    metadata: dict[str, Any] = {
        "name": "n",
        "uid": uid,
        "labels": {RUN: owner},
        "ownerReferences": owned(owner),
        "deletionTimestamp": NOW.isoformat() if deleted else None,
    }
    spec = {"mariaDbRef": {"name": server_of("shop")}}
    return kind.decode({"metadata": metadata, "spec": spec, "status": {"conditions": [condition] if reason else []}})


ALL_JOBS: list[Job | None] = [
    None,
    *(job_of(owner, uid, **shape) for owner, uid, shape in product((UID, OTHER), ("job", "job-again"), JOBS.values())),
]
ALL_TOLD = [(status, *words) for status, words in product(("True", "False", "Unknown"), REASONS)]
KINDS: tuple[type[Thing], ...] = (Backup, Restore, PhysicalBackup)


# How an object stands


def everything() -> Iterator[tuple[Thing, Job | None, State]]:
    """Each way in which an object and a Job of its name can be seen, and how the object stands then."""
    things = [thing_of(kind, told) for kind, told in product(KINDS, ALL_TOLD)]
    yield from ((thing, job, state_of(thing, job)) for thing, job in product(things, ALL_JOBS))


def witnesses(job: Job | None) -> bool:
    """Whether a Job says that this very object has succeeded."""
    if job is None or not job.is_controlled_by(UID):
        return False
    failed = job.condition("Failed") or job.condition("FailureTarget")
    return job.condition("Complete") is not None and job.status.succeeded > 0 and not failed


def test_nothing_has_succeeded_without_both_witnesses():
    for thing, job, state in everything():
        told = thing.status.condition("Complete")
        by_reason = told is not None and told.reason in ("JobComplete", "CronJobSucess") and told.status == "True"
        assert state.phase in get_args(Phase)
        assert (state.phase == "Succeeded") == (by_reason and witnesses(job)), (told, job)


def test_a_failure_is_one_whatever_the_status_of_the_condition():
    """Defect 1: `Complete=True` of a failed Job."""
    for thing, job, state in everything():
        told = thing.status.condition("Complete")
        own = job is None or job.is_controlled_by(UID)
        if told is not None and told.reason in ("JobFailed", "SnapshotFailed") and own:
            assert state.phase == "Failed", (told, job)


def test_a_job_of_another_object_tells_nothing():
    """5.7: the operator adopts the Job of an object that had the same name."""
    for _, job, state in everything():
        if job is not None and not job.is_controlled_by(UID):
            assert (state.phase, state.reason) == ("Unknown", "ForeignJob")


def test_what_has_run_is_not_at_work():
    assert not any(has_run(thing) and is_at_work(thing) for thing, _, _ in everything())


@pytest.mark.parametrize(
    ("reason", "message", "at_work", "run"),
    [
        ("CronJobScheduled", "Scheduled", False, False),
        ("CronJobScheduled", "Failed", False, False),
        ("CronJobRunning", "Running", True, False),
        ("CronJobSuccess", "Success", False, False),
    ],
)
def test_a_schedule_is_at_work_only_while_it_runs(reason, message, at_work, run):
    told = [{"type": "Complete", "status": "True", "reason": reason, "message": message}]
    body = {"metadata": {"name": "n"}, "spec": {"schedule": {"cron": "0 0 * * *"}}, "status": {"conditions": told}}
    backup = Backup.decode(body)
    assert (is_at_work(backup), has_run(backup)) == (at_work, run)


# What is done next with one of a run's


def run_of(*, fresh: bool = False) -> BackupRun:
    kube = FakeCluster().kube()
    return BackupRun(
        kube=kube,
        reader=None,  # type: ignore[arg-type]
        namespace="tenant-user",
        namespace_uid="0f0f0f0f-1111",
        cluster_uid="c",
        application=apps.MariaDB.decode({"metadata": {"name": "shop"}}),
        strategy={},
        name="nightly",
        uid=RUN_UID,
        created=NOW,
        now=NOW,
        fresh=fresh,
    )


OWN_TOLD = (("", "", ""), ("True", "JobComplete", ""), ("True", "JobFailed", ""), ("False", "JobRunning", ""))
TASKS = [Task(purpose="dump", uid=uid, job_uid=job) for uid, job in product(("", UID, OTHER), ("", "job", "job-again"))]
ALL_THINGS: list[Any] = [
    None,
    *(
        thing_of(Backup, told, uid=uid, owner=owner, deleted=deleted)
        for told, uid, owner, deleted in product(OWN_TOLD, (UID, OTHER), (RUN_UID, "somebody"), (True, False))
    ),
]


def decided() -> Iterator[tuple[Task, Backup | None, Job | None, bool, Decision]]:
    """Each way in which a run's object can be seen, and what is next then."""
    runs = {fresh: run_of(fresh=fresh) for fresh in (True, False)}
    for task, thing, job, fresh in product(TASKS, ALL_THINGS, ALL_JOBS, runs):
        yield task, thing, job, fresh, decide(task, Sight("n", thing, job), runs[fresh])


def test_nothing_is_created_twice():
    """Neither over what is there, nor after what was there, nor before it was intended (I3)."""
    for task, thing, _, fresh, decision in decided():
        assert isinstance(decision, get_args(Decision))
        if isinstance(decision, Create | Announce):
            assert thing is None
            assert not task.uid
            assert isinstance(decision, Create) == fresh


def test_only_the_run_s_own_object_and_the_job_of_its_first_run_succeed():
    finished = [each for each in decided() if isinstance(each[-1], Finished)]
    assert finished
    for task, thing, job, _, _ in finished:
        assert thing is not None
        assert job is not None
        assert state_of(thing, job).phase == "Succeeded"
        assert thing.is_controlled_by(RUN_UID)
        assert (task.uid, task.job_uid) == (thing.metadata.uid, job.metadata.uid)


def test_what_somebody_else_has_created_ends_the_run():
    for _, thing, _, _, decision in decided():
        if thing is not None and not thing.is_controlled_by(RUN_UID):
            assert isinstance(decision, End)
            assert decision.reason == "Refused"


def test_what_is_remembered_is_remembered_once():
    for _, thing, job, _, decision in decided():
        if isinstance(decision, Remember):
            assert not isinstance(decide(decision.task, Sight("n", thing, job), run_of()), Remember)


# Which dump is the run's


def pod(phase: str, began: datetime, ended: datetime) -> Pod:
    terminated = {"exitCode": 0, "startedAt": began.isoformat(), "finishedAt": ended.isoformat()}
    statuses = [{"name": "mariadb", "state": {"terminated": terminated}}]
    return Pod.decode({"metadata": {"name": "p"}, "status": {"phase": phase, "initContainerStatuses": statuses}})


seconds = st.integers(0, 600)


@given(st.sets(seconds, min_size=1, max_size=4), seconds, st.integers(0, 30))
def test_the_dump_is_of_the_pod_that_succeeded(found, began, lasted):
    objects = [
        StoredObject(f"p/backup.{NOW + timedelta(seconds=at):%Y-%m-%dT%H:%M:%SZ}.sql", 1, NOW) for at in sorted(found)
    ]
    start, end = NOW + timedelta(seconds=began), NOW + timedelta(seconds=began + lasted)
    span = span_of([pod("Failed", NOW, NOW), pod("Succeeded", start, end)])
    assert span == Span(start, end)
    dump = dump_of(dumps_under("p/", objects), span)
    if dump is None:
        assert not any(began <= at <= began + lasted for at in found)
    else:
        assert start - timedelta(seconds=5) <= dump.taken_at <= end + timedelta(seconds=5)


def test_where_the_pod_is_gone_the_newest_dump_is_taken():
    keys = [f"p/backup.2026-11-23T12:00:{second}Z.sql" for second in ("10", "40", "20")]
    dump = dump_of(dumps_under("p/", [StoredObject(key, 1, NOW) for key in keys]), span_of([]))
    assert dump is not None
    assert dump.key == keys[1]


# Names


@given(st.text("a9.-", min_size=1, max_size=253), st.uuids(), st.uuids())
def test_a_name_is_a_label_and_tells_whose_it_is(job, namespace, uid):
    run = run_of()
    for purpose in PURPOSES:
        name = Name.of(_renamed(run, job, str(namespace), str(uid)), purpose)
        assert len(str(name)) <= 52
        assert Name.parse(str(name)) == name
        assert name.is_of(_renamed(run, "other", str(namespace), str(uid)))
        assert not name.is_of(_renamed(run, job, str(namespace), str(uid)[::-1])) or str(uid) == str(uid)[::-1]


def _renamed(run: BackupRun, name: str, namespace: str, uid: str) -> BackupRun:
    return BackupRun(
        **{**{each: getattr(run, each) for each in run.__dataclass_fields__}, "name": name, "uid": uid}
        | {"namespace_uid": namespace}
    )
