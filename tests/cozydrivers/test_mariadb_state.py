"""How the operator's objects stand, and what is done next with one of a run's: pure decisions, exhausted."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given, settings
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
from cozydrivers.drivers.mariadb.naming import PURPOSES, Name
from cozydrivers.drivers.mariadb.work import Announce, Create, Decision, End, Finished, Sight, Task, decide
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


@st.composite
def jobs(draw: st.DrawFn) -> Job | None:
    if draw(st.booleans()):
        return None
    true = draw(st.sets(st.sampled_from(["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet", "Suspended"])))
    owner = draw(st.sampled_from([UID, UID, OTHER, ""]))
    return Job.decode(
        {
            "metadata": {"uid": draw(st.sampled_from(["job", "job-again"])), "ownerReferences": owned(owner)},
            "spec": {"suspend": draw(st.booleans())},
            "status": {
                "succeeded": draw(st.integers(0, 1)),
                "conditions": [{"type": kind, "status": "True", "reason": "R"} for kind in sorted(true)],
            },
        }
    )


@st.composite
def things(draw: st.DrawFn, *kinds: type[Thing]) -> Thing:
    kind = draw(st.sampled_from(kinds or (Backup, Restore, PhysicalBackup)))
    reason, message = draw(st.sampled_from(REASONS))
    condition = {"type": "Complete", "reason": reason, "message": message}
    told = [{**condition, "status": draw(st.sampled_from(["True", "False", "Unknown"]))}] if reason else []
    metadata: dict[str, Any] = {
        "name": "n",
        "uid": draw(st.sampled_from([UID, UID, OTHER])),
        "labels": {RUN: draw(st.sampled_from([RUN_UID, RUN_UID, "somebody"]))},
        "ownerReferences": owned(draw(st.sampled_from([RUN_UID, RUN_UID, "somebody"]))),
    }
    if draw(st.booleans()):
        metadata["deletionTimestamp"] = NOW.isoformat()
    return kind.decode({"metadata": metadata, "spec": {}, "status": {"conditions": told}})


# How an object stands


def witnesses(job: Job | None, thing: Thing) -> bool:
    """Whether a Job says that this very object has succeeded."""
    own = job is not None and job.is_controlled_by(thing.metadata.uid)
    well = job is not None and job.condition("Complete") is not None and job.status.succeeded > 0
    failed = job is not None and (job.condition("Failed") or job.condition("FailureTarget"))
    return own and well and not failed


@given(things(), jobs())
@settings(max_examples=150)
def test_nothing_has_succeeded_without_both_witnesses(thing, job):
    state = state_of(thing, job)
    assert state.phase in get_args(Phase)
    told = thing.status.condition("Complete")
    by_reason = told is not None and told.reason in ("JobComplete", "CronJobSucess") and told.status == "True"
    assert (state.phase == "Succeeded") == (by_reason and witnesses(job, thing))


@given(things(), jobs())
@settings(max_examples=150)
def test_a_failure_is_one_whatever_the_status_of_the_condition(thing, job):
    """Defect 1: `Complete=True` of a failed Job."""
    told = thing.status.condition("Complete")
    own = job is None or job.is_controlled_by(thing.metadata.uid)
    if told is not None and told.reason in ("JobFailed", "SnapshotFailed") and own:
        assert state_of(thing, job).phase == "Failed"


@given(things(), jobs())
@settings(max_examples=100)
def test_a_job_of_another_object_tells_nothing(thing, job):
    """5.7: the operator adopts the Job of an object that had the same name."""
    if job is not None and not job.is_controlled_by(thing.metadata.uid):
        assert state_of(thing, job) == State("Unknown", "ForeignJob", state_of(thing, job).message)


@given(things())
def test_what_has_run_is_not_at_work(thing):
    assert not (has_run(thing) and is_at_work(thing))


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


tasks = st.builds(
    Task,
    purpose=st.sampled_from(PURPOSES),
    uid=st.sampled_from(["", UID, OTHER]),
    job_uid=st.sampled_from(["", "job", "job-again"]),
)


@given(tasks, st.one_of(st.none(), things(Backup, Restore)), jobs(), st.booleans())
@settings(max_examples=300)
def test_every_sight_has_a_decision_and_it_does_no_harm(task, thing, job, fresh):
    decision = decide(task, Sight("n", thing, job), run_of(fresh=fresh))
    assert isinstance(decision, get_args(Decision))
    if isinstance(decision, Create | Announce):
        assert thing is None, "never over one that is there"
        assert not task.uid, "never after one that was there (I3)"
        assert isinstance(decision, Create) == fresh, "only what was intended just now is sent"
    if isinstance(decision, Finished):
        assert thing is not None
        assert state_of(thing, job).phase == "Succeeded"
        assert thing.is_controlled_by(RUN_UID), "another's success is none (I11)"
        assert thing.metadata.labels[RUN] == RUN_UID
        assert task.uid == thing.metadata.uid
        assert job is not None
        assert task.job_uid == job.metadata.uid, "nor that of a Job that was not there from the start"
    if thing is not None and not thing.is_controlled_by(RUN_UID):
        assert isinstance(decision, End)
        assert decision.reason == "Refused"


@given(tasks, things(Backup, Restore), jobs())
def test_what_is_remembered_is_not_remembered_again(task, thing, job):
    decision: Any = task
    for _ in range(3):
        decision = decide(decision.task if hasattr(decision, "task") else task, Sight("n", thing, job), run_of())
        if not hasattr(decision, "task"):
            return
    raise AssertionError("it is saved without an end")


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
