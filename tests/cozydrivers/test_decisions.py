"""What is decided next, for whatever is seen: always an answer, and never what can't be taken back."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chbackup import Action, Archive, Table
from cozydrivers.api.apps import ClickHouse
from cozydrivers.drivers.base import BackupRun, Intent, RestoreRun
from cozydrivers.drivers.clickhouse import backup, restore
from cozydrivers.drivers.clickhouse.advance import carry_out
from cozydrivers.drivers.clickhouse.checkpoint import Debris, Evidence, Member, State, archive_name
from cozydrivers.drivers.clickhouse.cleanup import all_debris
from cozydrivers.drivers.clickhouse.following import LOOK, Rows, Submission, Verdict, judge, mark_of, own_row, since
from cozydrivers.drivers.clickhouse.look import Scene, Sight
from cozydrivers.drivers.clickhouse.options import Options
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.record import Recorded, Tables, tables_hash
from cozydrivers.drivers.clickhouse.selecting import Asked
from cozydrivers.drivers.clickhouse.steps import DropLocal, End, Hold, Plan, Submit

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
total = settings(deadline=None, max_examples=70)


def run_of(kind: Any, *, fresh: bool = False) -> Any:
    """A run of the job `nightly`."""
    return kind(
        kube=None,
        reader=None,
        namespace="tenant",
        namespace_uid="0a1b2c3d-0000",
        cluster_uid="c",
        application=ClickHouse.decode({"metadata": {"name": "shop", "namespace": "tenant"}, "spec": {"shards": 2}}),
        strategy={},
        name="nightly",
        uid="00112233-4455-6677-8899-aabbccddeeff",
        created=NOW - timedelta(hours=1),
        now=NOW,
        fresh=fresh,
    )


def name(shard: int, attempt: int = 1) -> str:
    """An archive of that run."""
    return archive_name(run_of(BackupRun), attempt=attempt, shard=shard, shards=2, replica=0)


# What may be seen, from pools, because drawing each field would take long

NAMES = [*(name(shard, attempt) for shard in (0, 1) for attempt in (1, 2, 3, 4)), "by-hand"]
VERBS = ("create_remote", "upload", "upload --resumable=1", "download", "restore", "delete remote", "x")
STATUSES = ("in progress", "success", "error", "cancel", "something new")
ERRORS = ("", "no tables for backup", "canceled via API /restart")
ACTIONS = [
    Action(command=f"{verb} {archive}", status=status, error=error, operation_id=operation_id)
    for verb, archive, status, error, operation_id in product(VERBS, NAMES, STATUSES, ERRORS, ("", "id-1"))
]
DESCRIBED = ("regular", "broken (can't stat metadata.json)", "broken (bad metadata.json)")
TABLES = [
    Table(database="shop", name=table, engine=engine, total_bytes=size)
    for table, engine, size in product(("orders", "log"), ("", "MergeTree", "ReplicatedMergeTree", "Log"), (0, 1, 2))
]
TIMES = [NOW + timedelta(seconds=seconds) for seconds in (-4000, -41, -40, -39, -6, -5, -4, 0, 60)]


def archives(location: Any) -> st.SearchStrategy[Any]:
    pool = [
        Archive(name=archive, data_size=size, location=location, required=required, desc=desc)
        for archive, size, required, desc in product(NAMES, (0, 1, 2), ("", "by-hand"), DESCRIBED)
    ]
    return st.none() | st.lists(st.sampled_from(pool), max_size=3)


times = st.sampled_from(TIMES)
histories = st.lists(st.sampled_from(ACTIONS), max_size=4)
rows = st.builds(Rows, st.none() | st.sampled_from(ACTIONS), st.none() | histories)
table_lists = st.none() | st.lists(st.sampled_from(TABLES), max_size=2)
LOCAL, REMOTE = archives("local"), archives("remote")


@st.composite
def submissions(
    draw: Any, verbs: Any = ("create_remote", "upload", "download", "restore"), shard: int = 0
) -> Submission:
    attempt = draw(st.integers(1, 4))
    return Submission(
        verb=draw(st.sampled_from(verbs)),
        archive=name(shard, attempt),
        attempt=attempt,
        state=draw(st.sampled_from(("planned", "sending", "sought", "sent"))),
        at=draw(times),
        operation_id=draw(st.sampled_from(["", "id-1", "id-2"])),
        quiet_since=draw(st.none() | times),
    )


@st.composite
def sights(draw: Any, shard: int) -> Sight:
    place = Place(shard, 0, f"pod-{shard}", f"uid-{shard}", "http://127.0.0.1:7171", ready=True)
    trouble = draw(st.sampled_from(["", "", "", "connection refused"]))
    lists = draw(LOCAL), draw(REMOTE)
    return Sight(place, trouble, None, draw(rows), *lists, draw(table_lists), draw(table_lists))


@st.composite
def situations(draw: Any, kind: Any, stages: Any, verbs: Any) -> tuple[State, Scene, bool]:
    """A run's state and what it sees; the verdicts are what the rows come to."""
    fresh = draw(st.booleans())
    members, seen = [], []
    for shard in (0, 1):
        submission, sight = draw(submissions(verbs, shard)), draw(sights(shard))
        if kind == "restore":
            submission = submission.model_copy(update={"archive": name(shard)})
        verdict = judge(submission, sight.rows, now=NOW, fresh=fresh)
        seen.append(Sight(**{**vars(sight), "verdict": verdict}))
        members.append(
            Member(
                shard=shard,
                replica=0,
                pod=f"pod-{shard}",
                pod_uid=f"uid-{shard}",
                submission=submission,
                stage=draw(st.sampled_from(stages)),
                begun=draw(st.booleans()),
                evidence=Evidence(data_size=1, size=2) if draw(st.booleans()) else None,
                found={f"pod-{shard}": tables_hash(["shop.orders"])}
                if kind == "restore" and draw(st.booleans())
                else {},
            )
        )
    survey = {f"pod-{shard}": draw(sights(shard)) for shard in draw(st.sampled_from([(), (0,), (1,), (0, 1)]))}
    state = State(kind=kind, shards=2, members=tuple(members), live={"pod-0": draw(st.integers(0, 2))})
    return state, Scene(seen, survey), fresh


backups = situations("backup", ("making", "proven", "done"), ("create_remote", "upload"))
restores = situations(
    "restore",
    ("downloading", "downloaded", "saving", "saved", "restoring", "restored", "done"),
    ("download", "restore"),
)
RECORDED = [
    Recorded(
        shard=shard,
        archive=name(shard),
        data_size=1,
        tables=Tables(count=1, hash=tables_hash(["shop.orders"]), schema_only=("shop.log",)),
    )
    for shard in (0, 1)
]
IN_PLACE = Asked(Options(), elsewhere=False)


def exists_there(seen: Sight, sight: Sight, member: Member) -> set[str]:
    """The archive's tables that a replica of the same shard shows."""
    if seen.place is None or seen.place.shard != member.shard:
        return set()
    return {t.full_name for t in seen.live or ()} & {t.full_name for t in sight.archived or ()} - {"shop.log"}


def named_by_the_check(member: Member) -> set[str]:
    """The tables that were found when they were checked."""
    return {"shop.orders"} if member.found else set()


# What a submission has come to


@total
@given(submissions(), rows, st.booleans())
def test_only_a_fresh_intent_is_sent_and_only_while_nothing_shows_that_it_was(submission, seen, fresh):
    verdict = judge(submission, seen, now=NOW, fresh=fresh)
    assert (verdict is Verdict.SEND) == (submission.state == "sending" and fresh and seen.own is None)
    taken_up = seen.own is not None and seen.own.resumed
    assert (verdict is Verdict.PLANNED) == (submission.state == "planned" and not taken_up)


@total
@given(submissions(), rows)
def test_what_may_still_arrive_is_looked_for(submission, seen):
    verdict = judge(submission, seen, now=NOW, fresh=False)
    unknown = submission.state in ("sending", "sought") and seen.own is None
    assert (verdict is Verdict.NOT_FOUND) == (unknown and NOW - submission.at >= LOOK)
    assert (verdict is Verdict.LOOKING) == (unknown and NOW - submission.at < LOOK)


@total
@given(submissions(), histories, st.sampled_from(["", "cozydrivers_1.a1"]))
def test_a_submission_s_row_is_one_of_its_archive_or_of_its_id(submission, history, tag):
    row = own_row(submission, history, tag)
    assert row is None or row in history
    if row is not None and not row.resumed:
        assert row.operation_id == submission.operation_id if submission.operation_id else tag in row.command
    if row is not None and not submission.operation_id:
        assert row.archive == submission.archive


@total
@given(histories, histories)
def test_the_rows_since_a_mark_are_the_later_ones_whatever_looks_the_same(earlier, later):
    assert list(since([*earlier, *later], mark_of(earlier))) == later
    assert list(since(later, "a mark of before a restart")) == later


# What is decided on it


def check_steps(situation: Any, steps: Any) -> None:
    """Nothing is sent but a fresh intent, nothing planned over what runs, nothing at all beside what is at work."""
    state, scene, fresh = situation
    for member, sight, step in zip(state.members, scene.sights, steps, strict=True):
        at_work = member.stage in ("making", "downloading", "restoring")
        if isinstance(step, Submit):
            assert (fresh, member.submission.state, sight.rows.own) == (True, "sending", None)
            assert at_work
        if isinstance(step, Plan) and at_work:
            assert sight.verdict in (Verdict.PLANNED, Verdict.LOST, Verdict.NOT_FOUND)
        if isinstance(step, Plan | Submit):
            assert not sight.trouble
        if isinstance(step, End | Hold):
            assert step.message
        if isinstance(step, Hold):
            assert step.retry_after > 0


def at_once(coroutine: Any) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


def check_intent(situation: Any, steps: Any) -> None:
    """An intent makes sendable what it plans, and nothing that may have been sent before."""
    state, scene, _ = situation
    if not any(isinstance(step, Plan) for step in steps) or any(isinstance(step, End) for step in steps):
        return
    nothing: Any = None
    outcome = at_once(carry_out(nothing, state, scene, steps, nothing))
    assert isinstance(outcome, Intent)
    after = State.model_validate(outcome.checkpoint)
    for step, member in zip(steps, after.members, strict=True):
        assert (member.submission.state == "sending") == isinstance(step, Plan | Submit)
    given_up = {step.given_up.archive for step in steps if isinstance(step, Plan) and step.given_up}
    assert given_up <= {debris.archive for debris in after.debris}


def check_giving_up(state: State) -> None:
    """A run is not given up while something of it may still arrive; of a restore nothing remote is."""
    given_up = all_debris(state, NOW)
    unknown = [member for member in state.members if member.submission.state in ("sending", "sought")]
    assert (given_up is None) == any(NOW - member.submission.at < LOOK for member in unknown)
    if given_up is not None:
        assert {debris.archive for debris in given_up.debris} == {m.submission.archive for m in state.members}
        assert given_up.kind == state.kind  # which is what keeps a restore's clean-up from the remote archives


@total
@given(backups)
def test_a_backup_s_steps(situation):
    state, scene, fresh = situation
    steps = backup.decide(state, scene, run_of(BackupRun, fresh=fresh))
    check_steps(situation, steps)
    check_intent(situation, steps)
    check_giving_up(state)
    for member, sight, step in zip(state.members, scene.sights, steps, strict=True):
        old = member.submission
        if isinstance(step, DropLocal):
            assert member.stage == "proven"
            assert old.archive in {archive.name for archive in sight.remote or ()}
        if isinstance(step, Plan) and step.member.submission.archive == old.archive:
            assert old.state == "planned" or step.member.submission.verb == "upload"
        elif isinstance(step, Plan):
            assert step.given_up == Debris(shard=member.shard, replica=0, archive=old.archive)
            assert step.member.submission.attempt == old.attempt + 1


@total
@given(restores)
def test_a_restore_s_steps(situation):
    state, scene, fresh = situation
    cases = restore.cases(state, scene, run_of(RestoreRun, fresh=fresh), RECORDED, IN_PLACE)
    steps = restore.decide(cases)
    check_steps(situation, steps)
    check_intent(situation, steps)
    check_giving_up(state)
    for member, sight, step in zip(state.members, scene.sights, steps, strict=True):
        if isinstance(step, Plan | Submit) and step.member.stage in ("saving", "restoring"):
            assert all(other.stage != "downloading" for other in state.members)
        if isinstance(step, Plan) and step.member.stage == "restoring" and member.stage == "saved":
            assert all(other.stage not in ("downloaded", "saving") for other in state.members)
        if isinstance(step, Plan | Submit) and step.member.stage == "restoring" and not step.member.begun:
            found = {name for seen in scene.survey.values() for name in exists_there(seen, sight, member)}
            assert step.member.submission.attempt > 1 or not found - named_by_the_check(member)
